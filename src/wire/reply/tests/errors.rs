//! ICMP and ICMPv6 errors.

use smoltcp::wire::{
    IcmpRepr, Icmpv4DstUnreachable, Icmpv4Repr, Icmpv4TimeExceeded, Icmpv6DstUnreachable,
    Icmpv6Repr, Icmpv6TimeExceeded, IpAddress,
};

use super::*;

const BIG: IcmpError = IcmpError::TooBig { mtu_bytes: 1400 };

#[test]
fn types_and_codes_by_family() {
    // Error, family's sample, type and code, the four bytes behind the checksum.
    let rows = [
        (IcmpError::PortUnreachable, s::UDP_DATA, (3, 3), 0),
        (BIG, s::UDP_DATA, (3, 4), 1400),
        (IcmpError::HopLimitExceeded, s::UDP_DATA, (11, 0), 0),
        (IcmpError::PortUnreachable, s::UDP_DATA_V6, (1, 4), 0),
        (BIG, s::UDP_DATA_V6, (2, 0), 1400),
        (IcmpError::HopLimitExceeded, s::UDP_DATA_V6, (3, 0), 0),
    ];
    for (error, sample, (kind, code), rest) in rows {
        for tags in TAGS {
            let frame = tagged(&bytes(sample), tags);
            let asked = s::ip(&frame);
            let mut chunk = [frame.clone(), vec![0xee; 100]].concat();
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            assert!(icmp_error(&mut view, &asked, error), "{error:?}");
            is_turned_round(&frame, view.bytes());
            let answer = s::ip(view.bytes());
            assert_eq!(answer.content, Content::IcmpError, "{error:?}");
            let class = if answer.family() == Family::Ipv4 { 0xc0 } else { 0 };
            assert_eq!(answer.traffic_class, class, "{error:?}");
            let message = &view.bytes()[answer.payload_start()..usize::from(answer.end)];
            assert_eq!(message[..2], [kind, code], "{error:?}");
            assert_eq!(message[4..8], u32::to_be_bytes(rest), "{error:?}");
            assert_eq!(message[8..], frame[asked.start()..usize::from(asked.end)], "{error:?}");
            assert!(smol::verifies(view.bytes()), "{error:?}");
        }
    }
}

