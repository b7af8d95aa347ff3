//! Services out of a feed: across namespaces, with bad ones among them, over restarts, and by TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, Process, SOON, Service, Site, serve_all, storm,
    wait_for, wait_until,
};

/// Where the feed listens: on the client's host.
const FEED: &str = "10.1.0.50:7443";

fn nat(name: &str, port: u16, backends: u8) -> Service {
    Service::nat(name, Site::VIP, port, "10.1.0", backends)
}

/// A running `guideway feed serve`, and the file that it serves.
struct Feed {
    process: Process,
    file: PathBuf,
}

impl Feed {
    /// In a namespace, with a file of these services and more options.
    fn start(lab: &Lab, at: &Namespace, services: &[Service], options: &[&str]) -> Feed {
        let file = lab.path("state.yaml");
        Feed::write_to(&file, "", services);
        Feed::start_again(lab, at, options)
    }

    fn start_again(lab: &Lab, at: &Namespace, options: &[&str]) -> Feed {
        let file = lab.path("state.yaml");
        let mut command = at.command(env!("CARGO_BIN_EXE_guideway"));
        command.args(["feed", "serve", "--listen", FEED, "--file"]).arg(&file).args(options);
        let mut process = Process::start(command, &lab.path("feed.log"));
        process.wait_for_output("\"event\":\"serving\"");
        Feed { process, file }
    }

    fn write(&self, services: &[Service]) {
        Feed::write_to(&self.file, "", services);
    }

    fn write_to(file: &Path, head: &str, services: &[Service]) {
        let services: String = services.iter().map(Service::text).collect();
        let beside = file.with_extension("new");
        std::fs::write(&beside, format!("version: 1\n{head}services:\n{services}")).unwrap();
        std::fs::rename(&beside, file).unwrap();
    }

    /// What it has told, an object each.
    fn events(&self) -> Vec<Value> {
        let output = self.process.output();
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event that is as wanted.
    fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, SOON, || self.events().into_iter().rev().find(&is_it))
    }

    fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait(SOON);
    }
}

fn follower(options: &str) -> Config {
    let feed = format!("{{ name: main, url: \"http://{FEED}\", plaintext: true{options} }}");
    Config { feeds: vec![feed], ..Config::new(&["eth1"], "10.1.0.10") }
}

fn wait_until_served(guideway: &Guideway, name: &str, backends: usize) {
    wait_until("the service to be there", || {
        guideway.service(name)["backends"].as_array().is_some_and(|b| b.len() == backends)
    });
    guideway.wait_until_serving();
}

#[test]
fn served_across_namespaces_and_on_without_the_feed() {
    let Some(lab) = Lab::new("feed") else { return };
    let site = Site::one_arm(&lab, 3, 1);
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001 --greet 0.0.0.0:7000");
    let services = |backends| [nat("greet", 7000, backends), nat("lines", 7001, 3).checked()];
    let feed = Feed::start(&lab, &site.client, &services(2), &["--plaintext"]);
    let guideway = Guideway::start_unready(&lab, &site.balancer, &follower(", node: lb1"));
    wait_until_served(&guideway, "greet", 2);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 20");
    let told = feed.wait_for("all is taken", |e| e["event"] == "took" && e["node"] == "lb1");
    assert_eq!(told["refused"], json!({}), "{told}");

    feed.write(&services(3));
    wait_until_served(&guideway, "greet", 3);
    let progress = feed.wait_for("flows to be told", |event| {
        let backends = event["services"]["lines"]["backends"].as_array();
        let flows = |b: &Value| b["flows"].as_u64().unwrap_or(0);
        backends.is_some_and(|all| all.iter().map(flows).sum::<u64>() == 20)
    });
    let first = &progress["services"]["lines"]["backends"][0];
    assert_eq!((&first["name"], &first["health"]), (&json!("b1"), &json!("up")), "{progress}");

    let revision = guideway.status()["feeds"][0]["revision"].clone();
    feed.kill();
    wait_until("the feed to be missed", || {
        guideway.status()["feeds"][0]["connected_unix_ms"].is_null()
    });
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(greeted["answered"], 100, "{greeted}");
    // A restart in between: what was kept is in force at once.
    wait_until("the state to be kept", || lab.path("state/feeds/main.state").exists());
    let before = hold.close();
    assert_eq!((&before["alive"], &before["moved"]), (&json!(20), &json!(0)), "{before}");
    assert!(guideway.terminate().success());
    let guideway = Guideway::start_unready(&lab, &site.balancer, &follower(", node: lb1"));
    assert_eq!(guideway.service("greet")["backends"].as_array().map(Vec::len), Some(3));
    assert_eq!(guideway.status()["feeds"][0]["revision"], revision, "as it was kept");
    guideway.wait_until_serving();
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(greeted["answered"], 100, "{greeted}");

    // It comes back with an older state, and later with a newer one.
    let file = lab.path("state.yaml");
    Feed::write_to(&file, "revision: 7\n", &services(1));
    let feed = Feed::start_again(&lab, &site.client, &["--plaintext"]);
    let event = feed.wait_for("a refusal", |event| event["event"] == "refused");
    assert!(event["refused_update"].as_str().unwrap().contains("revision 7 is older"), "{event}");
    assert_eq!(guideway.service("greet")["backends"].as_array().map(Vec::len), Some(3));
    feed.kill();
    let feed = Feed::start_again(&lab, &site.client, &["--plaintext", "--force"]);
    wait_until("the older one to be taken by force", || {
        guideway.service("greet")["backends"]
            .as_array()
            .unwrap()
            .iter()
            .any(|b| b["state"] != "active")
            || guideway.service("greet")["backends"].as_array().unwrap().len() == 1
    });
    drop(feed);
}

