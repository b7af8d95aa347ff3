//! Simulation: real TCP and UDP endpoints (smoltcp) through the real worker loop, engine and
//! `compile`, over the memory device behind a bad link, while the configuration changes. Time and
//! chance come from one seed, so a run that fails can be run again.
//!
//! `GUIDEWAY_SIM_SEEDS=17..18 cargo test --test sim` runs seed 17 alone; without it some thousand
//! seeds are run. `GUIDEWAY_SIM_TRACE=1` shows every frame that a host or the balancer sends.
//! `make soak` runs seeds until it is stopped.
//!
//! What has to hold: every byte arrives, but for flows that met what a model allows; no flow changes
//! its backend while that is there; a flow begins where Maglev says; every frame gets exactly one
//! verdict; no frame of a device's memory is lost; no unsound frame is made; no flow entry outlives
//! its time. `docs/simulation.md` has the whole list.

#![cfg(feature = "program")]

mod balancer;
mod chance;
mod checks;
mod client;
mod control;
mod desired;
mod envelope;
mod flows;
#[path = "../engine/frames.rs"]
#[allow(dead_code)]
mod frames;
mod hidden;
mod history;
mod host;
mod keep_alive;
mod marked;
mod model;
mod network;
mod parts;
mod path_mtu;
mod plan;
mod pool;
mod router;
mod server;
mod site;
mod soak;
mod sound;
mod station;
mod summary;
mod tap;
mod vlan;
mod world;

use guideway::forwarding::Mode;
use guideway::io::fault::FaultRates;
use guideway::wire::Family;

use chance::Chance;
use plan::{Change, Fate, FlowKind, FlowPlan, Plan};
use pool::{Pool, PoolPlan};
use server::Request;
use soak::Seeds;
use vlan::Vlan;
use world::World;

#[test]
fn every_seed_keeps_the_promises() {
    let (count, all) = Seeds::wanted().run();
    // A simulation in which nothing happens proves nothing.
    if count > 50 {
        let happened = [all.flows, all.handed_over, all.lost, all.restarts, all.held];
        let moved = [all.moved, all.reset, all.silent, all.too_big, all.mtu_lowered];
        let more = [all.refused, all.datagrams_cut];
        assert!(happened.iter().chain(&moved).chain(&more).all(|&count| count > 0), "{all:?}");
        assert!(all.generations > 2 * count, "{all:?}");
        let whole = all.flows.saturating_sub(all.reset + all.silent);
        assert!(whole * 100 > all.flows * 90, "most flows meet nothing of that: {all:?}");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in Seeds::wanted().range.take(5) {
        assert_eq!(soak::run(seed), soak::run(seed), "seed {seed}");
    }
}

/// A good link, two workers, two backends a pool: the first by NAT, the second by L2DSR.
fn quiet_plan(family: Family, flows: Vec<FlowPlan>, changes: Vec<(u64, Change)>) -> Plan {
    Plan {
        family,
        vlans: vec![Vlan::none(), Vlan::none()],
        workers: 2,
        two_arms: true,
        clients: 2,
        pools: [Mode::Nat, Mode::L2dsr].map(|mode| PoolPlan::plain(mode, family, 3)),
        receive_faults: FaultRates::default(),
        transmit_faults: FaultRates::default(),
        reorder_span: 1,
        wander: 5,
        nic_hash: false,
        hand_over_ring: 64,
        max_flows: 4096,
        new_flows_per_second: 100_000_000,
        udp_ms: 120_000,
        fragments: false,
        long_datagrams: false,
        flows,
        changes,
    }
}

/// Both ways to a backend, in both families.
const ALL: [(Family, Pool); 4] = [
    (Family::Ipv4, Pool::First),
    (Family::Ipv4, Pool::Second),
    (Family::Ipv6, Pool::First),
    (Family::Ipv6, Pool::Second),
];

fn stream(at_ms: u64, client: usize, pool: Pool, fate: Fate) -> FlowPlan {
    let id = at_ms ^ (client as u64) << 32;
    let request = Request { id, up_len: 1_000_000, down_len: 10, server_closes: false };
    FlowPlan { at_ms, client, pool, kind: FlowKind::Stream(request), fate }
}

#[test]
fn clients_that_nobody_serves_are_told_at_once() {
    for (family, pool) in ALL {
        let other = if pool == Pool::First { Pool::Second } else { Pool::First };
        let flows = vec![
            stream(10, 0, pool, Fate::Whole),
            stream(20, 1, other, Fate::Whole),
            stream(300, 1, pool, Fate::Reset),
        ];
        // The stream that has begun before keeps its backend, which only the probes cannot reach.
        let changes = vec![(200, Change::FailAll(pool))];
        let summary = World::with(quiet_plan(family, flows, changes), Chance::new(1)).run();
        assert!(summary.ended_ms < 10_000, "{family} {pool:?}: {summary:?}");
    }
}

#[test]
fn streams_of_a_removed_service_are_reset() {
    for (family, pool) in ALL {
        let other = if pool == Pool::First { Pool::Second } else { Pool::First };
        let flows = vec![
            stream(10, 0, pool, Fate::Reset),
            stream(20, 1, other, Fate::Whole),
            // By a client that need not ask for the VIP's MAC any more: soon nobody answers.
            stream(250, 0, pool, Fate::Reset),
        ];
        let changes = vec![(200, Change::RemoveServices(pool))];
        let summary = World::with(quiet_plan(family, flows, changes), Chance::new(1)).run();
        assert!(summary.ended_ms < 10_000, "{family} {pool:?}: {summary:?}");
    }
}
