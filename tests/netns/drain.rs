//! Backends that are drained by hand, with connections that live meanwhile.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, Service, Site, output, serve_all, storm, told,
    wait_for, wait_until,
};

/// Closed connections are soon forgotten.
fn nat(name: &str, port: u16) -> Service {
    let service = Service::nat(name, Site::VIP, port, "10.1.0", 2);
    service.line("timeouts: { tcp_closing: 1s, tcp_reset: 1s }")
}

fn config() -> Config {
    Config::new(&["eth1"], "10.1.0.10").with(nat("greet", 7000)).with(nat("lines", 7001))
}

/// What a command says, and its exit code.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), told(output))
}

fn drains(guideway: &Guideway) -> Value {
    serde_json::from_slice(&guideway.ask("drain", &["list", "--output", "json"]).stdout).unwrap()
}

/// Who answers new connections.
fn greeted(client: &Namespace) -> Vec<String> {
    let report = storm(client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(report["answered"], 200, "{report}");
    report["per_backend"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn drained_over_reload_and_restart_until_undrained() {
    let Some(lab) = Lab::new("drain") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let guideway = Guideway::start(&lab, &site.balancer, &config());
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 30");
    let held = guideway.backend("lines", "b1")["flows"].as_u64().unwrap();
    assert!(held > 0 && held < 30, "{held}");
    assert_eq!(greeted(&site.client), ["b1", "b2"]);
    wait_until("short connections to be forgotten", || {
        guideway.service("greet")["flows"] == json!(0)
    });

    let (code, text) = said(&guideway.ask("drain", &["backend", "b1"]));
    assert_eq!((code, text), (Some(0), format!("b1 of greet, lines drains: {held} flows left\n")));
    assert_eq!(greeted(&site.client), ["b2"]);
    let all = drains(&guideway);
    assert_eq!(all[0]["services"], json!(["greet", "lines"]), "{all}");
    assert_eq!((&all[0]["user"], &all[0]["flows"]), (&json!("root"), &json!(held)), "{all}");
    assert!(guideway.status_for_people().contains("DRAINED  IN"));

    // A reload does not undo it.
    let mut heavier = config();
    heavier.services.iter_mut().for_each(|s| s.backends[0].more = "weight: 5".to_owned());
    guideway.reload(&lab, &heavier);
    assert_eq!(guideway.backend("greet", "b1")["state"], "draining");
    assert_eq!(greeted(&site.client), ["b2"]);

    let wait = ["backend", "b1", "--wait", "--timeout", "1s"];
    let (code, text) = said(&guideway.ask("drain", &wait));
    assert!(code == Some(1) && text.contains(&format!("still has {held} flows")), "{text}");
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(30), &json!(0)), "{report}");
    let wait = ["backend", "b1", "--wait", "--timeout", "20s", "--output", "json"];
    let done = guideway.ask("drain", &wait);
    let drain: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &drain["flows"]), (Some(0), &json!(0)), "{drain}");

    // Nor does a restart, or a crash.
    assert!(guideway.terminate().success());
    let guideway = Guideway::start(&lab, &site.balancer, &heavier);
    assert_eq!(greeted(&site.client), ["b2"]);
    guideway.kill();
    let guideway = Guideway::start(&lab, &site.balancer, &config());
    assert_eq!(drains(&guideway)[0]["backend"], "b1");
    assert_eq!(guideway.backend("greet", "b1")["state"], "draining");

    let (code, text) = said(&guideway.ask("undrain", &["backend", "b1"]));
    assert_eq!((code, text.as_str()), (Some(0), "b1 gets new flows again\n"));
    assert_eq!(greeted(&site.client), ["b1", "b2"]);
    assert_eq!(drains(&guideway), json!([]));
    let log = guideway.log();
    assert!(log.contains("a drain is asked for") && log.contains("\"uid\":0"), "{log}");
}

#[test]
fn of_one_service_until_its_time_is_over() {
    let Some(lab) = Lab::new("drainuntil") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let mut guideway = Guideway::start(&lab, &site.balancer, &config());
    let state = |guideway: &Guideway, service: &str| {
        guideway.backend(service, "b2")["state"].as_str().unwrap().to_owned()
    };
    let until = ["backend", "b2", "--service", "greet", "--until", "4s"];
    let (code, text) = said(&guideway.ask("drain", &until));
    assert!(code == Some(0) && text.contains("b2 of greet drains until 20"), "{text}");
    let both = (state(&guideway, "greet"), state(&guideway, "lines"));
    assert_eq!(both, ("draining".into(), "active".into()));
    assert_eq!(greeted(&site.client), ["b1"]);
    let limit = Duration::from_secs(10);
    wait_for("the end of the drain", limit, || {
        (state(&guideway, "greet") == "active").then_some(())
    });
    guideway.wait_for_log("the drain is over");
    assert_eq!(drains(&guideway), json!([]));
    assert_eq!(greeted(&site.client), ["b1", "b2"]);
}

#[test]
fn what_makes_no_sense_and_who_may_not() {
    let Some(lab) = Lab::new("drainno") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let mut config = config();
    config.services[1].backends[1].more = "drain: true".to_owned();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert_eq!(said(&guideway.ask("drain", &["backend", "b1", "--service", "lines"])).0, Some(0));
    let rows: &[(&str, &[&str], &str)] = &[
        ("drain", &["backend", "b9"], "no backend `b9`: `guideway backends`"),
        ("drain", &["backend", "b1", "--service", "web"], "no backend `b1` of service `web`"),
        ("drain", &["backend", "b1", "--until", "0s"], "not in the future"),
        ("undrain", &["backend", "b9"], "`b9` is not drained"),
        ("undrain", &["backend", "b2"], "but by the configuration of lines"),
        ("undrain", &["backend", "b1", "--service", "greet"], "in service `lines` only"),
    ];
    for (command, more, wanted) in rows {
        let (code, text) = said(&guideway.ask(command, more));
        assert!(code == Some(2) && text.contains(wanted), "{wanted}: {code:?} {text}");
    }

    // Whoever is let in by the socket's group may look, and no more.
    let binary = lab.path("guideway-for-others");
    std::fs::copy(env!("CARGO_BIN_EXE_guideway"), &binary).unwrap();
    let open = format!("chmod 755 {} {}", binary.display(), lab.path("").display());
    site.balancer.run(&open);
    let as_reader = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "0", "--clear-groups"]).arg(&binary);
        command.args(words).arg("--socket").arg(lab.path("admin.sock"));
        said(&output(&mut command))
    };
    let (code, text) = as_reader(&["drain", "list"]);
    assert!(code == Some(0) && text.contains("lines"), "{text}");
    for words in [["drain", "backend", "b2"], ["undrain", "backend", "b1"]] {
        let (code, text) = as_reader(&words);
        assert!(code == Some(1) && text.contains("only root"), "{text}");
    }
    assert_eq!(drains(&guideway).as_array().unwrap().len(), 1);
}
