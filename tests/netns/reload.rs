//! What a changed configuration does to what is running: nothing that was not asked for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Backend, Config, Download, Guideway, Hold, Lab, Service, Site, serve, serve_all, storm,
    transfer, wait_until,
};

/// Flows that ended are forgotten soon, so that a test sees backends leave.
const TIMEOUTS: &str =
    "timeouts: { tcp_opening: 2s, tcp_established: 5m, tcp_closing: 1s, tcp_reset: 1s, udp: 2s }";

fn nat(name: &str, port: u16, backends: u8) -> Service {
    Service::nat(name, Site::VIP, port, "10.1.0", backends).line(TIMEOUTS)
}

fn names(report: &Value) -> Vec<String> {
    report["per_backend"].as_object().unwrap().keys().cloned().collect()
}

fn loaded(guideway: &Guideway) -> u64 {
    guideway.status()["configuration"]["loaded_unix_ms"].as_u64().unwrap()
}

#[test]
fn picked_up_by_every_way_to_change_the_file() {
    let Some(lab) = Lab::new("rlways") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10").with(nat("one", 7000, 1));
    let mut guideway = Guideway::start(&lab, &site.balancer, &config);

    let two = config.clone().with(nat("two", 7001, 1));
    std::fs::write(guideway.config(), two.text(&lab)).unwrap();
    wait_until("a file written in place", || guideway.service("two") != Value::Null);

    guideway.reload(&lab, &config);
    assert_eq!(guideway.service("two"), Value::Null, "a file renamed over it");

    let before = loaded(&guideway);
    guideway.signal("HUP");
    guideway.wait_for_log("SIGHUP");
    assert_eq!(loaded(&guideway), before, "SIGHUP reads it, but nothing is new");

    // Swapped with a symbolic link, as a Kubernetes ConfigMap is.
    let three = lab.write("three.yaml", &config.clone().with(nat("three", 7003, 1)).text(&lab));
    std::os::unix::fs::symlink(&three, lab.path("link")).unwrap();
    std::fs::rename(lab.path("link"), guideway.config()).unwrap();
    wait_until("a symbolic link in its place", || guideway.service("three") != Value::Null);
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 50");
    assert_eq!(report["answered"], 50, "{report}");
}

#[test]
fn a_refused_file_leaves_what_runs() {
    let Some(lab) = Lab::new("rlrefuse") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let config = Config::new(&["eth1"], "10.1.0.10").with(nat("greet", 7000, 1));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let generation = guideway.status()["generation"].clone();
    let text = config.text(&lab);

    let rows = [
        ("a value that is none", ("version: 1", "version: 7"), "yaml:1:10: version", "^"),
        ("an unknown key", ("port: 7000", "prot: 7000"), "services[0]", "^^^^"),
        ("no YAML at all", ("services:\n", "services: [\n"), "yaml:", "^"),
        ("fixed: interfaces", ("name: eth1", "name: eth7"), "fixed while", "restart"),
        ("fixed: workers", ("idle: sleep", "idle: busy"), "fixed while", "restart"),
        ("fixed: limits", ("frames_per_queue: 2048", "frames_per_queue: 4096"), "fixed", "restart"),
        ("fixed: the socket", ("admin.sock", "admin2.sock"), "fixed while", "restart"),
        ("the machine's own address", ("address: 10.1.0.100", "address: 10.1.0.1"), "in use", "^"),
    ];
    for (description, (good, bad), wanted, also) in rows {
        assert!(text.contains(good), "{description}");
        let before = guideway.status()["configuration"]["refused"].clone();
        guideway.write(&text.replace(good, bad));
        let mut refused = Value::Null;
        wait_until(description, || {
            refused = guideway.status()["configuration"]["refused"].clone();
            refused != Value::Null && refused != before
        });
        let error = refused["error"].as_str().unwrap();
        let file = guideway.config().display().to_string();
        assert!(error.starts_with(&format!("{file}:")), "{description}: {error}");
        assert!(error.contains(wanted) && error.contains(also), "{description}: {error}");
        let first = serde_json::to_string(error.lines().next().unwrap()).unwrap();
        assert!(guideway.log().contains(first.trim_matches('"')), "{description}: in the log");
        let shown = guideway.status_for_people();
        for line in ["a later form was REFUSED"].into_iter().chain(error.lines()) {
            assert!(shown.contains(line.trim()), "{description}: {line} in\n{shown}");
        }
        assert_eq!(guideway.status()["generation"], generation, "{description}");
    }
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 50");
    assert_eq!(report["answered"], 50, "{report}");

    guideway.reload(&lab, &config.clone().with(nat("more", 7001, 1)));
    assert_eq!(guideway.status()["configuration"]["refused"], Value::Null);
}

fn fifth(port: u16) -> Backend {
    let (name, address) = ("b5".to_owned(), "10.1.0.15".to_owned());
    Backend { name, address, port, more: "weight: 2".to_owned() }
}

