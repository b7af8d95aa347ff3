//! Simulation: real TCP and UDP endpoints (smoltcp) through the real worker loop, engine and
//! `compile`, over the memory device behind a bad link, while the configuration changes. Time and
//! chance come from one seed, so a run that fails can be run again.
//!
//! `GUIDEWAY_SIM_SEEDS=17..18 cargo test --test sim` runs seed 17 alone; without it a few hundred
//! seeds are run. What has to hold: every byte arrives, no flow changes its backend while that is
//! there, a flow begins where Maglev says, every frame gets exactly one verdict, no frame of a
//! device's memory is lost, no unsound frame is made, and in the end no flow entry is left.

mod chance;
mod client;
mod control;
mod host;
mod model;
mod network;
mod plan;
mod server;
mod tap;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
                    all.lost += summary.lost;
                    all.ended_ms += summary.ended_ms;
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    println!("{seeds:?}: {all:?}");
    // A simulation in which nothing happens proves nothing.
    if seeds.clone().count() > 50 {
        assert!(all.flows > 0 && all.handed_over > 0 && all.lost > 0, "{all:?}");
        assert!(all.generations > 2 * seeds.count() as u64, "{all:?}");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in seeds().take(5) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// Runs a seed; a failure names it.
fn run(seed: u64) -> Summary {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).unwrap_or_else(|_| {
        panic!("seed {seed} failed: GUIDEWAY_SIM_SEEDS={seed}..{} runs it alone", seed + 1)
    })
}