#[test]
fn smoltcp_reads_the_errors() {
    let (client, vip) = ([10, 1, 0, 50], [10, 1, 0, 100]);
    let quoted = |source: [u8; 4], destination: [u8; 4], data: &[u8]| {
        assert_eq!((source, destination), (client, vip));
        assert_eq!(data[..4], [0x14, 0xe9, 0x00, 0x35]);
    };
    for answer in [UNREACHABLE, TOO_BIG, EXCEEDED] {
        let error = answered(&bytes(s::UDP_DATA), answer).unwrap();
        let Some(IcmpRepr::Ipv4(found)) = smol::icmp(&error) else { panic!("another message") };
        match found {
            Icmpv4Repr::DstUnreachable { reason, header, data } => {
                let wanted = match error[35] {
                    4 => Icmpv4DstUnreachable::FragRequired,
                    _ => Icmpv4DstUnreachable::PortUnreachable,
                };
                assert_eq!(reason, wanted);
                quoted(header.src_addr.octets(), header.dst_addr.octets(), data);
            }
            Icmpv4Repr::TimeExceeded { reason, header, data } => {
                assert_eq!(reason, Icmpv4TimeExceeded::TtlExpired);
                quoted(header.src_addr.octets(), header.dst_addr.octets(), data);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn smoltcp_reads_the_icmpv6_errors() {
    for (nth, answer) in [UNREACHABLE, TOO_BIG, EXCEEDED].into_iter().enumerate() {
        let error = answered(&bytes(s::UDP_DATA_V6), answer).unwrap();
        let Some(IcmpRepr::Ipv6(found)) = smol::icmp(&error) else { panic!("another message") };
        let (header, data) = match found {
            Icmpv6Repr::DstUnreachable { reason, header, data } => {
                assert_eq!((nth, reason), (0, Icmpv6DstUnreachable::PortUnreachable));
                (header, data)
            }
            Icmpv6Repr::PktTooBig { mtu, header, data } => {
                assert_eq!((nth, mtu), (1, 1280));
                (header, data)
            }
            Icmpv6Repr::TimeExceeded { reason, header, data } => {
                assert_eq!((nth, reason), (2, Icmpv6TimeExceeded::HopLimitExceeded));
                (header, data)
            }
            other => panic!("{other:?}"),
        };
        let ip = smol::ip(&error).unwrap();
        // From the quote's destination to its source.
        assert_eq!(IpAddress::Ipv6(header.src_addr), ip.destination);
        assert_eq!(IpAddress::Ipv6(header.dst_addr), ip.source);
        assert_eq!(data[..4], [0x14, 0xe9, 0x00, 0x35]);
    }
}

/// A UDP datagram with this much data.
fn datagram(sample: &str, data_len: usize) -> Vec<u8> {
    let mut frame = bytes(sample);
    let asked = s::ip(&frame);
    let (start, udp) = (asked.start(), asked.payload_start());
    frame.truncate(udp + 8);
    frame.resize(udp + 8 + data_len, 0x5a);
    let (len_at, header_len) = match asked.family() {
        Family::Ipv4 => (start + 2, 0),
        Family::Ipv6 => (start + 4, 40),
    };
    let len = (frame.len() - start - header_len) as u16;
    frame[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    frame[udp + 4..udp + 6].copy_from_slice(&(8 + data_len as u16).to_be_bytes());
    mend_header(&mut frame);
    frame
}

#[test]
fn an_error_quotes_what_fits_and_needs_room() {
    // Sample, bytes of data, and the error's length as a packet.
    let rows = [
        (s::UDP_NO_CHECKSUM, 0, 56),
        (s::UDP_NO_CHECKSUM, 500, 556),
        (s::UDP_NO_CHECKSUM, 520, 576),
        (s::UDP_NO_CHECKSUM, 521, 576),
        (s::UDP_NO_CHECKSUM, 1472, 576),
        (s::UDP_QINQ, 521, 576),
        // Of the quote's 24 bytes of header all are quoted, and none is in the error's own.
        (s::UDP_IP_OPTIONS, 0, 60),
        (s::UDP_IP_OPTIONS, 516, 576),
        (s::UDP_IP_OPTIONS, 517, 576),
        (s::UDP_NO_CHECKSUM_V6, 0, 96),
        (s::UDP_NO_CHECKSUM_V6, 500, 596),
        (s::UDP_NO_CHECKSUM_V6, 1184, 1280),
        (s::UDP_NO_CHECKSUM_V6, 1185, 1280),
        (s::UDP_NO_CHECKSUM_V6, 1452, 1280),
        (s::UDP_V6_VLAN, 1185, 1280),
        (s::UDP_V6_OPTIONS, 0, 120),
        (s::UDP_V6_OPTIONS, 1161, 1280),
    ];
    for (sample, data_len, wanted_len) in rows {
        let frame = datagram(sample, data_len);
        let asked = s::ip(&frame);
        for answer in [UNREACHABLE, TOO_BIG, EXCEEDED] {
            let error = answered(&frame, answer).unwrap();
            is_turned_round(&frame, &error);
            let found = s::ip(&error);
            assert_eq!(found.len(), wanted_len, "{data_len}: {sample}");
            let quote = &error[found.payload_start() + 8..usize::from(found.end)];
            let quoted = &frame[asked.start()..asked.start() + quote.len()];
            assert_eq!(quote, quoted, "{data_len}: {sample}");
            assert!(smol::verifies(&error), "{data_len}: {sample}");
        }
    }
}

#[test]
fn an_error_has_its_room_or_is_not_made() {
    for (sample, growth) in [
        (s::UDP_DATA, 28),
        (s::UDP_QINQ, 28),
        (s::UDP_DATA_V6, 48),
        (s::UDP_V6_VLAN, 48),
        // Its own headers are longer than the error's.
        (s::UDP_V6_OPTIONS, 48),
    ] {
        for room in 0..60 {
            let frame = bytes(sample);
            let asked = s::ip(&frame);
            let mut chunk = [frame.clone(), vec![0xee; room]].concat();
            let untouched = chunk.clone();
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            let made = UNREACHABLE(&mut view, &asked);
            assert_eq!(made, room >= growth, "{room}: {sample}");
            if made {
                assert!(smol::verifies(view.bytes()), "{room}: {sample}");
            } else {
                assert_eq!(chunk, untouched, "{room}: {sample}");
            }
        }
    }
}

#[test]
fn no_icmp_is_answered_with_an_error_but_echo_requests() {
    // Sample, where its type stands, and the type that is answered.
    for (sample, at, request) in [(s::ECHO_REQUEST, 34, 8), (s::SOLICITATION, 54, 128)] {
        for kind in 0..=255 {
            let mut frame = bytes(sample);
            frame[at] = kind;
            // To one host, and not to the group that is asked for neighbours.
            frame[..6].copy_from_slice(&OUR_MAC.0);
            if at == 54 {
                frame[38..54].copy_from_slice(&bytes(s::ECHO_REQUEST_V6)[38..54]);
            }
            for answer in [UNREACHABLE, TOO_BIG, EXCEEDED] {
                let found = answered(&frame, answer);
                assert_eq!(found.is_some(), kind == request, "type {kind}");
            }
        }
    }
}

#[test]
fn first_fragments_of_icmp_get_no_error() {
    let mut v4 = bytes(s::ICMP_UNREACHABLE);
    v4[20..22].copy_from_slice(&[0x20, 0x00]);
    mend_header(&mut v4);
    let mut v6 = bytes(s::FRAGMENT_FIRST_V6);
    v6[54] = 58; // An ICMPv6 error by its first byte, or an echo request by another.
    for frame in [v4, v6] {
        assert!(matches!(s::ip(&frame).content, Content::Fragment(part) if part.offset == 0));
        for kind in [1, 2, 3, 11, 128] {
            let mut frame = frame.clone();
            let at = s::ip(&frame).payload_start();
            frame[at] = kind;
            nobody_answers(&frame, "a first fragment of ICMP");
        }
    }
}
