//! What is refused of Ethernet, VLAN tags, ARP and IPv4, and what parse says to it.

use super::*;
use crate::wire::samples::mend_header;

/// What is changed, the good frame, the change, and what parse says to it.
pub(super) type Row = (&'static str, &'static str, Edit, &'static str);

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    ("nothing", s::TCP_SYN, |f| f.clear(),
     "Ethernet at byte 0: wanted 14 bytes, the frame has 0 left"),
    ("half an Ethernet header", s::TCP_SYN, |f| f.truncate(13),
     "Ethernet at byte 0: wanted 14 bytes, the frame has 13 left"),
    ("no IPv4 header", s::TCP_SYN, |f| f.truncate(14),
     "IPv4 at byte 14: wanted 20 bytes, the frame has 0 left"),
    ("half an IPv4 header", s::TCP_SYN, |f| f.truncate(33),
     "IPv4 at byte 14: wanted 20 bytes, the frame has 19 left"),
    ("version 6", s::TCP_SYN, |f| f[14] = 0x65,
     "IPv4 at byte 14: wanted version 4, found 6"),
    ("header of 4 words", s::TCP_SYN, |f| f[14] = 0x44,
     "IPv4 at byte 14: wanted a header length of at least 20, found 16"),
    ("options beyond the frame", s::GRE, |f| f[14] = 0x4f,
     "IPv4 at byte 14: wanted 60 bytes, the frame has 24 left"),
    ("total length below the header", s::TCP_SYN, |f| f[17] = 19,
     "IPv4 at byte 14: wanted a length of at least 20, found 19"),
    ("total length beyond the frame", s::TCP_SYN, |f| f[17] = 61,
     "IPv4 at byte 14: wanted 61 bytes, the frame has 60 left"),
    ("checksum", s::TCP_SYN, |f| f[24] = 0x14,
     "IPv4 at byte 14: wanted checksum 0x13f1, found 0x14f1"),
    ("time to live changed", s::TCP_SYN, |f| f[22] = 63,
     "IPv4 at byte 14: wanted checksum 0x14f1, found 0x13f1"),
    ("no TCP header", s::TCP_SYN, |f| { f[17] = 20; mend_header(f) },
     "TCP at byte 34: wanted 20 bytes, the packet's own length leaves 0"),
    ("data offset of 4 words", s::TCP_SYN, |f| f[46] = 0x40,
     "TCP at byte 34: wanted a header length of at least 20, found 16"),
    ("data offset beyond the packet", s::TCP_SYN, |f| f[46] = 0xb0,
     "TCP at byte 34: wanted 44 bytes, the packet's own length leaves 40"),
    ("data offset into padding", s::TCP_FIN_PADDED, |f| f[46] = 0x60,
     "TCP at byte 34: wanted 24 bytes, the packet's own length leaves 20"),
    ("half a UDP header", s::UDP_DATA, |f| { f[17] = 27; mend_header(f) },
     "UDP at byte 34: wanted 8 bytes, the packet's own length leaves 7"),
    ("UDP length 0", s::UDP_DATA, |f| f[39] = 0,
     "UDP at byte 34: wanted a length of at least 8, found 0"),
    ("UDP length 7", s::UDP_DATA, |f| f[39] = 7,
     "UDP at byte 34: wanted a length of at least 8, found 7"),
    ("UDP length beyond the packet", s::UDP_DATA, |f| f[39] = 18,
     "UDP at byte 34: wanted 18 bytes, the packet's own length leaves 17"),
    ("half an ICMP header", s::ECHO_REQUEST, |f| { f[17] = 24; mend_header(f) },
     "ICMP at byte 34: wanted 8 bytes, the packet's own length leaves 4"),
    ("no ARP header", s::ARP_REQUEST, |f| f.truncate(14),
     "ARP at byte 14: wanted 28 bytes, the frame has 0 left"),
    ("half an ARP message", s::ARP_REQUEST, |f| f.truncate(41),
     "ARP at byte 14: wanted 28 bytes, the frame has 27 left"),
    ("ARP with short addresses", s::ARP_REQUEST, |f| f[18] = 5,
     "ARP at byte 14: wanted address lengths 0x0604, found 0x0504"),
    ("ARP with long addresses", s::ARP_REQUEST, |f| f[19] = 16,
     "ARP at byte 14: wanted 52 bytes, the frame has 28 left"),
    ("no tag", s::TCP_SYN_VLAN, |f| f.truncate(14),
     "VLAN tag at byte 14: wanted 4 bytes, the frame has 0 left"),
    ("half a tag", s::TCP_SYN_VLAN, |f| f.truncate(17),
     "VLAN tag at byte 14: wanted 4 bytes, the frame has 3 left"),
    ("half a second tag", s::UDP_QINQ, |f| f.truncate(20),
     "VLAN tag at byte 18: wanted 4 bytes, the frame has 2 left"),
    ("no IPv4 header on a VLAN", s::TCP_SYN_VLAN, |f| f.truncate(18),
     "IPv4 at byte 18: wanted 20 bytes, the frame has 0 left"),
    ("total length beyond the frame on a VLAN", s::TCP_SYN_VLAN, |f| f[21] = 61,
     "IPv4 at byte 18: wanted 61 bytes, the frame has 60 left"),
    ("checksum on QinQ", s::UDP_QINQ, |f| f[32] = 0x14,
     "IPv4 at byte 22: wanted checksum 0x13fd, found 0x14fd"),
    ("UDP length beyond the packet on QinQ", s::UDP_QINQ, |f| f[47] = 18,
     "UDP at byte 42: wanted 18 bytes, the packet's own length leaves 17"),
    ("half an ARP message on a VLAN", s::ARP_REQUEST_VLAN, |f| f.truncate(45),
     "ARP at byte 18: wanted 28 bytes, the frame has 27 left"),
    ("ARP with short addresses on a VLAN", s::ARP_REQUEST_VLAN, |f| f[22] = 5,
     "ARP at byte 18: wanted address lengths 0x0604, found 0x0504"),
];

