//! ICMP errors: a translated error is an error about the translated packet.

use super::*;
use crate::wire::parse_quote;
use crate::wire::samples::tagged;

/// An error of the family that quotes this much, with right checksums and padding behind it.
fn error(family: Family, quote: &[u8], (source, destination): (Address, Address)) -> Vec<u8> {
    let (sample, header_len) = match family {
        Family::Ipv4 => (s::ICMP_UNREACHABLE, 20),
        Family::Ipv6 => (s::PACKET_TOO_BIG, 40),
    };
    let message = 14 + header_len;
    let mut frame = [&bytes(sample)[..message + 8], quote].concat();
    let (len_at, len) = match family {
        Family::Ipv4 => (16, frame.len() - 14),
        Family::Ipv6 => (18, frame.len() - 54),
    };
    frame[len_at..len_at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    let addresses = [octets(source), octets(destination)].concat();
    frame[message - addresses.len()..message].copy_from_slice(&addresses);
    mend_header(&mut frame);
    frame[message + 2..message + 4].fill(0);
    let pseudo = match family {
        Family::Ipv4 => Vec::new(),
        Family::Ipv6 => pseudo_header(&s::ip(&frame)),
    };
    let sum = !checksum::fold(checksum::sum(&[&pseudo, &frame[message..]].concat()));
    frame[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    assert!(icmp_adds_up(&frame, &s::ip(&frame)));
    frame.extend([0xee; 7]);
    frame
}

/// The packet of a frame, without link header and padding.
fn quoted(frame: &[u8]) -> &[u8] {
    let ip = s::ip(frame);
    &frame[ip.start()..usize::from(ip.end)]
}

#[test]
fn a_wrong_icmp_checksum_is_seen_in_any_bit() {
    for sample in [s::ICMP_UNREACHABLE, s::ECHO_REQUEST, s::PACKET_TOO_BIG, s::ECHO_REQUEST_V6] {
        for tags in ["", "8100 000a"] {
            let good = tagged(&bytes(sample), tags);
            let ip = s::ip(&good);
            assert!(icmp_adds_up(&good, &ip), "{sample}");
            for bit in ip.payload_start() * 8..usize::from(ip.end) * 8 {
                let mut frame = good.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                assert!(!icmp_adds_up(&frame, &ip), "bit {bit}: {sample}");
            }
        }
    }
    let behind_options = [s::ECHO_REQUEST_IP_OPTIONS, s::ECHO_REQUEST_V6_OPTIONS];
    for sample in behind_options.into_iter().chain([s::SOLICITATION, s::MLD_REPORT]) {
        assert!(icmp_adds_up(&bytes(sample), &s::ip(&bytes(sample))), "{sample}");
    }
}

#[test]
fn another_frames_error_stays_inside_the_frame() {
    for sample in [s::ICMP_UNREACHABLE, s::PACKET_TOO_BIG] {
        let good = bytes(sample);
        let asked = s::ip(&good);
        let quote = parse_quote(&good, &asked).unwrap();
        let (from, to) = (quote.key.source, quote.key.destination);
        for len in 0..good.len() {
            let mut frame = vec![0u8; len];
            translate_error(&mut frame, &asked, &quote, (from, to), ((from, 1), (to, 2)));
            let _ = icmp_adds_up(&frame, &asked);
        }
    }
}

proptest! {
    #[test]
    fn an_error_about_a_translated_packet(
        sample in proptest::sample::select(transports()), cut in any::<proptest::sample::Index>(),
        inner in (sockets(), sockets()), outer in (sockets(), sockets()),
    ) {
        let mut frame = bytes(sample);
        let before = transport(&frame);
        let family = before.family();
        let endpoint = |socket, old: Endpoint| of_family(socket, family).unwrap_or(old);
        let source = endpoint(inner.0, (before.source(), before.key.source_port));
        let destination = endpoint(inner.1, (before.destination(), before.key.destination_port));
        // The whole packet, or less, but never less than eight bytes of its transport.
        let least = before.payload_start() - before.start() + 8;
        let mut len = least + cut.index(before.len() - least + 1);
        if before.key.is_tcp() && len == least + 9 {
            len += 1; // Half a checksum cannot be put right.
        }
        let from = (before.destination(), before.source());
        let to = (endpoint(outer.0, (from.0, 0)).0, endpoint(outer.1, (from.1, 0)).0);

        let mut translated = error(family, &quoted(&frame)[..len], from);
        let asked = s::ip(&translated);
        let quote = parse_quote(&translated, &asked).unwrap();
        prop_assert_eq!(quote.key, before.key);
        translate_error(&mut translated, &asked, &quote, to, (source, destination));

        translate_slowly(&mut frame, Some(source), Some(destination));
        let wanted = error(family, &quoted(&frame)[..len], to);
        prop_assert_eq!(translated, wanted);
    }
}
