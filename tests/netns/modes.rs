//! Modes besides NAT and L2 DSR: tunnels that backends open with `guideway decap`, and DNAT.

use crate::support::judge::Judge;
use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, Process, Service, Site, plug, serve, serve_all, storm,
    switch, transfer, udp,
};

const BINARY: &str = env!("CARGO_BIN_EXE_guideway");

/// A mode's line, its VIP, and the network its backends are reached in.
const TUNNELS: [(&str, &str, &str); 9] = [
    ("mode: ipip", "10.1.0.101", "10.1.0"),
    ("mode: gre", "10.1.0.102", "10.1.0"),
    ("mode: gre\n    tunnel: { gre_key: 7, dscp: 10 }", "10.1.0.103", "10.1.0"),
    ("mode: gue", "10.1.0.104", "10.1.0"),
    ("mode: gue\n    tunnel: { gue_version: 1, gue_checksum: false }", "10.1.0.105", "10.1.0"),
    ("mode: ipip", "10.1.0.106", "2001:db8:1:"),
    ("mode: gue", "10.1.0.107", "2001:db8:1:"),
    ("mode: ipip", "2001:db8:1::101", "10.1.0"),
    ("mode: gre", "2001:db8:1::102", "2001:db8:1:"),
];

/// VIPs on loopback, and `guideway decap` on the backends' interfaces.
fn prepare_backends(lab: &Lab, site: &Site) -> Vec<Process> {
    let vips = TUNNELS.map(|(_, vip, _)| vip.to_owned());
    let backends = (1..).zip(&site.backends);
    backends.map(|(number, backend)| decapsulating(lab, number, backend, &vips)).collect()
}

/// Makes a backend one for direct return: VIPs on loopback, and `guideway decap` on its interface.
pub fn decapsulating(lab: &Lab, number: u8, backend: &Namespace, vips: &[String]) -> Process {
    backend.run(
        "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
         sysctl -qw net.ipv6.conf.lo.disable_ipv6=0",
    );
    for vip in vips {
        backend.run(&format!("ip address add {vip} dev lo"));
    }
    let mut command = backend.command(BINARY);
    command.env("NO_COLOR", "1").args(["decap", "--interface", "eth0"]);
    let mut decap = Process::start(command, &lab.path(&format!("decap-{number}.log")));
    decap.wait_for_output("decapsulating");
    decap
}

/// A VIP and port as a client writes it.
pub fn at(vip: &str, port: u16) -> String {
    if vip.contains(':') { format!("[{vip}]:{port}") } else { format!("{vip}:{port}") }
}

#[test]
fn tunnels_of_each_kind_and_pair_of_families() {
    let Some(lab) = Lab::new("tunnels") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    let _decaps = prepare_backends(&lab, &site);
    let _peers = serve_all(&site, "--greet [::]:7000 --lines [::]:7001");
    let mut config = Config::new(&["eth1"], "");
    config.snat.clear();
    config.tunnel_sources = vec!["10.9.0.0/24".into(), "\"2001:db8:9::/64\"".into()];
    for (place, (mode, vip, network)) in TUNNELS.iter().enumerate() {
        for (name, port) in [("greet", 7000), ("lines", 7001)] {
            let name = format!("{name}-{place}");
            let service = Service::nat(&name, vip, port, network, 2).line(mode);
            config = config.with(service);
        }
    }
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    for (mode, vip, network) in TUNNELS {
        let name = format!("{mode} of {vip} to {network}");
        let hold = Hold::open(
            &site.client,
            "hold.log",
            &format!("--to {} --connections 10", at(vip, 7001)),
        );
        let to = at(vip, 7000);
        let report = storm(&site.client, &format!("--to {to} --count 100 --concurrency 8"));
        assert_eq!(report["answered"], 100, "{name}: {report}");
        assert_eq!(report["per_backend"].as_object().unwrap().len(), 2, "{name}: {report}");
        // Full segments do not fit into the envelope: the client has to be told, and to believe it.
        let to = at(vip, 7001);
        let report = transfer(&site.client, &format!("--to {to} --get 1000000 --put 2000000"));
        assert_eq!(report["is_same"], true, "{name}: {report}");
        let report = hold.close();
        assert_eq!((&report["alive"], &report["moved"]), (&10.into(), &0.into()), "{name}");
    }
    assert!(guideway.counter("icmp_too_big") >= TUNNELS.len() as u64, "path MTU discovery");
    assert_eq!(guideway.counter("moved_for_room"), 0, "the XDP program makes room");
    let status = guideway.status();
    let dropped = &status["counters"]["dropped"];
    assert!(dropped["malformed"].as_u64() == Some(0), "{dropped}");
}

