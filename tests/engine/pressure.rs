//! Limits: a full table, SNAT ports that run out, backends beyond the counts.

use std::collections::{BTreeSet, HashMap};

use guideway::dataplane::{Arrival, DropReason, EngineConfig, Outcome, ReplyKind, Verdict};
use guideway::forwarding::{Backend, BackendId, SnapshotParts, SnatAddress};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT, client, ends, establish, open};
use super::world::*;

const EXHAUSTED: Verdict = Verdict::Drop(DropReason::SnatPortsExhausted);

/// One web backend, and SNAT ports enough for two flows of each shard.
fn narrow(parts: &mut SnapshotParts) {
    parts.services[0].slots = [BackendId(0)].into();
    parts.snat[0].ports = 1024..=1535;
}

#[test]
fn a_full_table_drops_new_translated_flows_and_keeps_old_ones() {
    let mut world = World::with(EngineConfig { max_flows: 2, ..config() }, |_| ());
    let first = establish(&mut world, client(60, 4000));
    open(&mut world, client(60, 4001));
    let full = Verdict::Drop(DropReason::FlowTableFull);
    for port in 5000..5050 {
        world.expect("SYN", CLIENTS, &client(60, port).tcp(SYN), full, &[]);
    }
    world.expect("old", CLIENTS, &first.client.tcp(ACK), TO_BACKEND, &[]);
    world.wait(u64::from(TIMEOUTS.tcp_opening_ms) + 1);
    world.sweep();
    open(&mut world, client(60, 5000));
}

#[test]
fn no_table_at_all() {
    let mut world =
        World::with(EngineConfig { max_flows: 0, max_snat_blocks: 0, ..config() }, |_| ());
    let full = Verdict::Drop(DropReason::FlowTableFull);
    world.expect("SYN", CLIENTS, &client(60, 4000).tcp(SYN), full, &[]);
    world.sweep();
    world.engine = world.engine.recover();
}

/// Clients' frames of one shard, found out by the low byte of the port they are given.
fn clients_by_shard(wanted: usize) -> Vec<Head> {
    let mut scout = World::with(EngineConfig { max_flows: 10_000, ..config() }, |_| ());
    let mut shards: HashMap<u8, Vec<Head>> = HashMap::new();
    for port in 1..10_000 {
        let ends = open(&mut scout, client(60, port));
        let found = shards.entry(ends.backend.destination.port() as u8).or_default();
        found.push(ends.client);
        if found.len() == wanted {
            return found.clone();
        }
    }
    panic!("no shard with {wanted} clients");
}

