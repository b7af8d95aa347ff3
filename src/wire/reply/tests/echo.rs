//! Echo replies.

use smoltcp::wire::{IcmpRepr, Icmpv4Repr, Icmpv6Repr};

use super::*;

const REQUESTS: [&str; 4] =
    [s::ECHO_REQUEST, s::ECHO_REQUEST_IP_OPTIONS, s::ECHO_REQUEST_V6, s::ECHO_REQUEST_V6_OPTIONS];

fn reply_of(family: Family, data: &[u8]) -> IcmpRepr<'_> {
    match family {
        Family::Ipv4 => IcmpRepr::Ipv4(Icmpv4Repr::EchoReply { ident: 0xbeef, seq_no: 1, data }),
        Family::Ipv6 => IcmpRepr::Ipv6(Icmpv6Repr::EchoReply { ident: 0xbeef, seq_no: 1, data }),
    }
}

#[test]
fn echo_replies_leave_options_out_and_damage_in() {
    for sample in REQUESTS {
        for tags in TAGS {
            let frame = tagged(&bytes(sample), tags);
            let family = s::ip(&frame).family();
            let reply = answered(&frame, ECHO).unwrap();
            is_turned_round(&frame, &reply);
            assert_eq!(smol::icmp(&reply), Some(reply_of(family, b"guideway")), "{sample}");

            let mut damaged = frame.clone();
            let last = usize::from(s::ip(&frame).end) - 1;
            damaged[last] ^= 1;
            let reply = answered(&damaged, ECHO).unwrap();
            assert!(smol::ip(&reply).is_some() && !smol::verifies(&reply), "{sample}");
        }
    }
}

#[test]
fn traffic_class_and_ipv4_identification_are_the_requests() {
    // Flags and offset of the request, and of the reply: no packet that was let be cut is forbidden
    // to be.
    for (asked, wanted) in [(0x4000, 0x4000), (0x0000, 0x0000), (0xc000, 0x4000)] {
        let mut frame = bytes(s::ECHO_REQUEST);
        frame[15] = 0xb9;
        frame[20..22].copy_from_slice(&u16::to_be_bytes(asked));
        mend_header(&mut frame);
        let reply = answered(&frame, ECHO).unwrap();
        assert_eq!((reply[15], &reply[18..20]), (0xb9, &[0x12, 0x34][..]));
        assert_eq!(reply[20..22], u16::to_be_bytes(wanted), "{asked:#x}");
    }
    let mut frame = bytes(s::ECHO_REQUEST_V6);
    frame[14..18].copy_from_slice(&[0x6b, 0x9a, 0xbc, 0xde]);
    let reply = answered(&frame, ECHO).unwrap();
    assert_eq!(s::ip(&reply).traffic_class, 0xb9);
    assert_eq!(reply[15..18], [0x90, 0, 0], "the flow label is its sender's own");
}

#[test]
fn long_and_empty_requests_are_answered() {
    for (sample, len_at) in [(s::ECHO_REQUEST, 16), (s::ECHO_REQUEST_V6, 18)] {
        for data_len in [0, 1, 17, 18, 19, 1400] {
            let mut frame = bytes(sample);
            let (family, start) = (s::ip(&frame).family(), s::ip(&frame).payload_start());
            frame.truncate(start + 8);
            frame.resize(start + 8 + data_len, 0x5a);
            let from = if family == Family::Ipv4 { 14 } else { 54 };
            let len = (frame.len() - from) as u16;
            frame[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
            mend_header(&mut frame);
            mend_echo(&mut frame);
            let reply = answered(&frame, ECHO).unwrap();
            is_turned_round(&frame, &reply);
            let data = vec![0x5a; data_len];
            assert_eq!(smol::icmp(&reply), Some(reply_of(family, &data)), "{data_len}");
        }
    }
}

/// Makes the message's checksum right.
fn mend_echo(frame: &mut [u8]) {
    let ip = s::ip(frame);
    let message = &mut frame[ip.payload_start()..];
    message[2..4].fill(0);
    let pseudo = match ip.family() {
        Family::Ipv4 => 0,
        Family::Ipv6 => checksum::pseudo_header_of(&ip.key, message.len()),
    };
    let sum = !checksum::fold(pseudo + checksum::sum(message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn a_reply_needs_no_room() {
    for sample in REQUESTS {
        let mut frame = bytes(sample);
        let (asked, len) = (s::ip(&frame), frame.len());
        let mut view = FrameView::new(&mut frame, 0, len);
        assert!(echo_reply(&mut view, &asked), "{sample}");
        assert!(smol::verifies(view.bytes()), "{sample}");
    }
}
