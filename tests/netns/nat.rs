//! NAT to backends that know nothing of it: two arms, one arm, TCP and UDP, and what stays as it was.

use crate::support::{
    Config, Guideway, Lab, Nginx, Service, Site, get, serve, storm, transfer, udp,
};

const LINES: &str = "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 0.0.0.0:7002";

/// Received frames have a verdict each, and what was to leave has left.
pub fn assert_every_frame_has_a_verdict(guideway: &Guideway) {
    let counters = guideway.status()["counters"].clone();
    let sum = |name: &str| -> u64 {
        counters[name].as_object().unwrap().values().map(|value| value.as_u64().unwrap()).sum()
    };
    let number = |name: &str| counters[name].as_u64().unwrap();
    let (replied, dropped) = (sum("replied"), sum("dropped"));
    assert_eq!(
        number("received"),
        number("forwarded") + number("not_ours") + replied + dropped + number("in_hand_over"),
        "{counters}"
    );
    assert_eq!(
        number("forwarded") + replied + number("announced"),
        number("transmitted") + number("transmit_full"),
        "{counters}"
    );
}

fn three_services(network: &str, backends: u8) -> Config {
    let nat = |name, port| Service::nat(name, Site::VIP, port, network, backends);
    let snat = format!("{network}.10");
    Config::new(&["eth1"], &snat)
        .with(nat("greet", 7000).checked())
        .with(nat("lines", 7001).checked())
        .with(nat("datagrams", 7002).line("protocol: udp"))
}

