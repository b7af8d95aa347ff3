//! VIPs are claimed and answered for, and the machine stays a machine of its own.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Config, Guideway, Lab, Namespace, Process, Service, Site, serve, serve_all, storm, wait_until,
};

/// What goes by on an interface, as tcpdump tells it.
struct Wire(Process);

impl Wire {
    fn watch(namespace: &Namespace, interface: &str, filter: &str) -> Wire {
        let line = format!("tcpdump --immediate-mode -l -n -e -i {interface} {filter}");
        let mut process = namespace.start(&line, &format!("wire-{}.log", namespace.name()));
        process.wait_for_output("listening on");
        Wire(process)
    }

    /// Claims of an address: ARP requests for it that say it is its sender's (RFC 5227).
    fn claims(&self, address: &str) -> Vec<String> {
        let announcement = format!("Announcement {address},");
        let (asked, by) = (format!("who-has {address} "), format!("tell {address},"));
        let output = self.0.output();
        let is_claim = |line: &&str| {
            line.contains(&announcement) || line.contains(&asked) && line.contains(&by)
        };
        output.lines().filter(is_claim).map(str::to_owned).collect()
    }
}

#[test]
fn claims_at_start_for_new_vips_and_when_a_link_comes_up() {
    let Some(lab) = Lab::new("announce") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let wire = Wire::watch(&site.client, "eth0", "arp");
    let config =
        Config::new(&["eth1"], "10.1.0.10").with(Service::nat("one", Site::VIP, 7000, "10.1.0", 1));
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config);
    let mac = site.balancer.mac("eth1");
    for address in ["10.1.0.100", "10.1.0.10"] {
        wait_until("a claim at start", || wire.claims(address).len() >= 3);
        assert!(wire.claims(address).iter().all(|claim| claim.contains(&mac)), "{address}");
    }

    assert_eq!(wire.claims("10.1.0.101").len(), 0);
    let more = config.with(Service::nat("two", "10.1.0.101", 7000, "10.1.0", 1));
    guideway.reload(&lab, &more);
    wait_until("a claim of the new VIP", || wire.claims("10.1.0.101").len() >= 3);
    assert_eq!(wire.claims("10.1.0.100").len(), 3, "the old one is not said again");

    site.balancer.run("ip link set eth1 down; sleep 0.5; ip link set eth1 up");
    wait_until("a claim when the link came up", || {
        ["10.1.0.100", "10.1.0.101", "10.1.0.10"].iter().all(|a| wire.claims(a).len() >= 4)
    });

    site.balancer.run("ip link set eth1 address 02:00:00:00:00:77");
    wait_until("a claim with the new MAC", || {
        wire.claims("10.1.0.100").iter().any(|claim| claim.contains("02:00:00:00:00:77"))
    });
    assert!(guideway.status()["counters"]["announced"].as_u64() >= Some(9));
}

#[test]
fn arp_and_ping_are_answered_for_our_addresses_only() {
    let Some(lab) = Lab::new("arpping") else { return };
    let site = Site::two_arms(&lab, 1, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    let config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(Service::nat(
        "greet",
        Site::VIP,
        7000,
        "10.2.0",
        1,
    ));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let (front, back) = (site.balancer.mac("eth1"), site.balancer.mac("eth2"));
    let arping = |namespace: &Namespace, address: &str| {
        let output = namespace.try_run(&format!("arping -c 2 -w 3 -I eth0 {address}"));
        String::from_utf8_lossy(&output.stdout).to_lowercase()
    };
    assert!(arping(&site.client, "10.1.0.100").contains(&front));
    assert!(arping(&site.backends[0], "10.2.0.10").contains(&back));
    assert!(!arping(&site.client, "10.1.0.99").contains(&front), "nobody's address");
    assert!(arping(&site.client, "10.1.0.1").contains(&front), "the kernel answers for its own");
    for size in [8, 56, 1472] {
        site.client.run(&format!("ping -q -c 3 -i 0.05 -W 2 -s {size} 10.1.0.100"));
    }
    assert_eq!(guideway.counter("icmp_echo"), 9);
    assert!(guideway.counter("arp") >= 2);

    // A port of the VIP that no service has is closed.
    let report = storm(&site.client, "--to 10.1.0.100:7009 --count 3 --timeout-ms 500");
    assert_eq!(report["answered"], 0, "{report}");

    own_traffic_is_untouched(&site);
}

/// The machine's own connections, in and out, while VIPs are taken.
fn own_traffic_is_untouched(site: &Site) {
    let _own = serve(&site.balancer, "machine", "--greet 0.0.0.0:2222");
    for address in ["10.1.0.1", "10.2.0.1"] {
        site.client.try_run("ip route add 10.2.0.0/24 via 10.1.0.1");
        let report = storm(&site.client, &format!("--to {address}:2222 --count 50"));
        assert_eq!(report["per_backend"]["machine"], 50, "{address}: {report}");
        site.client.run(&format!("ping -q -c 3 -i 0.05 -W 2 {address}"));
    }
    let report = storm(&site.balancer, "--to 10.2.0.11:7000 --count 50");
    assert_eq!(report["per_backend"]["b1"], 50, "out to a backend: {report}");
    site.balancer.run("ping -q -c 3 -i 0.05 -W 2 10.1.0.50");
    site.balancer.run("ping -q -c 3 -i 0.05 -W 2 10.2.0.11");
}

#[test]
fn an_address_shared_with_the_machine_stays_the_machines() {
    let Some(lab) = Lab::new("shared") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --udp 0.0.0.0:7002");
    let _own = serve(&site.balancer, "machine", "--greet 0.0.0.0:22 --udp 0.0.0.0:7009");
    let wire = Wire::watch(&site.client, "eth0", "arp");
    let shared = |name, port| {
        Service::nat(name, Site::BALANCER, port, "10.1.0", 2).line("shared_address: true")
    };
    let mut config = Config::new(&["eth1"], "")
        .with(shared("greet", 7000))
        .with(shared("datagrams", 7002).line("protocol: udp"));
    config.snat =
        vec!["{ address: 10.1.0.1, ports: 61000-65535, shared_address: true }".to_owned()];
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let report = storm(&site.client, "--to 10.1.0.1:7000 --count 300");
    assert_eq!(report["answered"], 300, "{report}");
    assert_eq!(report["per_backend"].as_object().unwrap().len(), 2, "{report}");
    let report = storm(&site.client, "--to 10.1.0.1:22 --count 50");
    assert_eq!(report["per_backend"], json!({"machine": 50}), "the machine's own port");
    let ask = |port: u16| {
        let options = format!("--to 10.1.0.1:{port} --sockets 10 --count 3");
        crate::support::udp(&site.client, &options)["per_backend"].clone()
    };
    assert_eq!(ask(7009), json!({"machine": 30}));
    assert_eq!(ask(7002)["machine"], json!(null));
    site.client.run("ping -q -c 5 -i 0.05 -W 2 10.1.0.1");
    assert_eq!(guideway.counter("icmp_echo"), 0, "pings are the kernel's to answer");
    assert_eq!(guideway.counter("not_ours"), 0);
    // The machine is a client of its backends from the same address.
    let report = storm(&site.balancer, "--to 10.1.0.11:7000 --count 50");
    assert_eq!(report["per_backend"]["b1"], 50, "{report}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(wire.claims("10.1.0.1").len(), 0);
}
