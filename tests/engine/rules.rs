//! Who may begin a flow, which backend it gets, and when it has no entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use guideway::dataplane::{DropReason, EngineConfig, Verdict};
use guideway::forwarding::{
    Backend, BackendId, BackendState, FlowRules, HashBy, PrefixSet, SnapshotParts,
};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND};
use super::world::*;

fn with(rules: FlowRules) -> impl FnOnce(&mut SnapshotParts) {
    move |parts| parts.services[2].rules = rules
}

fn client(last: u8, port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.{last}:{port}"), "10.1.0.101:80")
}

/// The backends (by the last byte of their MAC) that these clients' new flows get.
fn backends(world: &mut World, clients: impl Iterator<Item = (u8, u16)>) -> Vec<u8> {
    let arrival = guideway::dataplane::Arrival::Received(CLIENTS);
    clients.map(|(last, port)| world.run(arrival, &client(last, port).tcp(SYN)).1[5]).collect()
}

fn distinct(all: &[u8]) -> usize {
    all.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn what_chooses_the_backend() {
    // Whether one client's connections, and whether all clients', go to several backends.
    let rows = [
        (HashBy::FiveTuple, 2, 2),
        (HashBy::Client, 1, 2),
        (HashBy::ClientAndPort, 1, 2),
        (HashBy::DestinationPort, 1, 1),
    ];
    for (hash, of_one, of_all) in rows {
        let rules = FlowRules { hash, ..FlowRules::default() };
        let mut world = World::with(config(), with(rules));
        let one = backends(&mut world, (4000..4040).map(|port| (60, port)));
        assert_eq!(distinct(&one), of_one, "{hash:?}, one client");
        let all = backends(&mut world, (60..100).map(|last| (last, 5000)));
        assert_eq!(distinct(&all), of_all, "{hash:?}, all clients");
    }
}

#[test]
fn clients_that_may_and_those_that_may_not() {
    let networks = [("10.1.0.0", 26), ("10.1.0.70", 32)];
    let set = networks.map(|(network, len)| (network.parse().unwrap(), len));
    let allow = Some(Arc::new(PrefixSet::new(set)));
    let mut world = World::new();
    world.expect("SYN", CLIENTS, &client(71, 4000).tcp(SYN), TO_BACKEND, CREATED);
    world.publish(with(FlowRules { allow, ..FlowRules::default() }));
    let refused = Verdict::Drop(DropReason::ClientNotAllowed);
    let rows = [(60, TO_BACKEND), (63, TO_BACKEND), (64, refused), (70, TO_BACKEND), (71, refused)];
    for (last, verdict) in rows {
        let events = if verdict == TO_BACKEND { CREATED } else { &[] };
        world.expect("SYN", CLIENTS, &client(last, 4001).tcp(SYN), verdict, events);
    }
    world.expect("it began before", CLIENTS, &client(71, 4000).tcp(ACK), TO_BACKEND, &[]);
}

#[test]
fn without_entries_maglev_chooses_for_each_packet() {
    let rules = FlowRules { entries: false, ..FlowRules::default() };
    let (mut world, mut usual) = (World::with(config(), with(rules)), World::new());
    for port in 4000..4050 {
        for flags in [SYN, ACK, RST] {
            let frame = client(60, port).tcp(flags);
            let out = world.expect("no entry", CLIENTS, &frame, TO_BACKEND, &[]);
            let (_, wanted) = usual.run(guideway::dataplane::Arrival::Received(CLIENTS), &frame);
            assert_eq!(out, wanted, "the same backend");
        }
    }
    assert_eq!(world.live(), 0);
    let all: u64 = world.engine.traffic().iter().map(|traffic| traffic.packets_in).sum();
    assert_eq!(all, 150, "counted for backends all the same");
}

#[test]
fn a_flood_of_first_packets_gets_no_entries() {
    let limited = EngineConfig { max_new_flows_per_second: 10, ..config() };
    let mut world = World::with(limited, |_| ());
    for port in 4000..4030 {
        let event = if port < 4010 { "flows_created" } else { "forwarded_stateless" };
        let frame = client(60, port).tcp(SYN);
        world.expect("SYN", CLIENTS, &frame, TO_BACKEND, &[(event, 1)]);
    }
    world.expect("a known one", CLIENTS, &client(60, 4001).tcp(ACK), TO_BACKEND, &[]);
    let nat = super::nat::client(60, 4001).tcp(SYN);
    world.expect("NAT cannot do without", CLIENTS, &nat, TO_BACKEND, CREATED);
    world.wait(100);
    world.expect("a moment later", CLIENTS, &client(60, 4020).tcp(SYN), TO_BACKEND, CREATED);
}

const HOUR_MS: u32 = 3_600_000;
const FIRST: &[(&str, u64)] = &[("flows_created", 1), ("affinities_created", 1)];

fn affinity(parts: &mut SnapshotParts) {
    let service = &mut parts.services[2];
    service.rules =
        FlowRules { hash: HashBy::Client, affinity_ms: HOUR_MS, ..FlowRules::default() };
    service.timeouts.affinity_ms = HOUR_MS;
}

/// The service's slots all for one of its backends, whatever the other's state is.
fn only(backend: u32, state: BackendState) -> impl Fn(&mut SnapshotParts) {
    move |parts| {
        affinity(parts);
        parts.services[2].slots = [BackendId(backend)].into();
        let other: &mut Backend = parts.backends[7 - backend as usize].as_mut().unwrap();
        other.state = state;
    }
}

#[test]
fn a_client_stays_with_its_backend() {
    let mut world = World::with(config(), only(3, BackendState::Active));
    let syn = |port| client(60, port).tcp(SYN);
    let out = world.expect("first", CLIENTS, &syn(4000), TO_BACKEND, FIRST);
    assert_eq!(out[5], 0xb3);
    assert_eq!(world.live(), 1, "the affinity itself is no flow");
    // Maglev would say the other one now.
    world.publish(only(4, BackendState::Active));
    let out = world.expect("stays", CLIENTS, &syn(4001), TO_BACKEND, CREATED);
    assert_eq!(out[5], 0xb3);
    let other = client(61, 4000).tcp(SYN);
    assert_eq!(world.expect("another client", CLIENTS, &other, TO_BACKEND, FIRST)[5], 0xb4);
    // Each new flow begins the time anew; without one it ends.
    for _ in 0..3 {
        world.wait(u64::from(HOUR_MS) - 1);
        let (_, out) = world.run(guideway::dataplane::Arrival::Received(CLIENTS), &syn(4002));
        assert_eq!(out[5], 0xb3);
    }
    world.wait(u64::from(HOUR_MS) + 1);
    let (_, out) = world.run(guideway::dataplane::Arrival::Received(CLIENTS), &syn(4003));
    assert_eq!(out[5], 0xb4);
}

#[test]
fn a_backend_that_gets_no_new_flows_keeps_no_client() {
    for state in [BackendState::Draining, BackendState::Unhealthy, BackendState::Retired] {
        let mut world = World::with(config(), only(3, BackendState::Active));
        world.expect("first", CLIENTS, &client(60, 4000).tcp(SYN), TO_BACKEND, FIRST);
        world.publish(only(4, state));
        let out = world.expect("next", CLIENTS, &client(60, 4001).tcp(SYN), TO_BACKEND, FIRST);
        assert_eq!(out[5], 0xb4, "{state:?}");
        let out = world.expect("old flow", CLIENTS, &client(60, 4000).tcp(ACK), TO_BACKEND, &[]);
        assert_eq!(out[5], 0xb3, "{state:?}");
    }
}

#[test]
fn affinity_is_swept_exported_and_taken_over() {
    let mut world = World::with(config(), only(3, BackendState::Active));
    world.expect("first", CLIENTS, &client(60, 4000).tcp(SYN), TO_BACKEND, FIRST);
    let entries = world.entries();
    assert_eq!(entries.len(), 2);
    let mut next = World::with(config(), only(4, BackendState::Active));
    next.now = world.now;
    assert_eq!(next.engine.import(next.now, &entries), 0);
    assert_eq!(next.live(), 1);
    let out = next.expect("stays", CLIENTS, &client(60, 4001).tcp(SYN), TO_BACKEND, CREATED);
    assert_eq!(out[5], 0xb3);
    next.wait(u64::from(HOUR_MS) + 1);
    next.sweep();
    assert!(next.entries().is_empty() && next.live() == 0);
}

#[test]
fn several_ports_of_one_service() {
    let mut world = World::with(config(), |parts| {
        parts.services[2].vip.set_port(5000);
        parts.services[2].last_port = Some(5999);
    });
    let to = |port| Head { destination: socket(&format!("10.1.0.101:{port}")), ..client(60, 4000) };
    for port in [5000, 5500, 5999] {
        let frame = to(port).tcp(SYN);
        let out = world.expect("in the range", CLIENTS, &frame, TO_BACKEND, CREATED);
        assert_eq!(out[12..], frame[12..], "the port stays");
    }
    for port in [4999, 6000] {
        let none = Verdict::Drop(DropReason::NoService);
        world.expect("beside it", CLIENTS, &to(port).tcp(SYN), none, &[]);
    }
    world.expect("UDP", CLIENTS, &to(5500).udp(b"x"), Verdict::Drop(DropReason::NoService), &[]);
}