#[test]
fn ports_run_out_rest_and_are_shortened_only_under_pressure() {
    let clients = clients_by_shard(4);
    let mut world = World::with(config(), narrow);
    let first = establish(&mut world, clients[0]);
    open(&mut world, clients[1]);
    world.expect("third of two", CLIENTS, &clients[2].tcp(SYN), EXHAUSTED, &[]);
    // Closed: the port goes back at once, the flow passes late packets on.
    world.expect("FIN", BACKENDS, &first.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
    world.expect("FIN", CLIENTS, &first.client.tcp(FIN | ACK), TO_BACKEND, &[]);
    world.expect("last ACK", BACKENDS, &first.backend.tcp(ACK), TO_CLIENT, &[]);
    world.expect("late", CLIENTS, &first.client.tcp(ACK), TO_BACKEND, &[]);
    let shortened = [("flows_created", 1), ("flows_closed", 1), ("snat_hold_down_shortened", 1)];
    let out = world.expect("third", CLIENTS, &clients[2].tcp(SYN), TO_BACKEND, &shortened);
    let third = ends(clients[2], &out);
    assert_eq!(third.backend.destination, first.backend.destination, "the port is taken again");
    let reset = Verdict::Reply(CLIENTS, ReplyKind::Reset);
    world.expect("late packets now meet nobody", CLIENTS, &first.client.tcp(ACK), reset, &[]);
    let back = world.expect("it is the third's", BACKENDS, &third.backend.tcp(ACK), TO_CLIENT, &[]);
    assert_eq!(back[36..38], clients[2].source.port().to_be_bytes());
    world.expect("fourth of two", CLIENTS, &clients[3].tcp(SYN), EXHAUSTED, &[]);
    assert_eq!(world.live(), 2);
}

/// A backend in TIME_WAIT takes the next connection of the client it knows, and sends others away.
#[test]
fn under_pressure_a_client_gets_the_port_it_had_last() {
    let clients = clients_by_shard(2);
    let mut world = World::with(config(), narrow);
    let flows = [open(&mut world, clients[0]), open(&mut world, clients[1])];
    for (client, flow) in [(1, flows[1]), (0, flows[0])] {
        let reset = flow.backend.tcp(RST);
        world.expect("reset", BACKENDS, &reset, TO_CLIENT, &[]);
        let own = [("flows_created", 1), ("flows_closed", 1), ("snat_ports_of_same_client", 1)];
        let out = world.expect("again", CLIENTS, &clients[client].tcp(SYN), TO_BACKEND, &own);
        assert_eq!(ends(clients[client], &out).backend.destination, flow.backend.destination);
    }
}

#[test]
fn another_address_is_used_before_a_hold_down_is_shortened() {
    let clients = clients_by_shard(4);
    let mut world = World::with(config(), |parts| {
        narrow(parts);
        parts.snat[0].ports = 1024..=1279;
        let second = SnatAddress { address: [10, 1, 0, 11].into(), ..parts.snat[0].clone() };
        parts.snat.push(second);
        parts.backends[0].as_mut().unwrap().snat = [0, 1].into();
    });
    let flows = [open(&mut world, clients[0]), open(&mut world, clients[1])];
    let sockets = BTreeSet::from(flows.map(|flow| flow.backend.destination));
    assert_eq!(sockets.len(), 2);
    world.expect("third", CLIENTS, &clients[2].tcp(SYN), EXHAUSTED, &[]);
    world.wait(20_001);
    world.sweep();
    let shortened = [("flows_created", 1), ("snat_hold_down_shortened", 1)];
    world.expect("both rest", CLIENTS, &clients[2].tcp(SYN), TO_BACKEND, &shortened);
    world.wait(60_000);
    world.sweep();
    world.expect("one has rested", CLIENTS, &clients[3].tcp(SYN), TO_BACKEND, CREATED);
}

#[test]
fn two_services_of_one_backend_never_share_a_port() {
    let mut world = World::with(EngineConfig { max_flows: 2000, ..config() }, |parts| {
        narrow(parts);
        let mut second = parts.services[0].clone();
        second.vip = socket("10.1.0.102:80");
        second.slots = [BackendId(6)].into();
        parts.services.push(second);
        let backend = Backend { id: BackendId(6), ..parts.backends[0].clone().unwrap() };
        parts.backends.push(Some(backend));
    });
    let mut sockets = BTreeSet::new();
    for port in 1000..1300 {
        for vip in ["10.1.0.100:80", "10.1.0.102:80"] {
            let frame = Head { destination: socket(vip), ..client(60, port) }.tcp(SYN);
            let (_, out) = world.run(Arrival::Received(CLIENTS), &frame);
            if out != frame {
                assert!(sockets.insert(out[34..36].to_vec()), "port {:?} twice", &out[34..36]);
            }
        }
    }
    let exhausted = named(world.engine.counters()).get("snat_ports_exhausted").copied();
    assert_eq!(sockets.len() as u64 + exhausted.unwrap_or(0), 600);
    assert!(sockets.len() > 300);
}

#[test]
fn a_backend_id_beyond_the_counts_is_no_panic() {
    let mut world = World::with(EngineConfig { max_backends: 1, ..config() }, |_| ());
    for port in 4000..4020 {
        open(&mut world, client(60, port));
    }
    assert_eq!(world.engine.live_flows().len(), 1);
    world.publish(|parts| parts.backends.fill(None));
    world.sweep();
    assert_eq!((world.live(), world.engine.has_flows()), (0, false));
}

/// 200,000 connections of 6 packets within 25 seconds by one SNAT address to four backends, which
/// close first: none may be refused, and none may meet its backend in TIME_WAIT unless it is counted.
#[test]
fn short_connections_by_the_hundred_thousand() {
    let limits = EngineConfig { max_flows: 200_000, ..config() };
    let mut world = World::with(limits, |parts| {
        let first = parts.backends[0].clone().unwrap();
        for id in 6..8 {
            let socket = socket(&format!("10.2.1.{id}:8080"));
            parts.backends.push(Some(Backend { id: BackendId(id), socket, ..first.clone() }));
        }
        parts.services[0].slots = [0, 1, 6, 7].map(BackendId).into();
    });
    let mut closed_at: HashMap<(u32, u16), u64> = HashMap::new();
    let mut too_early = 0;
    for number in 0..200_000u32 {
        if number % 8 == 0 {
            world.wait(1);
            world.engine.tick(&world.snapshot, world.now);
        }
        let (host, port) = (number / 50_000, (number % 50_000) as u16 + 1024);
        let head = Head::new(0xc1, 1, &format!("192.0.2.{host}:{port}"), "10.1.0.100:80");
        let pass = |world: &mut World, at, frame: &[u8]| {
            let (outcome, out) = world.run(Arrival::Received(at), frame);
            let to = if at == CLIENTS { TO_BACKEND } else { TO_CLIENT };
            assert_eq!(outcome, Outcome::Verdict(to), "connection {number}");
            out
        };
        let flow = ends(head, &pass(&mut world, CLIENTS, &head.tcp(SYN)));
        let (client, backend) = (flow.client, flow.backend);
        let tuple = (backend.source.ip().to_bits(), backend.destination.port());
        if let Some(closed) = closed_at.insert(tuple, world.now.0) {
            too_early += u64::from(world.now.0 - closed < 60_000);
        }
        pass(&mut world, BACKENDS, &backend.tcp(SYN | ACK));
        pass(&mut world, CLIENTS, &client.tcp_data(ACK, b"GET"));
        pass(&mut world, BACKENDS, &backend.tcp_data(ACK | FIN, b"200"));
        pass(&mut world, CLIENTS, &client.tcp(FIN | ACK));
        pass(&mut world, BACKENDS, &backend.tcp(ACK));
    }
    let events = world.engine.counters().events;
    assert_eq!((events.flows_created, events.snat_hold_down_shortened), (200_000, too_early));
    assert!(too_early < 200, "{too_early} of 200,000");
    // Closed ones linger for ten seconds, not longer.
    assert!(world.live() <= 8 * 11_100, "{}", world.live());
}
