//! Simulation: real TCP and UDP endpoints (smoltcp) through the real worker loop, engine and
//! `compile`, over the memory device behind a bad link, while the configuration changes. Time and
//! chance come from one seed, so a run that fails can be run again.
//!
//! `GUIDEWAY_SIM_SEEDS=17..18 cargo test --test sim` runs seed 17 alone; without it a few hundred
//! seeds are run. `GUIDEWAY_SIM_TRACE=1` shows every frame that a host or the balancer sends.
//!
//! What has to hold: every byte arrives, no flow changes its backend while that is there, a flow
//! begins where Maglev says, every frame gets exactly one verdict, no frame of a device's memory is
//! lost, no unsound frame is made, and in the end no flow entry is left.

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
mod model;
mod network;
mod parts;
mod path_mtu;
mod plan;
mod pool;
mod server;
mod site;
mod sound;
mod station;
mod tap;
mod vlan;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use guideway::forwarding::Mode;
use guideway::io::fault::FaultRates;
use guideway::wire::Family;

use chance::Chance;
use plan::{Change, Fate, FlowKind, FlowPlan, Plan};
use pool::{Pool, PoolPlan};
use server::Request;
use vlan::Vlan;
use world::{Summary, World};

const DEFAULT_SEEDS: Range<u64> = 0..300;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("GUIDEWAY_SIM_SEEDS") else { return DEFAULT_SEEDS };
    let parse = || {
        let (from, to) = text.split_once("..")?;
        Some(from.trim().parse().ok()?..to.trim().parse().ok()?)
    };
    parse().unwrap_or_else(|| panic!("GUIDEWAY_SIM_SEEDS is {text:?}, wanted such as 0..300"))
}

#[test]
fn every_seed_keeps_the_promises() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let summary = run(seed);
                    let mut all = all.lock().unwrap();
                    all.frames += summary.frames;
                    all.flows += summary.flows;
                    all.generations += summary.generations;
                    all.handed_over += summary.handed_over;
                    all.held += summary.held;
                    all.lost += summary.lost;
                    all.moved += summary.moved;
                    all.reset += summary.reset;
                    all.silent += summary.silent;
                    all.restarts += summary.restarts;
                    all.ended_ms += summary.ended_ms;
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    println!("{seeds:?}: {all:?}");
    // A simulation in which nothing happens proves nothing.
    if seeds.clone().count() > 50 {
        assert!(
            all.flows > 0 && all.handed_over > 0 && all.lost > 0 && all.restarts > 0,
            "{all:?}"
        );
        assert!(all.held > 0, "{all:?}");
        assert!(all.moved > 0 && all.reset > 0 && all.silent > 0, "{all:?}");
        assert!(all.generations > 2 * seeds.count() as u64, "{all:?}");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in seeds().take(5) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
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

/// Runs a seed; a failure names it.
fn run(seed: u64) -> Summary {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).unwrap_or_else(|_| {
        panic!("seed {seed} failed: GUIDEWAY_SIM_SEEDS={seed}..{} runs it alone", seed + 1)
    })
}