/// Every row is refused with its own words.
pub(super) fn check(rows: &[Row]) {
    for &(what, frame, change, wanted) in rows {
        let mut frame = bytes(frame);
        change(&mut frame);
        match parse(&frame) {
            ParseOutcome::Malformed(error) => {
                assert_eq!(error.to_string(), wanted, "{what}");
                assert_eq!(error.is_checksum(), wanted.contains("checksum"), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn refused_frames_say_where_and_why() {
    check(REFUSED);
}

/// A UDP datagram behind these options, header length and checksum made right.
fn with_options(options: &str) -> Vec<u8> {
    let (mut frame, options) = (bytes(s::UDP_DATA), bytes(options));
    assert!(options.len().is_multiple_of(4) && options.len() <= 40, "{options:02x?}");
    frame[14] += options.len() as u8 / 4;
    frame[17] += options.len() as u8;
    frame.splice(34..34, options);
    mend_header(&mut frame);
    frame
}

#[test]
fn source_routes_are_refused_and_other_options_are_not() {
    // Options, and whether a source route is among them.
    let rows = [
        ("no operation, end", "01 01 01 00", false),
        ("loose", "83 07 04 0a020001 00", true),
        ("strict", "89 07 04 0a020001 00", true),
        ("strict, gone to its end", "89 07 08 0a020001 00", true),
        ("loose behind no operation", "01 83 07 04 0a020001", true),
        ("strict behind a record route", "07 07 04 00000000 89 07 04 0a020001 0000", true),
        ("loose behind a router alert", "94 04 0000 83 07 04 0a020001 00", true),
        ("loose without a length", "01 01 01 83", true),
        ("record route", "07 07 04 00000000 00", false),
        ("router alert", "94 04 0000", false),
        ("its number in another option", "44 08 05 00 83070489", false),
        ("its number behind the end", "00 83 07 04", false),
        ("its number behind the end and a length", "00 02 83 03", false),
        ("its number behind a length of 0", "07 00 83 04", false),
        ("its number behind a length of 1", "07 01 83 04", false),
        ("an option beyond the header", "07 0c 04 00", false),
        ("an option without a length", "01 01 01 07", false),
        (
            "as many options as there can be",
            "01010101 01010101 01010101 01010101 01010101 01010101 01010101 01010101 01010101 \
             01010101",
            false,
        ),
        (
            "strict at the end of them",
            "01010101 01010101 01010101 01010101 01010101 01010101 01010101 01010101 01 \
             89 07 04 0a020001",
            true,
        ),
    ];
    for (what, options, refused) in rows {
        let frame = with_options(options);
        match parse(&frame) {
            ParseOutcome::Malformed(error) => {
                let wanted = "IPv4 at byte 14: wanted no source route, found one";
                assert!(refused && error.to_string() == wanted, "{what}: {error}");
            }
            _ => {
                assert!(!refused, "{what}");
                assert_eq!(s::ip(&frame).content, Content::Udp, "{what}");
                assert_eq!(s::ip(&frame).payload_len(), 17, "{what}");
            }
        }
    }
}

#[test]
fn a_source_route_is_seen_in_fragments_too() {
    let mut frame = with_options("83 07 04 0a020001 00");
    for fragmenting in [[0x20, 0x00], [0x00, 0x02]] {
        frame[20..22].copy_from_slice(&fragmenting);
        mend_header(&mut frame);
        assert!(matches!(parse(&frame), ParseOutcome::Malformed(_)), "{fragmenting:02x?}");
    }
}

#[test]
fn a_packet_that_ends_behind_the_65535th_byte_of_its_frame_is_refused() {
    let long = |frame: &str, len_at: usize, len: u16| {
        let mut frame = bytes(frame);
        frame[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
        frame.resize(70_000, 0);
        mend_header(&mut frame);
        frame
    };
    // All of them with the largest length that fits, and one more.
    for (sample, len_at, fits) in [
        (s::GRE, 16, 65_535 - 14),
        (s::TCP_SYN_VLAN, 20, 65_535 - 18),
        (s::UDP_QINQ, 24, 65_535 - 22),
        (s::GRE_V6, 18, 65_535 - 54),
        (s::UDP_V6_VLAN, 22, 65_535 - 58),
    ] {
        assert_eq!(s::ip(&long(sample, len_at, fits)).end, 65_535, "{sample}");
        for len in [fits + 1, 65_535] {
            let outcome = parse(&long(sample, len_at, len));
            assert!(matches!(outcome, ParseOutcome::Malformed(_)), "{outcome:?}: {sample}");
        }
    }
}
