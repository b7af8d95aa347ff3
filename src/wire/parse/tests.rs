use super::*;
use crate::wire::samples::{self, bytes, mend_header, packet};
use proptest::prelude::*;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);

fn ip(protocol: u8, header_len: usize, total_len: usize) -> Ipv4Part {
    Ipv4Part { source: CLIENT, destination: VIP, ttl: 64, protocol, header_len, total_len }
}

fn tcp(total_len: usize, flags: u8, numbers: (u32, u32), payload_len: usize) -> Body {
    let (sequence, acknowledgment) = numbers;
    let part = TcpPart { flags: TcpFlags(flags), sequence, acknowledgment, payload_len };
    let ip = ip(6, 20, total_len);
    Body::Transport(Transport { ip, key: flow_key(&ip, Protocol::Tcp, 40000, 80), tcp: Some(part) })
}

fn udp(header_len: usize, total_len: usize) -> Body {
    let ip = ip(17, header_len, total_len);
    Body::Transport(Transport { ip, key: flow_key(&ip, Protocol::Udp, 5353, 53), tcp: None })
}

fn arp(operation: u16, macs: [u8; 2], addresses: [Ipv4Addr; 2]) -> Body {
    let mac = |last| if last == 0 { MacAddress::ZERO } else { MacAddress([2, 0, 0, 0, 0, last]) };
    Body::Arp(Arp {
        operation,
        sender_mac: mac(macs[0]),
        sender_address: addresses[0],
        target_mac: mac(macs[1]),
        target_address: addresses[1],
    })
}

#[test]
fn good_frames() {
    let rows = [
        (samples::TCP_SYN, tcp(60, 0x02, (0x1122_3344, 0), 0)),
        (samples::TCP_DATA, tcp(57, 0x18, (0x1122_3345, 0x5566_7788), 17)),
        (samples::TCP_FIN_PADDED, tcp(40, 0x11, (0xffff_fffe, 0x5566_7788), 0)),
        (samples::TCP_RST, tcp(40, 0x04, (0xffff_fffe, 0x5566_7788), 0)),
        (samples::UDP_DATA, udp(20, 37)),
        (samples::UDP_NO_CHECKSUM, udp(20, 37)),
        (samples::UDP_ALL_ONES, udp(20, 30)),
        (samples::UDP_IP_OPTIONS, udp(24, 32)),
        (samples::ECHO_REQUEST, Body::EchoRequest(ip(1, 20, 36))),
        (samples::ECHO_REQUEST_IP_OPTIONS, Body::EchoRequest(ip(1, 28, 44))),
        (samples::ICMP_UNREACHABLE, Body::Icmp(ip(1, 20, 56))),
        (samples::FRAGMENT_FIRST, Body::Fragment(ip(17, 20, 36))),
        (samples::FRAGMENT_LAST, Body::Fragment(ip(17, 20, 28))),
        (samples::GRE, Body::OtherProtocol(ip(47, 20, 24))),
        (samples::ARP_REQUEST, arp(1, [0xc1, 0], [CLIENT, VIP])),
        (samples::ARP_REPLY, arp(2, [1, 0xc1], [VIP, CLIENT])),
    ];
    assert_eq!(rows.len(), samples::ALL.len());
    for (frame, body) in rows {
        assert_eq!(packet(&bytes(frame)).body, body, "{frame}");
    }
}

#[test]
fn macs_are_reported_as_they_are() {
    let stations = packet(&bytes(samples::TCP_SYN));
    assert_eq!(stations.destination_mac, MacAddress([2, 0, 0, 0, 0, 1]));
    assert_eq!(stations.source_mac, MacAddress([2, 0, 0, 0, 0, 0xc1]));
    assert!(packet(&bytes(samples::ARP_REQUEST)).destination_mac.is_group());
}

/// What a test does to a good frame.
type Edit = fn(&mut Vec<u8>);

