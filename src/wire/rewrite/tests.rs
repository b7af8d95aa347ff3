use super::*;
use crate::wire::samples::{self, bytes, mend_header, packet};
use crate::wire::{Body, checksum};
use proptest::prelude::*;

const TRANSPORTS: &[&str] = &[
    samples::TCP_SYN,
    samples::TCP_DATA,
    samples::TCP_FIN_PADDED,
    samples::UDP_DATA,
    samples::UDP_NO_CHECKSUM,
    samples::UDP_ALL_ONES,
    samples::UDP_IP_OPTIONS,
];

fn transport(frame: &[u8]) -> Transport {
    match packet(frame).body {
        Body::Transport(transport) => transport,
        other => panic!("{other:?}"),
    }
}

/// Where the transport checksum stands.
fn checksum_at(transport: &Transport) -> usize {
    transport.ip.payload_start() + if transport.key.is_tcp() { 16 } else { 6 }
}

/// The slow second version: writes the fields, then makes both checksums from all the bytes.
fn translate_slowly(
    frame: &mut [u8],
    source: Option<SocketAddrV4>,
    destination: Option<SocketAddrV4>,
) {
    let old = transport(frame);
    let start = old.ip.payload_start();
    for (socket, address, port) in [(source, 26, start), (destination, 30, start + 2)] {
        if let Some(socket) = socket {
            frame[address..address + 4].copy_from_slice(&socket.ip().octets());
            frame[port..port + 2].copy_from_slice(&socket.port().to_be_bytes());
        }
    }
    mend_header(frame);
    let new = transport(frame);
    let at = checksum_at(&new);
    let end = ETHERNET_LEN + new.ip.total_len;
    let none_made = !new.key.is_tcp() && frame[at..at + 2] == [0, 0];
    if none_made {
        return;
    }
    frame[at..at + 2].fill(0);
    let pseudo = checksum::pseudo_header_sum(
        new.ip.source,
        new.ip.destination,
        new.key.protocol(),
        new.ip.payload_len() as u16,
    );
    let sum = match !checksum::fold(pseudo + checksum::sum(&frame[start..end])) {
        0 if !new.key.is_tcp() => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn samples_have_the_checksums_of_a_full_sum() {
    for sample in TRANSPORTS {
        let mut frame = bytes(sample);
        translate_slowly(&mut frame, None, None);
        assert_eq!(frame, bytes(sample));
    }
}

#[test]
fn nat_byte_by_byte() {
    let mut frame = bytes(samples::UDP_DATA);
    let before = transport(&frame);
    let source = "10.2.0.1:1024".parse().unwrap();
    let destination = "10.2.0.11:8053".parse().unwrap();
    let key = translate(&mut frame, &before, Some(source), Some(destination));
    assert_eq!(key, FlowKey::new(Protocol::Udp, source, destination));
    assert_eq!(
        frame,
        bytes(
            "020000000001 0200000000c1 0800  45000025 12344000 40111485 0a020001 0a02000b \
             04001f75 00110f7d  67756964 65776179 21"
        )
    );
}

#[test]
fn macs() {
    let mut frame = bytes(samples::GRE);
    set_macs(&mut frame, MacAddress([2, 1, 1, 1, 1, 1]), MacAddress([2, 2, 2, 2, 2, 2]));
    assert_eq!(frame[..14], bytes("020101010101 020202020202 0800"));
    assert_eq!(frame[14..], bytes(samples::GRE)[14..]);
}

#[test]
fn time_to_live() {
    for (before, after) in [(64, 63), (255, 254), (2, 1), (1, 0), (0, 0)] {
        let mut frame = bytes(samples::TCP_DATA);
        frame[22] = before;
        mend_header(&mut frame);
        let mut wanted = frame.clone();
        wanted[22] = after;
        mend_header(&mut wanted);
        let ip = transport(&frame).ip;
        decrement_ttl(&mut frame, &ip);
        assert_eq!(frame, wanted, "{before}");
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut frame = bytes(samples::UDP_NO_CHECKSUM);
    let before = transport(&frame);
    translate(&mut frame, &before, Some("192.0.2.1:9".parse().unwrap()), None);
    assert_eq!(frame[40..42], [0, 0]);
    assert_eq!(transport(&frame).key.source_socket(), "192.0.2.1:9".parse().unwrap());
}

#[test]
fn another_frames_part_stays_inside_the_frame() {
    let long = transport(&bytes(samples::UDP_IP_OPTIONS));
    for len in 0..44 {
        let mut frame = vec![0u8; len];
        set_macs(&mut frame, MacAddress::ZERO, MacAddress::BROADCAST);
        decrement_ttl(&mut frame, &long.ip);
        translate(&mut frame, &long, Some("192.0.2.1:9".parse().unwrap()), None);
        assert_eq!(frame.len(), len);
    }
}

fn socket() -> impl Strategy<Value = Option<SocketAddrV4>> {
    // Zero and all ones are where ones' complement has its corners.
    let address = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)];
    let port = prop_oneof![any::<u16>(), Just(0), Just(u16::MAX)];
    proptest::option::of((address, port).prop_map(|(a, p)| SocketAddrV4::new(a.into(), p)))
}

proptest! {
    #[test]
    fn translate_is_a_full_recompute(
        sample in proptest::sample::select(TRANSPORTS), source in socket(), destination in socket(),
        data in any::<[u8; 2]>(),
    ) {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        if before.ip.payload_len() == 10 {
            frame[42..44].copy_from_slice(&data); // Brings the sum near zero now and then.
            translate_slowly(&mut frame, None, None);
        }
        let mut slow = frame.clone();
        let key = translate(&mut frame, &before, source, destination);
        translate_slowly(&mut slow, source, destination);
        prop_assert_eq!(&frame, &slow);
        prop_assert_eq!(key, transport(&frame).key);
    }

    #[test]
    fn there_and_back_is_the_same_frame(
        sample in proptest::sample::select(TRANSPORTS), source in socket(), destination in socket(),
    ) {
        let mut frame = bytes(sample);
        let there = transport(&frame);
        translate(&mut frame, &there, source, destination);
        let back = transport(&frame);
        let (source, destination) = (there.key.source_socket(), there.key.destination_socket());
        translate(&mut frame, &back, Some(source), Some(destination));
        prop_assert_eq!(frame, bytes(sample));
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_by_as_much(
        sample in proptest::sample::select(TRANSPORTS), source in socket(), destination in socket(),
        error in 1u16..0xffff,
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
        translate(&mut frame, &before, source, destination);
        let found = [frame[at], frame[at + 1]];
        translate_slowly(&mut frame, None, None);
        prop_assert_ne!(found, [frame[at], frame[at + 1]]);
    }
}
