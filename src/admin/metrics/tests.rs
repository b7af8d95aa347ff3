//! The whole answer, read by a strict reader, and what the board shows held against it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::admin::sample_report;

const BOARD: &str = include_str!("../../../docs/grafana/guideway.json");

const ALL: Most = Most { services: 1_000, backends: 10_000 };

fn text(most: Most) -> String {
    metrics(&sample_report(), &ProcessStatus::read(), &mut Totals::default(), most)
}

/// Samples by name with labels; panics where the format is broken, or a sample is there twice.
fn read(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.') && help.len() > 3, "{line}");
            assert!(families.insert(name.to_string()), "twice: {line}");
            family = name.to_string();
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, what) = of.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert_eq!(what == "counter", name.ends_with("_total"), "{line}");
            kind = what.to_string();
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            assert_eq!(name, family, "{line}");
            assert!(sample == name || sample.ends_with('}'), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
            assert_eq!(samples.insert(sample.to_string(), value), None, "twice: {line}");
        }
    }
    samples
}

#[test]
fn all_of_the_report_is_there() {
    let samples = read(&text(ALL));
    let rows = [
        ("guideway_build_info{version=\"0.1.0\"}", 1.0),
        ("guideway_generation_published", 8.0),
        ("guideway_generation_acknowledged", 7.0),
        ("guideway_config_is_refused", 1.0),
        ("guideway_config_reloads_total{result=\"taken_over\"}", 3.0),
        ("guideway_config_loaded_timestamp_seconds", 1_700_000_100.0),
        ("guideway_frames_received_total", 4000.0),
        ("guideway_frames_dropped_total{reason=\"no_service\"}", 34.0),
        ("guideway_frames_replied_total{kind=\"arp\"}", 5.0),
        ("guideway_events_total{event=\"flows_created\"}", 42.0),
        ("guideway_worker_flows{worker=\"1\"}", 21.0),
        ("guideway_worker_restarts_total{worker=\"1\"}", 1.0),
        ("guideway_interface_up{interface=\"eth2\"}", 0.0),
        ("guideway_xdp_frames_total{interface=\"eth1\",counter=\"steer_passed\"}", 12.0),
        ("guideway_queue_received_total{interface=\"eth1\",queue=\"1\"}", 1000.0),
        ("guideway_flows", 42.0),
        ("guideway_kubernetes_known{cluster=\"main\"}", 1.0),
        ("guideway_kubernetes_leads{cluster=\"main\"}", 1.0),
        ("guideway_kubernetes_services{cluster=\"main\"}", 3.0),
        (
            "guideway_kubernetes_pool_addresses{cluster=\"main\",pool=\"web\",family=\"ipv4\",state=\"free\"}",
            252.0,
        ),
        ("guideway_metrics_left_out{kind=\"backends\"}", 0.0),
        ("guideway_services{state=\"serving\"}", 1.0),
        ("guideway_backends{state=\"unhealthy\"}", 1.0),
        ("guideway_backends_without_next_hop", 1.0),
        ("guideway_service_serving{service=\"web\"}", 1.0),
        ("guideway_service_table_slots{service=\"web\"}", 65537.0),
        ("guideway_service_packets_total{service=\"web\",direction=\"in\"}", 4000.0),
        ("guideway_backend_healthy{service=\"web\",backend=\"b1\"}", 1.0),
        ("guideway_backend_healthy{service=\"web\",backend=\"b2\"}", 0.0),
        (
            "guideway_backend_bytes_total{service=\"web\",backend=\"b1\",direction=\"out\"}",
            2_900_000.0,
        ),
        (
            "guideway_snat_ports{address=\"10.1.0.10\",first_port=\"1024\",interface=\"eth2\"}",
            64512.0,
        ),
    ];
    for (sample, wanted) in rows {
        assert_eq!(samples.get(sample), Some(&wanted), "{sample}");
    }
    assert!(samples["process_resident_memory_bytes"] > 100_000.0);
}

#[test]
fn what_is_beyond_the_limits_is_counted() {
    let samples = read(&text(Most { services: 0, backends: 1 }));
    assert_eq!(samples["guideway_metrics_left_out{kind=\"services\"}"], 1.0);
    assert_eq!(samples["guideway_metrics_left_out{kind=\"backends\"}"], 1.0);
    assert!(!samples.keys().any(|sample| sample.starts_with("guideway_service_")));
    let backends = samples.keys().filter(|sample| sample.starts_with("guideway_backend_active"));
    assert_eq!(backends.count(), 1);
    assert_eq!(samples["guideway_backends{state=\"active\"}"], 1.0, "counted all the same");
}

/// Names of metrics in the board's queries.
fn names_in(board: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = board.split(|letter| !is_part(letter));
    words.filter(|word| word.starts_with("guideway_") || word.starts_with("process_")).collect()
}

#[test]
fn the_board_names_what_there_is() {
    serde_json::from_str::<serde_json::Value>(BOARD).unwrap();
    let text = text(ALL);
    let families: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let names = names_in(BOARD);
    assert!(names.len() > 15, "{names:?}");
    let unknown: Vec<_> = names.difference(&families).collect();
    assert_eq!(unknown, Vec::<&&str>::new());
}
