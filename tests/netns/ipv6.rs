//! The same over IPv6: NAT and DSR, neighbour discovery for VIPs, and the machine beside them.

use serde_json::json;

use super::nat::assert_every_frame_has_a_verdict;
use crate::support::{
    Config, Guideway, Hold, Lab, Nginx, Process, Service, Site, get, plug, serve_all, storm,
    switch, transfer, udp, wait_until,
};

const PEERS: &str = "--greet [::]:7000 --lines [::]:7001 --udp [::]:7002";

/// A service on the IPv6 VIP with backends in the network 2001:db8:NET::/64.
fn nat(name: &str, port: u16, net: u8, backends: u8) -> Service {
    Service::nat(name, Site::VIP_6, port, &format!("2001:db8:{net}:"), backends)
}

fn config(interfaces: &[&str], net: u8, backends: u8) -> Config {
    Config::new(interfaces, &format!("2001:db8:{net}::10"))
        .with(nat("greet", 7000, net, backends).checked())
        .with(nat("lines", 7001, net, backends).checked())
        .with(nat("datagrams", 7002, net, backends).line("protocol: udp"))
}

/// TCP and UDP to the VIP from the client, answered by `backends`.
fn assert_all_is_served(site: &Site, backends: usize) {
    let report = storm(&site.client, "--to [2001:db8:1::100]:7000 --count 600 --concurrency 16");
    assert_eq!(report["answered"], 600, "{report}");
    assert_eq!(report["per_backend"].as_object().unwrap().len(), backends, "{report}");
    let report = transfer(
        &site.client,
        "--to [2001:db8:1::100]:7001 --get 10000000 --put 10000000 --seconds 60",
    );
    assert_eq!(report["is_same"], true, "{report}");
    for bytes in [1, 64, 1400] {
        let options = format!("--to [2001:db8:1::100]:7002 --sockets 30 --count 5 --bytes {bytes}");
        let report = udp(&site.client, &options);
        assert_eq!(report["answered"], 150, "{report}");
        assert_eq!((&report["moved"], &report["different"]), (&0.into(), &0.into()), "{report}");
    }
}

#[test]
fn nat_tcp_udp_and_the_machine_itself() {
    let Some(lab) = Lab::new("nat6") else { return };
    let site = Site::two_arms(&lab, 3, 1).with_ipv6();
    let _peers = serve_all(&site, PEERS);
    let guideway = Guideway::start(&lab, &site.balancer, &config(&["eth1", "eth2"], 2, 3));
    assert_all_is_served(&site, 3);

    // The client's kernel knows the VIP as it knows any neighbour.
    let known = site.client.run("ip -6 neigh show 2001:db8:1::100");
    assert!(known.contains(&site.balancer.mac("eth1")), "{known}");
    let known = site.backends[0].run("ip -6 neigh show 2001:db8:2::10");
    assert!(known.contains(&site.balancer.mac("eth2")), "the SNAT address: {known}");
    assert!(guideway.counter("neighbour_advertisement") > 0);
    for size in [8, 56, 1452] {
        site.client.run(&format!("ping -6 -q -c 3 -i 0.05 -W 2 -s {size} 2001:db8:1::100"));
    }
    assert_eq!(guideway.counter("icmp_echo"), 9);

    let _own = Nginx::start(&lab, &site.balancer, "own", "[2001:db8:1::1]:8080");
    assert_eq!(get(&site.client, "http://[2001:db8:1::1]:8080/"), Ok("own".to_owned()));
    site.client.run("ping -6 -q -c 3 -i 0.05 -W 2 2001:db8:1::1");
    assert_eq!(guideway.counter("icmp_echo"), 9, "the machine answers for itself");
    let report = storm(&site.balancer, "--to [2001:db8:2::11]:7000 --count 50");
    assert_eq!(report["per_backend"]["b1"], 50, "the machine's own connections: {report}");
    assert!(get(&site.client, "-m 1 'http://[2001:db8:1::100]:81/'").is_err());
    assert!(guideway.counter("no_service") > 0);
    assert_every_frame_has_a_verdict(&guideway);
    assert_eq!(guideway.counter("malformed") + guideway.counter("not_ours"), 0);
}

#[test]
fn both_families_side_by_side() {
    let Some(lab) = Lab::new("both") else { return };
    let site = Site::one_arm(&lab, 2, 2).with_ipv6();
    let _peers = serve_all(&site, PEERS);
    let mut both = config(&["eth1"], 1, 2);
    both.snat.push("{ address: 10.1.0.10 }".to_owned());
    let both = both
        .with(Service::nat("greet4", Site::VIP, 7000, "10.1.0", 2).checked())
        .with(Service::nat("lines4", Site::VIP, 7001, "10.1.0", 2));
    let guideway = Guideway::start(&lab, &site.balancer, &both);
    let of_4 = Hold::open(&site.client, "of4.log", "--to 10.1.0.100:7001 --connections 10");
    let of_6 = Hold::open(&site.client, "of6.log", "--to [2001:db8:1::100]:7001 --connections 10");
    assert_all_is_served(&site, 2);
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 300");
    assert_eq!(report["answered"], 300, "{report}");
    // A backend that is a client of the service it serves.
    let report = storm(&site.backends[0], "--to [2001:db8:1::100]:7000 --count 100");
    assert_eq!(report["answered"], 100, "{report}");
    for hold in [of_4, of_6] {
        let report = hold.close();
        assert_eq!((&report["alive"], &report["moved"]), (&10.into(), &0.into()), "{report}");
    }
    assert_every_frame_has_a_verdict(&guideway);
}

