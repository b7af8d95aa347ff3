//! Opens tunnels' envelopes by hand, and looks at everything around what is inside.

use std::net::IpAddr;

use guideway::forwarding::{Backend, Mode, Snapshot};
use guideway::wire::encap::{Dscp, GueVersion, Tunnel};

use crate::wire::{Body, ParseOutcome, PortId, parse};

use super::sums;

const MACS: usize = 12;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// The packet of a frame, without link header and tags.
pub fn outside(frame: &[u8]) -> Option<&[u8]> {
    let mut at = MACS;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    frame.get(at + 2..)
}

/// Its source.
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

fn address(packet: &[u8], v4_at: usize, v6_at: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(<[u8; 4]>::try_from(packet.get(v4_at..v4_at + 4)?).ok()?.into()),
        6 => Some(<[u8; 16]>::try_from(packet.get(v6_at..v6_at + 16)?).ok()?.into()),
        _ => None,
    }
}

/// Is it from one of our outer sources, to a backend that is reached by a tunnel?
pub fn is_one(snapshot: &Snapshot, frame: &[u8]) -> bool {
    let Some(packet) = outside(frame) else { return false };
    let is_ours = source(packet).is_some_and(|ip| snapshot.tunnel_sources.cover(ip.into()));
    is_ours && backend_of(snapshot, packet).is_some()
}

fn backend_of<'a>(snapshot: &'a Snapshot, packet: &[u8]) -> Option<(&'a Backend, Tunnel, Dscp)> {
    let address = destination(packet)?;
    snapshot.backends.iter().flatten().find_map(|backend| match backend.mode {
        Mode::Tunnel(tunnel, dscp) if backend.socket.ip() == address => {
            Some((backend, tunnel, dscp))
        }
        _ => None,
    })
}

/// Checks the envelope; gives a frame of what is inside.
pub fn check(snapshot: &Snapshot, port: PortId, frame: &[u8]) -> Vec<u8> {
    let packet = outside(frame).expect("a packet");
    let (_, tunnel, dscp) = backend_of(snapshot, packet).expect("a backend of a tunnel");
    let port = snapshot.port(port).expect("a port that is there");
    assert!(port.up && frame[6..MACS] == port.mac.0, "it leaves by a port that is up");
    assert!(packet.len() <= usize::from(port.mtu_bytes), "longer than the MTU");
    let (protocol, header_len, traffic_class, may_be_cut) = header(packet);
    let (head, segment) = packet.split_at(header_len);
    let inner = inside(tunnel, protocol, segment);
    let is_v4 = inner[0] >> 4 == 4;
    let inner_class = if is_v4 { inner[1] } else { inner[0] << 4 | inner[1] >> 4 };
    let wanted = match dscp {
        Dscp::Copied => inner_class,
        Dscp::Fixed(dscp) => dscp << 2 | inner_class & 3,
    };
    assert_eq!(traffic_class, wanted, "DSCP, and ECN (RFC 6040)");
    let inner_may_be_cut = is_v4 && inner[6] & 0x40 == 0;
    assert!(!may_be_cut || inner_may_be_cut, "cut outside and not inside (RFC 2003 section 3.1)");
    let ethertype = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
    let whole = [&frame[..MACS], &ethertype, inner].concat();
    if let Tunnel::Gue { checksum, .. } = tunnel {
        check_udp((head, segment), checksum, &whole);
    }
    whole
}

/// Protocol, length, traffic class of an outer header, and whether the packet may be fragmented.
fn header(packet: &[u8]) -> (u8, usize, u8, bool) {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    match packet[0] >> 4 {
        4 => {
            assert_eq!(packet[0], 0x45, "no options");
            assert_eq!(sums::remainder(&[&packet[..20]]), 0, "checksum of an outer header");
            assert_eq!((word(2), packet[8]), (packet.len(), 64), "length and hop limit");
            assert_eq!(word(6) & 0x3fff, 0, "no fragment");
            (packet[9], 20, packet[1], word(6) & 0x4000 == 0)
        }
        _ => {
            assert_eq!((40 + word(4), packet[7]), (packet.len(), 64), "length and hop limit");
            (packet[6], 40, packet[0] << 4 | packet[1] >> 4, false)
        }
    }
}

/// What stands behind the shim.
fn inside(tunnel: Tunnel, protocol: u8, segment: &[u8]) -> &[u8] {
    let ip_in_ip = |packet: &[u8]| if packet[0] >> 4 == 4 { 4 } else { 41 };
    match tunnel {
        Tunnel::Ipip => {
            assert_eq!(protocol, ip_in_ip(segment));
            segment
        }
        Tunnel::Gre { key } => {
            assert_eq!(protocol, GRE);
            let inner = &segment[if key.is_some() { 8 } else { 4 }..];
            let ethertype = if inner[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
            assert_eq!(segment[..2], [if key.is_some() { 0x20 } else { 0 }, 0]);
            assert_eq!(segment[2..4], ethertype);
            assert!(key.is_none_or(|key| segment[4..8] == key.to_be_bytes()));
            inner
        }
        Tunnel::Gue { port, version, .. } => {
            assert_eq!((protocol, &segment[2..4]), (UDP, &port.to_be_bytes()[..]));
            assert_eq!(segment[4..6], (segment.len() as u16).to_be_bytes(), "UDP's length");
            if version == GueVersion::V1 {
                return &segment[8..];
            }
            let inner = &segment[12..];
            assert_eq!(segment[8..12], [0, ip_in_ip(inner), 0, 0]);
            inner
        }
    }
}

/// There is a checksum where there has to be, and it is right around what is right.
fn check_udp((head, segment): (&[u8], &[u8]), wanted: bool, inner: &[u8]) {
    let is_there = segment[6..8] != [0, 0];
    assert_eq!(is_there, wanted || head.len() == 40);
    let ParseOutcome::Parsed(packet) = parse(inner) else { panic!("what is inside: {inner:x?}") };
    let Body::Ip(ip) = packet.body else { panic!("no IP inside") };
    let is_whole = ip.is_transport();
    if is_there && is_whole && sums::of_payload(inner, &ip).is_none_or(|sum| sum == 0) {
        let pseudo = sums::pseudo_header(head, UDP, segment.len());
        assert_eq!(sums::remainder(&[&pseudo, segment]), 0, "checksum of an envelope");
    }
}
