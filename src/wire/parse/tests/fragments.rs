//! Fragments of both families.

use super::extensions::chain;
use super::*;
use crate::wire::samples::mend_header;

fn fragment(frame: &[u8]) -> (Fragment, (u16, u16)) {
    let ip = s::ip(frame);
    match ip.content {
        Content::Fragment(fragment) => (fragment, (ip.key.source_port, ip.key.destination_port)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn which_part_of_which_datagram() {
    // Flags and offset as they stand in an IPv4 header, and what they say.
    let rows = [
        (0x2000, Some((0, true))),
        (0x2001, Some((8, true))),
        (0x3fff, Some((65_528, true))),
        (0x0001, Some((8, false))),
        (0x1fff, Some((65_528, false))),
        (0x6000, Some((0, true))), // Don't fragment, and yet it was.
        (0xa000, Some((0, true))), // The reserved bit.
        (0x0000, None),
        (0x4000, None),
        (0x8000, None),
    ];
    for (field, wanted) in rows {
        let mut frame = bytes(s::UDP_DATA);
        frame[20..22].copy_from_slice(&u16::to_be_bytes(field));
        frame[18..20].copy_from_slice(&[0xab, 0xcd]);
        mend_header(&mut frame);
        assert_eq!(s::ip(&frame).dont_fragment, field & 0x4000 != 0, "{field:#06x}");
        match wanted {
            None => assert_eq!(s::ip(&frame).content, Content::Udp, "{field:#06x}"),
            Some((offset, more)) => {
                let flags = (offset == 0).then_some(0);
                let wanted = part(0xabcd, offset..offset + 17, more, flags);
                assert_eq!(s::ip(&frame).content, wanted, "{field:#06x}");
            }
        }
    }
}

#[test]
fn which_part_of_which_ipv6_datagram() {
    // The fragment header's second half-word: offset, two reserved bits, "more".
    let rows = [
        (0x0001, Some((0, true))),
        (0x0009, Some((8, true))),
        (0xfff9, Some((65_528, true))),
        (0x0008, Some((8, false))),
        (0xfff8, Some((65_528, false))),
        (0x0007, Some((0, true))),
        (0x0000, None),
        (0x0006, None),
    ];
    for (field, wanted) in rows {
        let mut frame = bytes(s::FRAGMENT_FIRST_V6);
        frame[55] = 0xff; // Reserved.
        frame[56..58].copy_from_slice(&u16::to_be_bytes(field));
        frame[67] = 16; // A UDP length that is this packet's own, should it be whole.
        match wanted {
            None => assert_eq!(s::ip(&frame).content, Content::Udp, "{field:#06x}"),
            Some((offset, more)) => {
                let flags = (offset == 0).then_some(0);
                let wanted = part(0x1234_5678, offset..offset + 16, more, flags);
                assert_eq!(s::ip(&frame).content, wanted, "{field:#06x}");
            }
        }
    }
}

/// Cuts the packet of a first fragment down to this many bytes of payload.
fn cut(sample: &str, payload_len: usize) -> Vec<u8> {
    let mut frame = bytes(sample);
    let ip = s::ip(&frame);
    frame.truncate(ip.payload_start() + payload_len);
    let end = frame.len() as u16;
    match ip.key.source.is_v4() {
        true => frame[16..18].copy_from_slice(&(end - 14).to_be_bytes()),
        false => frame[18..20].copy_from_slice(&(end - 54).to_be_bytes()),
    }
    mend_header(&mut frame);
    frame
}

#[test]
fn a_first_fragment_has_ports_when_its_transport_header_is_whole() {
    // Sample, and the least length with a whole header.
    let rows = [
        (s::FRAGMENT_FIRST, 8, (5353, 53)),
        (s::FRAGMENT_FIRST_V6, 8, (5353, 53)),
        (s::FRAGMENT_FIRST_TCP, 20, (40000, 80)),
    ];
    for (sample, least, ports) in rows {
        for len in 0..=s::ip(&bytes(sample)).payload_len() {
            let (fragment, found) = fragment(&cut(sample, len));
            assert_eq!(fragment.has_ports, len >= least, "{len}: {sample}");
            assert_eq!(found, if len >= least { ports } else { (0, 0) }, "{len}: {sample}");
            assert_eq!((fragment.offset, fragment.more), (0, true), "{len}: {sample}");
        }
    }
}

#[test]
fn options_of_tcp_belong_to_its_header() {
    for (data_offset, has_ports) in [(0x40, false), (0x50, true), (0x60, true), (0x70, false)] {
        let mut frame = bytes(s::FRAGMENT_FIRST_TCP);
        frame[46] = data_offset; // There are 24 bytes.
        let (fragment, ports) = fragment(&frame);
        assert_eq!(fragment.has_ports, has_ports, "{data_offset:#x}");
        assert_eq!(fragment.tcp, TcpFlags(if has_ports { 0x18 } else { 0 }), "{data_offset:#x}");
        assert_eq!(ports, if has_ports { (40000, 80) } else { (0, 0) }, "{data_offset:#x}");
    }
}

#[test]
fn of_other_protocols_no_fragment_has_ports() {
    for protocol in [1, 2, 47, 58, 133] {
        let mut v4 = bytes(s::FRAGMENT_FIRST);
        v4[23] = protocol;
        mend_header(&mut v4);
        let mut v6 = bytes(s::FRAGMENT_FIRST_V6);
        v6[54] = protocol;
        for frame in [v4, v6] {
            let (fragment, ports) = fragment(&frame);
            assert!(!fragment.has_ports && ports == (0, 0), "{protocol}");
            assert_eq!(s::ip(&frame).key.protocol, u32::from(protocol));
        }
    }
}

#[test]
fn a_udp_length_beyond_the_fragment_is_the_datagrams() {
    for (sample, at) in [(s::FRAGMENT_FIRST, 38), (s::FRAGMENT_FIRST_V6, 66)] {
        let mut frame = bytes(sample);
        frame[at..at + 2].copy_from_slice(&60_000u16.to_be_bytes());
        assert!(fragment(&frame).0.has_ports, "{sample}");
    }
}

#[test]
fn of_fragments_in_a_chain() {
    const OPTIONS: (u8, &str) = (60, "00 0104 00000000");
    const FIRST: (u8, &str) = (44, "00 0001 0000aaaa");
    const LATER: (u8, &str) = (44, "00 0011 0000bbbb");
    const ATOMIC: (u8, &str) = (44, "00 0000 0000cccc");
    // Headers, what they make of the packet, and where its payload begins.
    type Row = (&'static str, &'static [(u8, &'static str)], Content, usize);
    let rows: [Row; 8] = [
        ("behind options", &[OPTIONS, FIRST], part(0xaaaa, 0..40, true, Some(0x02)), 70),
        ("before options", &[FIRST, OPTIONS], part(0xaaaa, 0..48, true, Some(0x02)), 70),
        ("later, behind options", &[OPTIONS, LATER], part(0xbbbb, 16..56, true, None), 70),
        ("later, before options", &[LATER, OPTIONS], part(0xbbbb, 16..64, true, None), 62),
        // Fragments of fragments: whatever they are, they are not whole.
        ("first, then atomic", &[FIRST, ATOMIC], part(0xaaaa, 0..48, true, Some(0x02)), 70),
        ("atomic, then first", &[ATOMIC, FIRST], part(0xaaaa, 0..40, true, Some(0x02)), 70),
        ("atomic, then later", &[ATOMIC, LATER], part(0xbbbb, 16..56, true, None), 70),
        ("first, then later", &[FIRST, LATER], part(0xbbbb, 16..56, true, None), 70),
    ];
    for (what, headers, content, payload) in rows {
        let ip = s::ip(&chain(headers, 6, s::TCP_SYN_V6));
        assert_eq!((ip.content, ip.payload_start()), (content, payload), "{what}");
    }
}

#[test]
fn fragments_are_told_on_vlans() {
    for sample in [
        s::FRAGMENT_FIRST,
        s::FRAGMENT_LAST,
        s::FRAGMENT_FIRST_TCP,
        s::FRAGMENT_TINY,
        s::FRAGMENT_FIRST_V6,
        s::FRAGMENT_LAST_V6,
        s::FRAGMENT_TINY_V6,
    ] {
        let plain = bytes(sample);
        for tags in ["8100 000a", "88a8 0064 8100 000a"] {
            let ip = s::ip(&s::tagged(&plain, tags));
            assert_eq!((ip.content, ip.key), (s::ip(&plain).content, s::ip(&plain).key), "{tags}");
        }
    }
}
