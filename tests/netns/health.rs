//! Health checks of every kind against real servers, and what is told of them.

use std::path::PathBuf;

use crate::support::{
    Config, Guideway, Lab, Nginx, Service, Site, get, serve, serve_all, storm, wait_until,
};

const EACH: &str = "interval: 1s, timeout: 1s, rise: 1, fall: 1";

/// Keys, certificates and the server blocks of nginx that use them.
struct Shop {
    ca: PathBuf,
    other_ca: PathBuf,
    pair: PathBuf,
    nginx: String,
}

impl Shop {
    fn new(lab: &Lab) -> Shop {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str, key: &rcgen::KeyPair| {
            let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.self_signed(key).unwrap().pem()
        };
        let own = certificate("shop.example.org", &key);
        let other = certificate("other.example.org", &rcgen::KeyPair::generate().unwrap());
        let ca = lab.write("ca.pem", &own);
        let pair = lab.write("pair.pem", &(own + &key.serialize_pem()));
        let nginx = format!(
            "server {{
                 listen 8443 ssl;
                 ssl_certificate {0}; ssl_certificate_key {0};
                 location / {{ return 200 'all is well'; }}
             }}
             server {{
                 listen 8080; listen [::]:8080;
                 location /busy {{ return 503; }}
                 location /closed {{ return 401; }}
                 location /method {{ if ($request_method = HEAD) {{ return 204; }} return 500; }}
                 location /source {{ allow 10.1.0.7; deny all; root {1}; }}
             }}",
            pair.display(),
            lab.write("source", "known").with_file_name("").display()
        );
        Shop { ca, other_ca: lab.write("other.pem", &other), pair, nginx }
    }

    /// Service, the inside of its check, and why it is down; none: it is up.
    fn rows(&self) -> Vec<(&'static str, String, Option<&'static str>)> {
        let (ca, other) = (self.ca.display(), self.other_ca.display());
        let named = format!("ca_file: {ca}, server_name: shop.example.org");
        let refused = "connect: connection refused";
        vec![
            ("tcp", "type: tcp, port: 8080".to_owned(), None),
            ("tcp-refused", "type: tcp, port: 9".to_owned(), Some(refused)),
            ("greeting", "type: tcp, port: 7000, expect: b1".to_owned(), None),
            (
                "conversation",
                "type: tcp, port: 7001, send: \"NAME\\n\", expect: \"b2\"".to_owned(),
                Some("timed out after 1 s"),
            ),
            ("https", format!("type: https, port: 8443, {named}, body: is well"), None),
            (
                "https-body",
                format!("type: https, port: 8443, {named}, body: is bad"),
                Some(r#"body "all is well", wanted "is bad""#),
            ),
            (
                "https-stranger",
                format!("type: https, port: 8443, ca_file: {other}, server_name: shop.example.org"),
                Some("TLS: the certificate is of an authority that is not trusted"),
            ),
            (
                "https-name",
                format!("type: https, port: 8443, ca_file: {ca}"),
                Some("TLS: the certificate is not for 10.1.0.11"),
            ),
            ("https-any", "type: https, port: 8443, verify: false".to_owned(), None),
            (
                "busy",
                "type: http, port: 8080, path: /busy".to_owned(),
                Some("status 503, wanted 200-399"),
            ),
            (
                "closed",
                "type: http, port: 8080, path: /closed, status: \"200-299,401\"".to_owned(),
                None,
            ),
            ("head", "type: http, port: 8080, path: /method, method: HEAD".to_owned(), None),
            (
                "source",
                "type: http, port: 8080, path: /source, source: 10.1.0.7, status: 200,\
                 host: shop.example.org"
                    .to_owned(),
                None,
            ),
            (
                "no-source",
                "type: http, port: 8080, path: /source".to_owned(),
                Some("status 403, wanted 200-399"),
            ),
            ("grpc", "type: grpc, port: 7003, grpc_service: shop.Cart".to_owned(), None),
            (
                "grpc-till",
                "type: grpc, port: 7003, grpc_service: shop.Till".to_owned(),
                Some("gRPC health NOT_SERVING, wanted SERVING"),
            ),
            ("grpcs", format!("type: grpcs, port: 7004, {named}"), None),
            ("udp", "type: udp, port: 7002, send: there?, expect: \"b1 there?\"".to_owned(), None),
            (
                "udp-refused",
                "type: udp, port: 9, send: there?".to_owned(),
                Some("receive: connection refused"),
            ),
            ("ping", "type: icmp".to_owned(), None),
        ]
    }
}

