//! What is ours though it is for nobody of ours: DNAT backends' packets, and errors about tunnels.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frames::*;
use super::{
    BACKEND, BACKEND6, CLIENT, CLIENT6, ICMP, ICMPV6, MORE, OURS, OWN, PASSED, Row, SHARED,
    SHARED6, SOURCES, SOURCES6, TCP, UDP, VIP,
};

const IPIP: u8 = 4;
const GRE: u8 = 47;
const SOURCE: Ipv4Addr = Ipv4Addr::from_bits(SOURCES.to_bits() | 77);
const SOURCE6: Ipv6Addr = Ipv6Addr::from_bits(SOURCES6.to_bits() | 77);

pub fn rows() -> Vec<Row> {
    [from_backends(), from_backends_v6(), about_packets_to_backends(), about_tunnels()].concat()
}

fn from(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
    let packet = ipv4(destination, source, protocol, 0, 0, &ports(port, 40000));
    ethernet(OWN, IPV4, &packet)
}

fn from_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, port: u16) -> Vec<u8> {
    ethernet(OWN, IPV6, &ipv6(destination, source, protocol, &ports(port, 40000)))
}

#[rustfmt::skip]
fn from_backends() -> Vec<Row> {
    let v4 = |fragment, options| ethernet(OWN, IPV4, &ipv4(CLIENT, BACKEND, TCP, fragment, options, &ports(8080, 40000)));
    vec![
        ("an answer of a backend", from(BACKEND, CLIENT, TCP, 8080), OURS),
        ("with options", v4(0, 8), OURS),
        ("its first fragment", v4(MORE, 0), OURS),
        ("a later fragment behind it", v4(185, 0), OURS),
        ("a later fragment of another datagram", { let mut f = v4(185, 0); f[19] = 9; f }, PASSED),
        ("from another port of it", from(BACKEND, CLIENT, TCP, 22), PASSED),
        ("by another protocol", from(BACKEND, CLIENT, UDP, 8080), PASSED),
        ("from the first of several ports", from(BACKEND, CLIENT, UDP, 5000), OURS),
        ("from the last of them", from(BACKEND, CLIENT, UDP, 5999), OURS),
        ("from the port before them", from(BACKEND, CLIENT, UDP, 4999), PASSED),
        ("from the port after them", from(BACKEND, CLIENT, UDP, 6000), PASSED),
        ("from no port", from(BACKEND, CLIENT, UDP, 0), PASSED),
        ("from no port by TCP", from(BACKEND, CLIENT, TCP, 0), PASSED),
        ("from another host", from(CLIENT, BACKEND, TCP, 8080), PASSED),
        ("to the machine itself: a health check", from(BACKEND, SHARED, TCP, 8080), PASSED),
        ("to a VIP, as its client", from(BACKEND, VIP, TCP, 8080), OURS),
        ("to a group", from(BACKEND, Ipv4Addr::new(224, 0, 0, 251), TCP, 8080), PASSED),
        ("to everybody", from(BACKEND, Ipv4Addr::BROADCAST, TCP, 8080), PASSED),
        ("cut before its ports", cut(from(BACKEND, CLIENT, TCP, 8080), 14 + 20 + 3), PASSED),
    ]
}

/// A fragment of a backend's to a client.
fn ip6_fragment(next: u8, place: u16, body: &[u8]) -> Vec<u8> {
    ethernet(OWN, IPV6, &ipv6(CLIENT6, BACKEND6, 44, &fragment(next, place, body)))
}

