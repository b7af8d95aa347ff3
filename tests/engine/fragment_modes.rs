//! Fragments in each mode besides L2 DSR: in tunnels, by DNAT, and with what a SNAT address is given.

use guideway::dataplane::Verdict;
use guideway::forwarding::Mode;
use guideway::wire::encap::{Dscp, Tunnel};

use super::fragments::{families, pass, wanted_of};
use super::frames::*;
use super::world::*;

/// The service `direct-dns` of IPv4 with another mode.
fn world_of(mode: Mode) -> World {
    World::with(config(), |parts| {
        parts.services[3].mode = mode;
        let backend = parts.backends[5].as_mut().unwrap();
        (backend.mode, backend.socket) = (mode, socket("10.2.0.15:5353"));
        parts.tunnel_sources = super::tunnel::sources();
    })
}

#[test]
fn in_an_envelope_each_and_by_dnat() {
    let head = families()[0].direct;
    let data = [7; 2000];
    let sent = |head: Head| Head { ttl: head.ttl - 1, ..head }.udp(&data);
    let pieces = cut(&head.udp(&data), 7, 800);
    let turned = [2, 1, 0].map(|at| pieces[at].clone());
    let tunnels = [(Tunnel::Ipip, 0), (Tunnel::Gre { key: None }, 4), (super::tunnel::GUE, 12)];
    for (tunnel, shim) in tunnels {
        let mut world = world_of(Mode::Tunnel(tunnel, Dscp::Copied));
        let (told, left) = pass(&mut world, CLIENTS, &turned);
        assert_eq!(told, wanted_of(2, 3), "{tunnel}");
        let opened = left.iter().map(|frame| super::tunnel::open(frame));
        let sources: std::collections::BTreeSet<_> = opened.clone().map(|outer| outer.0).collect();
        assert_eq!(sources.len(), 1, "{tunnel}: one way for all");
        let inner: Vec<_> =
            opened.map(|(.., rest)| [&pieces[0][..14], &rest[shim..]].concat()).collect();
        assert_eq!(join(&inner), Some(sent(head)), "{tunnel}");
        assert!(inner.iter().all(|frame| identification(frame) == 7), "{tunnel}");
    }
    let mut world = world_of(Mode::Dnat);
    let (told, left) = pass(&mut world, CLIENTS, &turned);
    assert_eq!(told, wanted_of(2, 3));
    let mut wanted = sent(Head { destination: socket("10.2.0.15:5353"), ..head });
    wanted[..12].copy_from_slice(&left[0][..12]);
    assert_eq!(join(&left), Some(wanted));
    let answer = Head { source: socket("10.2.0.15:5353"), destination: head.source, ..head };
    let answer = Head { from: mac(0xb5), to: mac(2), ..answer };
    let (told, left) = pass(&mut world, BACKENDS, &cut(&answer.udp(&data), 7, 800));
    assert_eq!(told, wanted_of(0, 3));
    let mut wanted = sent(Head { source: head.destination, ..answer });
    wanted[..12].copy_from_slice(&left[0][..12]);
    assert_eq!(join(&left), Some(wanted), "the backend's answer");
    let other = Head { source: socket("10.2.0.15:9"), ..answer };
    let [first, last] = <[_; 2]>::try_from(cut(&other.udp(&[7; 1200]), 8, 800)).unwrap();
    world.expect("from another port of it", BACKENDS, &first, Verdict::NotOurs, &[]);
    let (outcome, _) = world.run(guideway::dataplane::Arrival::Received(BACKENDS), &last);
    assert_eq!(outcome, guideway::dataplane::Outcome::Held, "who knows");
}

/// From a SNAT address the identifications of all clients would meet.
#[test]
fn no_two_clients_share_an_identification_at_a_backend() {
    for family in families() {
        let mut world = (family.world)();
        let mut seen = std::collections::BTreeSet::new();
        for port in 4000..4010 {
            let mut source = family.dns.source;
            source.set_port(port);
            let pieces = cut(&Head { source, ..family.dns }.udp(&[7; 1200]), 7, 800);
            let (_, left) = pass(&mut world, CLIENTS, &pieces);
            assert!(join(&left).is_some(), "both have the same, {}", family.name);
            assert!(seen.insert(identification(&left[0])), "{}", family.name);
        }
        let (_, left) = pass(&mut world, CLIENTS, &cut(&family.direct.udp(&[7; 1200]), 7, 800));
        assert!(left.iter().all(|frame| identification(frame) == 7), "its own address, its own");
    }
}
