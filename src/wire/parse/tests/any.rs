//! Any bytes at all, damaged frames, and frames that end early.

use super::*;
use crate::wire::samples::mend_header;
use proptest::prelude::*;

/// Tags to put in front of a sample; some samples have their own.
pub(super) const TAGS: [&str; 5] =
    ["", "8100 000a", "8100 a000", "88a8 0064 8100 000a", "8100 0001 8100 0002 8100 0003"];

/// What later steps rely on, for whatever came in.
fn holds_together(frame: &[u8]) -> bool {
    let ParseOutcome::Parsed(packet) = parse(frame) else { return true };
    let link = packet.link;
    let link_fits = link.tags.header_len() <= link.end() && link.end() <= 22;
    match packet.body {
        Body::Ip(ip) => link_fits && ip.start() == link.end() && ip_holds_together(frame, &ip),
        Body::Arp(_) => link_fits && link.end() + 28 <= frame.len(),
    }
}

fn ip_holds_together(frame: &[u8], ip: &IpPacket) -> bool {
    let is_v4 = ip.source().is_v4();
    let header_fits = match ip.payload_start() - ip.start() {
        len if is_v4 => (20..=60).contains(&len),
        len => len >= 40,
    };
    let (least, has_ports) = match ip.content {
        Content::Tcp(_) => (20, true),
        Content::Udp => (8, true),
        Content::Sctp(_) => (12, true),
        Content::EchoRequest | Content::IcmpError | Content::Icmp => (8, false),
        Content::NeighbourSolicitation(_) => (24, false),
        Content::Fragment(Fragment { has_ports: true, .. }) if ip.key.is_tcp() => (20, true),
        Content::Fragment(Fragment { has_ports: true, .. }) => (8, true),
        Content::Fragment(_) | Content::Other => (0, false),
    };
    let protocols: &[u32] = match ip.content {
        Content::Tcp(_) => &[6],
        Content::Udp => &[17],
        Content::Sctp(_) => &[132],
        Content::NeighbourSolicitation(target) if !target.is_v4() && !is_v4 => &[58],
        Content::NeighbourSolicitation(_) => &[],
        Content::EchoRequest | Content::IcmpError | Content::Icmp if is_v4 => &[1],
        Content::EchoRequest | Content::IcmpError | Content::Icmp => &[58],
        Content::Fragment(Fragment { has_ports: true, .. }) => &[6, 17, 132],
        Content::Fragment(_) | Content::Other => &[ip.key.protocol],
    };
    header_fits
        && ip.destination().is_v4() == is_v4
        && usize::from(ip.end) <= frame.len()
        && ip.payload_start() + least <= usize::from(ip.end)
        && protocols.contains(&ip.key.protocol)
        && ip.key.protocol <= 255
        && (has_ports || (ip.key.source_port, ip.key.destination_port) == (0, 0))
        && (is_v4 || ip.dont_fragment)
}

