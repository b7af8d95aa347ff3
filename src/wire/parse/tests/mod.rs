//! Good frames and what they say; what stays good and what is none of ours. Beside it: what is
//! refused, extension headers, fragments, any bytes, the quick way against the slow one, and
//! etherparse's parser of whole packets for an oracle.

mod any;
mod compared;
mod extensions;
mod fragments;
mod oracle;
mod plain;
mod refused;
mod refused_ipv6;
mod sound;

use std::net::Ipv4Addr;
use std::ops::Range;

use super::*;
use crate::wire::samples::{self as s, bytes, packet};
use crate::wire::{Address, Content, FlowKey, Fragment, MacAddress, Tags, TcpFlags};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
const CLIENT_V6: Address = last_of(0x2001_0db8_0001_0000, 0x50);
const VIP_V6: Address = last_of(0x2001_0db8_0001_0000, 0x100);
/// The solicited-node group of [`VIP_V6`].
const GROUP: Address = last_of(0xff02 << 48, 0x1_ff00_0100);

const fn last_of(high: u64, low: u64) -> Address {
    Address::from_bits((high as u128) << 64 | low as u128)
}

/// What a test does to a good frame.
type Edit = fn(&mut Vec<u8>);

/// A packet of this protocol with the ports of all samples. `places` is where IP header and payload
/// begin and where the packet ends.
fn ip(
    (source, destination): (Address, Address),
    protocol: u32,
    places: [u16; 3],
    content: Content,
) -> IpPacket {
    let has_ports = match content {
        Content::Tcp(_) | Content::Udp => true,
        Content::Fragment(fragment) => fragment.has_ports,
        _ => false,
    };
    let (source_port, destination_port) = match protocol {
        6 if has_ports => (40000, 80),
        17 if has_ports => (5353, 53),
        _ => (0, 0),
    };
    let [start, payload, end] = places;
    IpPacket {
        key: FlowKey { source, destination, source_port, destination_port, protocol },
        start,
        payload,
        end,
        hop_limit: 64,
        traffic_class: 0,
        dont_fragment: true,
        content,
    }
}

fn v4(protocol: u32, places: [u16; 3], content: Content) -> IpPacket {
    ip((CLIENT.into(), VIP.into()), protocol, places, content)
}

fn v6(protocol: u32, places: [u16; 3], content: Content) -> IpPacket {
    ip((CLIENT_V6, VIP_V6), protocol, places, content)
}

fn tcp(flags: u8) -> Content {
    Content::Tcp(TcpFlags(flags))
}

/// A fragment, with TCP's flags (0 for UDP) where it has ports.
fn part(identification: u32, bytes: Range<u32>, more: bool, flags: Option<u8>) -> Content {
    let (offset, len) = (bytes.start as u16, bytes.len() as u16);
    let tcp = TcpFlags(flags.unwrap_or(0));
    let has_ports = flags.is_some();
    Content::Fragment(Fragment { identification, offset, len, more, has_ports, tcp })
}

fn ipv4_rows() -> Vec<(&'static str, IpPacket)> {
    let fragmentable = |packet| IpPacket { dont_fragment: false, ..packet };
    let echo = IpPacket { traffic_class: 0x10, ..v4(1, [14, 34, 50], Content::EchoRequest) };
    let echo_options = v4(1, [14, 42, 58], Content::EchoRequest);
    vec![
        (s::TCP_SYN, v4(6, [14, 34, 74], tcp(0x02))),
        (s::TCP_DATA, v4(6, [14, 34, 71], tcp(0x18))),
        (s::TCP_FIN_PADDED, v4(6, [14, 34, 54], tcp(0x11))),
        (s::TCP_RST, v4(6, [14, 34, 54], tcp(0x04))),
        (s::UDP_DATA, v4(17, [14, 34, 51], Content::Udp)),
        (s::UDP_NO_CHECKSUM, v4(17, [14, 34, 51], Content::Udp)),
        (s::UDP_ALL_ONES, v4(17, [14, 34, 44], Content::Udp)),
        (s::UDP_IP_OPTIONS, v4(17, [14, 38, 46], Content::Udp)),
        (s::ECHO_REQUEST, echo),
        (s::ECHO_REQUEST_IP_OPTIONS, fragmentable(echo_options)),
        (s::ICMP_UNREACHABLE, v4(1, [14, 34, 70], Content::IcmpError)),
        (s::FRAGMENT_FIRST, fragmentable(v4(17, [14, 34, 50], part(0x1234, 0..16, true, Some(0))))),
        (s::FRAGMENT_LAST, fragmentable(v4(17, [14, 34, 42], part(0x1234, 16..24, false, None)))),
        (s::GRE, v4(47, [14, 34, 38], Content::Other)),
        (
            s::FRAGMENT_FIRST_TCP,
            fragmentable(v4(6, [14, 34, 58], part(0x1234, 0..24, true, Some(0x18)))),
        ),
        (s::FRAGMENT_TINY, fragmentable(v4(6, [14, 34, 50], part(0x1234, 0..16, true, None)))),
        (s::TCP_SYN_VLAN, v4(6, [18, 38, 78], tcp(0x02))),
        (s::UDP_QINQ, v4(17, [22, 42, 59], Content::Udp)),
        (s::UDP_PRIORITY, v4(17, [18, 38, 55], Content::Udp)),
    ]
}

