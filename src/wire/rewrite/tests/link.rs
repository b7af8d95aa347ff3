//! Link header and hop limit.

use super::*;
use crate::wire::samples::tagged;

const TO: MacAddress = MacAddress([2, 1, 1, 1, 1, 1]);
const FROM: MacAddress = MacAddress([2, 2, 2, 2, 2, 2]);
const MACS: [u8; 12] = [2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];

fn qinq() -> Tags {
    Tags::NONE.with_inner(100, true).and_then(|tags| tags.with_inner(10, false)).unwrap()
}

#[test]
fn the_link_header_byte_by_byte() {
    // Sample, new tags, and the whole header that the frame is given.
    let rows = [
        ("as it was", s::GRE, Tags::NONE, "020101010101 020202020202 0800"),
        ("as it was, IPv6", s::GRE_V6, Tags::NONE, "020101010101 020202020202 86dd"),
        ("a tag more", s::GRE, Tags::customer(7), "020101010101 020202020202 8100 0007 0800"),
        ("two tags more", s::GRE_V6, qinq(), "020101010101 020202020202 88a8 0064 8100 000a 86dd"),
        (
            "another VLAN, without the priority",
            s::TCP_SYN_VLAN,
            Tags::customer(4094),
            "020101010101 020202020202 8100 0ffe 0800",
        ),
        ("a tag less", s::UDP_V6_VLAN, Tags::NONE, "020101010101 020202020202 86dd"),
        ("the priority goes", s::UDP_PRIORITY, Tags::NONE, "020101010101 020202020202 0800"),
        (
            "a VLAN for a priority",
            s::UDP_PRIORITY,
            Tags::customer(1),
            "020101010101 020202020202 8100 0001 0800",
        ),
        (
            "one of two tags",
            s::TCP_SYN_V6_QINQ,
            Tags::customer(10),
            "020101010101 020202020202 8100 000a 86dd",
        ),
        ("none of two tags", s::UDP_QINQ, Tags::NONE, "020101010101 020202020202 0800"),
        ("both tags", s::UDP_QINQ, qinq(), "020101010101 020202020202 88a8 0064 8100 000a 0800"),
        (
            "a second tag",
            s::TCP_SYN_VLAN,
            qinq(),
            "020101010101 020202020202 88a8 0064 8100 000a 0800",
        ),
    ];
    for (what, sample, tags, header) in rows {
        let (frame, header) = (bytes(sample), bytes(header));
        let link = packet(&frame).link;
        let wanted = [&header, &frame[link.end()..]].concat();
        let mut chunk = [vec![0xee; 16], frame.clone(), vec![0xee; 16]].concat();
        let mut view = FrameView::new(&mut chunk, 16, frame.len());
        assert!(set_link(&mut view, &link, &MACS, tags), "{what}");
        assert_eq!(view.bytes(), wanted, "{what}");
        assert_eq!(view.start(), 16 + link.end() - header.len(), "{what}: the packet stays put");
        assert_eq!(packet(view.bytes()).link.tags, tags, "{what}");
    }
}

/// MACs and tags as RFC and IEEE draw them, in front of EtherType and packet.
fn relinked(frame: &[u8], came_with: &Link, tags: &str) -> Vec<u8> {
    [&TO.0, &FROM.0, &bytes(tags)[..], &frame[came_with.end() - 2..]].concat()
}

#[test]
fn any_tags_in_any_room() {
    let kinds = [
        (Tags::NONE, ""),
        (Tags::customer(10), "8100 000a"),
        (Tags::NONE.with_inner(10, true).unwrap(), "88a8 000a"),
        (qinq(), "88a8 0064 8100 000a"),
        (Tags::customer(1).with_inner(2, false).unwrap(), "8100 0001 8100 0002"),
    ];
    let rooms = [0, 1, 3, 4, 7, 8, 64].map(|before| [0, 3, 4, 8].map(|after| (before, after)));
    for (name, sample) in s::ALL {
        let frame = bytes(sample);
        let link = packet(&frame).link;
        for ((tags, text), &(before, after)) in
            kinds.iter().flat_map(|kind| rooms.as_flattened().iter().map(move |room| (kind, room)))
        {
            let mut chunk = [vec![0xee; before], frame.clone(), vec![0xee; after]].concat();
            let untouched = chunk.clone();
            let mut view = FrameView::new(&mut chunk, before, frame.len());
            let growth = tags.header_len().saturating_sub(link.end());
            let done = set_link(&mut view, &link, &MACS, *tags);
            assert_eq!(done, growth <= before || growth <= after, "{name}, {tags}");
            if done {
                assert_eq!(view.bytes(), relinked(&frame, &link, text), "{name}, {tags}");
                continue;
            }
            assert_eq!((view.start(), view.len()), (before, frame.len()), "{name}, {tags}");
            assert_eq!(chunk, untouched, "{name}, {tags}: nothing done");
        }
    }
}

#[test]
fn hop_limits() {
    for sample in [
        s::TCP_DATA,
        s::TCP_SYN_VLAN,
        s::UDP_QINQ,
        s::UDP_IP_OPTIONS,
        s::ECHO_REQUEST,
        s::FRAGMENT_LAST,
        s::TCP_DATA_V6,
        s::UDP_V6_VLAN,
        s::TCP_SYN_V6_QINQ,
        s::UDP_V6_OPTIONS,
        s::ECHO_REQUEST_V6,
        s::FRAGMENT_LAST_V6,
    ] {
        for (before, after) in [(64, 63), (255, 254), (2, 1), (1, 0), (0, 0)] {
            let mut frame = bytes(sample);
            let ip = s::ip(&frame);
            let at = ip.start() + if ip.source().is_v4() { 8 } else { 7 };
            frame[at] = before;
            mend_header(&mut frame);
            let mut wanted = frame.clone();
            wanted[at] = after;
            mend_header(&mut wanted);
            let ip = s::ip(&frame);
            decrement_hop_limit(&mut frame, &ip);
            assert_eq!(frame, wanted, "{before}: {sample}");
        }
    }
}

#[test]
fn any_hop_limit_and_protocol_of_ipv4() {
    // Both are in the word that the checksum takes in.
    for hop_limit in 0..=255 {
        for protocol in (0..=255).step_by(15) {
            let mut frame = tagged(&bytes(s::FRAGMENT_LAST), "8100 0001");
            (frame[26], frame[27]) = (hop_limit, protocol);
            mend_header(&mut frame);
            let mut wanted = frame.clone();
            wanted[26] = hop_limit.saturating_sub(1);
            mend_header(&mut wanted);
            let ip = s::ip(&frame);
            decrement_hop_limit(&mut frame, &ip);
            assert_eq!(frame, wanted, "{hop_limit}, {protocol}");
        }
    }
}
