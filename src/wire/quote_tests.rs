use super::*;
use crate::wire::{Body, ParseOutcome, parse};

/// An ICMP error behind Ethernet and IP, with this quote (hexadecimal).
fn error(is_v4: bool, quote: &[u8]) -> (Vec<u8>, IpPacket) {
    let (macs, message) = ([2u8; 12], [&[3, 3, 0, 0, 0, 0, 0, 0], quote].concat());
    let mut frame = macs.to_vec();
    if is_v4 {
        frame.extend([8, 0]);
        let mut header = vec![0x45, 0, 0, (20 + message.len()) as u8, 0, 0, 0, 0, 64, 1, 0, 0];
        header.extend([192, 0, 2, 1, 10, 1, 0, 100]);
        let sum = !crate::wire::checksum::fold(crate::wire::checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 64]);
        frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    }
    frame.extend(message);
    let ParseOutcome::Parsed(packet) = parse(&frame) else { panic!("{frame:02x?}") };
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    (frame, ip)
}

fn v4(protocol: u8, first: u8, part: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let head = [first, 0, 5, 0xdc, 0, 0, part[0], part[1], 1, protocol, 0xee, 0xee];
    [&head[..], &[10, 1, 0, 100, 192, 0, 2, 7], rest].concat()
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&[0x60, 0, 0, 0, 5, 0xdc, next, 1][..], &address(9), &address(7), rest].concat()
}

const PORTS: [u8; 8] = [0, 80, 0x10, 0, 1, 2, 3, 4];

#[test]
fn eight_bytes_of_transport_are_enough() {
    let options = [&[1u8; 4][..], &PORTS].concat();
    let fragment = [&[6u8, 0, 0, 1, 0, 0, 0, 9][..], &PORTS].concat();
    let chain = [&[44u8, 0, 0, 0, 0, 0, 0, 0][..], &fragment].concat();
    let rows = [
        ("IPv4", true, v4(6, 0x45, [0x40, 0], &PORTS), 20),
        ("IPv4, UDP, first fragment", true, v4(17, 0x45, [0x20, 0], &PORTS), 20),
        ("IPv4 with options", true, v4(6, 0x46, [0, 0], &options), 24),
        ("IPv6", false, v6(17, &PORTS), 40),
        ("IPv6, first fragment", false, v6(44, &fragment), 48),
        ("IPv6, hop-by-hop and fragment", false, v6(0, &chain), 56),
    ];
    for (description, is_v4, quote, header_len) in rows {
        let (frame, ip) = error(is_v4, &quote);
        let found =
            parse_quote(&frame, &ip).unwrap_or_else(|error| panic!("{description}: {error}"));
        let start = ip.payload + 8;
        assert_eq!((found.start, found.transport), (start, start + header_len), "{description}");
        assert_eq!((found.key.source_port, found.key.destination_port), (80, 4096));
        for cut in 0..quote.len() {
            let (frame, ip) = error(is_v4, &quote[..cut]);
            assert!(parse_quote(&frame, &ip).is_err(), "{description}, {cut} bytes of it");
        }
    }
}

#[test]
fn hostile_quotes_say_what_is_wrong() {
    let later = [&[6u8, 0, 0, 8, 0, 0, 0, 9][..], &PORTS].concat();
    let chain = [&[60u8, 0, 0, 0, 0, 0, 0, 0][..]; 9].concat();
    let mapped = {
        let mut quote = v6(6, &PORTS);
        quote[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
        quote
    };
    let rows = [
        (true, v4(6, 0x65, [0, 0], &PORTS), "wanted version 4, found 6"),
        (true, v4(6, 0x44, [0, 0], &PORTS), "wanted a header length of at least 20, found 16"),
        (true, v4(6, 0x45, [0, 1], &PORTS), "wanted a first fragment, found a later one"),
        (true, v4(1, 0x45, [0, 0], &PORTS), "wanted TCP, UDP or SCTP, found protocol 1"),
        (true, v4(6, 0x4f, [0, 0], &PORTS), "wanted 68 bytes, the packet's own length leaves 28"),
        (false, v4(6, 0x45, [0, 0], &[0; 40]), "wanted version 6, found 4"),
        (false, v6(44, &later), "wanted a first fragment, found a later one"),
        (false, v6(60, &chain), "wanted TCP, UDP or SCTP, found protocol 60"),
        (false, v6(58, &PORTS), "wanted TCP, UDP or SCTP, found protocol 58"),
        (false, mapped, "wanted no IPv4-mapped address, found one"),
    ];
    for (is_v4, quote, wanted) in rows {
        let (frame, ip) = error(is_v4, &quote);
        let found = parse_quote(&frame, &ip).unwrap_err().to_string();
        assert!(found.ends_with(wanted), "{found}, wanted {wanted}");
    }
}
