//! Answers to IPv4 packets: byte by byte, by our own parser, and by smoltcp's, which verifies
//! checksums and knows nothing of ours.

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::*;
use crate::wire::samples::{self, bytes, mend_header, packet};
use crate::wire::{Body, ParseOutcome, TcpFlags, TcpPart, Transport, parse};

const ROOM: usize = 2048;

/// What a test does to a good frame.
type Edit = fn(&mut [u8]);

/// How an answer is made from a frame.
type Answer = fn(&mut FrameView<'_>, &Body) -> bool;

fn ip_of(body: &Body) -> Ipv4Part {
    match *body {
        Body::Transport(Transport { ip, .. }) => ip,
        Body::EchoRequest(ip) | Body::Icmp(ip) | Body::Fragment(ip) | Body::OtherProtocol(ip) => ip,
        Body::Arp(arp) => panic!("{arp:?}"),
    }
}

const RESET: Answer = |view, body| match body {
    Body::Transport(transport) => tcp_reset(view, transport),
    _ => false,
};
const UNREACHABLE: Answer = |view, body| icmp_port_unreachable(view, &ip_of(body));
const ECHO: Answer = |view, body| echo_reply(view, &ip_of(body));

/// The answer to a frame that stands in the middle of a chunk of rubbish, if there is one.
fn answered(frame: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let body = packet(frame).body;
    let mut chunk = vec![0xee; ROOM];
    chunk[256..256 + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(&mut chunk, 256, frame.len());
    answer(&mut view, &body).then(|| view.bytes().to_vec())
}

#[test]
fn answers_byte_by_byte() {
    let rows: [(&str, &str, Answer, &str); 3] = [
        (
            "reset to a SYN",
            samples::TCP_SYN,
            RESET,
            "0200000000c1 020000000001 0800  45000028 00004000 40062639 0a010064 0a010032 \
             00509c40 00000000 11223345 50140000 ba410000  00000000 0000",
        ),
        (
            "echo reply",
            samples::ECHO_REQUEST,
            ECHO,
            "0200000000c1 020000000001 0800  45100024 12344000 400113fe 0a010064 0a010032 \
             0000a944 beef0001  67756964 65776179  0000 00000000 00000000",
        ),
        (
            "port unreachable",
            samples::UDP_DATA,
            UNREACHABLE,
            "0200000000c1 020000000001 0800  45c00041 00004000 40012565 0a010064 0a010032 \
             030311b7 00000000  45000025 12344000 401113fd 0a010032 0a010064 \
             14e90035 00111d4c  67756964 65776179 21",
        ),
    ];
    for (what, frame, answer, wanted) in rows {
        assert_eq!(answered(&bytes(frame), answer), Some(bytes(wanted)), "{what}");
    }
}

#[test]
fn reset_numbers_are_those_of_rfc_9293() {
    // Flags and data of the segment at SEQ 1000 with ACK 5000; SEQ, ACK and flags of the reset.
    let rows = [
        ("SYN", 0x02, 0, (0, Some(1001))),
        ("SYN with data", 0x02, 10, (0, Some(1011))),
        ("SYN|ACK", 0x12, 0, (5000, None)),
        ("ACK", 0x10, 0, (5000, None)),
        ("ACK with data", 0x18, 100, (5000, None)),
        ("FIN|ACK", 0x11, 0, (5000, None)),
        ("FIN without ACK", 0x01, 3, (0, Some(1004))),
        ("no flags", 0x00, 3, (0, Some(1003))),
    ];
    for (what, flags, payload_len, (sequence, acknowledgment)) in rows {
        let mut frame = bytes(samples::TCP_SYN);
        let Body::Transport(mut segment) = packet(&frame).body else { panic!("{what}") };
        segment.tcp = Some(TcpPart {
            flags: TcpFlags(flags),
            sequence: 1000,
            acknowledgment: 5000,
            payload_len,
        });
        let len = frame.len();
        let mut view = FrameView::new(&mut frame, 0, len);
        assert!(tcp_reset(&mut view, &segment), "{what}");
        let reset = tcp_by_smoltcp(view.bytes());
        assert_eq!(reset.control, TcpControl::Rst, "{what}");
        assert_eq!(reset.seq_number, TcpSeqNumber(sequence), "{what}");
        assert_eq!(reset.ack_number, acknowledgment.map(TcpSeqNumber), "{what}");
        assert!(reset.payload.is_empty(), "{what}");
    }
}

/// Ethernet payload and IPv4 header as smoltcp reads them; it refuses a wrong checksum.
fn ipv4_by_smoltcp(frame: &[u8]) -> (Ipv4Repr, &[u8]) {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    let ipv4 = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
    let repr = Ipv4Repr::parse(&ipv4, &ChecksumCapabilities::default()).unwrap();
    assert_eq!(repr.hop_limit, TTL);
    (repr, Ipv4Packet::new_checked(ethernet.payload()).unwrap().payload())
}

fn tcp_by_smoltcp(frame: &[u8]) -> TcpRepr<'_> {
    let (ipv4, segment) = ipv4_by_smoltcp(frame);
    let (source, destination) = (ipv4.src_addr.into(), ipv4.dst_addr.into());
    let tcp = TcpPacket::new_checked(segment).unwrap();
    TcpRepr::parse(&tcp, &source, &destination, &ChecksumCapabilities::default()).unwrap()
}

fn icmp_by_smoltcp(frame: &[u8]) -> Icmpv4Repr<'_> {
    let (_, message) = ipv4_by_smoltcp(frame);
    let icmp = Icmpv4Packet::new_checked(message).unwrap();
    Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap()
}

