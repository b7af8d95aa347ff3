//! Guideway as the load balancer of 5,000 Services of 20 endpoints each, in front of a real API server
//! (docs/kubernetes-tests.md). Prints a table and writes `target/bench/kubernetes.csv`.
//!
//! `--short` takes a tenth of the Services. Root only: the cluster's machines are network namespaces. This
//! program starts the cluster and Guideway, and itself once more in the client's namespace, where it
//! talks to the API and sends packets.

mod cluster;
mod guideway;
mod inside;
mod load;
mod peer;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let place = words.iter().position(|word| word == name)?;
        words.get(place + 1).cloned()
    };
    if let Some(node) = after("--echo") {
        return peer::echo(&node);
    }
    let short = words.iter().any(|word| word == "--short");
    let services = if short { 500 } else { 5_000 };
    let done = match after("--inside") {
        Some(folder) => inside::run(folder.as_ref(), services),
        None => cluster::run(short),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/kubernetes: {error:#}");
            ExitCode::FAILURE
        }
    }
}
