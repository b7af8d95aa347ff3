//! Each sample in each envelope, against headers written field by field.

use super::*;
use crate::wire::samples::{self as s, bytes, packet};
use crate::wire::{Body, ParseOutcome, parse};

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 2];

fn tunnels() -> Vec<Tunnel> {
    let gue = |version, checksum| Tunnel::Gue { port: 6080, version, checksum };
    vec![
        Tunnel::Ipip,
        Tunnel::Gre { key: None },
        Tunnel::Gre { key: Some(0xdead_beef) },
        gue(GueVersion::V0, true),
        gue(GueVersion::V0, false),
        gue(GueVersion::V1, true),
        gue(GueVersion::V1, false),
    ]
}

fn outer(family: Family, dscp: Dscp) -> Outer {
    let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
    let (source, destination) = match family {
        Family::Ipv4 => (address("10.9.0.7"), address("10.2.0.11")),
        Family::Ipv6 => (address("2001:db8:9::7"), address("2001:db8:2::11")),
    };
    Outer { source, destination, dscp, entropy: 0x1234_5678, identification: 0x4321 }
}

/// What a packet becomes: in the envelope, without its frame's padding.
fn run(frame: &[u8], room: usize, tags: Tags, tunnel: Tunnel, outer: &Outer) -> Option<Vec<u8>> {
    let ip = s::ip(frame);
    let mut chunk = vec![0xee; room + frame.len() + 100];
    chunk[room..room + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(&mut chunk, room, frame.len());
    let out = encapsulate(&mut view, &ip, (&MACS, tags), tunnel, outer);
    let out = out.then(|| view.bytes().to_vec());
    // One made before is for those that need not be moved back.
    let has_room = tunnel.overhead_bytes(outer.destination.family()) <= room;
    if tags == Tags::NONE && ip.hop_limit < u8::MAX && has_room {
        assert_eq!(run_made(frame, room, tunnel, outer), out, "{tunnel} by one made before");
    }
    out
}

/// The same by an envelope that was made before.
fn run_made(frame: &[u8], room: usize, tunnel: Tunnel, outer: &Outer) -> Option<Vec<u8>> {
    let mut ip = s::ip(frame);
    // It takes a hop off, so it is given one more.
    let frame = &mut frame.to_vec();
    one_hop_more(frame, &mut ip);
    let made =
        Envelope::new((tunnel, outer.dscp), outer.destination, ip.family(), (&MACS, Tags::NONE));
    let mut chunk = vec![0xee; room + frame.len() + 100];
    chunk[room..room + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(&mut chunk, room, frame.len());
    let source = Some(TunnelSource::new(outer.source, if outer.source.is_v4() { 32 } else { 128 }));
    let sources = match outer.source.is_v4() {
        true => TunnelSources { v4: source, v6: None },
        false => TunnelSources { v4: None, v6: source },
    };
    let (hash, identification) = (u64::from(outer.entropy) << 32, outer.identification);
    let seal = Seal { hash, identification };
    made.put_around(&mut view, &ip, &sources, seal).then(|| view.bytes().to_vec())
}

/// A packet with a hop limit one higher, and its header checksum right for it.
fn one_hop_more(frame: &mut [u8], ip: &mut IpPacket) {
    ip.hop_limit = ip.hop_limit.wrapping_add(1);
    let at = ip.start();
    if !ip.source().is_v4() {
        frame[at + 7] = ip.hop_limit;
        return;
    }
    frame[at + 8] = ip.hop_limit;
    frame[at + 10..at + 12].fill(0);
    let header_len = usize::from(frame[at] & 15) * 4;
    let sum = slow_checksum(&[&frame[at..at + header_len]]);
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

/// The words of RFC 1071 section 4.1, one by one.
fn slow_checksum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let words =
        all.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The envelope, written slowly, around these bytes.
fn envelope(tunnel: Tunnel, outer: &Outer, class: u8, may_fragment: bool, inner: &[u8]) -> Vec<u8> {
    let is_v4 = inner[0] >> 4 == 4;
    let (proto, ethertype) = if is_v4 { (4, [0x08, 0x00]) } else { (41, [0x86, 0xdd]) };
    let octets = |address: Address| match address.v4_address() {
        Some(address) => address.octets().to_vec(),
        None => address.octets().to_vec(),
    };
    let addresses = [octets(outer.source), octets(outer.destination)].concat();
    let (protocol, payload) = match tunnel {
        Tunnel::Ipip => (proto, inner.to_vec()),
        Tunnel::Gre { key: None } => (47, [&[0, 0], &ethertype[..], inner].concat()),
        Tunnel::Gre { key: Some(key) } => {
            (47, [&[0x20, 0], &ethertype[..], &key.to_be_bytes(), inner].concat())
        }
        Tunnel::Gue { port, version, checksum } => {
            let head: &[u8] = if version == GueVersion::V0 { &[0, proto, 0, 0] } else { &[] };
            let data = [head, inner].concat();
            let len = ((data.len() + 8) as u16).to_be_bytes();
            // 0xc000 and the low bits of the entropy.
            let mut udp = [&[0xd6, 0x78], &port.to_be_bytes(), &len, &[0, 0], &data[..]].concat();
            if checksum || addresses.len() == 32 {
                let pseudo = [&addresses[..], &[0, 17], &len].concat();
                let sum = slow_checksum(&[&pseudo, &udp]);
                udp[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
            }
            (17, udp)
        }
    };
    let len = payload.len() as u16;
    let mut header = if addresses.len() == 8 {
        let (id, df) = if may_fragment { ([0x43, 0x21], 0) } else { ([0, 0], 0x40) };
        let head =
            [&[0x45, class], &(len + 20).to_be_bytes()[..], &id, &[df, 0, 64, protocol, 0, 0]];
        head.concat()
    } else {
        let label = [0x60 | class >> 4, class << 4 | 0x4, 0x56, 0x78];
        [&label, &len.to_be_bytes()[..], &[protocol, 64]].concat()
    };
    header.extend_from_slice(&addresses);
    if addresses.len() == 8 {
        let sum = slow_checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    [header, payload].concat()
}

#[test]
fn every_sample_in_every_envelope() {
    let mut count = 0;
    for (name, sample) in s::ALL {
        let frame = bytes(sample);
        let Body::Ip(ip) = packet(&frame).body else { continue };
        for (tunnel, family) in
            tunnels().into_iter().flat_map(|t| [(t, Family::Ipv4), (t, Family::Ipv6)])
        {
            for (dscp, room) in [(Dscp::Copied, 0), (Dscp::Fixed(46), 60), (Dscp::Copied, 100)] {
                let outer = outer(family, dscp);
                let out = run(&frame, room, Tags::NONE, tunnel, &outer).unwrap();
                let class = match dscp {
                    Dscp::Copied => ip.traffic_class,
                    Dscp::Fixed(dscp) => dscp << 2 | ip.traffic_class & 3,
                };
                let inner = &frame[ip.start()..usize::from(ip.end)];
                let wanted = envelope(tunnel, &outer, class, !ip.dont_fragment, inner);
                let ethertype = if family == Family::Ipv4 { [8, 0] } else { [0x86, 0xdd] };
                let wanted = [&MACS, &ethertype[..], &wanted].concat();
                assert_eq!(out, wanted, "{name} by {tunnel} over {family}, room {room}");
                let overhead = out.len() - 14 - ip.len();
                assert_eq!(overhead, tunnel.overhead_bytes(family), "{tunnel} {family}");
                assert!(overhead <= MOST_OVERHEAD);
                assert!(matches!(parse(&out), ParseOutcome::Parsed(_)), "{name} by {tunnel}");
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count}");
}

#[test]
fn tags_and_little_memory() {
    let frame = bytes(s::TCP_DATA);
    let outer = outer(Family::Ipv4, Dscp::Copied);
    let tags = Tags::customer(20);
    let untagged = run(&frame, 0, Tags::NONE, Tunnel::Ipip, &outer).unwrap();
    let tagged = run(&frame, 0, tags, Tunnel::Ipip, &outer).unwrap();
    assert_eq!(tagged[..12], untagged[..12]);
    assert_eq!(tagged[12..16], [0x81, 0, 0, 20]);
    assert_eq!(tagged[16..], untagged[12..]);
    let ip = s::ip(&frame);
    for spare in 0..25 {
        let mut chunk = [&frame[..], &[0; 25][..spare]].concat();
        let mut view = FrameView::new(&mut chunk, 0, frame.len());
        let fits = encapsulate(&mut view, &ip, (&MACS, tags), Tunnel::Ipip, &outer);
        assert_eq!(fits, spare >= 24, "{spare} bytes for 20 of the header and 4 of the tag");
    }
}

#[test]
fn a_wrong_checksum_inside_is_not_covered_up() {
    let mut frame = bytes(s::TCP_DATA);
    let gue = Tunnel::Gue { port: 6080, version: GueVersion::V0, checksum: true };
    let outer = outer(Family::Ipv4, Dscp::Copied);
    let good = run(&frame, 60, Tags::NONE, gue, &outer).unwrap();
    *frame.last_mut().unwrap() ^= 0x40;
    let bad = run(&frame, 60, Tags::NONE, gue, &outer).unwrap();
    let differing = good.iter().zip(&bad).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 1, "the same outer checksum over other bytes: wrong, too");
}
