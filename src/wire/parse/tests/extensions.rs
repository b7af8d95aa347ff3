//! IPv6 extension headers, one and many.

use super::*;
use crate::wire::Fault;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const OPTIONS: u8 = 60;

/// An extension header: its number, and what is behind its "next header".
type Header = (u8, &'static str);

const PADDING: Header = (OPTIONS, "00 0104 00000000");

/// A packet with these headers in a row, then `upper` with the payload of a sample.
pub(super) fn chain(headers: &[Header], upper: u8, sample: &str) -> Vec<u8> {
    let mut frame = bytes(sample)[..54].to_vec();
    let next = headers.iter().map(|header| header.0).chain([upper]).collect::<Vec<_>>();
    frame[20] = next[0];
    for ((_, rest), next) in headers.iter().zip(&next[1..]) {
        frame.push(*next);
        frame.extend(bytes(rest));
    }
    frame.extend(&bytes(sample)[54..]);
    let len = frame.len() as u16 - 54;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame
}

#[test]
fn headers_are_walked_over() {
    const ROUTE: Header = (ROUTING, "02 04 00 00000000 20010db8 00020000 00000000 00000001");
    const LONG: Header = (OPTIONS, "02 0114 00000000 00000000 00000000 00000000 00000000");
    const ATOMIC: Header = (FRAGMENT, "00 0000 12345678");
    const HOPS: Header = (HOP_BY_HOP, "00 0502 0000 0100");
    // Headers, and how many bytes they are.
    let rows: [(&str, &[Header], u16); 10] = [
        ("none", &[], 0),
        ("hop-by-hop options", &[HOPS], 8),
        ("destination options", &[PADDING], 8),
        ("long destination options", &[LONG], 24),
        ("a route that has been gone", &[ROUTE], 24),
        ("an atomic fragment", &[ATOMIC], 8),
        // Not what RFC 8200 section 4.1 has them do, but clear.
        ("the same twice", &[LONG, LONG], 48),
        ("hop-by-hop options behind others", &[PADDING, HOPS], 16),
        ("two atomic fragments", &[ATOMIC, ATOMIC], 16),
        ("the six of RFC 8200", &[HOPS, PADDING, ROUTE, ATOMIC, LONG, PADDING], 80),
    ];
    for (what, headers, len) in rows {
        for (upper, sample, content) in [
            (6, s::TCP_SYN_V6, tcp(0x02)),
            (17, s::UDP_DATA_V6, Content::Udp),
            (58, s::ECHO_REQUEST_V6, Content::EchoRequest),
            (58, s::SOLICITATION_UNICAST, Content::NeighbourSolicitation(VIP_V6)),
            (47, s::GRE_V6, Content::Other),
        ] {
            let (plain, found) = (s::ip(&bytes(sample)), s::ip(&chain(headers, upper, sample)));
            assert_eq!(found.content, content, "{what}: {sample}");
            assert_eq!(found.key, plain.key, "{what}: {sample}");
            assert_eq!(found.payload, plain.payload + len, "{what}: {sample}");
            assert_eq!(found.payload_len(), plain.payload_len(), "{what}: {sample}");
        }
    }
}

#[test]
fn a_chain_has_its_longest() {
    for count in 0..12 {
        let frame = chain(&vec![PADDING; count], 17, s::UDP_DATA_V6);
        let outcome = parse(&frame);
        if count <= 8 {
            assert_eq!(s::ip(&frame).payload_start(), 54 + 8 * count);
            assert_eq!(s::ip(&frame).content, Content::Udp, "{count}");
            continue;
        }
        let ParseOutcome::Malformed(error) = outcome else { panic!("{count}: {outcome:?}") };
        let wanted = "IPv6 at byte 118: wanted at most 8 extension headers, found 9 or more";
        assert_eq!(error.to_string(), wanted, "{count}");
    }
}

#[test]
fn a_chain_may_end_with_any_header() {
    const LATER: Header = (FRAGMENT, "00 0010 12345678");
    let seven = [PADDING; 7];
    let eighth = |header: Header| [&seven[..], &[header]].concat();
    let later = s::ip(&chain(&eighth(LATER), 17, s::UDP_DATA_V6));
    assert_eq!(later.content, part(0x1234_5678, 16..33, false, None));
    let nothing = s::ip(&chain(&eighth(PADDING), NO_NEXT_HEADER, s::GRE_V6));
    assert_eq!((nothing.content, nothing.key.protocol), (Content::Other, 59));
    let later = s::ip(&chain(&[LATER], OPTIONS, s::UDP_DATA_V6));
    assert_eq!(later.key.protocol, 60, "behind a later fragment's header is nothing to be read");
    assert_eq!((later.payload_start(), later.payload_len()), (62, 17));
}

#[test]
fn segments_left_are_a_source_route_wherever_they_stand() {
    const LEFT: Header = (ROUTING, "00 03 01 00000000");
    const FIRST: Header = (FRAGMENT, "00 0001 12345678");
    let rows: [(&str, &[Header], u16); 4] = [
        ("alone", &[LEFT], 54),
        ("behind options", &[PADDING, PADDING, LEFT], 70),
        ("in a first fragment", &[FIRST, LEFT], 62),
        ("before a fragment", &[LEFT, FIRST], 54),
    ];
    for (what, headers, at) in rows {
        let outcome = parse(&chain(headers, 17, s::UDP_DATA_V6));
        let ParseOutcome::Malformed(error) = outcome else { panic!("{what}: {outcome:?}") };
        assert_eq!((error.fault, error.offset), (Fault::SourceRoute, at), "{what}");
    }
}

#[test]
fn what_is_no_extension_header_of_ours_is_another_protocol() {
    // Encrypted, authenticated, nothing, mobility, HIP, Shim6, experiments.
    for upper in [ESP, AUTHENTICATION, NO_NEXT_HEADER, 135, 139, 140, 253, 254] {
        for headers in [&[][..], &[PADDING][..]] {
            let ip = s::ip(&chain(headers, upper, s::UDP_DATA_V6));
            assert_eq!(ip.content, Content::Other, "{upper}");
            assert_eq!((ip.key.protocol, ip.key.destination_port), (u32::from(upper), 0));
            assert_eq!(ip.payload_start(), 54 + 8 * headers.len(), "{upper}");
        }
    }
}

#[test]
fn nothing_at_all_behind_the_header_is_fine_where_nothing_is_wanted() {
    let mut frame = chain(&[], NO_NEXT_HEADER, s::GRE_V6);
    frame.truncate(54);
    frame[19] = 0;
    let ip = s::ip(&frame);
    assert_eq!((ip.content, ip.payload_len(), ip.len()), (Content::Other, 0, 40));
}