/// What is changed, the good frame, the change, and what parse says to it.
type Row = (&'static str, &'static str, Edit, &'static str);

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    ("nothing", samples::TCP_SYN, |f| f.clear(),
     "Ethernet at byte 0: wanted 14 bytes, the frame has 0 left"),
    ("half an Ethernet header", samples::TCP_SYN, |f| f.truncate(13),
     "Ethernet at byte 0: wanted 14 bytes, the frame has 13 left"),
    ("no IPv4 header", samples::TCP_SYN, |f| f.truncate(14),
     "IPv4 at byte 14: wanted 20 bytes, the frame has 0 left"),
    ("half an IPv4 header", samples::TCP_SYN, |f| f.truncate(33),
     "IPv4 at byte 14: wanted 20 bytes, the frame has 19 left"),
    ("version 6", samples::TCP_SYN, |f| f[14] = 0x65,
     "IPv4 at byte 14: wanted version 4, found 6"),
    ("header of 4 words", samples::TCP_SYN, |f| f[14] = 0x44,
     "IPv4 at byte 14: wanted a header length of at least 20, found 16"),
    ("options beyond the frame", samples::GRE, |f| f[14] = 0x4f,
     "IPv4 at byte 14: wanted 60 bytes, the frame has 24 left"),
    ("total length below the header", samples::TCP_SYN, |f| f[17] = 19,
     "IPv4 at byte 14: wanted a length of at least 20, found 19"),
    ("total length beyond the frame", samples::TCP_SYN, |f| f[17] = 61,
     "IPv4 at byte 14: wanted 61 bytes, the frame has 60 left"),
    ("checksum", samples::TCP_SYN, |f| f[24] = 0x14,
     "IPv4 at byte 14: wanted checksum 0x13f1, found 0x14f1"),
    ("time to live changed", samples::TCP_SYN, |f| f[22] = 63,
     "IPv4 at byte 14: wanted checksum 0x14f1, found 0x13f1"),
    ("no TCP header", samples::TCP_SYN, |f| { f[17] = 20; mend_header(f) },
     "TCP at byte 34: wanted 20 bytes, the IPv4 total length leaves 0"),
    ("data offset of 4 words", samples::TCP_SYN, |f| f[46] = 0x40,
     "TCP at byte 34: wanted a header length of at least 20, found 16"),
    ("data offset beyond the packet", samples::TCP_SYN, |f| f[46] = 0xb0,
     "TCP at byte 34: wanted 44 bytes, the IPv4 total length leaves 40"),
    ("data offset into padding", samples::TCP_FIN_PADDED, |f| f[46] = 0x60,
     "TCP at byte 34: wanted 24 bytes, the IPv4 total length leaves 20"),
    ("half a UDP header", samples::UDP_DATA, |f| { f[17] = 27; mend_header(f) },
     "UDP at byte 34: wanted 8 bytes, the IPv4 total length leaves 7"),
    ("UDP length 0", samples::UDP_DATA, |f| f[39] = 0,
     "UDP at byte 34: wanted a length of at least 8, found 0"),
    ("UDP length 7", samples::UDP_DATA, |f| f[39] = 7,
     "UDP at byte 34: wanted a length of at least 8, found 7"),
    ("UDP length beyond the packet", samples::UDP_DATA, |f| f[39] = 18,
     "UDP at byte 34: wanted 18 bytes, the IPv4 total length leaves 17"),
    ("half an ICMP header", samples::ECHO_REQUEST, |f| { f[17] = 24; mend_header(f) },
     "ICMP at byte 34: wanted 8 bytes, the IPv4 total length leaves 4"),
    ("no ARP header", samples::ARP_REQUEST, |f| f.truncate(14),
     "ARP at byte 14: wanted 28 bytes, the frame has 0 left"),
    ("half an ARP message", samples::ARP_REQUEST, |f| f.truncate(41),
     "ARP at byte 14: wanted 28 bytes, the frame has 27 left"),
    ("ARP with short addresses", samples::ARP_REQUEST, |f| f[18] = 5,
     "ARP at byte 14: wanted address lengths 0x0604, found 0x0504"),
    ("ARP with long addresses", samples::ARP_REQUEST, |f| f[19] = 16,
     "ARP at byte 14: wanted 52 bytes, the frame has 28 left"),
];