#[rustfmt::skip]
fn from_backends_v6() -> Vec<Row> {
    vec![
        ("an answer of an IPv6 backend", from_v6(BACKEND6, CLIENT6, TCP, 8080), OURS),
        ("from another port of it", from_v6(BACKEND6, CLIENT6, TCP, 22), PASSED),
        ("from one of several ports of it", from_v6(BACKEND6, CLIENT6, UDP, 5500), OURS),
        ("from a port beside them", from_v6(BACKEND6, CLIENT6, UDP, 6000), PASSED),
        ("to the machine itself", from_v6(BACKEND6, SHARED6, TCP, 8080), PASSED),
        ("a first fragment", ip6_fragment(TCP, 1, &ports(8080, 40000)), OURS),
        ("a later fragment behind it", ip6_fragment(TCP, 0x20, &[0; 24]), OURS),
        ("of another datagram", { let mut f = ip6_fragment(TCP, 0x20, &[0; 24]); f[61] = 9; f }, PASSED),
        ("to a group", from_v6(BACKEND6, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), TCP, 8080), PASSED),
        ("to nobody", from_v6(BACKEND6, Ipv6Addr::LOCALHOST, TCP, 8080), PASSED),
    ]
}

/// An error by a router about a packet from `source` to `destination`.
fn error(to: Ipv4Addr, quoted: (Ipv4Addr, Ipv4Addr, u8, u16)) -> Vec<u8> {
    let (source, destination, protocol, port) = quoted;
    let quoted = ipv4(destination, source, protocol, 0, 0, &ports(40000, port)[..8]);
    let message = [&[3, 4, 0, 0, 0, 0, 5, 0], &quoted[..]].concat();
    ethernet(OWN, IPV4, &ipv4(to, Ipv4Addr::new(10, 8, 0, 1), ICMP, 0, 0, &message))
}

fn error_v6(to: Ipv6Addr, quoted: (Ipv6Addr, Ipv6Addr, u8, u16)) -> Vec<u8> {
    let (source, destination, protocol, port) = quoted;
    let quoted = ipv6(destination, source, protocol, &ports(40000, port)[..8]);
    let message = [&[2, 0, 0, 0, 0, 0, 5, 0], &quoted[..]].concat();
    ethernet(OWN, IPV6, &ipv6(to, CLIENT6, ICMPV6, &message))
}

#[rustfmt::skip]
fn about_packets_to_backends() -> Vec<Row> {
    vec![
        ("about a packet to a DNAT backend", error(CLIENT, (CLIENT, BACKEND, TCP, 8080)), OURS),
        ("to another port of it", error(CLIENT, (CLIENT, BACKEND, TCP, 22)), PASSED),
        ("about the machine's own check", error(SHARED, (SHARED, BACKEND, TCP, 8080)), PASSED),
        ("about a packet to another host", error(CLIENT, (CLIENT, VIP, TCP, 8080)), PASSED),
        ("of IPv6", error_v6(CLIENT6, (CLIENT6, BACKEND6, TCP, 8080)), OURS),
        ("of IPv6, to another port", error_v6(CLIENT6, (CLIENT6, BACKEND6, TCP, 22)), PASSED),
        ("of IPv6, about the machine's own", error_v6(SHARED6, (SHARED6, BACKEND6, TCP, 8080)), PASSED),
    ]
}

#[rustfmt::skip]
fn about_tunnels() -> Vec<Row> {
    vec![
        ("about IP in IP", error(SOURCE, (SOURCE, BACKEND, IPIP, 1)), OURS),
        ("about GRE", error(SOURCE, (SOURCE, BACKEND, GRE, 1)), OURS),
        ("about GUE", error(SOURCE, (SOURCE, BACKEND, UDP, 6080)), OURS),
        ("about TCP from such an address", error(SOURCE, (SOURCE, BACKEND, TCP, 80)), PASSED),
        ("about another's tunnel", error(CLIENT, (CLIENT, BACKEND, IPIP, 1)), PASSED),
        ("quotes another source", error(SOURCE, (CLIENT, BACKEND, IPIP, 1)), PASSED),
        ("no error", from(CLIENT, SOURCE, TCP, 80), PASSED),
        ("about IPv6 in IPv6", error_v6(SOURCE6, (SOURCE6, BACKEND6, 41, 1)), OURS),
        ("about GRE over IPv6", error_v6(SOURCE6, (SOURCE6, BACKEND6, GRE, 1)), OURS),
        ("quotes another IPv6 source", error_v6(SOURCE6, (CLIENT6, BACKEND6, 41, 1)), PASSED),
    ]
}
