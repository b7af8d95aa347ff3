//! IPv4 and ARP.

use super::frames::*;
use super::{
    CLIENT, FRAGMENT, GROUP, ICMP, MORE, OTHER, OTHER_MAC, OURS, OWN, PASSED, Row, SHARED, TCP,
    UDP, VIP,
};

pub fn rows() -> Vec<Row> {
    [whole_address(), arp_packets(), shared_ports(), shared_icmp(), odd()].concat()
}

/// Addresses that are ours alone.
#[rustfmt::skip]
fn whole_address() -> Vec<Row> {
    vec![
        ("TCP to a whole address", to(VIP, TCP, 80), OURS),
        ("any port of it", to(VIP, UDP, 9999), OURS),
        ("any protocol of it", to(VIP, 132, 0), OURS),
        ("a ping to it", icmp(VIP, 8, &[]), OURS),
        ("a first fragment to it", ip(ipv4(VIP, CLIENT, UDP, MORE, 0, &ports(1, 2))), OURS),
        ("a later fragment to it", ip(ipv4(VIP, CLIENT, UDP, 185, 0, &[0; 64])), OURS),
        ("a bare header to it", ip(ipv4(VIP, CLIENT, TCP, 0, 0, &[])), OURS),
        ("to a group MAC", with_destination(to(VIP, TCP, 80), GROUP), OURS),
        ("to another station's MAC", with_destination(to(VIP, TCP, 80), OTHER), OTHER_MAC),
        ("to an address nobody configured", to(CLIENT, TCP, 80), PASSED),
    ]
}

/// ARP.
#[rustfmt::skip]
fn arp_packets() -> Vec<Row> {
    vec![
        ("who has the whole address", arp(1, VIP), OURS),
        ("an answer to the whole address", with_destination(arp(2, VIP), OWN), OURS),
        ("a question to another MAC", with_destination(arp(1, VIP), OTHER), OTHER_MAC),
        ("who has the shared address", arp(1, SHARED), PASSED),
        ("who has another address", arp(1, CLIENT), PASSED),
        ("an ARP operation that is none", arp(3, VIP), PASSED),
        ("a cut ARP", cut(arp(1, VIP), 41), PASSED),
    ]
}

/// Ports and fragments of an address the machine has too.
#[rustfmt::skip]
fn shared_ports() -> Vec<Row> {
    vec![
        ("a service's port", to(SHARED, TCP, 80), OURS),
        ("its number in the other protocol", to(SHARED, UDP, 80), PASSED),
        ("a UDP service's port", to(SHARED, UDP, 53), OURS),
        ("SSH of the machine", to(SHARED, TCP, 22), PASSED),
        ("the first SNAT port", to(SHARED, TCP, 20000), OURS),
        ("the last SNAT port", to(SHARED, UDP, 20999), OURS),
        ("below the SNAT ports", to(SHARED, TCP, 19999), PASSED),
        ("above the SNAT ports", to(SHARED, TCP, 21000), PASSED),
        ("in the second range", to(SHARED, TCP, 30500), OURS),
        ("SCTP with a service's port number", to(SHARED, 132, 80), PASSED),
        ("an SCTP service's port", to(SHARED, 132, 2905), OURS),
        ("SCTP has no SNAT ports", to(SHARED, 132, 20000), PASSED),
        ("with IPv4 options", ip(ipv4(SHARED, CLIENT, TCP, 0, 12, &ports(1, 80))), OURS),
        ("with 40 bytes of options", ip(ipv4(SHARED, CLIENT, TCP, 0, 40, &ports(1, 22))), PASSED),
        ("cut before its ports", cut(to(SHARED, TCP, 80), 14 + 20 + 3), PASSED),
        ("cut after its ports", cut(to(SHARED, TCP, 80), 14 + 20 + 4), OURS),
        ("header length below 20", { let mut f = to(SHARED, TCP, 80); f[14] = 0x44; f }, PASSED),
        ("a first fragment", ip(ipv4(SHARED, CLIENT, UDP, MORE, 0, &ports(1, 53))), OURS),
        ("a later fragment", ip(ipv4(SHARED, CLIENT, UDP, 185, 0, &[0; 64])), FRAGMENT),
        ("a later fragment with more", ip(ipv4(SHARED, CLIENT, TCP, MORE | 185, 0, &[0; 64])), FRAGMENT),
        ("do not fragment is no fragment", ip(ipv4(SHARED, CLIENT, TCP, 0x4000, 0, &ports(1, 80))), OURS),
    ]
}

/// ICMP to an address the machine has too.
#[rustfmt::skip]
fn shared_icmp() -> Vec<Row> {
    vec![
        ("a ping", icmp(SHARED, 8, &[0; 20]), PASSED),
        ("a ping's answer", icmp(SHARED, 0, &[0; 20]), PASSED),
        ("unreachable, quotes a service", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 0)), OURS),
        ("unreachable, quotes a SNAT port", icmp(SHARED, 3, &quoted(SHARED, UDP, 20500, 0, 0)), OURS),
        ("unreachable, quotes the machine's", icmp(SHARED, 3, &quoted(SHARED, TCP, 22, 0, 0)), PASSED),
        ("time exceeded, quotes a service", icmp(SHARED, 11, &quoted(SHARED, UDP, 53, 0, 0)), OURS),
        ("parameter problem, quotes a service", icmp(SHARED, 12, &quoted(SHARED, TCP, 80, 0, 0)), OURS),
        ("a redirect is the kernel's", icmp(SHARED, 5, &quoted(SHARED, TCP, 80, 0, 0)), PASSED),
        ("source quench is nobody's", icmp(SHARED, 4, &quoted(SHARED, TCP, 80, 0, 0)), PASSED),
        ("quoted with options", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 8)), OURS),
        ("quoted first fragment", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, MORE, 0)), OURS),
        ("quoted later fragment", icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 7, 0)), PASSED),
        ("quotes a packet of another source", icmp(SHARED, 3, &quoted(CLIENT, TCP, 80, 0, 0)), PASSED),
        ("quotes a SNAT port of another source", icmp(SHARED, 3, &quoted(CLIENT, TCP, 20500, 0, 0)), PASSED),
        ("quotes an ICMP packet", icmp(SHARED, 3, &quoted(SHARED, ICMP, 80, 0, 0)), PASSED),
        ("a cut quotation", cut(icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 0)), 14 + 28 + 23), PASSED),
        ("a fragmented error", ip(ipv4(SHARED, CLIENT, ICMP, MORE, 0, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted(SHARED, TCP, 80, 0, 0)].concat())), FRAGMENT),
        ("an error with options before it", ip(ipv4(SHARED, CLIENT, ICMP, 0, 4, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted(SHARED, TCP, 80, 0, 0)].concat())), OURS),
        ("an error to a whole address, whatever it quotes", icmp(VIP, 3, &quoted(CLIENT, TCP, 1, 0, 0)), OURS),
    ]
}

/// What is no packet of ours for its form.
#[rustfmt::skip]
fn odd() -> Vec<Row> {
    vec![
        ("IPv4 by type but not by version", { let mut f = to(VIP, TCP, 80); f[14] = 0x65; f }, PASSED),
        ("an Ethernet header and no more", ethernet(OWN, IPV4, &[]), PASSED),
        ("cut within the IPv4 header", cut(to(VIP, TCP, 80), 33), PASSED),
        ("neither IP nor ARP", ethernet(OWN, 0x88cc, &[0; 60]), PASSED),
    ]
}
