//! IPv6 and neighbour discovery.

use std::net::Ipv6Addr;

use super::frames::*;
use super::{
    CLIENT6, FRAGMENT, ICMPV6, OTHER, OTHER_MAC, OURS, OWN, PASSED, Row, SHARED, SHARED6, TCP, UDP,
    VIP, VIP6,
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;
/// In a fragment header: not the last one.
const MORE: u16 = 1;
/// In a fragment header: not the first one.
const LATER: u16 = 185 << 3;

const UNREACHABLE: u8 = 1;
const TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

pub fn rows() -> Vec<Row> {
    let all = [whole_address(), solicitations(), shared_ports(), extensions(), fragments()];
    [all.concat(), shared_icmp(), mapped_and_odd()].concat()
}

/// With a header in front of the transport.
fn behind(next_header: u8, header: Vec<u8>) -> Vec<u8> {
    ip6(ipv6(SHARED6, CLIENT6, next_header, &header))
}

/// TCP to the service behind so many destination options.
fn chain(count: usize) -> Vec<u8> {
    let mut body = ports(1, 80);
    let mut next = TCP;
    for _ in 0..count {
        body = extension(next, 0, &body);
        next = DESTINATION_OPTIONS;
    }
    behind(next, body)
}

/// A routing header of type 2 with so many segments left.
fn routing(segments_left: u8) -> Vec<u8> {
    let mut body = extension(TCP, 2, &ports(1, 80));
    (body[2], body[3]) = (2, segments_left);
    behind(ROUTING, body)
}

/// Addresses that are ours alone.
#[rustfmt::skip]
fn whole_address() -> Vec<Row> {
    vec![
        ("TCP to a whole address", to6(VIP6, TCP, 80), OURS),
        ("any port of it", to6(VIP6, UDP, 9999), OURS),
        ("any protocol of it", to6(VIP6, 132, 0), OURS),
        ("a ping to it", icmp6(VIP6, ECHO_REQUEST, &[]), OURS),
        ("a packet of any form to it", ip6(ipv6(VIP6, CLIENT6, HOP_BY_HOP, &[])), OURS),
        ("a first fragment to it", ip6(ipv6(VIP6, CLIENT6, FRAGMENT_HEADER, &fragment(UDP, MORE, &ports(1, 2)))), OURS),
        ("a later fragment to it", ip6(ipv6(VIP6, CLIENT6, FRAGMENT_HEADER, &fragment(UDP, LATER, &[0; 64]))), OURS),
        ("a bare header to it", ip6(ipv6(VIP6, CLIENT6, TCP, &[])), OURS),
        ("to another station's MAC", with_destination(to6(VIP6, TCP, 80), OTHER), OTHER_MAC),
        ("to an address nobody configured", to6(CLIENT6, TCP, 80), PASSED),
        ("an advertisement for it, to it", icmp6(VIP6, ADVERTISEMENT, &VIP6.octets()), OURS),
        ("an advertisement to all", to_group(icmp6("ff02::1".parse().unwrap(), ADVERTISEMENT, &VIP6.octets()), "ff02::1".parse().unwrap()), PASSED),
    ]
}

/// Who has an address?
#[rustfmt::skip]
fn solicitations() -> Vec<Row> {
    let group = solicited_node(VIP6);
    let asked = |target: Ipv6Addr| to_group(solicitation(solicited_node(target), target), solicited_node(target));
    // An address of somebody else in the same group.
    let neighbour: Ipv6Addr = "2001:db8:ffff::100".parse().unwrap();
    let probe = |target: Ipv6Addr| ip6(ipv6(group, Ipv6Addr::UNSPECIFIED, ICMPV6, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat()));
    vec![
        ("who has the whole address, to its group", asked(VIP6), OURS),
        ("the same of one host: is it still there", solicitation(VIP6, VIP6), OURS),
        ("somebody wants the whole address", to_group(probe(VIP6), group), OURS),
        ("somebody wants another one", to_group(probe(neighbour), group), PASSED),
        ("who has another address of the same group", asked(neighbour), PASSED),
        ("who has the shared address", asked(SHARED6), PASSED),
        ("the shared address, of one host", solicitation(SHARED6, SHARED6), PASSED),
        ("who has a mapped address", to_group(solicitation(group, VIP.to_ipv6_mapped()), group), PASSED),
        ("to another MAC", with_destination(solicitation(group, VIP6), OTHER), OTHER_MAC),
        ("cut within the target", cut(asked(VIP6), 14 + 40 + 23), PASSED),
        ("cut behind the target", cut(asked(VIP6), 14 + 40 + 24), OURS),
        ("a router's group", to_group(icmp6("ff02::2".parse().unwrap(), 133, &[]), "ff02::2".parse().unwrap()), PASSED),
    ]
}

/// Ports of an address the machine has too.
#[rustfmt::skip]
fn shared_ports() -> Vec<Row> {
    vec![
        ("a service's port", to6(SHARED6, TCP, 80), OURS),
        ("its number in the other protocol", to6(SHARED6, UDP, 80), PASSED),
        ("a UDP service's port", to6(SHARED6, UDP, 53), OURS),
        ("SSH of the machine", to6(SHARED6, TCP, 22), PASSED),
        ("the first SNAT port", to6(SHARED6, TCP, 20000), OURS),
        ("the last SNAT port", to6(SHARED6, UDP, 20999), OURS),
        ("below the SNAT ports", to6(SHARED6, TCP, 19999), PASSED),
        ("above the SNAT ports", to6(SHARED6, TCP, 21000), PASSED),
        ("SCTP with a service's port number", to6(SHARED6, 132, 80), PASSED),
        ("an SCTP service's port", to6(SHARED6, 132, 2905), OURS),
        ("SCTP has no SNAT ports", to6(SHARED6, 132, 20000), PASSED),
        ("cut before its ports", cut(to6(SHARED6, TCP, 80), 14 + 40 + 3), PASSED),
        ("cut after its ports", cut(to6(SHARED6, TCP, 80), 14 + 40 + 4), OURS),
        ("an IPv4 service's port", to(SHARED, TCP, 443), PASSED),
        ("the same port of the IPv6 address", to6(SHARED6, TCP, 443), OURS),
    ]
}

/// Extension headers in front of a port of an address the machine has too.
#[rustfmt::skip]
fn extensions() -> Vec<Row> {
    let service = ports(1, 80);
    vec![
        ("hop-by-hop options", behind(HOP_BY_HOP, extension(TCP, 0, &service)), OURS),
        ("destination options", behind(DESTINATION_OPTIONS, extension(TCP, 0, &service)), OURS),
        ("options of 264 bytes", behind(HOP_BY_HOP, extension(TCP, 32, &service)), OURS),
        ("options before a port of the machine", behind(HOP_BY_HOP, extension(TCP, 1, &ports(1, 22))), PASSED),
        ("several", behind(HOP_BY_HOP, extension(DESTINATION_OPTIONS, 1, &extension(TCP, 2, &service))), OURS),
        ("seven, as many as workers take", chain(7), OURS),
        ("eight", chain(8), PASSED),
        ("a routing header that is done", routing(0), OURS),
        ("a source route", routing(1), PASSED),
        ("IPsec is the machine's", behind(AUTHENTICATION, extension(TCP, 4, &service)), PASSED),
        ("no next header", behind(NO_NEXT_HEADER, service.clone()), PASSED),
        ("cut within an option header", cut(behind(HOP_BY_HOP, extension(TCP, 0, &service)), 14 + 40 + 7), PASSED),
        ("options longer than the packet", cut(behind(HOP_BY_HOP, extension(TCP, 4, &service)), 14 + 40 + 20), PASSED),
    ]
}

/// Fragments to an address the machine has too.
#[rustfmt::skip]
fn fragments() -> Vec<Row> {
    vec![
        ("a first fragment", behind(FRAGMENT_HEADER, fragment(UDP, MORE, &ports(1, 53))), OURS),
        ("a first fragment to the machine", behind(FRAGMENT_HEADER, fragment(UDP, MORE, &ports(1, 54))), PASSED),
        ("a later fragment", behind(FRAGMENT_HEADER, fragment(UDP, LATER, &[0; 64])), FRAGMENT),
        ("a later fragment with more", behind(FRAGMENT_HEADER, fragment(TCP, LATER | MORE, &[0; 64])), FRAGMENT),
        ("a later fragment that looks like options", behind(FRAGMENT_HEADER, fragment(HOP_BY_HOP, LATER, &[0; 64])), FRAGMENT),
        ("an atomic fragment is a whole packet", behind(FRAGMENT_HEADER, fragment(TCP, 0, &ports(1, 80))), OURS),
        ("options, then a later fragment", behind(HOP_BY_HOP, extension(FRAGMENT_HEADER, 0, &fragment(TCP, LATER, &[0; 8]))), FRAGMENT),
        ("a fragmented error", behind(FRAGMENT_HEADER, fragment(ICMPV6, MORE, &[&[UNREACHABLE, 0, 0, 0, 0, 0, 0, 0][..], &quoted6(SHARED6, TCP, 80)].concat())), FRAGMENT),
    ]
}

/// ICMPv6 to an address the machine has too.
#[rustfmt::skip]
fn shared_icmp() -> Vec<Row> {
    let later = ipv6(CLIENT6, SHARED6, FRAGMENT_HEADER, &fragment(TCP, LATER, &ports(80, 1)));
    let first = ipv6(CLIENT6, SHARED6, FRAGMENT_HEADER, &fragment(TCP, MORE, &ports(80, 1)));
    let options = ipv6(CLIENT6, SHARED6, DESTINATION_OPTIONS, &extension(TCP, 1, &ports(80, 1)));
    let error = |quoted: &[u8]| [&[UNREACHABLE, 0, 0, 0, 0, 0, 0, 0], quoted].concat();
    vec![
        ("a ping", icmp6(SHARED6, ECHO_REQUEST, &[0; 20]), PASSED),
        ("unreachable, quotes a service", icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, TCP, 80)), OURS),
        ("unreachable, quotes a SNAT port", icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, UDP, 20500)), OURS),
        ("unreachable, quotes the machine's", icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, TCP, 22)), PASSED),
        ("packet too big, quotes a service", icmp6(SHARED6, TOO_BIG, &quoted6(SHARED6, TCP, 80)), OURS),
        ("time exceeded, quotes a service", icmp6(SHARED6, TIME_EXCEEDED, &quoted6(SHARED6, UDP, 53)), OURS),
        ("parameter problem, quotes a service", icmp6(SHARED6, PARAMETER_PROBLEM, &quoted6(SHARED6, TCP, 80)), OURS),
        ("an error of a kind there is not", icmp6(SHARED6, 5, &quoted6(SHARED6, TCP, 80)), PASSED),
        ("a redirect is the kernel's", icmp6(SHARED6, REDIRECT, &quoted6(SHARED6, TCP, 80)), PASSED),
        ("quoted with options", icmp6(SHARED6, TOO_BIG, &options), OURS),
        ("quoted first fragment", icmp6(SHARED6, TOO_BIG, &first), OURS),
        ("quoted later fragment", icmp6(SHARED6, TOO_BIG, &later), PASSED),
        ("quotes a packet of another source", icmp6(SHARED6, UNREACHABLE, &quoted6(CLIENT6, TCP, 80)), PASSED),
        ("quotes an ICMPv6 packet", icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, ICMPV6, 80)), PASSED),
        ("a cut quotation", cut(icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, TCP, 80)), 14 + 40 + 8 + 43), PASSED),
        ("a quotation cut behind its ports", cut(icmp6(SHARED6, UNREACHABLE, &quoted6(SHARED6, TCP, 80)), 14 + 40 + 8 + 44), OURS),
        ("an error behind options", behind(DESTINATION_OPTIONS, extension(ICMPV6, 0, &error(&quoted6(SHARED6, TCP, 80)))), OURS),
        ("an error to a whole address, whatever it quotes", icmp6(VIP6, UNREACHABLE, &quoted6(CLIENT6, TCP, 1)), OURS),
    ]
}

/// What no packet may carry, and what is cut.
#[rustfmt::skip]
fn mapped_and_odd() -> Vec<Row> {
    vec![
        ("to a mapped address", to6(VIP.to_ipv6_mapped(), TCP, 80), PASSED),
        ("from a mapped address", ip6(ipv6(VIP6, VIP.to_ipv6_mapped(), TCP, &ports(1, 80))), PASSED),
        ("IPv6 by type but not by version", { let mut f = to6(VIP6, TCP, 80); f[14] = 0x45; f }, PASSED),
        ("an Ethernet header and no more", ethernet(OWN, IPV6, &[]), PASSED),
        ("cut within the IPv6 header", cut(to6(VIP6, TCP, 80), 14 + 39), PASSED),
    ]
}