/// MACs and addresses are swapped, and the answer has the least length or its own.
fn is_turned_round(asked: &[u8], answer: &[u8]) {
    let (before, after) = (packet(asked), packet(answer));
    let (asked, ip) = (ip_of(&before.body), ip_of(&after.body));
    assert_eq!(after.source_mac, before.destination_mac);
    assert_eq!(after.destination_mac, before.source_mac);
    assert_eq!((ip.source, ip.destination), (asked.destination, asked.source));
    assert_eq!((ip.ttl, ip.header_len), (TTL, IPV4_LEN));
    assert_eq!(answer.len(), (ETHERNET_LEN + ip.total_len).max(LEAST_FRAME_LEN));
    assert!(answer[ETHERNET_LEN + ip.total_len..].iter().all(|&byte| byte == 0), "padding");
}

#[test]
fn who_gets_which_answer() {
    // Sample, and whether it gets a reset, a port unreachable, an echo reply.
    let rows = [
        (samples::TCP_SYN, true, true, false),
        (samples::TCP_DATA, true, true, false),
        (samples::TCP_FIN_PADDED, true, true, false),
        (samples::TCP_RST, false, true, false),
        (samples::UDP_DATA, false, true, false),
        (samples::UDP_NO_CHECKSUM, false, true, false),
        (samples::UDP_IP_OPTIONS, false, true, false),
        (samples::ECHO_REQUEST, false, false, true),
        (samples::ICMP_UNREACHABLE, false, false, false),
        (samples::FRAGMENT_FIRST, false, true, false),
        (samples::FRAGMENT_LAST, false, false, false),
        (samples::GRE, false, true, false),
    ];
    for (sample, reset, unreachable, echo) in rows {
        let frame = bytes(sample);
        for (what, answer, wanted) in [
            ("reset", RESET, reset),
            ("unreachable", UNREACHABLE, unreachable),
            ("echo", ECHO, echo),
        ] {
            let found = answered(&frame, answer);
            assert_eq!(found.is_some(), wanted, "{what} to {sample}");
            if let Some(found) = found {
                is_turned_round(&frame, &found);
            }
        }
    }
}

