//! Far more connections through one SNAT address than it has ports, none of them slow.

use serde_json::Value;

use crate::support::{Config, Guideway, Lab, Service, Site, serve_all, storm, wait_until};

const CONNECTIONS: u64 = 200_000;
const BACKENDS: u8 = 4;

/// Backends close first and wait in TIME_WAIT for a minute: a port used again in that time meets it,
/// and the client's SYN may only get through by retransmissions, seconds later.
///
/// The one client has 28,232 ports, each of which comes round seven times. They spread unevenly over
/// shards, so that some backends' shards run out of rested ports; then the client gets the port it
/// had last, which its backend takes.
#[test]
fn of_200_000_connections_of_one_client_through_one_snat_address() {
    let Some(lab) = Lab::new("storm") else { return };
    let site = Site::two_arms(&lab, BACKENDS, 2);
    for backend in &site.backends {
        backend.run("sysctl -qw net.ipv4.tcp_max_tw_buckets=262144");
    }
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let mut config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(Service::nat(
        "greet",
        Site::VIP,
        7000,
        "10.2.0",
        BACKENDS,
    ));
    config.workers = "count: 2, idle: sleep".to_owned();
    config.limits = "flows_per_worker: 262144, frames_per_queue: 4096".to_owned();
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let options =
        format!("--to 10.1.0.100:7000 --count {CONNECTIONS} --concurrency 48 --seconds 400");
    let report = storm(&site.client, &options);
    println!("{report}");
    let waiting: u64 =
        site.backends[0].run("ss -Htan state time-wait | wc -l").trim().parse().unwrap();
    assert!(waiting > CONNECTIONS / 20, "backends close first: {waiting} in TIME_WAIT");
    assert_eq!(report["answered"], CONNECTIONS, "{report}");
    assert_eq!(report["failures"], serde_json::json!({}), "{report}");
    assert_eq!(report["connects_above_1_s"], 0, "{report}");
    for counter in [
        "snat_ports_exhausted",
        "snat_hold_down_shortened",
        "flow_table_full",
        "hand_over_full",
        "malformed",
    ] {
        assert_eq!(guideway.counter(counter), 0, "{counter}");
    }
    assert_sums_balance(&guideway);
}

/// Once the traffic has ended, every frame has its verdict and every frame sent was to be sent.
fn assert_sums_balance(guideway: &Guideway) {
    let number = |value: &Value| value.as_u64().unwrap();
    let sum = |group: &Value| group.as_object().unwrap().values().map(number).sum::<u64>();
    wait_until("the sums to agree", || {
        let counters = &guideway.status()["counters"];
        let answered = number(&counters["forwarded"]) + sum(&counters["replied"]);
        let verdicts = answered + number(&counters["not_ours"]) + sum(&counters["dropped"]);
        let sent = number(&counters["transmitted"]) + number(&counters["transmit_full"]);
        number(&counters["received"]) == verdicts + number(&counters["in_hand_over"])
            && answered + number(&counters["announced"]) == sent
    });
}
