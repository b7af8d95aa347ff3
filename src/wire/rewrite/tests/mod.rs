//! Every change against a slow second version, which writes the fields and makes the checksums from
//! all the bytes.

mod errors;
mod fragments;
mod link;

use super::*;
use crate::wire::samples::{self as s, bytes, mend_header, packet};
use crate::wire::{Body, Family, MacAddress, checksum};
use proptest::prelude::*;

/// All samples with a whole TCP segment or UDP datagram.
fn transports() -> Vec<&'static str> {
    let is_transport = |sample: &&str| match packet(&bytes(sample)).body {
        Body::Ip(ip) => ip.is_transport(),
        Body::Arp(_) => false,
    };
    s::ALL.iter().map(|sample| sample.1).filter(is_transport).collect()
}

fn transport(frame: &[u8]) -> IpPacket {
    let ip = s::ip(frame);
    assert!(ip.is_transport(), "{ip:?}");
    ip
}

fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    (socket.ip().into(), socket.port())
}

/// Where the transport checksum stands.
fn checksum_at(ip: &IpPacket) -> usize {
    ip.payload_start() + if ip.key.is_tcp() { 16 } else { 6 }
}

/// As it stands in the packet.
fn octets(address: Address) -> Vec<u8> {
    match address.v4_address() {
        Some(address) => address.octets().to_vec(),
        None => address.octets().to_vec(),
    }
}