/// One service is wrong all the time; endpoints of all others go on changing.
#[test]
fn one_bad_service_hinders_no_other() {
    let Some(lab) = Lab::new("feedbad") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let many = |backends: u8| -> Vec<Service> {
        let others = (10_000..10_200).map(|port| nat(&format!("s{port}"), port, backends));
        let bad = nat("bad", 9, 1).line("protocol: quic");
        others.chain([nat("greet", 7000, 1), bad]).collect()
    };
    let feed = Feed::start(&lab, &site.client, &many(1), &["--plaintext"]);
    let guideway = Guideway::start_unready(&lab, &site.balancer, &follower(""));
    wait_until_served(&guideway, "greet", 1);
    for backends in [2, 3, 1] {
        feed.write(&many(backends));
        let active = |service: Value| {
            let backends = service["backends"].as_array().cloned().unwrap_or_default();
            backends.iter().filter(|backend| backend["state"] == "active").count()
        };
        wait_until("endpoints to change", || {
            let ends = [10_000, 10_199].map(|port| active(guideway.service(&format!("s{port}"))));
            ends == [usize::from(backends); 2]
        });
    }
    let status = guideway.status();
    assert_eq!(status["services"].as_array().unwrap().len(), 201);
    let refused = status["feeds"][0]["refused"].as_array().unwrap();
    let text = "services[bad].protocol: `quic` is not known; wanted: `tcp`, `udp` or `sctp`";
    assert_eq!(refused, &[json!(text)], "in the words of a file");
    let event = feed.wait_for("the refusal", |event| !event["refused"]["bad"].is_null());
    assert_eq!(event["refused"]["bad"], json!([text]));
    assert!(guideway.status_for_people().contains(text));
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 50");
    assert_eq!(greeted["answered"], 50, "{greeted}");
    // A feed that lost nearly all is not believed before somebody says so.
    feed.write(&[nat("greet", 7000, 1)]);
    let event = feed.wait_for("the change to be held", |event| !event["held"].is_null());
    assert!(event["held"].as_str().unwrap().contains("removes 200 of 201"), "{event}");
    assert_eq!(guideway.status()["services"].as_array().unwrap().len(), 201);
    guideway.signal("HUP");
    wait_until("the change to be taken", || {
        !guideway.service("s10000").is_object() || guideway.service("s10000")["state"] == "removed"
    });
}

#[test]
fn health_as_the_feed_says() {
    let Some(lab) = Lab::new("feedheal") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let service = |word: &str| {
        // Our own check of b1 fails; the feed says that b2 is the bad one.
        let mut service = nat("greet", 7000, 2)
            .line("health: feed")
            .line("health_check: { type: tcp, port: 9, interval: 200ms, timeout: 150ms, fall: 1 }");
        service.backends[1].more = format!("healthy: {word}");
        service
    };
    let feed = Feed::start(&lab, &site.client, &[service("false")], &["--plaintext"]);
    let guideway = Guideway::start_unready(&lab, &site.balancer, &follower(""));
    wait_until("own checks to fail", || {
        guideway.backend("greet", "b1")["health"]["health"] == "down"
    });
    assert_eq!(guideway.backend("greet", "b1")["state"], "active");
    assert_eq!(guideway.backend("greet", "b2")["state"], "unhealthy");
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 50");
    assert_eq!(greeted["per_backend"], json!({ "b1": 50 }), "{greeted}");
    feed.write(&[service("true")]);
    wait_until("b2 to be back", || guideway.backend("greet", "b2")["state"] == "active");
}