#[test]
fn dsr_comes_back_directly() {
    let Some(lab) = Lab::new("dsr6") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    for backend in &site.backends {
        // Linux answers solicitations for the addresses of the interface they come in by only.
        backend.add_ipv6("lo", "2001:db8:1::100/128");
    }
    // A datagram is answered from the VIP only by a socket that is bound to it.
    let peers = "--greet [::]:7000 --lines [::]:7001 --udp [2001:db8:1::100]:7002";
    let _peers = serve_all(&site, peers);
    let mut config = config(&["eth1"], 1, 2);
    config.services.iter_mut().for_each(|service| service.lines.push("mode: l2dsr".to_owned()));
    config.snat.clear();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert_all_is_served(&site, 2);
    let received = || guideway.status()["counters"]["received_bytes"].as_u64().unwrap();
    let before = received();
    let report = transfer(&site.client, "--to [2001:db8:1::100]:7001 --get 10000000");
    assert_eq!(report["is_same"], true, "{report}");
    assert!(received() - before < 5_000_000, "{} bytes of acknowledgments", received() - before);
    assert_every_frame_has_a_verdict(&guideway);
}

#[test]
fn an_address_shared_with_the_machine() {
    let Some(lab) = Lab::new("shared6") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    let _peers = serve_all(&site, PEERS);
    let network = "2001:db8:1:";
    let service = |name, port| {
        Service::nat(name, Site::BALANCER_6, port, network, 2).line("shared_address: true")
    };
    let mut config = Config::new(&["eth1"], "")
        .with(service("greet", 7000).checked())
        .with(service("datagrams", 7002).line("protocol: udp"));
    config.snat =
        vec!["{ address: 2001:db8:1::1, ports: 61001-65535, shared_address: true }".to_owned()];
    site.balancer.run("sysctl -qw net.ipv4.ip_local_port_range='32768 60999'");
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let _own = Nginx::start(&lab, &site.balancer, "own", "[2001:db8:1::1]:8080");

    let report = storm(&site.client, "--to [2001:db8:1::1]:7000 --count 300 --concurrency 8");
    assert_eq!(report["answered"], 300, "{report}");
    let report = udp(&site.client, "--to [2001:db8:1::1]:7002 --sockets 10 --count 3");
    assert_eq!(report["answered"], 30, "{report}");
    assert_eq!(get(&site.client, "http://[2001:db8:1::1]:8080/"), Ok("own".to_owned()));
    site.client.run("ping -6 -q -c 2 -i 0.2 -W 2 2001:db8:1::1");
    assert_eq!(guideway.counter("icmp_echo"), 0, "on a shared address the machine answers pings");
    assert_eq!(guideway.counter("neighbour_advertisement"), 0, "and neighbours");
    let report = storm(&site.balancer, "--to [2001:db8:1::11]:7000 --count 50");
    assert_eq!(report["per_backend"], json!({"b1": 50}), "its own connections: {report}");
    // Fragments without ports cannot be told apart: the kernel has them, and they are counted.
    site.client.run("ping -6 -q -c 2 -i 0.2 -W 2 -s 4000 2001:db8:1::1");
    assert!(guideway.steer_counter("passed_shared_fragment") > 0);
    assert_every_frame_has_a_verdict(&guideway);
}

/// Neighbour advertisements that go by.
struct Advertisements(Process);

impl Advertisements {
    fn watch(site: &Site) -> Advertisements {
        let filter = "'icmp6 and ip6[40] == 136'";
        let line = format!("tcpdump --immediate-mode -l -n -e -i eth0 {filter}");
        let mut process = site.client.start(&line, "advertisements.log");
        process.wait_for_output("listening on");
        Advertisements(process)
    }

    /// To all hosts, for this address, from this MAC.
    fn of(&self, address: &str, mac: &str) -> usize {
        let (target, sender) = (format!("tgt is {address},"), format!("{mac} > 33:33:00:00:00:01"));
        let output = self.0.output();
        output.lines().filter(|line| line.contains(&target) && line.contains(&sender)).count()
    }
}

