//! What later steps rely on. The fuzzer takes this file as it is.

use crate::wire::{Body, Content, Fragment, IpPacket, ParseOutcome, parse};

/// Does it, for whatever came in?
pub fn holds_together(frame: &[u8]) -> bool {
    let ParseOutcome::Parsed(packet) = parse(frame) else { return true };
    let link = packet.link;
    let link_fits = link.tags.header_len() <= link.end() && link.end() <= 22;
    match packet.body {
        Body::Ip(ip) => link_fits && ip.start() == link.end() && ip_holds_together(frame, &ip),
        Body::Arp(_) => link_fits && link.end() + 28 <= frame.len(),
    }
}

fn ip_holds_together(frame: &[u8], ip: &IpPacket) -> bool {
    let is_v4 = ip.source().is_v4();
    let header_fits = match ip.payload_start() - ip.start() {
        len if is_v4 => (20..=60).contains(&len),
        len => len >= 40,
    };
    let (least, has_ports) = match ip.content {
        Content::Tcp(_) => (20, true),
        Content::Udp => (8, true),
        Content::Sctp(_) => (12, true),
        Content::EchoRequest | Content::IcmpError | Content::Icmp => (8, false),
        Content::NeighbourSolicitation(_) => (24, false),
        Content::Fragment(Fragment { has_ports: true, .. }) if ip.key.is_tcp() => (20, true),
        Content::Fragment(Fragment { has_ports: true, .. }) => (8, true),
        Content::Fragment(_) | Content::Other => (0, false),
    };
    let protocols: &[u32] = match ip.content {
        Content::Tcp(_) => &[6],
        Content::Udp => &[17],
        Content::Sctp(_) => &[132],
        Content::NeighbourSolicitation(target) if !target.is_v4() && !is_v4 => &[58],
        Content::NeighbourSolicitation(_) => &[],
        Content::EchoRequest | Content::IcmpError | Content::Icmp if is_v4 => &[1],
        Content::EchoRequest | Content::IcmpError | Content::Icmp => &[58],
        Content::Fragment(Fragment { has_ports: true, .. }) => &[6, 17, 132],
        Content::Fragment(_) | Content::Other => &[ip.key.protocol],
    };
    header_fits
        && ip.destination().is_v4() == is_v4
        && usize::from(ip.end) <= frame.len()
        && ip.payload_start() + least <= usize::from(ip.end)
        && protocols.contains(&ip.key.protocol)
        && ip.key.protocol <= 255
        && (has_ports || (ip.key.source_port, ip.key.destination_port) == (0, 0))
        && (is_v4 || ip.dont_fragment)
}