fn ipv6_rows() -> Vec<(&'static str, IpPacket)> {
    const ID: u32 = 0x1234_5678;
    let data = IpPacket { traffic_class: 0xb8, ..v6(6, [14, 54, 91], tcp(0x18)) };
    let echo = IpPacket { traffic_class: 1, ..v6(58, [14, 54, 70], Content::EchoRequest) };
    let asks = |source, destination, places| IpPacket {
        hop_limit: 255,
        ..ip((source, destination), 58, places, Content::NeighbourSolicitation(VIP_V6))
    };
    let (host, all_routers) = (last_of(0xfe80 << 48, 0x50), last_of(0xff02 << 48, 0x16));
    let report = ip((host, all_routers), 58, [14, 62, 90], Content::Icmp);
    vec![
        (s::TCP_SYN_V6, v6(6, [14, 54, 94], tcp(0x02))),
        (s::TCP_DATA_V6, data),
        (s::TCP_RST_V6, v6(6, [14, 54, 74], tcp(0x04))),
        (s::UDP_DATA_V6, v6(17, [14, 54, 71], Content::Udp)),
        (s::UDP_NO_CHECKSUM_V6, v6(17, [14, 54, 71], Content::Udp)),
        (s::UDP_ALL_ONES_V6, v6(17, [14, 54, 64], Content::Udp)),
        (s::UDP_V6_OPTIONS, v6(17, [14, 78, 95], Content::Udp)),
        (s::TCP_V6_ROUTED, v6(6, [14, 78, 98], tcp(0x10))),
        (s::TCP_V6_ATOMIC, v6(6, [14, 62, 82], tcp(0x10))),
        (s::FRAGMENT_FIRST_V6, v6(17, [14, 62, 78], part(ID, 0..16, true, Some(0)))),
        (s::FRAGMENT_LAST_V6, v6(17, [14, 62, 70], part(ID, 16..24, false, None))),
        (s::FRAGMENT_TINY_V6, v6(6, [14, 62, 78], part(ID, 0..16, true, None))),
        (s::ECHO_REQUEST_V6, echo),
        (s::ECHO_REQUEST_V6_OPTIONS, v6(58, [14, 70, 86], Content::EchoRequest)),
        (s::PACKET_TOO_BIG, v6(58, [14, 54, 110], Content::IcmpError)),
        (s::SOLICITATION, asks(CLIENT_V6, GROUP, [14, 54, 86])),
        (s::SOLICITATION_UNICAST, asks(CLIENT_V6, VIP_V6, [14, 54, 78])),
        (s::SOLICITATION_PROBE, asks(Address::UNSPECIFIED, GROUP, [14, 54, 78])),
        (s::MLD_REPORT, IpPacket { hop_limit: 1, ..report }),
        (s::GRE_V6, v6(47, [14, 54, 58], Content::Other)),
        (s::UDP_V6_VLAN, v6(17, [18, 58, 75], Content::Udp)),
        (s::TCP_SYN_V6_QINQ, v6(6, [22, 62, 102], tcp(0x02))),
        (s::SOLICITATION_VLAN, asks(CLIENT_V6, GROUP, [18, 58, 90])),
    ]
}