#[test]
fn a_frame_that_ends_early_is_malformed_wherever_it_ends() {
    for (name, sample) in s::ALL {
        for tags in ["", "8100 000a"] {
            let frame = s::tagged(&bytes(sample), tags);
            let ParseOutcome::Parsed(whole) = parse(&frame) else {
                assert!(!tags.is_empty(), "{name}: a sample with three tags");
                continue;
            };
            let end = match whole.body {
                Body::Ip(ip) => usize::from(ip.end),
                Body::Arp(_) => frame.len(),
            };
            assert!(end == frame.len() || *name == "TCP FIN, padded", "{name}");
            for len in 0..frame.len() {
                let outcome = parse(&frame[..len]);
                if len >= end {
                    assert_eq!(outcome, ParseOutcome::Parsed(whole), "{name} at {len}: padding");
                } else {
                    let is_malformed = matches!(outcome, ParseOutcome::Malformed(_));
                    assert!(is_malformed, "{name} at {len}: {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn a_packet_that_says_another_length_holds_together_or_is_malformed() {
    for (name, sample) in s::ALL {
        let (frame, link) = (bytes(sample), packet(&bytes(sample)).link.end());
        let Body::Ip(whole) = packet(&frame).body else { continue };
        let (at, header_len) = if whole.source().is_v4() { (2, 0) } else { (4, 40) };
        for len in 0..200u16 {
            let mut frame = frame.clone();
            frame[link + at..link + at + 2].copy_from_slice(&len.to_be_bytes());
            mend_header(&mut frame);
            assert!(holds_together(&frame), "{name} of {len}");
            if let ParseOutcome::Parsed(Packet { body: Body::Ip(ip), .. }) = parse(&frame) {
                assert_eq!(ip.len(), usize::from(len) + header_len, "{name} of {len}");
            }
        }
    }
}

/// Flips these bits.
pub(super) fn flip(frame: &mut [u8], flips: Vec<(proptest::sample::Index, u8)>) {
    for (at, bit) in flips {
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
    }
}

/// Up to five bits.
pub(super) fn flips() -> impl Strategy<Value = Vec<(proptest::sample::Index, u8)>> {
    proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6)
}

/// Bytes that are IPv6 as far as the extension headers' numbers and lengths go.
fn ipv6_bytes() -> impl Strategy<Value = Vec<u8>> {
    let number = || proptest::sample::select(vec![0u8, 6, 17, 43, 44, 51, 58, 59, 60]);
    let header = (number(), 0u8..3, any::<[u8; 6]>());
    (number(), proptest::collection::vec(header, 0..12), any::<[u8; 16]>(), 0usize..80).prop_map(
        |(first, headers, rest, payload_len)| {
            let mut frame = bytes(s::GRE_V6)[..54].to_vec();
            frame[20] = first;
            for (next, len, rest) in headers {
                frame.extend([next, len]);
                frame.extend(rest);
                frame.extend(std::iter::repeat_n(0, usize::from(len) * 8));
            }
            frame.extend(rest);
            let len = (frame.len() - 54).saturating_sub(payload_len) as u16;
            frame[18..20].copy_from_slice(&len.to_be_bytes());
            frame
        },
    )
}

proptest! {
    #[test]
    fn any_bytes(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(holds_together(&frame));
    }

    #[test]
    fn any_bytes_behind_a_link_header(
        link in proptest::sample::select(
            vec!["0800", "86dd", "0806", "8100", "88a8", "8100 000a 86dd"],
        ),
        rest in proptest::collection::vec(any::<u8>(), 0..200),
        first in proptest::sample::select(vec![0x45u8, 0x46, 0x60, 0x00]),
    ) {
        let mut frame = [bytes("020000000001 0200000000c1"), bytes(link), rest].concat();
        if let Some(place) = frame.get_mut(12 + bytes(link).len()) {
            *place = first;
        }
        mend_header(&mut frame);
        prop_assert!(holds_together(&frame));
    }

    #[test]
    fn any_chain_of_headers(frame in ipv6_bytes(), flips in flips()) {
        prop_assert!(holds_together(&frame));
        let mut frame = frame;
        flip(&mut frame[12..], flips);
        prop_assert!(holds_together(&frame));
    }

    /// Further down than random bytes come: the header checksum is made right after the damage.
    #[test]
    fn damaged_frames(
        sample in proptest::sample::select(s::ALL),
        tags in proptest::sample::select(TAGS.as_slice()),
        flips in flips(),
        keep in any::<proptest::sample::Index>(),
        mend in any::<bool>(),
    ) {
        let mut frame = s::tagged(&bytes(sample.1), tags);
        flip(&mut frame, flips);
        if mend {
            mend_header(&mut frame);
        }
        prop_assert!(holds_together(&frame));
        frame.truncate(keep.index(frame.len()));
        prop_assert!(holds_together(&frame));
    }

    #[test]
    fn no_flip_in_an_ipv4_header_goes_unseen(
        sample in proptest::sample::select(s::ALL), at in 0usize..20, bit in 0u8..8,
    ) {
        let mut frame = bytes(sample.1);
        let Packet { link, body } = packet(&frame);
        if let Body::Ip(ip) = body && ip.source().is_v4() {
            frame[link.end() + at] ^= 1 << bit;
            prop_assert!(matches!(parse(&frame), ParseOutcome::Malformed(_)));
        }
    }

    /// Whatever stood in them before.
    #[test]
    fn headers_are_all_written(
        before in proptest::sample::select(s::ALL), cut in any::<proptest::sample::Index>(),
        sample in proptest::sample::select(s::ALL),
        tags in proptest::sample::select(TAGS.as_slice()),
        flips in flips(), mend in any::<bool>(),
    ) {
        let mut frame = s::tagged(&bytes(sample.1), tags);
        flip(&mut frame, flips);
        if mend {
            mend_header(&mut frame);
        }
        let (mut fresh, mut used) = (Headers::NONE, Headers::NONE);
        let before = bytes(before.1);
        // Whole, and what has gone wrong half-way.
        let _ = parse_into(&before, &mut used);
        let _ = parse_into(&before[..cut.index(before.len())], &mut used);
        let kind = parse_into(&frame, &mut fresh);
        prop_assert_eq!(parse_into(&frame, &mut used), kind);
        if kind.is_ok() {
            prop_assert_eq!(used.link, fresh.link);
        }
        if kind == Ok(Kind::Ip) {
            prop_assert_eq!(used.ip, fresh.ip);
        }
    }
}