#[test]
fn claims_at_start_for_new_vips_and_when_a_link_comes_up() {
    let Some(lab) = Lab::new("claims6") else { return };
    let site = Site::one_arm(&lab, 1, 1).with_ipv6();
    let seen = Advertisements::watch(&site);
    let config = Config::new(&["eth1"], "2001:db8:1::10").with(nat("one", 7000, 1, 1));
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config);
    let mac = site.balancer.mac("eth1");
    for address in [Site::VIP_6, "2001:db8:1::10"] {
        wait_until("a claim at start", || seen.of(address, &mac) >= 3);
    }
    let other = "2001:db8:1::101";
    assert_eq!(seen.of(other, &mac), 0);
    let two = Service::nat("two", other, 7000, "2001:db8:1:", 1);
    guideway.reload(&lab, &config.with(two));
    wait_until("a claim of the new VIP", || seen.of(other, &mac) >= 3);
    assert_eq!(seen.of(Site::VIP_6, &mac), 3, "the old one is not said again");
    site.balancer.run("ip link set eth1 address 02:00:00:00:00:77");
    wait_until("a claim with the new MAC", || seen.of(Site::VIP_6, "02:00:00:00:00:77") >= 1);
}

/// Groups joined on an interface, as the kernel tells.
fn is_joined(site: &Site, interface: &str, group: &str) -> bool {
    site.balancer.run(&format!("ip -6 maddress show dev {interface}")).contains(group)
}

#[test]
fn found_through_a_switch_that_listens_to_mld() {
    let Some(lab) = Lab::new("mld") else { return };
    let site = Site::one_arm(&lab, 1, 1).with_ipv6();
    // It sends multicast only to those who asked for the group, once it has been querier for a while.
    site.switches[0].run(
        "sysctl -qw net.ipv6.conf.br0.disable_ipv6=0
         ip link set br0 type bridge mcast_query_response_interval 100
         ip link set br0 type bridge mcast_querier 1 mcast_snooping 1",
    );
    let _peers = serve_all(&site, PEERS);
    let group = "ff02::1:ff00:100";
    assert!(!is_joined(&site, "eth1", group));
    let config = Config::new(&["eth1"], "2001:db8:1::10").with(nat("greet", 7000, 1, 1));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    wait_until("the VIP's group to be joined", || is_joined(&site, "eth1", group));
    wait_until("the switch to know it", || site.switches[0].run("bridge mdb show").contains(group));
    std::thread::sleep(std::time::Duration::from_secs(3));
    let asked = || guideway.counter("neighbour_advertisement");
    let before = asked();
    site.client.run("ip -6 neigh flush dev eth0");
    let report = storm(&site.client, "--to [2001:db8:1::100]:7000 --count 50");
    assert_eq!(report["answered"], 50, "{report}");
    assert!(asked() > before, "the VIP was asked for");
    // Nobody who did not join hears a group: the switch does as it should.
    let refused = site.client.try_run("ping -6 -c 1 -W 1 2001:db8:1::dead");
    assert!(!refused.status.success());

    let mut without = config;
    without.services[0].address = "2001:db8:1::200".to_owned();
    guideway.reload(&lab, &without);
    wait_until("the old group to be left", || {
        !is_joined(&site, "eth1", group) && is_joined(&site, "eth1", "ff02::1:ff00:200")
    });
    assert_eq!(guideway.terminate().code(), Some(0));
    assert!(!is_joined(&site, "eth1", "ff02::1:ff00:200"));
}

#[test]
fn a_backend_behind_a_router_known_by_its_link_local_address() {
    let Some(lab) = Lab::new("router6") else { return };
    let site = Site::two_arms(&lab, 1, 1).with_ipv6();
    let (router, far) = (lab.namespace("router"), switch(&lab, "far"));
    plug(&router, "eth0", &site.switches[1], "router", "10.2.0.254/24", 1);
    plug(&router, "eth1", &far, "router", "10.3.0.1/24", 1);
    router.add_ipv6("eth0", "2001:db8:2::fe/64");
    router.add_ipv6("eth1", "2001:db8:3::1/64");
    router.run(
        "sysctl -qw net.ipv6.conf.all.forwarding=1; ip -6 address add fe80::fe/64 dev eth0 nodad",
    );
    let backend = lab.namespace("far1");
    plug(&backend, "eth0", &far, "far1", "10.3.0.11/24", 1);
    backend.add_ipv6("eth0", "2001:db8:3::11/64");
    backend.run("ip -6 route add default via 2001:db8:3::1");
    let _peer = crate::support::serve(&backend, "far1", PEERS);
    site.balancer.run("ip -6 route add 2001:db8:3::/64 via fe80::fe dev eth2");

    let config = config(&["eth1", "eth2"], 2, 1);
    let mut config = Config { services: vec![], ..config };
    for (name, port) in [("greet", 7000), ("lines", 7001)] {
        config.services.push(nat(name, port, 3, 1).checked());
    }
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let report = storm(&site.client, "--to [2001:db8:1::100]:7000 --count 200");
    assert_eq!(report["per_backend"], json!({"far1": 200}), "{report}");
    let report = transfer(&site.client, "--to [2001:db8:1::100]:7001 --get 3000000 --put 3000000");
    assert_eq!(report["is_same"], true, "{report}");
    let known = &guideway.backend("greet", "b1")["next_hop"]["known"];
    assert_eq!(known["mac"], router.mac("eth0"), "{known}");
    let managed = site.balancer.run("ip -6 neigh show fe80::fe dev eth2");
    assert!(managed.contains("managed"), "{managed}");
}
