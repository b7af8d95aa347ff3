//! Is a frame sound: all lengths and checksums right, as smoltcp judges, in envelopes and in what
//! ICMP errors quote, too?

use smoltcp::wire::{
    ArpPacket, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IpAddress, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};

use super::envelope::{self, Outside};
use super::vlan::without_tags;

pub fn is_sound(frame: &[u8]) -> bool {
    let frame = without_tags(frame);
    let Ok(ethernet) = EthernetFrame::new_checked(&frame) else { return false };
    match ethernet.ethertype() {
        EthernetProtocol::Arp => ArpPacket::new_checked(ethernet.payload()).is_ok(),
        EthernetProtocol::Ipv4 => is_sound_packet(ethernet.payload(), 4),
        EthernetProtocol::Ipv6 => is_sound_packet(ethernet.payload(), 6),
        _ => false,
    }
}

/// A packet of this version of IP.
fn is_sound_packet(bytes: &[u8], version: u8) -> bool {
    let Some(ip) = envelope::outside(bytes).filter(|_| bytes[0] >> 4 == version) else {
        return false;
    };
    // A fragment has no checksum of its own.
    if is_fragment(bytes) {
        return true;
    }
    if envelope::is_envelope(&ip) {
        let inside = envelope::inside(&ip);
        return inside.is_some_and(|packet| is_sound_packet(packet, packet[0] >> 4));
    }
    is_sound_message(&ip)
}

fn is_fragment(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => {
            Ipv4Packet::new_checked(packet).is_ok_and(|ip| ip.more_frags() || ip.frag_offset() > 0)
        }
        _ => {
            Ipv6Packet::new_checked(packet).is_ok_and(|ip| ip.next_header() == IpProtocol::Ipv6Frag)
        }
    }
}

fn is_sound_message(ip: &Outside<'_>) -> bool {
    let (source, destination) = (&ip.source, &ip.destination);
    match (ip.protocol, source, destination) {
        (IpProtocol::Tcp, ..) => TcpPacket::new_checked(ip.payload)
            .is_ok_and(|tcp| tcp.verify_checksum(source, destination)),
        (IpProtocol::Udp, ..) => UdpPacket::new_checked(ip.payload)
            .is_ok_and(|udp| udp.verify_checksum(source, destination)),
        (IpProtocol::Icmp, ..) => {
            let is_right = |icmp: Icmpv4Packet<&[u8]>| icmp.verify_checksum();
            let is_error = matches!(ip.payload.first(), Some(3 | 11 | 12));
            Icmpv4Packet::new_checked(ip.payload).is_ok_and(is_right)
                && (!is_error || is_sound_quote(&ip.payload[8..]))
        }
        (IpProtocol::Icmpv6, &IpAddress::Ipv6(source), &IpAddress::Ipv6(destination)) => {
            let is_right = |icmp: Icmpv6Packet<&[u8]>| icmp.verify_checksum(&source, &destination);
            let is_error = matches!(ip.payload.first(), Some(1..=4));
            Icmpv6Packet::new_checked(ip.payload).is_ok_and(is_right)
                && (!is_error || is_sound_quote(&ip.payload[8..]))
        }
        _ => false,
    }
}

/// The beginning of a packet: its IPv4 header, and everything of one that is there as a whole.
fn is_sound_quote(quote: &[u8]) -> bool {
    let (Some(version), true) = (quote.first().map(|first| first >> 4), quote.len() >= 28) else {
        return false;
    };
    let len = match version {
        4 => usize::from(u16::from_be_bytes([quote[2], quote[3]])),
        6 => 40 + usize::from(u16::from_be_bytes([quote[4], quote[5]])),
        _ => return false,
    };
    if quote.len() >= len {
        return is_sound_packet(&quote[..len], version);
    }
    let sum: u32 =
        quote[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    version == 6 || sum.is_multiple_of(0xffff)
}
