//! `guideway doctor` where something is wrong, and where nothing is.

use std::path::Path;

use serde_json::Value;

use crate::support::{Config, Guideway, Lab, Service, Site, output, serve_all};

/// What it finds in the balancer's namespace, and its exit code.
fn doctor(lab: &Lab, site: &Site, config: &Path) -> (Option<i32>, Value) {
    let mut command = site.balancer.command(env!("CARGO_BIN_EXE_guideway"));
    command.args(["doctor", "--output", "json", "--config"]).arg(config);
    let output = output(command.arg("--socket").arg(lab.path("admin.sock")));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// How bad what a check says of something is, and what it says.
fn found<'r>(report: &'r Value, check: &str, of: &str) -> (&'r str, &'r str) {
    let mut findings = report["findings"].as_array().unwrap().iter();
    let finding = findings
        .find(|finding| finding["check"] == check && finding["of"].as_str().unwrap().contains(of));
    let finding = finding.unwrap_or_else(|| panic!("no {check} of {of}: {report:#}"));
    (finding["state"].as_str().unwrap(), finding["found"].as_str().unwrap())
}

#[test]
fn faults_are_found_before_a_start_and_while_it_runs() {
    let Some(lab) = Lab::new("doctor") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers = serve_all(&site, "--greet 0.0.0.0:80");
    let mut config =
        Config::new(&["eth1"], "10.2.0.10").with(Service::nat("web", Site::VIP, 80, "10.2.0", 2));
    config.interfaces.push("{ name: eth2 }".to_owned());
    let good = lab.write("good.yaml", &config.text(&lab));
    let (code, report) = doctor(&lab, &site, &good);
    assert_eq!((code, &report["failed"]), (Some(0), &0.into()), "{report:#}");
    assert_eq!(found(&report, "xdp", "eth1"), ("ok", "native"));
    assert_eq!(found(&report, "offloads", "eth1").0, "warn", "its other end is a switch's");
    assert_eq!(found(&report, "rp_filter", "eth1").0, "ok");
    assert_eq!(found(&report, "mtu", "eth2").0, "ok");

    // A VIP that is the machine's, a backend that no route leads to, and settings that hurt.
    site.balancer.run("sysctl -qw net.ipv4.conf.eth1.rp_filter=1; ip link set eth2 mtu 9000");
    let mut bad = config.clone();
    bad.services[0].address = Site::BALANCER.to_owned();
    bad.services[0].backends[1].address = "192.0.2.9".to_owned();
    bad.interfaces.push("{ name: eth7, zero_copy: required }".to_owned());
    let bad = lab.write("bad.yaml", &bad.text(&lab));
    let (code, report) = doctor(&lab, &site, &bad);
    assert_eq!(code, Some(1), "{report:#}");
    let rows = [
        ("rp_filter", "eth1", "warn", "1, strict"),
        ("mtu", "eth2", "fail", "9000, and a frame of 2048 bytes holds 1770"),
        ("addresses", "services[0].address", "fail", "in use by the machine itself (on eth1)"),
        ("next_hops", "web/b2", "fail", "no route"),
        ("link", "eth7", "fail", "no such interface"),
        ("running", "", "ok", "no Guideway answers"),
    ];
    for (check, of, state, text) in rows {
        let (how, what) = found(&report, check, of);
        assert!(how == state && what.contains(text), "{check} {of}: {how} {what}");
    }
    site.balancer.run("ip link set eth2 mtu 1500");

    // While it runs it is asked itself.
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let file = guideway.config().to_owned();
    let (code, report) = doctor(&lab, &site, &file);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(found(&report, "xdp", "eth2 queue 0"), ("ok", "native copy"));
    assert_eq!(found(&report, "next_hops", ""), ("ok", "known for all 2 backends"));
    guideway.write("version: 2\n");
    crate::support::wait_until("the refusal", || {
        !guideway.status()["configuration"]["refused"].is_null()
    });
    let (code, report) = doctor(&lab, &site, &file);
    assert_eq!((code, found(&report, "reload", "").0), (Some(1), "fail"), "{report:#}");
    assert_eq!(found(&report, "configuration", "").0, "fail");

    let missing = lab.path("missing.yaml");
    let (code, report) = doctor(&lab, &site, &missing);
    assert_eq!((code, found(&report, "configuration", "").0), (Some(1), "fail"), "{report:#}");
}
