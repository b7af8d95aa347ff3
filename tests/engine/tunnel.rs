//! Tunnels: the packet goes in an envelope, which etherparse opens here.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use guideway::dataplane::{DropReason, FlowState, ReplyKind, Verdict};
use guideway::forwarding::{Mode, SnapshotParts, TunnelSource, TunnelSources};
use guideway::wire::encap::{Dscp, GueVersion, Tunnel};
use guideway::wire::{Address, FrameView};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND};
use super::world::*;

pub const GUE: Tunnel = Tunnel::Gue { port: 6080, version: GueVersion::V0, checksum: true };

/// The service `direct` and its backends with another mode, and both outer sources.
pub fn direct_by(mode: Mode) -> impl FnOnce(&mut SnapshotParts) {
    move |parts| {
        parts.services[2].mode = mode;
        parts.backends.iter_mut().skip(3).take(2).flatten().for_each(|b| b.mode = mode);
        parts.tunnel_sources = sources();
    }
}

pub fn sources() -> TunnelSources {
    let source = |text: &str, len| TunnelSource::new(socket(text).ip().into(), len);
    TunnelSources { v4: Some(source("10.9.0.0:0", 24)), v6: Some(source("[2001:db8:9::]:0", 64)) }
}

fn by(tunnel: Tunnel) -> Mode {
    Mode::Tunnel(tunnel, Dscp::Copied)
}

pub fn client(port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.60:{port}"), "10.1.0.101:80")
}

/// Outer addresses and protocol, and what is behind the outer header.
pub fn open(frame: &[u8]) -> (Address, Address, u8, &[u8]) {
    match frame[12..14] {
        [0x08, 0x00] => {
            let header = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap();
            assert_eq!(usize::from(header.total_len()), frame.len() - 14);
            let (source, destination) = (header.source_addr(), header.destination_addr());
            let address = |address: std::net::Ipv4Addr| Address::v4(address.to_bits());
            (address(source), address(destination), header.protocol().0, &frame[34..])
        }
        _ => {
            let header = Ipv6HeaderSlice::from_slice(&frame[14..]).unwrap();
            assert_eq!(usize::from(header.payload_length()), frame.len() - 54);
            let ends = (Address::v6(header.source()), Address::v6(header.destination()));
            (ends.0, ends.1, header.next_header().0, &frame[54..])
        }
    }
}

/// As the packet is inside: one hop further.
fn inside(head: Head, flags: u8, data: &[u8]) -> Vec<u8> {
    Head { ttl: head.ttl - 1, ..head }.tcp_data(flags, data)[14..].to_vec()
}

#[test]
fn each_tunnel_in_each_pair_of_families() {
    let rows =
        [(Tunnel::Ipip, 4, 41, 0), (Tunnel::Gre { key: None }, 47, 47, 4), (GUE, 17, 17, 12)];
    for (tunnel, in_v4, in_v6, shim) in rows {
        for (vip_v6, backend_v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let name = format!("{tunnel}, VIP {vip_v6} backend {backend_v6}");
            let mut world = World::with(config(), |parts| {
                direct_by(by(tunnel))(parts);
                if vip_v6 {
                    parts.services[2].vip = socket("[2001:db8:1::101]:80");
                }
                for backend in parts.backends.iter_mut().skip(3).flatten().filter(|_| backend_v6) {
                    let [.., last] = [backend.id.0];
                    backend.socket = socket(&format!("[2001:db8:2::{last}]:80"));
                }
            });
            let head = match vip_v6 {
                true => Head::new(0xc1, 1, "[2001:db8:7::60]:4000", "[2001:db8:1::101]:80"),
                false => client(4000),
            };
            let mut sources = std::collections::BTreeSet::new();
            for (flags, events) in [(SYN, CREATED), (ACK, &[]), (ACK, &[])] {
                let sent = head.tcp_data(flags, b"abc");
                let out = world.expect(&name, CLIENTS, &sent, TO_BACKEND, events);
                assert_eq!(out[6..12], mac(2).0, "{name}");
                let (source, destination, protocol, rest) = open(&out);
                let inner_protocol = if vip_v6 { in_v6 } else { in_v4 };
                assert_eq!(protocol, inner_protocol, "{name}");
                assert!(self::sources().cover(source), "{name}: {source}");
                assert_eq!(destination.is_v4(), !backend_v6, "{name}");
                assert_eq!(rest[shim..], inside(head, flags, b"abc"), "{name}");
                sources.insert(source);
            }
            assert_eq!(sources.len(), 1, "{name}: one flow, one outer source");
            assert_eq!(FlowState::of(&world.entries()[0]), Some(FlowState::Established), "{name}");
        }
    }
}

