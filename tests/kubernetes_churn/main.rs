//! Random churn of a Kubernetes cluster from one seed: users change Services, slices, nodes and pools,
//! while several Guideways, each with its own late view, write to one small model of the API server.
//! They lag, hear twice, list anew, are killed between two writes, or stopped in the middle of a plan
//! and go on with it when all has changed. Who leads is drawn, not elected: nothing may depend on there
//! being one.
//!
//! `GUIDEWAY_CHURN_SEEDS=17..18 cargo test --no-default-features --test kubernetes_churn` runs seed 17
//! alone, `GUIDEWAY_CHURN_TRACE=1` with `-- --nocapture` shows each step of it.
//!
//! What has to hold stands in `checks.rs`; `docs/simulation.md` has the list.

mod api;
mod asked;
#[path = "../sim/chance.rs"]
#[allow(dead_code)]
mod chance;
mod checks;
mod pools;
mod replica;
mod run;
mod served;
mod users;
mod writer;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use run::{Run, Summary};

/// What CI runs: some seconds.
const DEFAULT_SEEDS: Range<u64> = 0..1500;

/// As the environment says: `17..18`, or `17..` until one fails.
fn wanted() -> Range<u64> {
    let Ok(text) = std::env::var("GUIDEWAY_CHURN_SEEDS") else { return DEFAULT_SEEDS };
    let parse = || {
        let (from, to) = text.split_once("..")?;
        let to = if to.trim().is_empty() { u64::MAX } else { to.trim().parse().ok()? };
        Some(from.trim().parse().ok()?..to)
    };
    parse().unwrap_or_else(|| panic!("GUIDEWAY_CHURN_SEEDS is {text:?}, wanted such as 0..300"))
}

fn run(seed: u64) -> Summary {
    let ran = catch_unwind(AssertUnwindSafe(|| Run::new(seed).run()));
    ran.unwrap_or_else(|_| {
        panic!(
            "seed {seed} failed; again by: GUIDEWAY_CHURN_SEEDS={seed}..{} GUIDEWAY_CHURN_TRACE=1 \
             cargo test --no-default-features --test kubernetes_churn every_seed -- --nocapture",
            seed + 1
        )
    })
}

#[test]
fn every_seed_keeps_the_promises() {
    let (seeds, begin) = (wanted(), Instant::now());
    let (mut all, mut count) = (Summary::default(), 0u64);
    for seed in seeds {
        all.add(&run(seed));
        count += 1;
    }
    println!("{count} seeds in {:.1} s: {all:?}", begin.elapsed().as_secs_f64());
    // Churn in which nothing happens proves nothing.
    if count > 50 {
        let happened = [all.taken, all.shared, all.beaten, all.killed, all.stopped, all.stale];
        let more = [all.listed, all.lost_answers, all.forgotten, all.waiting, all.served];
        assert!(happened.iter().chain(&more).all(|&times| times > 0), "{all:?}");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in wanted().take(3) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