/// (what, change of each service, backends that new connections reach then)
type Step = (&'static str, fn(&mut Service), &'static [&'static str]);

/// The middle of the lifetime of a connection: backends join, are drained, weighted 0 and removed.
#[test]
fn drains_without_breaking_a_connection() {
    let Some(lab) = Lab::new("drain") else { return };
    let site = Site::one_arm(&lab, 5, 2);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let config =
        Config::new(&["eth1"], "10.1.0.10").with(nat("greet", 7000, 4)).with(nat("lines", 7001, 4));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 60");
    let download = Download::start(
        &site.client,
        "download.log",
        "--to 10.1.0.100:7001 --get 40000000 --bytes-per-second 5000000",
    );
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 400");
    assert_eq!(names(&report), ["b1", "b2", "b3", "b4"], "{report}");

    let mut changed = config.clone();
    let steps: [Step; 4] = [
        ("b1 weighted 0", |s| s.backends[0].more = "weight: 0".to_owned(), &["b2", "b3", "b4"]),
        ("b2 drained", |s| s.backends[1].more = "drain: true".to_owned(), &["b3", "b4"]),
        ("b3 removed", |s| drop(s.backends.remove(2)), &["b4"]),
        ("b5 added", |s| s.backends.push(fifth(s.port)), &["b4", "b5"]),
    ];
    for (description, change, wanted) in steps {
        changed.services.iter_mut().for_each(change);
        guideway.reload(&lab, &changed);
        guideway.wait_until_serving();
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 300");
        assert_eq!(report["answered"], 300, "{description}: {report}");
        assert_eq!(names(&report), wanted, "{description}: {report}");
    }
    let state = |name: &str| guideway.backend("lines", name)["state"].clone();
    assert_eq!([state("b1"), state("b2"), state("b3")], ["draining", "draining", "retired"]);
    assert!(guideway.backend("lines", "b3")["flows"].as_u64() > Some(0));

    let report = download.finish(Duration::from_secs(60));
    assert_eq!(report["is_same"], true, "{report}");
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(60), &json!(0)), "{report}");
    assert_eq!(report["alive_at"], report["opened_to"], "{report}");
    assert_eq!(report["alive_at"].as_object().unwrap().len(), 4, "{report}");
    wait_until("the retired backend to leave", || {
        guideway.backend("lines", "b3") == Value::Null
            && guideway.backend("greet", "b3") == Value::Null
    });
    assert_eq!(guideway.counter("flows_cut"), 0);
}

#[test]
fn a_removed_service_tells_its_clients() {
    let Some(lab) = Lab::new("svcgone") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --lines 0.0.0.0:7002 --greet 0.0.0.0:7000");
    let other = Service::nat("stays", "10.1.0.101", 7000, "10.1.0", 2);
    let mut config = Config::new(&["eth1"], "10.1.0.10")
        .with(other.clone())
        .with(nat("told", 7001, 2).line("on_service_gone: reset"))
        .with(nat("untold", 7002, 2).line("on_service_gone: drop"));
    config.limits += ", service_gone_linger: 4s";
    let mut without = config.clone();
    without.services = vec![other];
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = |port| {
        let options = format!("--to 10.1.0.100:{port} --connections 20 --timeout-ms 2000");
        Hold::open(&site.client, &format!("hold-{port}.log"), &options)
    };
    let (told, untold) = (hold(7001), hold(7002));
    guideway.reload(&lab, &without);

    let report = told.close();
    assert_eq!(report["failures"], json!({"ConnectionReset (errno 104)": 20}), "{report}");
    let report = untold.close();
    assert_eq!(report["failures"], json!({"no answer in time": 20}), "{report}");
    assert!(guideway.counter("tcp_reset") >= 20 && guideway.counter("service_gone") >= 20);

    wait_until("the removed services to leave", || {
        [guideway.service("told"), guideway.service("untold")] == [Value::Null, Value::Null]
    });
    // The address is nobody's now, so the machine may have it: its traffic is the kernel's again.
    assert!(!site.client.succeeds("ping -c 1 -W 1 10.1.0.100"));
    site.balancer.run("ip address add 10.1.0.100/32 dev eth1");
    let _own = serve(&site.balancer, "kernel", "--greet 10.1.0.100:7000");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 20");
    assert_eq!(names(&report), ["kernel"], "{report}");
    let report = storm(&site.client, "--to 10.1.0.101:7000 --count 20");
    assert_eq!(report["answered"], 20, "{report}");
}

