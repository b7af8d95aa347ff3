//! What Prometheus is told: a [`StatusReport`] under names with units.
//!
//! The number of lines is bounded: interfaces, queues, workers, counters and reasons are few, and
//! services and backends have a limit each; what is left out by it is counted.

mod clusters;
mod frames;
mod process;
mod services;
mod text;
mod totals;

pub use process::ProcessStatus;
pub use totals::Totals;

use super::{FeedStatus, StatusReport};
use text::{Exposition, Kind, seconds, truth};

/// What the answer is, for whoever asks (the exposition format of Prometheus, version 0.0.4).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many have metrics of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Most {
    /// Services.
    pub services: usize,
    /// Backends.
    pub backends: usize,
}

/// All metrics. `totals` is brought up to the report.
pub fn metrics(
    report: &StatusReport,
    process: &ProcessStatus,
    totals: &mut Totals,
    most: Most,
) -> String {
    let mut all = Exposition::default();
    general(report, &mut all);
    feeds(&report.feeds, &mut all);
    clusters::write(&report.clusters, &mut all);
    process.write(&mut all);
    frames::write(report, &mut all);
    let distinct = services::distinct(&report.services);
    totals.follow(&distinct);
    services::write(report, &distinct, totals, most, &mut all);
    all.into_text()
}

fn general(report: &StatusReport, all: &mut Exposition) {
    use Kind::{Counter, Gauge};
    let help = "1, with the version of the program.";
    all.family(Gauge, "guideway_build_info", help).sample(&[("version", &report.version)], 1);
    let started = seconds(report.started_unix_ms);
    all.single(Gauge, "process_start_time_seconds", "Start of the process in Unix time.", started);

    let generation = report.generation;
    let help = "Newest snapshot.";
    all.single(Gauge, "guideway_generation_published", help, generation.published);
    let help = "Newest snapshot that every worker runs.";
    all.single(Gauge, "guideway_generation_acknowledged", help, generation.acknowledged);

    let configuration = &report.configuration;
    let help = "When the configuration was taken over last, in Unix time.";
    let loaded = seconds(configuration.loaded_unix_ms);
    all.single(Gauge, "guideway_config_loaded_timestamp_seconds", help, loaded);
    let help = "Snapshot in which it was first in force.";
    let loaded_in = configuration.loaded_in_generation;
    all.single(Gauge, "guideway_config_loaded_generation", help, loaded_in);
    let help = "1: what was read last is not in force, all of it or a part.";
    let is_refused = truth(configuration.refused.is_some());
    all.single(Gauge, "guideway_config_is_refused", help, is_refused);
    let help = "Readings of the configuration, the one at start aside, by what became of them.";
    let mut family = all.family(Counter, "guideway_config_reloads_total", help);
    let reloads = &configuration.reloads;
    let rows = [
        ("taken_over", reloads.taken_over),
        ("unchanged", reloads.unchanged),
        ("held", reloads.held),
        ("refused", reloads.refused),
    ];
    rows.iter().for_each(|(result, count)| family.sample(&[("result", result)], count));
}

/// Feeds are few: each stands in the configuration.
fn feeds(feeds: &[FeedStatus], all: &mut Exposition) {
    use Kind::Gauge;
    type Row = (&'static str, &'static str, fn(&FeedStatus) -> Option<f64>);
    let rows: [Row; 5] = [
        ("guideway_feed_connected", "1: there is a connection.", |feed| {
            Some(truth(feed.connected_unix_ms.is_some()).into())
        }),
        (
            "guideway_feed_taken_timestamp_seconds",
            "When its last update was taken, in Unix time; absent before the first one.",
            |feed| feed.taken_unix_ms.map(seconds),
        ),
        ("guideway_feed_revision", "Revision of that update.", |feed| Some(feed.revision as f64)),
        ("guideway_feed_services", "Services that were taken.", |feed| Some(feed.services as f64)),
        ("guideway_feed_refused", "Parts of its state that are not in force.", |feed| {
            Some(feed.refused.len() as f64)
        }),
    ];
    for (name, help, value) in rows {
        let mut family = all.family(Gauge, name, help);
        for feed in feeds {
            if let Some(value) = value(feed) {
                family.sample(&[("feed", &feed.name)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
