//! What clients tell at the end.

use std::collections::BTreeMap;
use std::time::Duration;

/// Failures by what the system called them, and how many of each.
pub type Failures = BTreeMap<String, u64>;

/// Adds one to a name's count.
pub fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// A short stable name for an error.
pub fn name_of(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?} (errno {number})", error.kind()),
        None => format!("{:?}", error.kind()),
    }
}

/// Latencies in milliseconds: half, 99 of 100, and all are below.
#[derive(serde::Serialize)]
pub struct Latencies {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    pub fn of(mut samples: Vec<Duration>) -> Latencies {
        samples.sort_unstable();
        let at = |share: f64| {
            let place = (samples.len() as f64 * share) as usize;
            let sample = samples.get(place.min(samples.len().saturating_sub(1)));
            sample.map_or(0.0, |sample| sample.as_secs_f64() * 1e3)
        };
        Latencies { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// Prints a report as one line of JSON.
pub fn print(report: &impl serde::Serialize) -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