#[test]
fn two_arms_tcp_udp_and_the_machine_itself() {
    let Some(lab) = Lab::new("nat2") else { return };
    let site = Site::two_arms(&lab, 3, 1);
    let _peers: Vec<_> = (1..=3)
        .zip(&site.backends)
        .map(|(number, backend)| serve(backend, &format!("b{number}"), LINES))
        .collect();
    let mut config = three_services("10.2.0", 3);
    config.interfaces.push("{ name: eth2 }".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 900 --concurrency 16");
    assert_eq!(report["answered"], 900, "{report}");
    for name in ["b1", "b2", "b3"] {
        let got = report["per_backend"][name].as_u64().unwrap_or(0);
        assert!((200..400).contains(&got), "{name} of three got {got} of 900: {report}");
    }
    let report =
        transfer(&site.client, "--to 10.1.0.100:7001 --get 20000000 --put 20000000 --seconds 60");
    assert_eq!(report["is_same"], true, "{report}");
    for bytes in [1, 64, 1400] {
        let options = format!("--to 10.1.0.100:7002 --sockets 30 --count 5 --bytes {bytes}");
        let report = udp(&site.client, &options);
        assert_eq!(report["answered"], 150, "{report}");
        assert_eq!((&report["moved"], &report["different"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(report["per_backend"].as_object().unwrap().len(), 3, "{report}");
    }

    site.client.run("ping -c 3 -i 0.2 -W 2 10.1.0.100");
    assert_eq!(guideway.counter("icmp_echo"), 3);
    let _own = Nginx::start(&lab, &site.balancer, "own", "10.1.0.1:8080");
    assert_eq!(get(&site.client, "http://10.1.0.1:8080/"), Ok("own".to_owned()));
    site.client.run("ping -c 3 -i 0.2 -W 2 10.1.0.1");
    assert_eq!(guideway.counter("icmp_echo"), 3, "the machine answers for itself");
    // A port of the VIP that nobody serves is no backend's business.
    assert!(get(&site.client, "-m 1 http://10.1.0.100:81/").is_err());
    assert!(guideway.counter("no_service") > 0);
    assert_every_frame_has_a_verdict(&guideway);
    assert_eq!(guideway.counter("malformed") + guideway.counter("not_ours"), 0);
}

#[test]
fn one_arm_and_a_backend_that_is_its_own_client() {
    let Some(lab) = Lab::new("nat1") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers: Vec<_> = (1..=2)
        .zip(&site.backends)
        .map(|(number, backend)| serve(backend, &format!("b{number}"), LINES))
        .collect();
    let guideway = Guideway::start(&lab, &site.balancer, &three_services("10.1.0", 2));
    for client in [&site.client, &site.backends[0], &site.backends[1]] {
        let report = storm(client, "--to 10.1.0.100:7000 --count 200 --concurrency 8");
        assert_eq!(report["answered"], 200, "{}: {report}", client.name());
        assert_eq!(report["per_backend"].as_object().unwrap().len(), 2, "{report}");
        let report = udp(client, "--to 10.1.0.100:7002 --sockets 20 --count 2");
        assert_eq!(report["answered"], 40, "{}: {report}", client.name());
    }
    let report = transfer(&site.backends[0], "--to 10.1.0.100:7001 --get 5000000 --put 5000000");
    assert_eq!(report["is_same"], true, "{report}");
    assert_every_frame_has_a_verdict(&guideway);
}

#[test]
fn nginx_by_weight() {
    let Some(lab) = Lab::new("weight") else { return };
    let site = Site::two_arms(&lab, 3, 1);
    let names = ["b1", "b2", "b3"];
    let _servers: Vec<_> = names
        .iter()
        .zip(&site.backends)
        .map(|(name, backend)| Nginx::start(&lab, backend, name, "80"))
        .collect();
    let mut service = Service::nat("web", Site::VIP, 80, "10.2.0", 3)
        .line("health_check: { type: http, path: /, interval: 200ms, timeout: 150ms, rise: 1 }");
    for (backend, weight) in service.backends.iter_mut().zip([1, 2, 5]) {
        backend.more = format!("weight: {weight}");
    }
    let mut config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(service);
    config.snat = vec!["{ address: 10.2.0.10, ports: 20000-40000, interface: eth2 }".to_owned()];
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let answers = site.client.run("curl -sS -m 30 'http://10.1.0.100/?[1-1600]'");
    for (name, weight) in names.iter().zip([1.0, 2.0, 5.0]) {
        let backend = guideway.backend("web", name);
        let share = backend["share"].as_f64().unwrap();
        assert!((share - weight / 8.0).abs() < 0.01, "{name} has {share} of the slots");
        let got = answers.lines().filter(|line| line == name).count() as f64 / 1600.0;
        // Four standard deviations of 1600 draws.
        let spread = 4.0 * (share * (1.0 - share) / 1600.0).sqrt();
        assert!((got - share).abs() < spread, "{name} got {got}, wanted {share} ± {spread}");
    }
    assert_every_frame_has_a_verdict(&guideway);
}

#[test]
fn an_address_shared_with_the_machine() {
    let Some(lab) = Lab::new("shared") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers: Vec<_> = (1..=2)
        .zip(&site.backends)
        .map(|(number, backend)| serve(backend, &format!("b{number}"), LINES))
        .collect();
    let service = Service::nat("greet", Site::BALANCER, 7000, "10.1.0", 2)
        .line("shared_address: true")
        .checked();
    let mut config = Config::new(&["eth1"], "").with(service);
    // Above the ports that the machine's own connections use.
    config.snat =
        vec!["{ address: 10.1.0.1, ports: 61001-65535, shared_address: true }".to_owned()];
    site.balancer.run("sysctl -qw net.ipv4.ip_local_port_range='32768 60999'");
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let _own = Nginx::start(&lab, &site.balancer, "own", "10.1.0.1:8080");

    let report = storm(&site.client, "--to 10.1.0.1:7000 --count 300 --concurrency 8");
    assert_eq!(report["answered"], 300, "{report}");
    assert_eq!(get(&site.client, "http://10.1.0.1:8080/"), Ok("own".to_owned()));
    site.client.run("ping -c 2 -i 0.2 -W 2 10.1.0.1");
    assert_eq!(guideway.counter("icmp_echo"), 0, "on a shared address the machine answers pings");
    // The machine's own connections go out and come back by the same address.
    site.balancer.run("curl -sf -m 5 -o /dev/null telnet://10.1.0.11:7000 </dev/null");
    // Fragments without ports cannot be told apart: the kernel has them, and they are counted.
    site.client.run("ping -c 2 -i 0.2 -W 2 -s 4000 10.1.0.1");
    assert!(guideway.steer_counter("passed_shared_fragment") > 0);
    assert_every_frame_has_a_verdict(&guideway);
}
