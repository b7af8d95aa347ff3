//! Fragments: what is done to the parts is what would be done to the whole.

use super::*;

/// The packet in two fragments, the first with this many bytes of payload.
fn cut(frame: &[u8], at: usize) -> [Vec<u8>; 2] {
    let ip = s::ip(frame);
    let (start, payload, end) = (ip.start(), ip.payload_start(), usize::from(ip.end));
    let (headers, rest) = (&frame[..payload], &frame[payload..end]);
    let part = |bytes: &[u8], offset: usize, more: bool| {
        let mut part = headers.to_vec();
        if ip.source().is_v4() {
            part.extend(bytes);
            let field = (offset as u16 / 8) | (u16::from(more) << 13);
            part[start + 6..start + 8].copy_from_slice(&field.to_be_bytes());
            let len = (part.len() - start) as u16;
            part[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
            mend_header(&mut part);
        } else {
            let [high, low] = (offset as u16 | u16::from(more)).to_be_bytes();
            part.extend([ip.key.protocol_number(), 0, high, low, 0xde, 0xad, 0xbe, 0xef]);
            part.extend(bytes);
            part[start + 6] = 44;
            let len = (part.len() - start - 40) as u16;
            part[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
        }
        part
    };
    [part(&rest[..at], 0, true), part(&rest[at..], at, false)]
}

/// Samples without extension headers, and where their payload may be cut.
const ROWS: [(&str, usize); 12] = [
    (s::TCP_DATA, 24),
    (s::TCP_DATA, 32),
    (s::TCP_DATA_V6, 24),
    (s::TCP_DATA_V6, 32),
    (s::UDP_DATA, 8),
    (s::UDP_DATA, 16),
    (s::UDP_NO_CHECKSUM, 8),
    (s::UDP_DATA_V6, 8),
    (s::UDP_NO_CHECKSUM_V6, 16),
    (s::UDP_QINQ, 8),
    (s::UDP_V6_VLAN, 16),
    // Less than the transport header: no ports, and so none changed.
    (s::TCP_SYN_V6_QINQ, 40),
];

#[test]
fn fragments_without_ports_keep_their_payload() {
    for (sample, source, destination) in [
        (s::FRAGMENT_LAST, "192.0.2.1:9", "192.0.2.2:99"),
        (s::FRAGMENT_TINY, "192.0.2.1:9", "192.0.2.2:99"),
        (s::FRAGMENT_LAST_V6, "[2001:db8:9::1]:9", "[2001:db8:9::2]:99"),
        (s::FRAGMENT_TINY_V6, "[2001:db8:9::1]:9", "[2001:db8:9::2]:99"),
    ] {
        for tags in ["", "8100 000a", "88a8 0064 8100 000a"] {
            let mut frame = s::tagged(&bytes(sample), tags);
            let (untouched, before) = (frame.clone(), s::ip(&frame));
            let (source, destination) = (endpoint(source), endpoint(destination));
            let key = translate(&mut frame, &before, Some(source), Some(destination));
            let payload = before.payload_start();
            assert_eq!(frame[payload..], untouched[payload..], "{sample}");
            let wanted = FlowKey { source: source.0, destination: destination.0, ..before.key };
            assert_eq!(s::ip(&frame), IpPacket { key: wanted, ..before }, "{sample}");
            assert_eq!(key, wanted, "{sample}");
        }
    }
}

#[test]
fn an_identification_is_all_that_changes() {
    for sample in [
        s::FRAGMENT_FIRST,
        s::FRAGMENT_LAST,
        s::FRAGMENT_FIRST_TCP,
        s::FRAGMENT_FIRST_V6,
        s::FRAGMENT_LAST_V6,
        s::UDP_DATA,
        s::TCP_DATA_V6,
    ] {
        for tags in ["", "8100 000a"] {
            let mut frame = s::tagged(&bytes(sample), tags);
            let (untouched, mut wanted) = (frame.clone(), s::ip(&frame));
            if let Content::Fragment(part) = &mut wanted.content {
                part.identification = 0xfeed;
            }
            set_identification(&mut frame, &wanted);
            assert_eq!(s::ip(&frame), wanted, "{sample}: parsed, so its checksum is right");
            let changed = frame.iter().zip(&untouched).filter(|(a, b)| a != b).count();
            assert!(changed <= 4, "{sample}");
            let is_whole = !matches!(wanted.content, Content::Fragment(_));
            assert_eq!(changed == 0, is_whole, "{sample}");
        }
    }
}

#[test]
fn a_first_fragments_checksum_takes_in_what_changed() {
    // The sample's checksum is that of the datagram, of which the second half is elsewhere.
    let (mut first, mut last) = (bytes(s::FRAGMENT_FIRST_V6), bytes(s::FRAGMENT_LAST_V6));
    let (source, destination) = (endpoint("[2001:db8:9::1]:9"), endpoint("[2001:db8:9::2]:99"));
    for frame in [&mut first, &mut last] {
        let before = s::ip(frame);
        translate(frame, &before, Some(source), Some(destination));
    }
    let whole = [&first[62..78], &last[62..70]].concat();
    assert_eq!(whole[..4], [0, 9, 0, 99]);
    let pseudo = checksum::pseudo_header_sum(source.0, destination.0, 17, whole.len());
    assert!(checksum::adds_up(pseudo + checksum::sum(&whole)));
}

proptest! {
    #[test]
    fn the_fragments_of_a_translated_packet_are_its_fragments_translated(
        (sample, at) in proptest::sample::select(ROWS.as_slice()),
        source in sockets(), destination in sockets(),
    ) {
        let mut whole = bytes(sample);
        let family = transport(&whole).family();
        let (source, destination) = (of_family(source, family), of_family(destination, family));
        let parts = cut(&whole, at);
        translate_slowly(&mut whole, source, destination);
        for (mut part, wanted) in parts.into_iter().zip(cut(&whole, at)) {
            let before = s::ip(&part);
            let key = translate(&mut part, &before, source, destination);
            prop_assert_eq!(&part, &wanted);
            prop_assert_eq!(key, s::ip(&part).key);
        }
    }
}