#[test]
fn refused_frames_say_where_and_why() {
    for &(what, frame, change, wanted) in REFUSED {
        let mut frame = bytes(frame);
        change(&mut frame);
        match parse(&frame) {
            ParseOutcome::Malformed(error) => {
                assert_eq!(error.to_string(), wanted, "{what}");
                assert_eq!(error.is_checksum(), wanted.contains("checksum"), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_stays_good() {
    let is_transport = |body: &Body| matches!(body, Body::Transport(_));
    let is_icmp = |body: &Body| matches!(body, Body::Icmp(_));
    type Wanted = fn(&Body) -> bool;
    let rows: [(&str, &str, Edit, Wanted); 5] = [
        ("padding", samples::UDP_DATA, |f| f.resize(60, 0xee), is_transport),
        ("UDP below the packet", samples::UDP_DATA, |f| f[39] = 8, is_transport),
        ("wrong TCP checksum", samples::TCP_SYN, |f| f[50] ^= 1, is_transport),
        ("echo with a code", samples::ECHO_REQUEST, |f| f[35] = 1, is_icmp),
        ("echo reply", samples::ECHO_REQUEST, |f| f[34] = 0, is_icmp),
    ];
    for (what, frame, change, wanted) in rows {
        let mut frame = bytes(frame);
        change(&mut frame);
        assert!(wanted(&packet(&frame).body), "{what}");
    }
}

#[test]
fn what_is_none_of_ours() {
    let rows: [(&str, &str, Edit); 5] = [
        ("IPv6", samples::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x86, 0xdd])),
        ("VLAN tag", samples::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x81, 0x00])),
        ("802.3 length", samples::TCP_SYN, |f| f[12..14].copy_from_slice(&[0x00, 0x3c])),
        ("ARP for other hardware", samples::ARP_REQUEST, |f| f[15] = 6),
        ("ARP for another protocol", samples::ARP_REQUEST, |f| f[16] = 0x86),
    ];
    for (what, frame, change) in rows {
        let mut frame = bytes(frame);
        change(&mut frame);
        assert_eq!(parse(&frame), ParseOutcome::NotOurs, "{what}");
    }
}

/// What later steps rely on, for whatever came in.
fn holds_together(frame: &[u8]) -> bool {
    let ParseOutcome::Parsed(packet) = parse(frame) else { return true };
    let fits = |ip: &Ipv4Part| {
        (20..=60).contains(&ip.header_len)
            && ip.header_len <= ip.total_len
            && 14 + ip.total_len <= frame.len()
    };
    match packet.body {
        Body::Transport(Transport { ip, key, tcp }) => {
            let least = tcp.map_or(8, |tcp| 20 + tcp.payload_len);
            fits(&ip)
                && ip.payload_len() >= least
                && key.is_tcp() == tcp.is_some()
                && key.protocol == u32::from(ip.protocol)
        }
        Body::EchoRequest(ip) | Body::Icmp(ip) => fits(&ip) && ip.payload_len() >= 8,
        Body::Fragment(ip) | Body::OtherProtocol(ip) => fits(&ip),
        Body::Arp(_) => frame.len() >= 42,
    }
}

proptest! {
    #[test]
    fn any_bytes(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(holds_together(&frame));
    }

    /// Further down than random bytes come: the header checksum is made right after the damage.
    #[test]
    fn damaged_frames(
        sample in proptest::sample::select(samples::ALL),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
        keep in any::<proptest::sample::Index>(),
        mend in any::<bool>(),
    ) {
        let mut frame = bytes(sample.1);
        for (at, bit) in flips {
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        if mend {
            mend_header(&mut frame);
        }
        prop_assert!(holds_together(&frame));
        frame.truncate(keep.index(frame.len()));
        prop_assert!(holds_together(&frame));
    }

    #[test]
    fn no_flip_in_an_ipv4_header_goes_unseen(
        sample in proptest::sample::select(samples::ALL), at in 14usize..34, bit in 0u8..8,
    ) {
        let mut frame = bytes(sample.1);
        if frame[12..14] == [0x08, 0x00] {
            frame[at] ^= 1 << bit;
            prop_assert!(matches!(parse(&frame), ParseOutcome::Malformed(_)));
        }
    }
}