#[test]
fn another_mode_is_for_new_flows_only() {
    let Some(lab) = Lab::new("rlmode") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = super::dsr::serve_the_vip(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let with_mode = |mode: &str| {
        let of = |name, port| nat(name, port, 2).line(&format!("mode: {mode}"));
        Config::new(&["eth1"], "10.1.0.10").with(of("greet", 7000)).with(of("lines", 7001))
    };
    let guideway = Guideway::start(&lab, &site.balancer, &with_mode("nat"));
    let bytes_of_a_transfer = || {
        let received = || guideway.status()["counters"]["received_bytes"].as_u64().unwrap();
        let before = received();
        let report = transfer(&site.client, "--to 10.1.0.100:7001 --get 10000000");
        assert_eq!(report["is_same"], true, "{report}");
        received() - before
    };
    let old = Hold::open(&site.client, "old.log", "--to 10.1.0.100:7001 --connections 20");
    assert!(bytes_of_a_transfer() > 10_000_000, "answers come back through the balancer");
    guideway.reload(&lab, &with_mode("l2dsr"));
    assert!(bytes_of_a_transfer() < 5_000_000, "new flows' answers do not");
    let new = Hold::open(&site.client, "new.log", "--to 10.1.0.100:7001 --connections 20");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
    assert_eq!(report["answered"], 200, "{report}");
    let retired = |name: &str| {
        let backends = guideway.service(name)["backends"].clone();
        backends.as_array().unwrap().iter().filter(|backend| backend["state"] == "retired").count()
    };
    assert_eq!(retired("lines"), 2, "the old connections' backends");

    guideway.reload(&lab, &with_mode("nat"));
    for (hold, which) in [(old, "by NAT"), (new, "directly")] {
        let report = hold.close();
        assert_eq!(
            (&report["alive"], &report["moved"]),
            (&20.into(), &0.into()),
            "{which}: {report}"
        );
    }
    wait_until("the last of them to be forgotten", || retired("lines") == 0);
}

/// A folder: each file is refused or taken by itself, and of two that want the same one has it.
#[test]
fn each_file_of_a_folder_by_itself() {
    let Some(lab) = Lab::new("rlfolder") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --greet 0.0.0.0:7001");
    let main = Config::new(&["eth1"], "10.1.0.10").with(nat("main", 7000, 1));
    let guideway = Guideway::start_folder(&lab, &site.balancer, &main);
    let part = |service: Service| format!("version: 1\nservices:\n{}", service.text());
    let write = |name: &str, text: &str| guideway.write_beside(name, text);
    let refused = || guideway.status()["configuration"]["refused"]["error"].clone();

    write("a.yaml", &part(nat("part", 7001, 1)));
    wait_until("a new file", || guideway.service("part") != Value::Null);
    let report = storm(&site.client, "--to 10.1.0.100:7001 --count 50");
    assert_eq!(report["answered"], 50, "{report}");

    write("a.yaml", &part(nat("part", 7001, 1)).replace("7001", "port"));
    wait_until("a wrong file", || refused().as_str().is_some_and(|e| e.contains("a.yaml:5:11")));
    assert!(guideway.service("part") != Value::Null, "its last good form stays");
    write("b.yaml", &part(nat("other", 7002, 1)));
    wait_until("others go on", || guideway.service("other") != Value::Null);

    write("a.yaml", &part(nat("part", 7001, 1)));
    write("b.yaml", &part(nat("wants", 7001, 1)));
    wait_until("both owners", || {
        let error = refused();
        let error = error.as_str().unwrap_or_default();
        error.contains("service wants of b.yaml") && error.contains("service part of a.yaml")
    });
    assert_eq!(guideway.service("wants"), Value::Null);
    guideway.remove_beside("a.yaml");
    wait_until("the other one has it now", || guideway.service("wants") != Value::Null);
    assert_eq!(guideway.status()["configuration"]["refused"], Value::Null);
    let report = storm(&site.client, "--to 10.1.0.100:7001 --count 50");
    assert_eq!(report["answered"], 50, "{report}");
}

#[test]
fn a_change_that_removes_most_services_waits() {
    let Some(lab) = Lab::new("rlheld") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let many = (7000..7012).map(|port| nat(&format!("s{port}"), port, 1));
    let few = Config::new(&["eth1"], "10.1.0.10").with(nat("s7000", 7000, 1));
    let all = Config { services: many.collect(), ..few.clone() };
    let mut guideway = Guideway::start(&lab, &site.balancer, &all);
    guideway.write(&few.text(&lab));
    guideway.wait_for_log("configuration read, and held");
    let error = guideway.status()["configuration"]["refused"]["error"].clone();
    assert!(error.as_str().unwrap().contains("removes 11 of 12 services"), "{error}");
    assert!(guideway.service("s7011") != Value::Null, "nothing of it is in force");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 20");
    assert_eq!(report["answered"], 20, "{report}");
    guideway.signal("HUP");
    guideway.wait_for_log("the change that waited is confirmed");
    wait_until("the change", || guideway.status()["configuration"]["refused"] == Value::Null);
    let services = guideway.status()["services"].as_array().unwrap().clone();
    assert_eq!(services.iter().filter(|service| service["state"] != "removed").count(), 1);
}
