//! `guideway plan`, `apply` and `rollback`, with connections that live meanwhile.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Config, Guideway, Hold, Lab, Service, Site, serve_all, storm, wait_until};

fn nat(name: &str, port: u16, backends: u8) -> Service {
    Service::nat(name, Site::VIP, port, "10.1.0", backends)
}

fn names(report: &Value) -> Vec<String> {
    report["per_backend"].as_object().unwrap().keys().cloned().collect()
}

/// What a plan says of a service.
fn planned<'r>(report: &'r Value, name: &str) -> &'r Value {
    let services = report["plan"]["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn planned_applied_and_rolled_back() {
    let Some(lab) = Lab::new("plan") else { return };
    let site = Site::one_arm(&lab, 3, 2);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config =
        Config::new(&["eth1"], "10.1.0.10").with(nat("greet", 7000, 3)).with(nat("lines", 7001, 3));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 30");
    let generation = guideway.status()["generation"].clone();

    let mut changed = config.clone();
    changed.services.iter_mut().for_each(|service| drop(service.backends.pop()));
    let less = lab.write("less.yaml", &changed.text(&lab));
    let (code, report) = guideway.change("plan", &less, &[]);
    assert_eq!((code, &report["plan"]["breaks_flows"]), (Some(0), &json!(false)), "{report}");
    let flows = &planned(&report, "lines")["flows"];
    let count = |fate: &str| flows[fate].as_u64().unwrap();
    assert_eq!((count("keep") + count("drain"), count("lose")), (30, 0), "{report}");
    assert!(count("drain") > 0, "b3 has some of them: {report}");
    let moved = planned(&report, "lines")["slots"]["share"].as_f64().unwrap();
    assert!(moved > 0.25 && moved < 0.5, "a third has to move: {report}");

    let mut without = config.clone();
    without.services.pop();
    let without = lab.write("without.yaml", &without.text(&lab));
    let (code, report) = guideway.change("plan", &without, &[]);
    assert_eq!((code, &planned(&report, "lines")["flows"]["lose"]), (Some(2), &json!(30)));
    let bad = lab.write("bad.yaml", &config.text(&lab).replace("port: 7000", "port: none"));
    for command in ["plan", "apply"] {
        let (code, report) = guideway.change(command, &bad, &[]);
        let refused = report["refused"].as_str().unwrap();
        assert!(code == Some(2) && refused.contains("bad.yaml:"), "{command}: {report}");
    }
    assert_eq!(guideway.status()["generation"], generation, "so far nothing has changed");

    let (code, report) = guideway.change("apply", &less, &[]);
    assert_eq!((code, &report["applied"]["is_everywhere"]), (Some(0), &json!(true)), "{report}");
    assert_eq!(fs::read_to_string(guideway.config()).unwrap(), changed.text(&lab));
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(names(&greeted), ["b1", "b2"], "at once: {greeted}");
    assert_eq!(guideway.backend("lines", "b3")["state"], "retired");

    let (code, report) = guideway.rollback(&[]);
    assert_eq!((code, &report["applied"]["is_everywhere"]), (Some(0), &json!(true)), "{report}");
    assert_eq!(fs::read_to_string(guideway.config()).unwrap(), config.text(&lab));
    guideway.wait_until_serving();
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(names(&greeted), ["b1", "b2", "b3"], "{greeted}");

    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(30), &json!(0)), "{report}");
    assert!(guideway.log().contains("a change is asked for"), "who asked is in the log");
}

#[test]
fn a_large_removal_wants_to_be_confirmed() {
    let Some(lab) = Lab::new("planheld") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let many = (7000..7012).map(|port| nat(&format!("s{port}"), port, 1));
    let few = Config::new(&["eth1"], "10.1.0.10").with(nat("s7000", 7000, 1));
    let all = Config { services: many.collect(), ..few.clone() };
    let guideway = Guideway::start(&lab, &site.balancer, &all);
    let file = lab.write("few.yaml", &few.text(&lab));

    let (code, report) = guideway.change("apply", &file, &[]);
    assert_eq!((code, &report["applied"]), (Some(2), &Value::Null), "{report}");
    assert!(report["held"].as_str().unwrap().contains("removes 11 of 12 services"), "{report}");
    assert_eq!(fs::read_to_string(guideway.config()).unwrap(), all.text(&lab), "as it was");
    let (code, report) = guideway.change("apply", &file, &["--confirm"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["plan"]["services"].as_array().unwrap().len(), 11, "{report}");
    wait_until("the removed services to leave", || {
        guideway.status()["services"].as_array().unwrap().len() == 1
    });
    assert_eq!(guideway.status()["configuration"]["refused"], Value::Null);
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 20");
    assert_eq!(greeted["answered"], 20, "{greeted}");
}

/// A restart does not lose what a refused file leaves in force.
#[test]
fn a_start_with_a_refused_file() {
    let Some(lab) = Lab::new("lastgood") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10").with(nat("greet", 7000, 1));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert!(guideway.terminate().success());
    let mut broken = config.clone();
    broken.services[0].lines.push("no_such_key: 1".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &broken);
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 50");
    assert_eq!(greeted["answered"], 50, "{greeted}");
    let error = guideway.status()["configuration"]["refused"]["error"].clone();
    let error = error.as_str().unwrap();
    assert!(error.contains("no_such_key") && error.contains("last good form stays"), "{error}");
    assert!(guideway.log().contains("its last good form is in force"));
    guideway.reload(&lab, &config);
    assert_eq!(guideway.status()["configuration"]["refused"], Value::Null);
}