#[test]
fn what_may_be_more_than_one_host_gets_no_answer() {
    let rows: [(&str, Edit); 8] = [
        ("to a group MAC", |frame| frame[0] |= 1),
        ("from a group MAC", |frame| frame[6] |= 1),
        ("from no MAC", |frame| frame[6..12].fill(0)),
        ("from 0.1.0.50", |frame| frame[26] = 0),
        ("from loopback", |frame| frame[26] = 127),
        ("from multicast", |frame| frame[26] = 224),
        ("from broadcast", |frame| frame[26..30].fill(255)),
        ("to multicast", |frame| frame[30] = 239),
    ];
    for (what, change) in rows {
        for (sample, answer) in [
            (samples::TCP_SYN, RESET),
            (samples::UDP_DATA, UNREACHABLE),
            (samples::ECHO_REQUEST, ECHO),
        ] {
            let mut frame = bytes(sample);
            change(&mut frame);
            mend_header(&mut frame);
            assert_eq!(answered(&frame, answer), None, "{what}: {sample}");
        }
    }
}

#[test]
fn echo_replies_leave_options_out_and_damage_in() {
    let frame = bytes(samples::ECHO_REQUEST_IP_OPTIONS);
    let reply = answered(&frame, ECHO).unwrap();
    is_turned_round(&frame, &reply);
    let wanted = Icmpv4Repr::EchoReply { ident: 0xbeef, seq_no: 1, data: b"guideway" };
    assert_eq!(icmp_by_smoltcp(&reply), wanted);

    let mut damaged = bytes(samples::ECHO_REQUEST);
    damaged[45] ^= 1;
    let reply = answered(&damaged, ECHO).unwrap();
    let (_, message) = ipv4_by_smoltcp(&reply);
    assert!(!Icmpv4Packet::new_checked(message).unwrap().verify_checksum());
}

#[test]
fn an_error_quotes_what_fits_and_needs_room() {
    for (data_len, wanted_len) in [(0, 56), (500, 556), (520, 576), (521, 576), (1472, 576)] {
        let mut frame = bytes(samples::UDP_NO_CHECKSUM);
        frame.truncate(42);
        frame.resize(42 + data_len, 0x5a);
        frame[16..18].copy_from_slice(&(28 + data_len as u16).to_be_bytes());
        frame[38..40].copy_from_slice(&(8 + data_len as u16).to_be_bytes());
        mend_header(&mut frame);
        let error = answered(&frame, UNREACHABLE).unwrap();
        is_turned_round(&frame, &error);
        assert_eq!(ip_of(&packet(&error).body).total_len, wanted_len, "{data_len}");
        let quote_len = wanted_len - 28;
        assert_eq!(error[42..42 + quote_len], frame[14..14 + quote_len], "{data_len}");
        let sum = checksum::sum(&error[34..14 + wanted_len]);
        assert!(checksum::adds_up(sum), "{data_len}");
    }
    let mut frame = bytes(samples::UDP_DATA);
    let body = packet(&frame).body;
    let len = frame.len();
    assert!(!UNREACHABLE(&mut FrameView::new(&mut frame, 0, len), &body));
    assert_eq!(frame, bytes(samples::UDP_DATA));
}

#[test]
fn smoltcp_reads_the_error() {
    let error = answered(&bytes(samples::UDP_DATA), UNREACHABLE).unwrap();
    let Icmpv4Repr::DstUnreachable { reason, header, data } = icmp_by_smoltcp(&error) else {
        panic!("another message")
    };
    assert_eq!(reason, Icmpv4DstUnreachable::PortUnreachable);
    assert_eq!(
        (header.src_addr.octets(), header.dst_addr.octets()),
        ([10, 1, 0, 50], [10, 1, 0, 100])
    );
    assert_eq!(data[..4], [0x14, 0xe9, 0x00, 0x35]);
}

proptest! {
    /// No frame that parses makes an answer panic, and what is answered parses again.
    #[test]
    fn any_answer_to_damaged_frames(
        sample in proptest::sample::select(samples::ALL),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
        room in 0usize..64,
    ) {
        let mut frame = bytes(sample.1);
        for (at, bit) in flips {
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        mend_header(&mut frame);
        let ParseOutcome::Parsed(asked) = parse(&frame) else { return Ok(()) };
        if matches!(asked.body, Body::Arp(_)) {
            return Ok(());
        }
        for answer in [RESET, UNREACHABLE, ECHO] {
            let mut chunk = [frame.clone(), vec![0xee; room]].concat();
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            if answer(&mut view, &asked.body) {
                packet(view.bytes());
            }
        }
    }
}