#[test]
fn dnat_keeps_the_clients_address() {
    let Some(lab) = Lab::new("dnat") else { return };
    let site = Site::two_arms(&lab, 3, 1).with_ipv6();
    for backend in &site.backends {
        backend.run(
            "ip route add default via 10.2.0.1
             ip -6 route add default via 2001:db8:2::1",
        );
    }
    let _peers =
        serve_all(&site, "--greet [::]:7000 --lines [::]:7001 --udp [::]:7002 --lines [::]:7011");
    let mut config = Config::new(&["eth1", "eth2"], "");
    config.snat.clear();
    for (family, vip, network) in [("4", Site::VIP, "10.2.0"), ("6", Site::VIP_6, "2001:db8:2:")] {
        let service = |name: &str, port, backend_port| {
            let mut service = Service::nat(&format!("{name}{family}"), vip, port, network, 3);
            service.backends.iter_mut().for_each(|backend| backend.port = backend_port);
            service.line("mode: dnat")
        };
        config = config
            .with(service("greet", 80, 7000).checked())
            .with(service("lines", 81, 7001).checked())
            .with(service("datagrams", 53, 7002).line("protocol: udp"))
            .with(service("several", 7010, 0).up_to(7012));
    }
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    for vip in [Site::VIP, Site::VIP_6] {
        let lines = at(vip, 81);
        let hold = Hold::open(&site.client, "hold.log", &format!("--to {lines} --connections 20"));
        let seen: String = site.backends.iter().map(|b| b.run("ss -Htn sport = :7001")).collect();
        let client = if vip == Site::VIP { "10.1.0.50" } else { "[2001:db8:1::50]" };
        assert!(seen.matches(client).count() >= 20, "{seen}");
        let report =
            storm(&site.client, &format!("--to {} --count 600 --concurrency 16", at(vip, 80)));
        assert_eq!(report["answered"], 600, "{report}");
        assert_eq!(report["per_backend"].as_object().unwrap().len(), 3, "{report}");
        let options = format!("--to {lines} --get 5000000 --put 5000000");
        let report = transfer(&site.client, &options);
        assert_eq!(report["is_same"], true, "{report}");
        let options = format!("--to {} --get 100000 --put 100000", at(vip, 7011));
        let report = transfer(&site.client, &options);
        assert_eq!(report["is_same"], true, "one of several ports: {report}");
        // The longer ones in fragments, both ways.
        for bytes in [1400, 4000, 20_000] {
            let options = format!("--to {} --sockets 30 --count 5 --bytes {bytes}", at(vip, 53));
            let report = udp(&site.client, &options);
            assert_eq!(report["answered"], 150, "{report}");
            let (moved, different) = (&report["moved"], &report["different"]);
            assert_eq!((moved, different), (&0.into(), &0.into()), "{report}");
        }
        let report = hold.close();
        assert_eq!((&report["alive"], &report["moved"]), (&20.into(), &0.into()), "{report}");
    }
    let judges = [(0, "client"), (1, "b1"), (1, "b2"), (1, "b3")]
        .map(|(switch, port)| Judge::listen(&lab, &site.switches[switch], &[port]));
    for vip in [Site::VIP, Site::VIP_6] {
        for _ in 0..8 {
            let options = format!("--to {} --get 60000 --put 60000", at(vip, 81));
            assert_eq!(transfer(&site.client, &options)["is_same"], true);
        }
        let options = format!("--to {} --sockets 30 --count 2 --bytes 4000", at(vip, 53));
        assert_eq!(udp(&site.client, &options)["answered"], 60);
    }
    for judge in judges {
        judge.decide(&["ip.flags.mf == 1", "ipv6.fraghdr.more == 1", "tcp"]);
    }
    assert!(guideway.status_for_people().contains("10.2.0.11:7010-7012"));
    // The machine's own connections to the same sockets, as those of its health checks.
    let report = storm(&site.balancer, "--to 10.2.0.11:7000 --count 50");
    assert_eq!(report["answered"], 50, "{report}");
    let report = storm(&site.balancer, "--to [2001:db8:2::11]:7000 --count 50");
    assert_eq!(report["answered"], 50, "{report}");
    assert!(guideway.steer_counter("steered_return") > 1000);
    assert_eq!(guideway.counter("no_dnat_flow"), 0);
    for backend in guideway.service("greet4")["backends"].as_array().unwrap() {
        assert_eq!(backend["health"]["health"], "up", "{backend}");
    }
}