#[test]
fn each_kind_against_real_servers() {
    let Some(lab) = Lab::new("checks") else { return };
    let site = Site::one_arm(&lab, 1, 1).with_ipv6();
    site.balancer.run("ip address add 10.1.0.7/24 dev eth1");
    let (shop, backend) = (Shop::new(&lab), &site.backends[0]);
    let _nginx = Nginx::start_with(&lab, backend, "b1", "80", &shop.nginx);
    let options = format!(
        "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 0.0.0.0:7002 --grpc 0.0.0.0:7003 \
         --grpc-tls 0.0.0.0:7004 --pair {} --seconds 120",
        shop.pair.display()
    );
    let _peer = serve(backend, "b1", &options);

    let mut config = Config::new(&["eth1"], "10.1.0.10");
    config.snat.push("{ address: \"2001:db8:1::10\" }".to_owned());
    let rows = shop.rows();
    for (port, (name, inside, _)) in (1_000..).zip(&rows) {
        let service = Service::nat(name, Site::VIP, port, "10.1.0", 1);
        config.services.push(service.line(&format!("health_check: {{ {inside}, {EACH} }}")));
    }
    for (name, kind) in [("ping-6", "icmp"), ("tcp-6", "tcp, port: 8080")] {
        let mut service = Service::nat(name, Site::VIP_6, 80, "2001:db8:1:", 1);
        service.address = format!("\"{}\"", Site::VIP_6);
        service.port = if kind == "icmp" { 80 } else { 81 };
        config.services.push(service.line(&format!("health_check: {{ type: {kind}, {EACH} }}")));
    }
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config);

    let six = [("ping-6", String::new(), None), ("tcp-6", String::new(), None)];
    for (name, _, why) in rows.into_iter().chain(six) {
        let wanted = why.map_or(("up", "ok"), |why| ("down", why));
        wait_until(&format!("{name} to be {wanted:?}"), || {
            let health = &guideway.backend(name, "b1")["health"];
            (health["health"].as_str(), health["reason"].as_str())
                == (Some(wanted.0), Some(wanted.1))
        });
    }
    let told = guideway.status_for_people();
    assert!(told.contains("status 503, wanted 200-399, for "), "{told}");
}

#[test]
fn services_that_ask_the_same_share_probes() {
    let Some(lab) = Lab::new("shared") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let backend = &site.backends[0];
    let _peer = serve(backend, "b1", "--greet 0.0.0.0:7000 --seconds 120");
    let mut config = Config::new(&["eth1"], "10.1.0.10");
    for number in 0..8 {
        let service = Service::nat(&format!("s{number}"), Site::VIP, 7_000 + number, "10.1.0", 1);
        let check = "health_check: { type: tcp, port: 7000, interval: 100ms, timeout: 100ms }";
        config.services.push(service.line(check));
    }
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let accepted = || backend.kernel_counter("Tcp", "PassiveOpens");
    let before = accepted();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let count = accepted() - before;
    assert!(
        (10..=30).contains(&count),
        "{count} connections in 2 s: 20 by one check, 160 by eight"
    );

    backend.run(
        "nft add table ip no
         nft 'add chain ip no in { type filter hook input priority 0; }'
         nft 'add rule ip no in tcp dport 7000 reject with tcp reset'",
    );
    wait_until("all eight to be down", || {
        (0..8).all(|number| {
            let health = &guideway.backend(&format!("s{number}"), "b1")["health"];
            health["health"] == "down" && health["reason"] == "connect: connection refused"
        })
    });
}

#[test]
fn a_backend_that_flaps_is_held_back() {
    let Some(lab) = Lab::new("flaps") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let backend = &site.backends[0];
    let _peer = serve(backend, "b1", "--greet 0.0.0.0:7000 --seconds 120");
    backend.run(
        "nft add table ip no
         nft 'add chain ip no in { type filter hook input priority 0; }'",
    );
    let service = Service::nat("greet", Site::VIP, 7000, "10.1.0", 1).line(
        "health_check: { type: tcp, interval: 1s, fast_interval: 50ms, timeout: 50ms, rise: 2, \
         fall: 2, flap_window: 1m }",
    );
    let config = Config::new(&["eth1"], "10.1.0.10").with(service);
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let health = || guideway.backend("greet", "b1")["health"].clone();
    let wait_for = |wanted: &str| wait_until(wanted, || health()["health"] == wanted);
    let fall = || {
        backend.run("nft 'add rule ip no in tcp dport 7000 reject with tcp reset'");
        wait_for("down");
        backend.run("nft flush chain ip no in");
    };
    wait_for("up");
    fall();
    wait_for("up");
    fall();
    wait_until("it to be held back", || {
        health()["reason"] == "ok, but it flapped: has to be good for 4 s"
    });
    assert_eq!(health()["health"], "down");
    wait_for("up");
}

#[test]
fn backups_stand_in_and_an_empty_service_is_unreachable() {
    let Some(lab) = Lab::new("backups") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let mut peers = serve_all(&site, "--greet 0.0.0.0:7000 --seconds 120");
    let mut service = Service::nat("greet", Site::VIP, 7000, "10.1.0", 2).checked();
    service = service.line("no_backend: unreachable").line("on_backend_gone: drop");
    service.backends[1].more = "backup: true".to_owned();
    let config = Config::new(&["eth1"], "10.1.0.10").with(service);
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let state = |name: &str| guideway.backend("greet", name)["state"].clone();
    let by = |name: &str| {
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 20 --concurrency 2");
        assert_eq!(report["per_backend"][name], 20, "{report}");
    };
    wait_until("b2 to stand by", || [state("b1"), state("b2")] == ["active", "standby"]);
    by("b1");
    drop(peers.remove(0));
    wait_until("b2 to stand in", || [state("b1"), state("b2")] == ["unhealthy", "active"]);
    by("b2");
    peers.clear();
    wait_until("nobody to be left", || guideway.service("greet")["state"] == "no_backend");
    let refused = get(&site.client, "http://10.1.0.100:7000/").unwrap_err();
    assert!(!refused.contains("timed out"), "{refused}");
    assert!(guideway.counter("icmp_port_unreachable") > 0);
}
