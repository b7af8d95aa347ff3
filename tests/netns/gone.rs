//! Backends that are gone, dead or drained: what their connections get, by real servers and clients.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Config, Guideway, Hold, Lab, Service, Site, serve_all, wait_until};

const TIMEOUTS: &str = "timeouts: { tcp_closing: 1s, tcp_reset: 1s }";

fn hold(site: &Site, port: u16) -> Hold {
    let options = format!("--to 10.1.0.100:{port} --connections 20 --timeout-ms 15000");
    Hold::open(&site.client, &format!("hold-{port}.log"), &options)
}

/// How many of the connections were opened to a backend.
fn opened_to(report: &Value, backend: &str) -> u64 {
    let count = report["opened_to"][backend].as_u64().unwrap_or(0);
    assert!(count > 0, "no connection to {backend}: {report}");
    count
}

#[test]
fn connections_of_a_dead_backend_are_reset_or_kept() {
    let Some(lab) = Lab::new("dead") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --lines 0.0.0.0:7002");
    let service = |name: &str, port, policy: &str| {
        let service = Service::nat(name, Site::VIP, port, "10.1.0", 2);
        service.checked().line(&format!("on_backend_gone: {policy}")).line(TIMEOUTS)
    };
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(service("told", 7001, "reset"))
        .with(service("kept", 7002, "keep"));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let (told, kept) = (hold(&site, 7001), hold(&site, 7002));
    let is_dead = |name: &str| guideway.backend(name, "b1")["state"] == "unhealthy";

    site.backends[0].run("ip link set eth0 down");
    wait_until("the checks to fail", || is_dead("told") && is_dead("kept"));
    // Each connection is asked something five times a second.
    wait_until("resets", || guideway.counter("tcp_reset") > 0);
    std::thread::sleep(Duration::from_millis(500));
    site.backends[0].run("ip link set eth0 up");
    wait_until("the backend to be well", || !is_dead("told") && !is_dead("kept"));

    let report = told.close();
    let lost = opened_to(&report, "b1");
    assert_eq!(report["failures"], json!({"ConnectionReset (errno 104)": lost}), "{report}");
    assert_eq!((&report["alive"], &report["moved"]), (&json!(20 - lost), &json!(0)), "{report}");
    assert_eq!(guideway.counter("flows_backend_gone"), lost);
    let report = kept.close();
    opened_to(&report, "b1");
    assert_eq!((&report["alive"], &report["moved"]), (&json!(20), &json!(0)), "{report}");
}

#[test]
fn connections_of_a_removed_backend_live_for_the_drain_time() {
    let Some(lab) = Lab::new("drained") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = super::dsr::serve_the_vip(&site, "--lines 0.0.0.0:7001 --lines 0.0.0.0:7002");
    let service = |name: &str, port, mode: &str| {
        let service = Service::nat(name, Site::VIP, port, "10.1.0", 2).line("drain_time: 4s");
        service.line(&format!("mode: {mode}")).line(TIMEOUTS)
    };
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(service("translated", 7001, "nat"))
        .with(service("direct", 7002, "l2dsr"));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let holds = [hold(&site, 7001), hold(&site, 7002)];
    let mut without = config.clone();
    without.services.iter_mut().for_each(|service| drop(service.backends.remove(0)));
    let before = Instant::now();
    guideway.reload(&lab, &without);
    wait_until("the end of the drain", || guideway.counter("flows_backend_gone") > 0);
    let lived = before.elapsed();
    assert!(lived >= Duration::from_secs(4), "{lived:?}");
    assert!(lived < Duration::from_secs(8), "{lived:?}");
    std::thread::sleep(Duration::from_secs(1));
    for hold in holds {
        let report = hold.close();
        let lost = opened_to(&report, "b1");
        assert_eq!(report["failures"], json!({"ConnectionReset (errno 104)": lost}), "{report}");
        assert_eq!((&report["alive"], &report["moved"]), (&json!(20 - lost), &json!(0)));
    }
    let left = |name: &str| guideway.backend(name, "b1") == Value::Null;
    wait_until("the removed backends to leave", || left("translated") && left("direct"));
    assert_eq!(guideway.counter("flows_cut"), 0);
}