fn arp(operation: u16, macs: [u8; 2], addresses: [Ipv4Addr; 2]) -> Body {
    let mac = |last| if last == 0 { MacAddress::ZERO } else { MacAddress([2, 0, 0, 0, 0, last]) };
    Body::Arp(Arp {
        operation,
        sender_mac: mac(macs[0]),
        sender_address: addresses[0],
        target_mac: mac(macs[1]),
        target_address: addresses[1],
    })
}

#[test]
fn good_frames() {
    let arp_rows = [
        (s::ARP_REQUEST, arp(1, [0xc1, 0], [CLIENT, VIP])),
        (s::ARP_REPLY, arp(2, [1, 0xc1], [VIP, CLIENT])),
        (s::ARP_REQUEST_VLAN, arp(1, [0xc1, 0], [CLIENT, VIP])),
    ];
    let ip_rows = ipv4_rows().into_iter().chain(ipv6_rows());
    let rows: Vec<_> =
        ip_rows.map(|(frame, packet)| (frame, Body::Ip(packet))).chain(arp_rows).collect();
    for &(name, frame) in s::ALL {
        assert_eq!(rows.iter().filter(|row| row.0 == frame).count(), 1, "a row for {name}");
    }
    assert_eq!(rows.len(), s::ALL.len());
    for (frame, body) in rows {
        assert_eq!(packet(&bytes(frame)).body, body, "{frame}");
    }
}

#[test]
fn lengths_and_kinds_by_accessor() {
    let rows = [
        (s::TCP_FIN_PADDED, (40, 20), Some(TcpFlags(0x11)), true),
        (s::UDP_IP_OPTIONS, (32, 8), None, true),
        (s::UDP_V6_OPTIONS, (81, 17), None, true),
        (s::TCP_SYN_V6_QINQ, (80, 40), Some(TcpFlags::SYN), true),
        (s::FRAGMENT_FIRST_TCP, (44, 24), Some(TcpFlags(0x18)), false),
        (s::FRAGMENT_LAST_V6, (56, 8), None, false),
        (s::ECHO_REQUEST_V6, (56, 16), None, false),
    ];
    for (frame, lens, tcp, is_transport) in rows {
        let ip = s::ip(&bytes(frame));
        assert_eq!((ip.len(), ip.payload_len()), lens, "{frame}");
        assert_eq!((ip.tcp(), ip.is_transport(), ip.is_empty()), (tcp, is_transport, false));
        assert_eq!((ip.source(), ip.destination()), (ip.key.source, ip.key.destination));
        assert_eq!(ip.family(), ip.source().family(), "{frame}");
    }
}

#[test]
fn macs_are_reported_as_they_are() {
    let stations = packet(&bytes(s::TCP_SYN)).link;
    assert_eq!(stations.destination, MacAddress([2, 0, 0, 0, 0, 1]));
    assert_eq!(stations.source, MacAddress([2, 0, 0, 0, 0, 0xc1]));
    assert!(packet(&bytes(s::ARP_REQUEST)).link.destination.is_group());
    assert!(packet(&bytes(s::SOLICITATION)).link.destination.is_group());
}

#[test]
fn tags_are_reported_without_priority() {
    let both = Tags::NONE.with_inner(100, true).and_then(|tags| tags.with_inner(10, false));
    let rows = [
        (s::TCP_SYN, Tags::NONE, 14),
        (s::TCP_SYN_VLAN, Tags::customer(10), 18),
        (s::UDP_QINQ, both.unwrap(), 22),
        (s::UDP_PRIORITY, Tags::NONE, 18),
        (s::ARP_REQUEST_VLAN, Tags::customer(10), 18),
        (s::UDP_V6_VLAN, Tags::customer(10), 18),
        (s::TCP_SYN_V6_QINQ, both.unwrap(), 22),
        (s::SOLICITATION_VLAN, Tags::customer(10), 18),
    ];
    for (frame, tags, len) in rows {
        let link = packet(&bytes(frame)).link;
        assert_eq!((link.tags, link.end()), (tags, len), "{frame}");
    }
}

