//! Random clients, waits and sweeps, beside a slow obvious model of which flows live.

use std::collections::HashMap;
use std::net::SocketAddr;

use guideway::dataplane::{DropReason, EngineConfig, Verdict};
use proptest::prelude::*;

use super::frames::*;
use super::nat::{Ends, TO_BACKEND, TO_CLIENT, client, ends};
use super::world::*;

const MOST: usize = 12;

#[derive(Clone, Debug)]
enum Operation {
    Question { port: u16 },
    Answer { port: u16 },
    Wait { ms: u64 },
    Sweep,
    Recover,
}

fn operation() -> impl Strategy<Value = Operation> {
    let port = 4000u16..4020;
    prop_oneof![
        8 => port.clone().prop_map(|port| Operation::Question { port }),
        4 => port.prop_map(|port| Operation::Answer { port }),
        3 => (0u64..60_000).prop_map(|ms| Operation::Wait { ms }),
        2 => Just(Operation::Sweep),
        1 => Just(Operation::Recover),
    ]
}

#[derive(Default)]
struct Model {
    /// By client port: how its backend sees it, and when its last packet went by.
    flows: HashMap<u16, (Ends, u64)>,
    /// When each SNAT port was given back, if that is known to the millisecond.
    last_use: HashMap<SocketAddr, u64>,
}

impl Model {
    fn is_live(&self, port: u16, now: u64) -> bool {
        let idle = u64::from(TIMEOUTS.udp_ms);
        self.flows.get(&port).is_some_and(|&(_, seen)| now - seen <= idle)
    }

    /// The sweep has ended what is too old, and nothing else. Within the two seconds it takes, when
    /// exactly an entry is looked at is its own business.
    fn swept(&mut self, world: &World) {
        let left: Vec<u16> = world.entries().iter().map(|entry| entry.key.source_port).collect();
        let now = world.now.0;
        for &port in self.flows.keys() {
            let is_left = left.contains(&port);
            assert!(is_left || !self.is_live(port, now), "{port} ended too early");
            assert!(!is_left || self.is_live(port, now - 2000), "{port} was not ended");
        }
        self.flows.retain(|port, _| left.contains(port));
    }
}

fn run(world: &mut World, model: &mut Model, operation: &Operation) {
    let now = world.now.0;
    match *operation {
        Operation::Wait { ms } => world.wait(ms),
        Operation::Sweep => {
            world.sweep();
            model.swept(world);
        }
        Operation::Recover => {
            let engine =
                std::mem::replace(&mut world.engine, guideway::dataplane::Engine::new(config()));
            world.engine = engine.recover();
        }
        Operation::Question { port } => ask(world, model, port, now),
        Operation::Answer { port } => {
            let Some(&(ends, _)) = model.flows.get(&port) else { return };
            let live = model.is_live(port, now);
            let verdict = if live { TO_CLIENT } else { Verdict::Drop(DropReason::NoSnatBinding) };
            let others: &[_] = if live { &[] } else { &[("flows_expired", 1)] };
            world.expect("answer", BACKENDS, &ends.backend.udp(b"!"), verdict, others);
            if live {
                model.flows.insert(port, (ends, now));
            } else {
                model.flows.remove(&port);
            }
        }
    }
}

fn question(port: u16) -> Head {
    Head { destination: socket("10.1.0.100:53"), ..client(60, port) }
}

fn ask(world: &mut World, model: &mut Model, port: u16, now: u64) {
    let head = question(port);
    let known = model.flows.contains_key(&port);
    let expired: &[_] = if known { &[("flows_expired", 1)] } else { &[] };
    if model.is_live(port, now) {
        let out = world.expect("known", CLIENTS, &head.udp(b"?"), TO_BACKEND, &[]);
        let (before, _) = model.flows[&port];
        assert_eq!(ends(head, &out).backend.destination, before.backend.destination);
        model.flows.insert(port, (before, now));
        return;
    }
    model.flows.remove(&port);
    if model.flows.len() == MOST {
        let full = Verdict::Drop(DropReason::FlowTableFull);
        world.expect("full", CLIENTS, &head.udp(b"?"), full, expired);
        return;
    }
    let created: Vec<_> = expired.iter().copied().chain([("flows_created", 1)]).collect();
    let out = world.expect("new", CLIENTS, &head.udp(b"?"), TO_BACKEND, &created);
    let new = ends(head, &out);
    let taken =
        model.flows.values().any(|(ends, _)| ends.backend.destination == new.backend.destination);
    assert!(!taken, "a SNAT port for two flows");
    let used = model.last_use.insert(new.backend.destination, now);
    assert!(used.is_none_or(|used| now - used >= 60_000), "a port taken before it rested");
    model.flows.insert(port, (new, now));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn flows_live_as_long_as_the_model_says(
        operations in prop::collection::vec(operation(), 1..150),
    ) {
        let mut world = World::with(EngineConfig { max_flows: MOST, ..config() }, |_| ());
        let mut model = Model::default();
        for operation in &operations {
            run(&mut world, &mut model, operation);
            prop_assert_eq!(world.live() as usize, model.flows.len());
        }
        let events = world.engine.counters().events;
        prop_assert_eq!(events.flows_created, events.flows_expired + u64::from(world.live()));
    }
}
