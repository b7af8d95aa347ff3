//! Frames as senders and routers make them, byte by byte. Checksums are no business of the program.

use std::net::{Ipv4Addr, Ipv6Addr};

use guideway::wire::MacAddress;

use super::{CLIENT, CLIENT6, ICMP, ICMPV6, OTHER, OWN};

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

pub fn ethernet(destination: MacAddress, kind: u16, body: &[u8]) -> Vec<u8> {
    [&destination.0[..], &OTHER.0, &kind.to_be_bytes(), body].concat()
}

/// An IPv4 packet with `options` bytes of options.
pub fn ipv4(
    destination: Ipv4Addr,
    source: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: usize,
    body: &[u8],
) -> Vec<u8> {
    let header = 20 + options;
    let mut packet = vec![0; header];
    packet[0] = 0x40 | (header / 4) as u8;
    packet[2..4].copy_from_slice(&((header + body.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet.extend_from_slice(body);
    packet
}

pub fn ports(source: u16, destination: u16) -> Vec<u8> {
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 16]].concat()
}

pub fn to(destination: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
    ethernet(OWN, IPV4, &ipv4(destination, CLIENT, protocol, 0, 0, &ports(40000, port)))
}

pub fn icmp(destination: Ipv4Addr, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], quoted].concat();
    ethernet(OWN, IPV4, &ipv4(destination, CLIENT, ICMP, 0, 0, &message))
}

/// What a router quotes of a packet we sent: header and 8 bytes (RFC 792).
pub fn quoted(source: Ipv4Addr, protocol: u8, port: u16, fragment: u16, options: usize) -> Vec<u8> {
    ipv4(CLIENT, source, protocol, fragment, options, &ports(port, 40000)[..8])
}

pub fn arp(operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend_from_slice(&operation.to_be_bytes());
    body.extend_from_slice(&OTHER.0);
    body.extend_from_slice(&CLIENT.octets());
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&target.octets());
    ethernet(MacAddress::BROADCAST, ARP, &body)
}

pub fn with_destination(mut frame: Vec<u8>, mac: MacAddress) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac.0);
    frame
}

pub fn cut(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.truncate(len);
    frame
}

/// An IPv4 packet to our MAC.
pub fn ip(body: Vec<u8>) -> Vec<u8> {
    ethernet(OWN, IPV4, &body)
}

/// An IPv6 packet whose payload begins with a header of this number.
pub fn ipv6(destination: Ipv6Addr, source: Ipv6Addr, next_header: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(body.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next_header, 255]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(body);
    packet
}

/// An extension header in front of one of number `next`: `units` times 8 bytes more than 8.
pub fn extension(next: u8, units: u8, behind: &[u8]) -> Vec<u8> {
    let header = [&[next, units, 0, 0][..], &vec![0; 4 + 8 * usize::from(units)]].concat();
    [header, behind.to_vec()].concat()
}

/// A fragment header: `place` is the offset in the upper 13 bits, and 1 for more.
pub fn fragment(next: u8, place: u16, behind: &[u8]) -> Vec<u8> {
    [&[next, 0][..], &place.to_be_bytes(), &[0, 0, 0, 7], behind].concat()
}

/// To our MAC.
pub fn ip6(body: Vec<u8>) -> Vec<u8> {
    ethernet(OWN, IPV6, &body)
}

pub fn to6(destination: Ipv6Addr, protocol: u8, port: u16) -> Vec<u8> {
    ip6(ipv6(destination, CLIENT6, protocol, &ports(40000, port)))
}

pub fn icmp6(destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], body].concat();
    ip6(ipv6(destination, CLIENT6, ICMPV6, &message))
}

/// What a router quotes of a packet we sent (RFC 4443): as much as fits.
pub fn quoted6(source: Ipv6Addr, protocol: u8, port: u16) -> Vec<u8> {
    ipv6(CLIENT6, source, protocol, &ports(port, 40000))
}

/// A neighbour solicitation for `target` with its sender's MAC, sent to `destination`.
pub fn solicitation(destination: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let option = [&[1, 1][..], &OTHER.0].concat();
    icmp6(destination, 135, &[&target.octets()[..], &option].concat())
}

/// The group in which hosts with this address are asked for (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet group of an IPv6 one (RFC 2464 section 7).
pub fn to_group(frame: Vec<u8>, group: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c, d] = group.octets();
    with_destination(frame, MacAddress([0x33, 0x33, a, b, c, d]))
}

/// The same with these tags: protocol and control word of each, the outer one first.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    let mut tagged = macs.to_vec();
    for (protocol, control) in tags {
        tagged.extend_from_slice(&protocol.to_be_bytes());
        tagged.extend_from_slice(&control.to_be_bytes());
    }
    tagged.extend_from_slice(rest);
    tagged
}
