//! Flows outlive an engine: recovered after a panic, exported to another.

use std::collections::BTreeSet;

use guideway::dataplane::{ENTRY_VERSION, Engine, EngineConfig, FlowEntry, FlowState, ShardMap};
use guideway::wire::Address;

use super::frames::*;
use super::nat::{Ends, TO_BACKEND, TO_CLIENT, client, ends, establish, open};
use super::world::*;

/// Flows in all states, then their frames once more, to see that nothing was forgotten.
fn busy() -> (World, Vec<Ends>) {
    let mut world = World::new();
    let flows: Vec<_> = (4000..4060).map(|port| establish(&mut world, client(60, port))).collect();
    for flow in &flows[40..50] {
        world.expect("FIN", BACKENDS, &flow.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
        world.expect("FIN", CLIENTS, &flow.client.tcp(FIN | ACK), TO_BACKEND, &[]);
        world.expect("last ACK", BACKENDS, &flow.backend.tcp(ACK), TO_CLIENT, &[]);
    }
    for flow in &flows[50..] {
        world.expect("RST", CLIENTS, &flow.client.tcp(RST), TO_BACKEND, &[]);
    }
    (world, flows)
}

fn check_all(world: &mut World, flows: &[Ends]) {
    for flow in flows {
        let out = world.expect("forward", CLIENTS, &flow.client.tcp(ACK), TO_BACKEND, &[]);
        assert_eq!(ends(flow.client, &out).backend.destination, flow.backend.destination);
        world.expect("back", BACKENDS, &flow.backend.tcp(ACK), TO_CLIENT, &[]);
    }
    let ports: BTreeSet<_> = flows.iter().map(|flow| flow.backend.destination).collect();
    for port in 5000..5100 {
        let new = open(world, client(60, port));
        assert!(!ports.contains(&new.backend.destination) || ports.len() < flows.len());
    }
    assert_eq!(world.live() as usize, flows.len() + 100);
}

#[test]
fn recovered_from_a_panic_nothing_is_lost() {
    let (mut world, flows) = busy();
    let live = world.engine.live_flows().to_vec();
    world.engine = world.engine.recover();
    assert_eq!(world.engine.live_flows(), live);
    check_all(&mut world, &flows);
}

#[test]
fn exported_flows_go_on_in_another_engine() {
    let (old, flows) = busy();
    let entries = old.entries();
    assert_eq!(entries.len(), 60);
    let mut world = World::new();
    world.now = old.now;
    assert_eq!(world.engine.import(world.now, &entries), 0);
    assert_eq!(world.engine.import(world.now, &entries), 60, "they are there already");
    assert_eq!(world.engine.live_flows(), old.engine.live_flows());
    check_all(&mut world, &flows);
}

/// Another flow of the same shard, if need be one of a client that never was.
fn entry_of_same_shard(world: &World, entry: &FlowEntry) -> FlowEntry {
    let mut scout = World::new();
    scout.now = world.now;
    (7000..60_000)
        .find_map(|port| {
            open(&mut scout, client(61, port));
            let found = scout.entries().into_iter().find(|found| found.key.source_port == port)?;
            scout.engine = Engine::new(config());
            (found.snat_port as u8 == entry.snat_port as u8).then_some(found)
        })
        .unwrap()
}

#[test]
fn entries_that_cannot_be_are_refused() {
    let (old, _) = busy();
    let good = old.entries()[0];
    let rows = [
        ("another layout", FlowEntry { version: ENTRY_VERSION + 1, ..good }),
        ("no such state", FlowEntry { state: 77, ..good }),
        ("not in use", FlowEntry::FREE),
        ("an address without a port", FlowEntry { snat_port: 0, ..good }),
        ("a port without an address", FlowEntry { snat_address: Address::UNSPECIFIED, ..good }),
        ("a port of another shard", FlowEntry { snat_port: good.snat_port ^ 1, ..good }),
    ];
    for (description, entry) in rows {
        let mut world = World::new();
        assert_eq!(world.engine.import(world.now, &[entry, good]), 1, "{description}");
        assert_eq!(world.live(), 1, "{description}");
    }
    let foreign = EngineConfig { worker: 1, shards: ShardMap::even(1), ..config() };
    let mut foreign = World::with(foreign, |_| ());
    assert_eq!(foreign.engine.import(foreign.now, &[good]), 1, "another worker's");
    let twice = FlowEntry { key: entry_of_same_shard(&old, &good).key, ..good };
    let mut world = World::new();
    assert_eq!(world.engine.import(world.now, &[good, twice]), 1, "one SNAT port for two");
    let mut small = World::with(EngineConfig { max_flows: 1, ..config() }, |_| ());
    let other = FlowEntry { snat_port: good.snat_port ^ 0x100, ..twice };
    assert_eq!(small.engine.import(small.now, &[good, other]), 1, "no room");
    let from_tomorrow =
        FlowEntry { last_seen_ms: (world.now.0 as u32).wrapping_add(90_000), ..other };
    assert_eq!(world.engine.import(world.now, &[from_tomorrow]), 0);
    world.sweep();
    assert_eq!(world.live(), 2);
    assert!(world.entries().iter().all(|entry| FlowState::of(entry).is_some()));
}
