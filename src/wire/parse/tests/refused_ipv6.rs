//! What is refused of IPv6, and what parse says to it.

use super::refused::{Row, check};
use super::*;

/// `::ffff:0:0/96` into an address's place.
fn map(frame: &mut [u8], at: usize) {
    frame[at..at + 10].fill(0);
    frame[at + 10..at + 12].fill(0xff);
}

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    ("no IPv6 header", s::TCP_SYN_V6, |f| f.truncate(14),
     "IPv6 at byte 14: wanted 40 bytes, the frame has 0 left"),
    ("half an IPv6 header", s::TCP_SYN_V6, |f| f.truncate(53),
     "IPv6 at byte 14: wanted 40 bytes, the frame has 39 left"),
    ("version 4", s::TCP_SYN_V6, |f| f[14] = 0x45,
     "IPv6 at byte 14: wanted version 6, found 4"),
    ("version 4 by its EtherType", s::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x86, 0xdd]),
     "IPv6 at byte 14: wanted version 6, found 4"),
    ("version 6 by its EtherType", s::TCP_SYN_V6, |f| f[12..14].copy_from_slice(&[0x08, 0x00]),
     "IPv4 at byte 14: wanted version 4, found 6"),
    ("payload length beyond the frame", s::TCP_SYN_V6, |f| f[19] = 41,
     "IPv6 at byte 14: wanted 81 bytes, the frame has 80 left"),
    ("the largest payload length", s::TCP_SYN_V6, |f| f[18..20].fill(0xff),
     "IPv6 at byte 14: wanted 65535 bytes, the frame has 80 left"),
    ("payload length 0, as of a jumbogram", s::TCP_SYN_V6, |f| f[19] = 0,
     "TCP at byte 54: wanted 20 bytes, the packet's own length leaves 0"),
    ("payload length 0 with options", s::UDP_V6_OPTIONS, |f| f[19] = 0,
     "IPv6 at byte 54: wanted 8 bytes, the packet's own length leaves 0"),
    ("mapped source", s::TCP_SYN_V6, |f| map(f, 22),
     "IPv6 at byte 14: wanted no IPv4-mapped address, found one"),
    ("mapped destination", s::TCP_SYN_V6, |f| map(f, 38),
     "IPv6 at byte 14: wanted no IPv4-mapped address, found one"),
    ("mapped source of a fragment", s::FRAGMENT_LAST_V6, |f| map(f, 22),
     "IPv6 at byte 14: wanted no IPv4-mapped address, found one"),
    ("mapped destination of GRE", s::GRE_V6, |f| map(f, 38),
     "IPv6 at byte 14: wanted no IPv4-mapped address, found one"),
    ("half a TCP header", s::TCP_SYN_V6, |f| f[19] = 19,
     "TCP at byte 54: wanted 20 bytes, the packet's own length leaves 19"),
    ("data offset of 4 words", s::TCP_SYN_V6, |f| f[66] = 0x40,
     "TCP at byte 54: wanted a header length of at least 20, found 16"),
    ("data offset beyond the packet", s::TCP_SYN_V6, |f| f[66] = 0xb0,
     "TCP at byte 54: wanted 44 bytes, the packet's own length leaves 40"),
    ("data offset into padding", s::TCP_RST_V6, |f| { f.resize(90, 0); f[66] = 0x60 },
     "TCP at byte 54: wanted 24 bytes, the packet's own length leaves 20"),
    ("half a UDP header", s::UDP_DATA_V6, |f| f[19] = 7,
     "UDP at byte 54: wanted 8 bytes, the packet's own length leaves 7"),
    ("UDP length 0", s::UDP_DATA_V6, |f| f[59] = 0,
     "UDP at byte 54: wanted a length of at least 8, found 0"),
    ("UDP length 7", s::UDP_DATA_V6, |f| f[59] = 7,
     "UDP at byte 54: wanted a length of at least 8, found 7"),
    ("UDP length beyond the packet", s::UDP_DATA_V6, |f| f[59] = 18,
     "UDP at byte 54: wanted 18 bytes, the packet's own length leaves 17"),
    ("UDP length beyond the packet behind options", s::UDP_V6_OPTIONS, |f| f[83] = 18,
     "UDP at byte 78: wanted 18 bytes, the packet's own length leaves 17"),
    ("half an ICMPv6 header", s::ECHO_REQUEST_V6, |f| f[19] = 7,
     "ICMPv6 at byte 54: wanted 8 bytes, the packet's own length leaves 7"),
    ("half a solicitation", s::SOLICITATION, |f| f[19] = 23,
     "ICMPv6 at byte 54: wanted 24 bytes, the packet's own length leaves 23"),
    ("a solicitation for a mapped address", s::SOLICITATION, |f| map(f, 62),
     "ICMPv6 at byte 54: wanted no IPv4-mapped address, found one"),
    ("no extension header", s::UDP_V6_OPTIONS, |f| f[19] = 8,
     "IPv6 at byte 62: wanted 8 bytes, the packet's own length leaves 0"),
    ("half an extension header", s::UDP_V6_OPTIONS, |f| f[19] = 7,
     "IPv6 at byte 54: wanted 8 bytes, the packet's own length leaves 7"),
    ("options beyond the packet", s::UDP_V6_OPTIONS, |f| f[63] = 4,
     "IPv6 at byte 62: wanted 40 bytes, the packet's own length leaves 33"),
    ("the longest options", s::UDP_V6_OPTIONS, |f| f[55] = 255,
     "IPv6 at byte 54: wanted 2048 bytes, the packet's own length leaves 41"),
    ("options into padding", s::MLD_REPORT, |f| { f.resize(120, 0); f[55] = 4 },
     "IPv6 at byte 54: wanted 40 bytes, the packet's own length leaves 36"),
    ("half a fragment header", s::FRAGMENT_LAST_V6, |f| f[19] = 7,
     "IPv6 at byte 54: wanted 8 bytes, the packet's own length leaves 7"),
    ("a segment left", s::TCP_V6_ROUTED, |f| f[57] = 1,
     "IPv6 at byte 54: wanted no source route, found one"),
    ("segments left of segment routing", s::TCP_V6_ROUTED, |f| (f[56], f[57]) = (4, 255),
     "IPv6 at byte 54: wanted no source route, found one"),
    ("half a tag", s::UDP_V6_VLAN, |f| f.truncate(17),
     "VLAN tag at byte 14: wanted 4 bytes, the frame has 3 left"),
    ("half an IPv6 header on a VLAN", s::UDP_V6_VLAN, |f| f.truncate(57),
     "IPv6 at byte 18: wanted 40 bytes, the frame has 39 left"),
    ("payload length beyond the frame on QinQ", s::TCP_SYN_V6_QINQ, |f| f[27] = 41,
     "IPv6 at byte 22: wanted 81 bytes, the frame has 80 left"),
    ("half a solicitation on a VLAN", s::SOLICITATION_VLAN, |f| f[23] = 23,
     "ICMPv6 at byte 58: wanted 24 bytes, the packet's own length leaves 23"),
];

#[test]
fn refused_frames_say_where_and_why() {
    check(REFUSED);
}

#[test]
fn what_only_looks_mapped_is_not_refused() {
    let rows: [(&str, Edit); 4] = [
        ("IPv4-compatible", |f| f[22..34].fill(0)),
        ("translated (RFC 2765)", |f| {
            f[22..34].fill(0);
            f[30..32].fill(0xff);
        }),
        ("one bit off", |f| {
            map(f, 22);
            f[33] = 0xfe;
        }),
        ("a bit before", |f| {
            map(f, 22);
            f[22] = 0x80;
        }),
    ];
    for (what, change) in rows {
        let mut frame = bytes(s::TCP_SYN_V6);
        change(&mut frame);
        assert_eq!(s::ip(&frame).content, tcp(0x02), "{what}");
        assert!(!s::ip(&frame).source().is_v4(), "{what}");
    }
}
