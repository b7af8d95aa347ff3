//! A thousand changes, good and bad ones, under two thousand connections: nothing that stays is broken, and
//! nothing is left behind.

use crate::support::{Backend, Config, Guideway, Hold, Lab, Service, Site, serve_all, storm};

const CONNECTIONS: u64 = 2000;
const CHANGES: u32 = 1000;
/// After so many, memory has the size that it keeps.
const WARM: u32 = 200;
/// How much more than that it may have at the end: less than 2 kB for each change.
const MOST_MORE_KB: u64 = 1500;

/// What the numbered change makes of the configuration: backends come, go and drain beside those that stay,
/// weights go up and down, another service comes and goes.
fn changed(config: &Config, number: u32) -> Config {
    let mut config = config.clone();
    let more = Backend {
        name: "b4".into(),
        address: "10.1.0.14".into(),
        port: 7001,
        more: format!("weight: {}", number % 5 + 1),
    };
    let lines = &mut config.services[0];
    match number % 4 {
        0 => {}
        1 => lines.backends.push(more),
        2 => lines.backends.push(Backend { more: "drain: true".into(), ..more }),
        _ => lines.backends[2].more = format!("weight: {}", number % 7),
    }
    if number.is_multiple_of(3) {
        config = config.with(Service::nat("other", Site::VIP, 7005, "10.1.0", 2));
    }
    config
}

/// Memory of the process, in kB.
fn resident_kb(guideway: &Guideway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", guideway.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_changes_under_two_thousand_connections() {
    let Some(lab) = Lab::new("chaos") else { return };
    let site = Site::one_arm(&lab, 3, 2);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 3))
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 3));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let options = format!(
        "--to 10.1.0.100:7001 --connections {CONNECTIONS} --every-ms 2000 --timeout-ms 15000 --seconds 900"
    );
    let hold = Hold::open(&site.client, "hold.log", &options);

    let (mut refused, mut warm_kb) = (0, 0);
    let good = lab.path("good.yaml");
    let bad = lab.write("bad.yaml", &config.text(&lab).replace("port: 7000", "prot: 7000"));
    for number in 1..=CHANGES {
        if number % 5 == 4 {
            let (code, report) = guideway.change("apply", &bad, &[]);
            assert!(code == Some(2) && report["refused"].is_string(), "{number}: {report}");
            refused += 1;
            continue;
        }
        std::fs::write(&good, changed(&config, number).text(&lab)).unwrap();
        let (code, report) = guideway.change("apply", &good, &[]);
        assert_eq!(
            (code, &report["applied"]["is_everywhere"]),
            (Some(0), &true.into()),
            "{report}"
        );
        if number == WARM {
            warm_kb = resident_kb(&guideway);
        }
        if number % 250 == 0 {
            let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100 --concurrency 8");
            assert_eq!(report["answered"], 100, "after {number}: {report}");
            println!("{number} changes, {refused} of them refused: {} kB", resident_kb(&guideway));
        }
    }
    let now_kb = resident_kb(&guideway);
    let report = hold.close();
    let counts = (&report["alive"], &report["moved"]);
    assert_eq!(counts, (&CONNECTIONS.into(), &0.into()), "{report}");

    // What runs is what was asked for last, and nothing else.
    let last = changed(&config, CHANGES);
    let (code, report) = guideway.change("plan", &lab.write("last.yaml", &last.text(&lab)), &[]);
    assert_eq!((code, &report["plan"]["services"]), (Some(0), &serde_json::json!([])), "{report}");
    assert_eq!(guideway.counter("flows_backend_gone"), 0);
    assert!(now_kb <= warm_kb + MOST_MORE_KB, "{warm_kb} kB after {WARM}, {now_kb} kB at the end");
}