/// Certificates of an authority of the test's own.
fn certificates(lab: &Lab) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    lab.write("ca.pem", &params.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(params, ca_key);
    for name in ["10.1.0.50", "lb1.example.org", "lb2.example.org"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        lab.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
        lab.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

#[test]
fn both_ends_show_certificates() {
    let Some(lab) = Lab::new("feedtls") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    certificates(&lab);
    lab.write("token", "secret\n");
    let path = |name: &str| lab.path(name).display().to_string();
    let (cert, key) = (path("10.1.0.50.pem"), path("10.1.0.50.key"));
    let (ca, token) = (path("ca.pem"), path("token"));
    let options: [&str; 8] =
        ["--tls-cert", &cert, "--tls-key", &key, "--client-ca", &ca, "--token-file", &token];
    let feed = Feed::start(&lab, &site.client, &[nat("greet", 7000, 1)], &options);
    // The certificate that is shown at first is another node's.
    std::fs::copy(lab.path("lb2.example.org.pem"), lab.path("own.pem")).unwrap();
    std::fs::copy(lab.path("lb2.example.org.key"), lab.path("own.key")).unwrap();
    let entry = format!(
        "{{ name: main, url: \"https://{FEED}\", node: lb1.example.org, ca_file: {ca}, cert_file: {}, \
         key_file: {}, token_file: {token} }}",
        path("own.pem"),
        path("own.key"),
    );
    let config = Config { feeds: vec![entry], ..Config::new(&["eth1"], "10.1.0.10") };
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config);
    wait_until("the name to be refused", || {
        let problem = guideway.status()["feeds"][0]["problem"].clone();
        problem.as_str().is_some_and(|why| why.contains("none of lb1.example.org"))
    });
    assert_eq!(guideway.service("greet"), Value::Null);
    // It is replaced, and read again with the next connection.
    std::fs::copy(lab.path("lb1.example.org.pem"), lab.path("own.pem")).unwrap();
    std::fs::copy(lab.path("lb1.example.org.key"), lab.path("own.key")).unwrap();
    wait_until_served(&guideway, "greet", 1);
    feed.wait_for("the node", |event| event["node"] == "lb1.example.org");
    let greeted = storm(&site.client, "--to 10.1.0.100:7000 --count 20");
    assert_eq!(greeted["answered"], 20, "{greeted}");
    // Without a certificate there is no connection.
    let plain = site.client.try_run(&format!("curl -s --max-time 3 --cacert {ca} https://{FEED}/"));
    assert!(!plain.status.success());
}

/// Another language, out of nothing but the proto file.
#[test]
fn a_client_in_python() {
    let Some(lab) = Lab::new("feedpy") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/feed-client/bin/python");
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none(), "no {}: scripts/setup test", python.display());
        eprintln!("NOT RUN: no {}: scripts/setup test", python.display());
        return;
    }
    let host = lab.namespace("feed");
    host.run("ip address add 10.1.0.50/24 dev lo");
    let services = |port| [nat("web", port, 1), nat("dns", 53, 1).line("protocol: udp")];
    let feed = Feed::start(&lab, &host, &services(80), &["--plaintext"]);
    let mut command: Command = host.command(&python);
    command.arg(root.join("tests/netns/feed_client.py")).arg(root.join("proto")).arg(FEED);
    let mut client = Process::start(command, &lab.path("python.log"));
    let told = feed.wait_for("python to refuse", |event| event["event"] == "refused");
    assert_eq!(told["refused"], json!({ "web": ["not here"] }), "{told}");
    feed.wait_for("python's flows", |event| {
        event["services"]["dns"]["backends"][0]["flows"] == json!(7)
    });
    feed.write(&services(8080));
    assert!(client.wait(SOON).success(), "{}", client.output());
    let updates: Vec<Value> =
        client.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(updates[0]["names"], json!(["dns", "web"]), "{updates:?}");
    assert_eq!(updates[1]["names"], json!(["web"]), "only what is another: {updates:?}");
    assert_eq!(updates[1]["ports"], json!(["8080"]));
    assert!(updates[1]["revision"].as_u64() > updates[0]["revision"].as_u64());
}