/// A router between the balancer and its backends, and behind it a link that takes no full frames.
/// Only ICMP errors to the outer source tell of it.
#[test]
fn a_narrow_way_to_the_backends_is_found_out() {
    let Some(lab) = Lab::new("tunnelmtu") else { return };
    let (front, far) = (switch(&lab, "front"), switch(&lab, "far"));
    let (client, balancer) = (lab.namespace("client"), lab.namespace("lb"));
    let (router, backend) = (lab.namespace("router"), lab.namespace("b1"));
    plug(&client, "eth0", &front, "client", "10.1.0.50/24", 1);
    plug(&balancer, "eth1", &front, "lb", "10.1.0.1/24", 1);
    plug(&router, "eth0", &front, "router", "10.1.0.254/24", 1);
    plug(&router, "eth1", &far, "router", "10.3.0.254/24", 1);
    plug(&backend, "eth0", &far, "b1", "10.3.0.11/24", 1);
    router.run(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0
         ip link set eth1 mtu 1300
         ip route add 10.9.0.0/24 via 10.1.0.1",
    );
    balancer.run("ip route add 10.3.0.0/24 via 10.1.0.254");
    backend.run(
        "ip route add default via 10.3.0.254
         sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
         ip address add 10.1.0.101/32 dev lo; ip address add 10.1.0.102/32 dev lo",
    );
    client.run("sysctl -qw net.ipv4.tcp_mtu_probing=0 net.ipv4.ip_no_pmtu_disc=0");
    let mut command = backend.command(BINARY);
    command.env("NO_COLOR", "1").args(["decap", "--interface", "eth0"]);
    let mut decap = Process::start(command, &lab.path("decap.log"));
    decap.wait_for_output("decapsulating");
    let _peer = serve(&backend, "b1", "--lines 0.0.0.0:7001");
    let mut config = Config::new(&["eth1"], "");
    config.snat.clear();
    config.tunnel_sources = vec!["10.9.0.0/24".into()];
    for (mode, vip) in [("ipip", "10.1.0.101"), ("gue", "10.1.0.102")] {
        // Nothing may be made smaller in passing: errors alone have to do.
        let service = Service::nat(mode, vip, 7001, "10.3.0", 1).line("mss: off");
        config = config.with(service.line(&format!("mode: {mode}")));
    }
    let guideway = Guideway::start(&lab, &balancer, &config);
    for (number, vip) in [(1, "10.1.0.101"), (2, "10.1.0.102")] {
        let report = transfer(&client, &format!("--to {vip}:7001 --put 1000000 --seconds 30"));
        assert_eq!(report["is_same"], true, "{vip}: {report}");
        // One backend address: what the first tunnel has learned holds for the second.
        let learned = client.run(&format!("ip route get {vip}"));
        assert!(learned.contains("mtu 1280") || learned.contains("mtu 1268"), "{learned}");
        assert!(guideway.counter("icmp_too_big") + guideway.counter("path_mtu_lowered") >= number);
    }
    assert_eq!(guideway.counter("path_mtu_lowered"), 2, "one for each of two backends");
    assert!(guideway.steer_counter("steered_icmp_error") >= 1);
    // Lowered in the SYN, a new connection needs no error at all.
    let before = guideway.counter("icmp_too_big");
    config.services.iter_mut().for_each(|service| service.lines[0] = "mss: auto".into());
    guideway.reload(&lab, &config);
    client.run("ip route flush cache");
    let report = transfer(&client, "--to 10.1.0.101:7001 --get 1000000 --seconds 30");
    assert_eq!(report["is_same"], true, "{report}");
    assert!(guideway.counter("mss_clamped") > 0);
    assert_eq!(guideway.counter("icmp_too_big"), before);
}
