//! Answers to packets: byte by byte, by our own parser, and by smoltcp's, which verifies checksums
//! and knows nothing of ours.

mod echo;
mod errors;
mod literal;
mod neighbours;
mod resets;
mod smol;
mod strangers;

use proptest::prelude::*;

use super::*;
use crate::wire::samples::{self as s, bytes, mend_header, packet, tagged};
use crate::wire::{Body, Content, ParseOutcome, parse};

const ROOM: usize = 4096;
const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// What a test does to a good frame.
type Edit = fn(&mut [u8]);

/// How an answer is made from a frame.
type Answer = fn(&mut FrameView<'_>, &IpPacket) -> bool;

const RESET: Answer = tcp_reset;
const ECHO: Answer = echo_reply;
const UNREACHABLE: Answer = |view, ip| icmp_error(view, ip, IcmpError::PortUnreachable);
const TOO_BIG: Answer = |view, ip| icmp_error(view, ip, IcmpError::TooBig { mtu_bytes: 1280 });
const EXCEEDED: Answer = |view, ip| icmp_error(view, ip, IcmpError::HopLimitExceeded);
const ADVERTISEMENT: Answer = |view, ip| neighbour_advertisement(view, ip, OUR_MAC);

const ANSWERS: [(&str, Answer); 6] = [
    ("reset", RESET),
    ("echo reply", ECHO),
    ("port unreachable", UNREACHABLE),
    ("too big", TOO_BIG),
    ("hop limit exceeded", EXCEEDED),
    ("advertisement", ADVERTISEMENT),
];

/// Tags to put in front of a sample's own.
const TAGS: [&str; 4] = ["", "8100 000a", "8100 e000", "88a8 0064 8100 600a"];

/// The answer to a frame that stands in the middle of a chunk of rubbish, if there is one.
fn answered(frame: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let asked = s::ip(frame);
    let mut chunk = vec![0xee; ROOM];
    chunk[256..256 + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(&mut chunk, 256, frame.len());
    answer(&mut view, &asked).then(|| view.bytes().to_vec())
}

/// MACs and addresses are swapped, tags are as they were, and the answer has the least length or
/// its own.
fn is_turned_round(asked: &[u8], answer: &[u8]) {
    let (before, after) = (packet(asked).link, packet(answer).link);
    let (asked_ip, ip) = (s::ip(asked), s::ip(answer));
    assert_eq!((after.source, after.destination), (before.destination, before.source));
    assert_eq!(answer[12..after.end()], asked[12..before.end()], "tags with their priority");
    assert_eq!(ip.source(), asked_ip.destination());
    assert_eq!(ip.destination(), asked_ip.source());
    assert_eq!((ip.hop_limit, ip.family()), (64, asked_ip.family()));
    assert_eq!(ip.payload_start() - ip.start(), header_len(ip.family()), "no options");
    has_its_length(answer, &ip);
}

fn has_its_length(answer: &[u8], ip: &IpPacket) {
    assert_eq!(answer.len(), usize::from(ip.end).max(LEAST_FRAME_LEN));
    assert!(answer[usize::from(ip.end)..].iter().all(|&byte| byte == 0), "padding");
}

/// Who gets a reset, an echo reply, ICMP errors, an advertisement.
#[rustfmt::skip]
const WHO: &[(&str, [bool; 4])] = &[
    (s::TCP_SYN,                  [true, false, true, false]),
    (s::TCP_DATA,                 [true, false, true, false]),
    (s::TCP_FIN_PADDED,           [true, false, true, false]),
    (s::TCP_RST,                  [false, false, true, false]),
    (s::UDP_DATA,                 [false, false, true, false]),
    (s::UDP_NO_CHECKSUM,          [false, false, true, false]),
    (s::UDP_ALL_ONES,             [false, false, true, false]),
    (s::UDP_IP_OPTIONS,           [false, false, true, false]),
    // Its hop limit may run out, as traceroute has it.
    (s::ECHO_REQUEST,             [false, true, true, false]),
    (s::ECHO_REQUEST_IP_OPTIONS,  [false, true, true, false]),
    (s::ICMP_UNREACHABLE,         [false, false, false, false]),
    (s::FRAGMENT_FIRST,           [false, false, true, false]),
    (s::FRAGMENT_LAST,            [false, false, false, false]),
    (s::GRE,                      [false, false, true, false]),
    (s::FRAGMENT_FIRST_TCP,       [false, false, true, false]),
    (s::FRAGMENT_TINY,            [false, false, true, false]),
    (s::TCP_SYN_VLAN,             [true, false, true, false]),
    (s::UDP_QINQ,                 [false, false, true, false]),
    (s::UDP_PRIORITY,             [false, false, true, false]),
    (s::TCP_SYN_V6,               [true, false, true, false]),
    (s::TCP_DATA_V6,              [true, false, true, false]),
    (s::TCP_RST_V6,               [false, false, true, false]),
    (s::UDP_DATA_V6,              [false, false, true, false]),
    (s::UDP_NO_CHECKSUM_V6,       [false, false, true, false]),
    (s::UDP_ALL_ONES_V6,          [false, false, true, false]),
    (s::UDP_V6_OPTIONS,           [false, false, true, false]),
    (s::TCP_V6_ROUTED,            [true, false, true, false]),
    (s::TCP_V6_ATOMIC,            [true, false, true, false]),
    (s::FRAGMENT_FIRST_V6,        [false, false, true, false]),
    (s::FRAGMENT_LAST_V6,         [false, false, false, false]),
    (s::FRAGMENT_TINY_V6,         [false, false, true, false]),
    (s::ECHO_REQUEST_V6,          [false, true, true, false]),
    (s::ECHO_REQUEST_V6_OPTIONS,  [false, true, true, false]),
    (s::PACKET_TOO_BIG,           [false, false, false, false]),
    (s::SOLICITATION,             [false, false, false, true]),
    (s::SOLICITATION_UNICAST,     [false, false, false, true]),
    (s::SOLICITATION_PROBE,       [false, false, false, true]),
    (s::MLD_REPORT,               [false, false, false, false]),
    (s::GRE_V6,                   [false, false, true, false]),
    (s::UDP_V6_VLAN,              [false, false, true, false]),
    (s::TCP_SYN_V6_QINQ,          [true, false, true, false]),
    (s::SOLICITATION_VLAN,        [false, false, false, true]),
];

#[test]
fn who_gets_which_answer() {
    let is_ip = |sample: &&(&str, &str)| matches!(packet(&bytes(sample.1)).body, Body::Ip(_));
    assert_eq!(WHO.len(), s::ALL.iter().filter(is_ip).count());
    for &(sample, [reset, echo, error, advertisement]) in WHO {
        let frame = bytes(sample);
        let wanted = [reset, echo, error, error, error, advertisement];
        for ((what, answer), wanted) in ANSWERS.into_iter().zip(wanted) {
            let found = answered(&frame, answer);
            assert_eq!(found.is_some(), wanted, "{what} to {sample}");
            if let Some(found) = found.filter(|_| what != "advertisement") {
                is_turned_round(&frame, &found);
            }
        }
    }
}

fn nobody_answers(frame: &[u8], what: &str) {
    for (answer_name, answer) in ANSWERS {
        for tags in TAGS {
            let frame = tagged(frame, tags);
            assert_eq!(answered(&frame, answer), None, "{what}: {answer_name} with {tags}");
        }
    }
}

#[test]
fn an_answer_keeps_the_tags_its_frame_came_with() {
    for &(sample, _) in WHO {
        let frame = bytes(sample);
        let untagged = packet(&frame).link.end() == 14;
        for (tags, (what, answer)) in
            TAGS.into_iter().flat_map(|tags| ANSWERS.map(|answer| (tags, answer)))
        {
            let Some(plain) = answered(&frame, answer).filter(|_| untagged) else { continue };
            let found = answered(&tagged(&frame, tags), answer);
            let found = found.unwrap_or_else(|| panic!("no {what} to {sample} with {tags}"));
            let ip = s::ip(&found);
            let wanted = tagged(&plain[..usize::from(s::ip(&plain).end)], tags);
            assert_eq!(found[..usize::from(ip.end)], wanted, "{what} to {sample} with {tags}");
            has_its_length(&found, &ip);
        }
    }
}

proptest! {
    /// No frame that parses makes an answer panic, and what is answered parses again and can be of
    /// one host to one host.
    #[test]
    fn any_answer_to_damaged_frames(
        sample in proptest::sample::select(s::ALL),
        tags in proptest::sample::select(TAGS.as_slice()),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
        room in 0usize..64,
    ) {
        let mut frame = tagged(&bytes(sample.1), tags);
        for (at, bit) in flips {
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        mend_header(&mut frame);
        let ParseOutcome::Parsed(asked) = parse(&frame) else { return Ok(()) };
        let Body::Ip(ip) = asked.body else { return Ok(()) };
        for (what, answer) in ANSWERS {
            let mut chunk = [frame.clone(), vec![0xee; room]].concat();
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            if answer(&mut view, &ip) {
                let (link, found) = (packet(view.bytes()).link, s::ip(view.bytes()));
                prop_assert!(smol::verifies(view.bytes()) || what == "echo reply", "{what}");
                prop_assert!(link.source.is_station() && found.source().is_one_host(), "{what}");
                prop_assert_eq!(link.tags, asked.link.tags);
                if what != "advertisement" {
                    prop_assert!(link.destination.is_station(), "{what}");
                    prop_assert!(found.destination().is_one_host(), "{what}");
                }
            }
        }
    }

    /// Another frame's headers make nonsense, but no panic.
    #[test]
    fn answers_stay_inside_their_frame(
        sample in proptest::sample::select(WHO), len in 0usize..120, room in 0usize..64,
    ) {
        let asked = s::ip(&bytes(sample.0));
        for (_, answer) in ANSWERS {
            let mut chunk = vec![2; len + room];
            let mut view = FrameView::new(&mut chunk, 0, len);
            let _ = answer(&mut view, &asked);
            prop_assert!(view.len() <= len + room);
        }
    }
}
