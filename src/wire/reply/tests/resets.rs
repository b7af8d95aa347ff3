//! TCP resets.

use smoltcp::wire::{TcpControl, TcpSeqNumber};

use super::*;
use crate::wire::TcpFlags;

/// The segment of a sample at SEQ 1000 with ACK 5000, with these flags and this many bytes of data.
fn segment(sample: &str, flags: u8, data_len: usize) -> Vec<u8> {
    let mut frame = bytes(sample);
    let ip = s::ip(&frame);
    let (start, tcp) = (ip.start(), ip.payload_start());
    let header_len = usize::from(frame[tcp + 12] >> 4) * 4;
    frame.truncate(tcp + header_len);
    frame[tcp + 4..tcp + 8].copy_from_slice(&1000u32.to_be_bytes());
    frame[tcp + 8..tcp + 12].copy_from_slice(&5000u32.to_be_bytes());
    frame[tcp + 13] = flags;
    frame.resize(tcp + header_len + data_len, 0x5a);
    let len = (frame.len() - start) as u16;
    match ip.family() {
        Family::Ipv4 => frame[start + 2..start + 4].copy_from_slice(&len.to_be_bytes()),
        Family::Ipv6 => frame[start + 4..start + 6].copy_from_slice(&(len - 40).to_be_bytes()),
    }
    mend_header(&mut frame);
    // Padding is no data.
    frame.resize(frame.len().max(LEAST_FRAME_LEN), 0xee);
    frame
}

/// Segments with and without TCP options, IPv6 extension headers and tags.
const SEGMENTS: [&str; 8] = [
    s::TCP_SYN,
    s::TCP_FIN_PADDED,
    s::TCP_SYN_VLAN,
    s::TCP_SYN_V6,
    s::TCP_RST_V6,
    s::TCP_V6_ROUTED,
    s::TCP_V6_ATOMIC,
    s::TCP_SYN_V6_QINQ,
];

#[test]
fn reset_numbers_are_those_of_rfc_9293() {
    // Flags and data of the segment; SEQ and ACK of the reset.
    let rows = [
        ("SYN", 0x02, 0, (0, Some(1001))),
        ("SYN with data", 0x02, 10, (0, Some(1011))),
        ("SYN|ACK", 0x12, 0, (5000, None)),
        ("ACK", 0x10, 0, (5000, None)),
        ("ACK with data", 0x18, 100, (5000, None)),
        ("FIN|ACK", 0x11, 0, (5000, None)),
        ("FIN without ACK", 0x01, 3, (0, Some(1004))),
        ("SYN and FIN with data", 0x03, 5, (0, Some(1007))),
        ("no flags", 0x00, 3, (0, Some(1003))),
        ("other flags", 0xe8, 1400, (0, Some(2400))),
    ];
    for sample in SEGMENTS {
        for (what, flags, data_len, (sequence, acknowledgment)) in rows {
            let frame = segment(sample, flags, data_len);
            assert_eq!(s::ip(&frame).content, Content::Tcp(TcpFlags(flags)), "{what}");
            let answer = answered(&frame, RESET).unwrap();
            is_turned_round(&frame, &answer);
            let reset = smol::tcp(&answer).unwrap();
            assert_eq!((reset.src_port, reset.dst_port), (80, 40000), "{what}");
            assert_eq!(reset.control, TcpControl::Rst, "{what}");
            assert_eq!(reset.seq_number, TcpSeqNumber(sequence), "{what}");
            assert_eq!(reset.ack_number, acknowledgment.map(TcpSeqNumber), "{what}");
            assert!(reset.payload.is_empty() && reset.window_len == 0, "{what}");
        }
    }
}

#[test]
fn sequence_numbers_go_round() {
    // The sample's FIN is at 0xfffffffe; without ACK the reset acknowledges what comes behind it.
    for (flags, wanted) in [(0x01, -1), (0x03, 0)] {
        let mut frame = bytes(s::TCP_FIN_PADDED);
        frame[47] = flags;
        let answer = answered(&frame, RESET).unwrap();
        let reset = smol::tcp(&answer).unwrap();
        assert_eq!(reset.ack_number, Some(TcpSeqNumber(wanted)));
    }
}

#[test]
fn a_reset_is_not_answered_whatever_else_it_is() {
    for sample in SEGMENTS {
        for flags in 0..=255 {
            let answer = answered(&segment(sample, flags, 0), RESET);
            assert_eq!(answer.is_some(), flags & 0x04 == 0, "{flags:#04x}");
        }
    }
}

#[test]
fn a_reset_needs_no_room() {
    for sample in SEGMENTS {
        let mut frame = segment(sample, 0x10, 0);
        let (asked, len) = (s::ip(&frame), frame.len());
        let mut view = FrameView::new(&mut frame, 0, len);
        assert!(tcp_reset(&mut view, &asked), "{sample}");
        assert!(smol::tcp(view.bytes()).is_some(), "{sample}");
    }
}
