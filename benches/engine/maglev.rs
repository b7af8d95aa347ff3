//! Nanoseconds to build a Maglev table of 65,537 slots, by number of backends.

use std::hint::black_box;
use std::time::Instant;

use super::rows::Row;
use super::table;

const SLOTS: u32 = 65_537;
const ROUNDS: usize = 9;

/// One row for each number of backends, which stands in the column of flows.
pub fn run() -> Vec<Row> {
    [10, 100, 1000].map(row).into()
}

fn row(backends: u32) -> Row {
    let names: Vec<String> = (0..backends).map(|number| format!("backend-{number}")).collect();
    let candidates: Vec<_> =
        names.iter().map(|name| guideway::maglev::Candidate { name, weight: 1 }).collect();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            let _ = black_box(guideway::maglev::build(&[5; 16], black_box(&candidates), SLOTS));
            begin.elapsed().as_nanos() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let row = Row {
        mode: "maglev",
        direction: "build",
        family: 4,
        services: 1,
        flows: backends,
        batch: 1,
        ns_min: times[0],
        ns_median: times[ROUNDS / 2],
        ns_max: times[ROUNDS - 1],
    };
    table::print(&row);
    row
}