#[test]
fn what_stays_good() {
    let rows: [(&str, &str, Edit, Content); 14] = [
        ("padding", s::UDP_DATA, |f| f.resize(60, 0xee), Content::Udp),
        ("UDP below the packet", s::UDP_DATA, |f| f[39] = 8, Content::Udp),
        ("wrong TCP checksum", s::TCP_SYN, |f| f[50] ^= 1, tcp(0x02)),
        ("echo with a code", s::ECHO_REQUEST, |f| f[35] = 1, Content::Icmp),
        ("echo reply", s::ECHO_REQUEST, |f| f[34] = 0, Content::Icmp),
        ("time exceeded", s::ICMP_UNREACHABLE, |f| f[34] = 11, Content::IcmpError),
        ("parameter problem", s::ICMP_UNREACHABLE, |f| f[34] = 12, Content::IcmpError),
        ("IPv6 padding", s::UDP_DATA_V6, |f| f.resize(90, 0xee), Content::Udp),
        ("IPv6 UDP below the packet", s::UDP_DATA_V6, |f| f[59] = 8, Content::Udp),
        ("wrong IPv6 TCP checksum", s::TCP_SYN_V6, |f| f[70] ^= 1, tcp(0x02)),
        ("ICMPv6 echo with a code", s::ECHO_REQUEST_V6, |f| f[55] = 1, Content::Icmp),
        ("ICMPv6 echo reply", s::ECHO_REQUEST_V6, |f| f[54] = 129, Content::Icmp),
        ("solicitation with a code", s::SOLICITATION, |f| f[55] = 1, Content::Icmp),
        ("hop limit 0", s::TCP_SYN_V6, |f| f[21] = 0, tcp(0x02)),
    ];
    for (what, frame, change, wanted) in rows {
        let mut frame = bytes(frame);
        change(&mut frame);
        assert_eq!(s::ip(&frame).content, wanted, "{what}");
    }
}

#[test]
fn an_icmp_of_the_other_family_is_another_protocol() {
    let mut frame = bytes(s::ECHO_REQUEST);
    frame[23] = 58;
    s::mend_header(&mut frame);
    assert_eq!(s::ip(&frame).content, Content::Other, "ICMPv6 in IPv4");
    let mut frame = bytes(s::ECHO_REQUEST_V6);
    (frame[20], frame[54]) = (1, 8);
    assert_eq!(s::ip(&frame).content, Content::Other, "ICMP in IPv6");
}

#[test]
fn icmpv6_errors_are_told_from_messages() {
    // What stands in the quote where a solicitation has its target.
    let quoted = last_of(0x6000_0000_0008_1140, 0x2001_0db8_0001_0000);
    for kind in 0..=255 {
        let mut frame = bytes(s::PACKET_TOO_BIG);
        frame[54] = kind;
        let wanted = match kind {
            1..=4 => Content::IcmpError,
            128 => Content::EchoRequest,
            135 => Content::NeighbourSolicitation(quoted),
            _ => Content::Icmp,
        };
        assert_eq!(s::ip(&frame).content, wanted, "type {kind}");
    }
}

#[test]
fn what_is_none_of_ours() {
    let rows: [(&str, &str, Edit); 8] = [
        ("LLDP", s::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x88, 0xcc])),
        ("LLDP on a VLAN", s::TCP_SYN_VLAN, |f| f[16..18].copy_from_slice(&[0x88, 0xcc])),
        ("802.3 length", s::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x00, 0x3c])),
        ("ARP for other hardware", s::ARP_REQUEST, |f| f[15] = 6),
        ("ARP for another protocol", s::ARP_REQUEST, |f| f[16] = 0x86),
        ("ARP for other hardware on a VLAN", s::ARP_REQUEST_VLAN, |f| f[19] = 6),
        ("a third tag", s::UDP_QINQ, |f| *f = s::tagged(f, "8100 0001")),
        ("a tag of before 802.1ad", s::UDP_DATA, |f| *f = s::tagged(f, "9100 000a")),
    ];
    for (what, frame, change) in rows {
        let mut frame = bytes(frame);
        change(&mut frame);
        assert_eq!(parse(&frame), ParseOutcome::NotOurs, "{what}");
    }
}