/// The pseudo header, byte by byte (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(ip: &IpPacket) -> Vec<u8> {
    let addresses = [octets(ip.source()), octets(ip.destination())].concat();
    let (protocol, len) = (ip.key.protocol_number(), ip.payload_len());
    match ip.family() {
        Family::Ipv4 => [&addresses[..], &[0, protocol], &(len as u16).to_be_bytes()].concat(),
        Family::Ipv6 => {
            [&addresses[..], &(len as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
        }
    }
}

/// The slow second version: writes the fields, then makes both checksums from all the bytes.
fn translate_slowly(frame: &mut [u8], source: Option<Endpoint>, destination: Option<Endpoint>) {
    let old = transport(frame);
    let (start, ports) = (old.start(), old.payload_start());
    let places = match old.family() {
        Family::Ipv4 => [start + 12, start + 16],
        Family::Ipv6 => [start + 8, start + 24],
    };
    for (endpoint, address_at, port_at) in
        [(source, places[0], ports), (destination, places[1], ports + 2)]
    {
        if let Some((address, port)) = endpoint {
            let octets = octets(address);
            frame[address_at..address_at + octets.len()].copy_from_slice(&octets);
            frame[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
        }
    }
    mend_header(frame);
    let new = transport(frame);
    let (at, end) = (checksum_at(&new), usize::from(new.end));
    let none_made = !new.key.is_tcp() && frame[at..at + 2] == [0, 0];
    if none_made {
        return;
    }
    frame[at..at + 2].fill(0);
    let all = [&pseudo_header(&new), &frame[ports..end]].concat();
    let sum = match !checksum::fold(checksum::sum(&all)) {
        0 if !new.key.is_tcp() => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn samples_have_the_checksums_of_a_full_sum() {
    assert_eq!(transports().len(), 22);
    for sample in transports() {
        let mut frame = bytes(sample);
        translate_slowly(&mut frame, None, None);
        assert_eq!(frame, bytes(sample));
    }
}

#[test]
fn nat_byte_by_byte() {
    let rows = [
        (
            s::UDP_DATA,
            ["10.2.0.1:1024", "10.2.0.11:8053"],
            "020000000001 0200000000c1 0800  45000025 12344000 40111485 0a020001 0a02000b \
             04001f75 00110f7d  67756964 65776179 21",
        ),
        (
            s::UDP_DATA_V6,
            ["[2001:db8:2::1]:1024", "[2001:db8:2::11]:8053"],
            "020000000001 0200000000c1 86dd  60000000 00111140 \
             20010db8 00020000 00000000 00000001 20010db8 00020000 00000000 00000011 \
             04001f75 0011c804  67756964 65776179 21",
        ),
        (
            s::UDP_V6_VLAN,
            ["[2001:db8:2::1]:1024", "[2001:db8:2::11]:8053"],
            "020000000001 0200000000c1 8100 a00a 86dd  60000000 00111140 \
             20010db8 00020000 00000000 00000001 20010db8 00020000 00000000 00000011 \
             04001f75 0011c804  67756964 65776179 21",
        ),
    ];
    for (sample, [source, destination], wanted) in rows {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        let (from, to) = (endpoint(source), endpoint(destination));
        let key = translate(&mut frame, &before, Some(from), Some(to));
        let wanted_key = FlowKey::new(
            Protocol::Udp,
            source.parse::<std::net::SocketAddr>().unwrap(),
            destination.parse::<std::net::SocketAddr>().unwrap(),
        );
        assert_eq!(key, wanted_key);
        assert_eq!(frame, bytes(wanted), "{sample}");
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    for (sample, at, source) in
        [(s::UDP_NO_CHECKSUM, 40, "192.0.2.1:9"), (s::UDP_NO_CHECKSUM_V6, 60, "[2001:db8:9::1]:9")]
    {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        translate(&mut frame, &before, Some(endpoint(source)), None);
        assert_eq!(frame[at..at + 2], [0, 0]);
        assert_eq!(transport(&frame).key.source_socket(), source.parse().unwrap());
    }
}

#[test]
fn what_has_no_ports_keeps_its_payload() {
    for sample in [
        s::ECHO_REQUEST,
        s::ICMP_UNREACHABLE,
        s::GRE,
        s::ECHO_REQUEST_V6,
        s::PACKET_TOO_BIG,
        s::GRE_V6,
    ] {
        let mut frame = bytes(sample);
        let before = s::ip(&frame);
        let source = match before.family() {
            Family::Ipv4 => endpoint("192.0.2.1:9"),
            Family::Ipv6 => endpoint("[2001:db8:9::1]:9"),
        };
        let key = translate(&mut frame, &before, Some(source), None);
        let after = s::ip(&frame);
        assert_eq!(key, after.key, "no port where there is none: {sample}");
        assert_eq!(after, IpPacket { key: FlowKey { source: source.0, ..before.key }, ..before });
        assert_eq!(frame[before.payload_start()..], bytes(sample)[before.payload_start()..]);
    }
}

#[test]
fn another_frames_part_stays_inside_the_frame() {
    for (sample, source) in [
        (s::UDP_IP_OPTIONS, "192.0.2.1:9"),
        (s::UDP_V6_OPTIONS, "[2001:db8:9::1]:9"),
        (s::TCP_SYN_V6_QINQ, "[2001:db8:9::1]:9"),
    ] {
        let long = transport(&bytes(sample));
        let came_with = packet(&bytes(sample)).link;
        for len in 0..usize::from(long.end) {
            let mut frame = vec![0u8; len];
            decrement_hop_limit(&mut frame, &long);
            translate(&mut frame, &long, Some(endpoint(source)), None);
            for tags in [Tags::NONE, Tags::customer(1), came_with.tags] {
                let mut chunk = [0u8; 128];
                let mut view = FrameView::new(&mut chunk, 8, len);
                set_link(&mut view, &came_with, &[0xff; 12], tags);
            }
        }
    }
}

/// Bits of an address and a port, or nothing. Zero and all ones are where ones' complement has its
/// corners.
fn sockets() -> impl Strategy<Value = Option<(u128, u16)>> {
    let bits = prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)];
    let port = prop_oneof![any::<u16>(), Just(0), Just(u16::MAX)];
    proptest::option::of((bits, port))
}

fn of_family(socket: Option<(u128, u16)>, family: Family) -> Option<Endpoint> {
    socket.map(|(bits, port)| {
        let address = match (family, Address::from_bits(bits)) {
            (Family::Ipv4, _) => Address::v4(bits as u32),
            (Family::Ipv6, mapped) if mapped.is_v4() => Address::from_bits(bits | 1 << 127),
            (Family::Ipv6, address) => address,
        };
        (address, port)
    })
}

proptest! {
    #[test]
    fn translate_is_a_full_recompute(
        sample in proptest::sample::select(transports()), source in sockets(),
        destination in sockets(), data in any::<[u8; 2]>(),
    ) {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        if before.payload_len() == 10 {
            let at = before.payload_start() + 8;
            frame[at..at + 2].copy_from_slice(&data); // Brings the sum near zero now and then.
            translate_slowly(&mut frame, None, None);
        }
        let source = of_family(source, before.family());
        let destination = of_family(destination, before.family());
        let mut slow = frame.clone();
        let key = translate(&mut frame, &before, source, destination);
        translate_slowly(&mut slow, source, destination);
        prop_assert_eq!(&frame, &slow);
        prop_assert_eq!(key, transport(&frame).key);
    }

    #[test]
    fn there_and_back_is_the_same_frame(
        sample in proptest::sample::select(transports()), source in sockets(),
        destination in sockets(),
    ) {
        let mut frame = bytes(sample);
        let there = transport(&frame);
        let source = of_family(source, there.family());
        translate(&mut frame, &there, source, of_family(destination, there.family()));
        let back = transport(&frame);
        let source = (there.key.source, there.key.source_port);
        let destination = (there.key.destination, there.key.destination_port);
        translate(&mut frame, &back, Some(source), Some(destination));
        prop_assert_eq!(frame, bytes(sample));
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_by_as_much(
        sample in proptest::sample::select(transports()), source in sockets(),
        destination in sockets(), error in 1u16..0xffff,
    ) {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        let at = checksum_at(&before);
        let right = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let wrong = checksum::fold(u64::from(right) + u64::from(error));
        if right == 0 && !before.key.is_tcp() {
            return Ok(()); // None was made.
        }
        frame[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        let source = of_family(source, before.family());
        translate(&mut frame, &before, source, of_family(destination, before.family()));
        let found = u16::from_be_bytes([frame[at], frame[at + 1]]);
        translate_slowly(&mut frame, None, None);
        let right = u16::from_be_bytes([frame[at], frame[at + 1]]);
        prop_assert_ne!(found, right);
        let still = checksum::fold(u64::from(right) + u64::from(error));
        prop_assert_eq!(found % 0xffff, still % 0xffff);
    }
}

#[test]
fn in_one_go_is_one_after_the_other() {
    for sample in transports() {
        for hop_limit in [1, 2, 64, 255] {
            let mut frame = bytes(sample);
            let ip = transport(&frame);
            let at = ip.start() + if ip.source().is_v4() { 8 } else { 7 };
            frame[at] = hop_limit;
            mend_header(&mut frame);
            let (ip, mut wanted) = (transport(&frame), frame.clone());
            let ends = match ip.family() {
                Family::Ipv4 => [endpoint("10.1.0.10:1031"), endpoint("10.2.0.11:8080")],
                Family::Ipv6 => [endpoint("[fd00::10]:65287"), endpoint("[fd00:2::b]:0")],
            };
            decrement_hop_limit(&mut wanted, &ip);
            translate(&mut wanted, &ip, Some(ends[0]), Some(ends[1]));
            route_whole(&mut frame, &ip, ends[0], ends[1]);
            assert_eq!(frame, wanted, "{sample}, {hop_limit}");
        }
    }
}
