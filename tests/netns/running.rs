//! How it runs: what it tells over HTTP, what it may do, how it ends.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{
    Config, Guideway, Hold, Lab, Service, Site, get, serve_all, storm, told, wait_until,
};

/// What it tells over HTTP, where the balancer reaches it.
fn page(site: &Site, path: &str) -> String {
    site.balancer.run(&format!("curl -s --max-time 10 http://127.0.0.1:9464{path}"))
}

#[test]
fn metrics_tell_of_traffic_and_privileges_are_gone() {
    let Some(lab) = Lab::new("metrics") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 2).checked());
    let text = config.text(&lab).replace("admin: {", "admin: { http: 127.0.0.1:9464,");
    let guideway = Guideway::start_text(&lab, &site.balancer, &text);
    assert_eq!(page(&site, "/healthz"), "ok\n");
    assert_eq!(page(&site, "/readyz"), "ok\n");
    assert!(get(&site.client, "http://10.1.0.1:9464/metrics").is_err(), "on loopback alone");

    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(report["answered"], 100, "{report}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let metrics = page(&site, "/metrics");
    let value = |sample: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
        line.unwrap_or_else(|| panic!("{sample}:\n{metrics}")).trim().parse().unwrap()
    };
    assert!(value("guideway_events_total{event=\"flows_created\"}") >= 100.0);
    assert!(value("guideway_service_packets_total{service=\"greet\",direction=\"in\"}") >= 300.0);
    assert_eq!(value("guideway_backend_healthy{service=\"greet\",backend=\"b2\"}"), 1.0);
    assert_eq!(value("guideway_service_backends_active{service=\"greet\"}"), 2.0);
    assert_eq!(value("guideway_config_is_refused"), 0.0);
    assert!(value("process_open_fds") > 10.0);
    let samples: Vec<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(samples.iter().collect::<BTreeSet<_>>().len(), samples.len(), "each once");

    let threads = capabilities_of(guideway.id());
    // CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF; workers have none.
    let control = (1u64 << 12) | (1 << 13) | (1 << 39);
    for (name, sets) in &threads {
        let wanted = if name.starts_with("gw-worker") { 0 } else { control };
        // Also of what a program could have that it started.
        assert_eq!(*sets, [wanted, wanted, 0, control], "{name} of {threads:x?}");
    }
    assert!(threads.iter().filter(|(name, _)| name.starts_with("gw-worker")).count() == 2);
    assert_eq!(guideway.terminate().code(), Some(0));
}

/// The name of each thread, and its permitted, effective, inheritable and bounding capabilities.
fn capabilities_of(process: u32) -> Vec<(String, [u64; 4])> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of = |task: std::path::PathBuf| {
        // One that has ended meanwhile tells nothing.
        let status = std::fs::read_to_string(task.join("status")).ok()?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().to_owned()
        };
        let set = |key: &str| u64::from_str_radix(&field(key), 16).unwrap();
        assert_eq!(field("NoNewPrivs:"), "1");
        Some((field("Name:"), ["CapPrm:", "CapEff:", "CapInh:", "CapBnd:"].map(set)))
    };
    tasks.filter_map(|task| of(task.unwrap().path())).collect()
}

#[test]
fn a_stop_waits_for_connections_and_lets_none_begin() {
    let Some(lab) = Lab::new("stop") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 2))
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2));
    let mut guideway = Guideway::start(&lab, &site.balancer, &config);
    let options = "--to 10.1.0.100:7001 --connections 10 --timeout-ms 20000";
    let hold = Hold::open(&site.client, "hold.log", options);

    let (asked, answer) = (std::time::Instant::now(), std::sync::mpsc::channel());
    let stop = guideway.asker("stop", &["--drain", "60s"]);
    let waits = std::thread::spawn(move || answer.0.send(stop()));
    wait_until("the end to begin", || guideway.status()["stopping"].is_object());
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 20 --timeout-ms 2000");
    assert_eq!(report["answered"], 0, "no new ones: {report}");
    assert_eq!(guideway.status()["stopping"]["flows"], 10);
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");

    let output = answer.1.recv_timeout(std::time::Duration::from_secs(40)).unwrap();
    waits.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("flows left: 10\n"), "{}", told(&output));
    assert!(asked.elapsed() < std::time::Duration::from_secs(40), "it did not wait for the time");
    guideway.wait_for_log("no flow is left");
    assert_eq!(guideway.ended().code(), Some(0));
}