#[test]
fn flows_differ_outside() {
    let mut world = World::with(config(), direct_by(by(GUE)));
    let (mut sources, mut ports) =
        (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for port in 4000..4200 {
        let out = world.expect("SYN", CLIENTS, &client(port).tcp(SYN), TO_BACKEND, CREATED);
        let (source, _, _, rest) = open(&out);
        sources.insert(source);
        ports.insert([rest[0], rest[1]]);
    }
    assert!(sources.len() > 100 && ports.len() > 150, "{} {}", sources.len(), ports.len());
}

#[test]
fn what_does_not_fit_is_told_the_mtu_that_would() {
    use DropReason::*;
    let rows = [
        ("IPIP over IPv4", by(Tunnel::Ipip), 1480u16),
        ("GRE with a key", by(Tunnel::Gre { key: Some(7) }), 1472),
        ("GUE", by(GUE), 1468),
    ];
    for (description, mode, mtu) in rows {
        let mut world = World::with(config(), direct_by(mode));
        let fits = client(4000).tcp_data(SYN, &vec![1; usize::from(mtu) - 40]);
        let out = world.expect(description, CLIENTS, &fits, TO_BACKEND, CREATED);
        assert_eq!(out.len(), 1514, "{description}: all of the MTU is used");
        let mut frame = client(4000).tcp_data(ACK, &vec![1; usize::from(mtu) - 39]);
        let too_big = Verdict::Reply(CLIENTS, ReplyKind::TooBig);
        let out = world.expect(description, CLIENTS, &frame, too_big, &[]);
        assert_eq!(out[40..42], mtu.to_be_bytes(), "{description}");
        frame[20] = 0;
        fix_header(&mut frame);
        world.expect("may be fragmented", CLIENTS, &frame, Verdict::Drop(ExceedsMtu), &[]);
    }
    let mut world = World::with(config(), direct_by(by(Tunnel::Ipip)));
    let last_hop = Head { ttl: 1, ..client(4000) }.tcp(SYN);
    let exceeded = Verdict::Reply(CLIENTS, ReplyKind::TimeExceeded);
    world.expect("a tunnel costs a hop", CLIENTS, &last_hop, exceeded, &[]);
    world.publish(|parts| {
        direct_by(by(Tunnel::Ipip))(parts);
        parts.tunnel_sources.v4 = None;
    });
    let syn = client(4000).tcp(SYN);
    world.expect("no source", CLIENTS, &syn, Verdict::Drop(NoTunnelSource), CREATED);
}

#[test]
fn without_room_in_front_the_packet_is_moved_back() {
    for (room, moved) in [(0, 1), (19, 1), (20, 0), (256, 0)] {
        let mut world = World::with(config(), direct_by(by(Tunnel::Ipip)));
        let frame = client(4000).tcp(SYN);
        let mut chunk = vec![0; room + frame.len() + 64];
        chunk[room..room + frame.len()].copy_from_slice(&frame);
        let mut view = FrameView::new(&mut chunk, room, frame.len());
        let arrival = guideway::dataplane::Arrival::Received(CLIENTS);
        world.engine.process(&world.snapshot, world.now, arrival, &mut view);
        assert_eq!(view.bytes()[34..], inside(client(4000), SYN, b""), "room {room}");
        assert_eq!(world.engine.counters().events.moved_for_room, moved, "room {room}");
    }
}

/// An error about a packet that the backend has sent to the client goes the way of the client's
/// packets: into the tunnel.
#[test]
fn errors_go_to_the_backend_by_its_tunnel() {
    let mut world = World::with(config(), direct_by(by(Tunnel::Ipip)));
    let sent = world.expect("SYN", CLIENTS, &client(4000).tcp(SYN), TO_BACKEND, CREATED);
    let (_, backend, ..) = open(&sent);
    let quoted = Head::new(1, 0xc1, "10.1.0.101:80", "10.1.0.60:4000").tcp_data(ACK, &[7; 500]);
    let error = super::errors::error("10.1.0.254", &quoted, 60, (3, 4, 1400));
    let out = world.expect("too big", CLIENTS, &error, TO_BACKEND, &[]);
    let (_, destination, protocol, inner) = open(&out);
    assert_eq!((destination, protocol), (backend, 4));
    assert_eq!(inner[20..], error[34..], "the message itself is as it was");
}

/// A mode is for new flows: the backends of the old one are others, and stay until their flows end.
#[test]
fn another_tunnel_is_for_new_flows() {
    let mut world = World::with(config(), direct_by(by(Tunnel::Ipip)));
    let old = world.expect("SYN", CLIENTS, &client(4000).tcp(SYN), TO_BACKEND, CREATED);
    world.publish(|parts| {
        direct_by(by(Tunnel::Ipip))(parts);
        parts.services[2].mode = by(GUE);
        for id in [3usize, 4] {
            let mut new = parts.backends[id].clone();
            let id = parts.backends.len() as u32;
            if let Some(new) = &mut new {
                (new.mode, new.id) = (by(GUE), guideway::forwarding::BackendId(id));
            }
            parts.backends.push(new);
        }
        let ids = [6, 7].map(guideway::forwarding::BackendId);
        parts.services[2].slots = ids.into();
    });
    let out = world.expect("goes on", CLIENTS, &client(4000).tcp(ACK), TO_BACKEND, &[]);
    assert_eq!((out.len(), open(&out).2, open(&out).1), (old.len(), 4, open(&old).1));
    let out = world.expect("a new one", CLIENTS, &client(4001).tcp(SYN), TO_BACKEND, CREATED);
    assert_eq!(open(&out).2, 17);
}
