//! The end of the process, wanted or not, and the next start.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, Service, Site, refused, serve, serve_all, storm,
    wait_until,
};

fn has_program(namespace: &Namespace, interface: &str) -> bool {
    namespace.run(&format!("ip -details link show {interface}")).contains("xdp")
}

fn nat_config(interface: &str) -> Config {
    let mut config = Config::new(&[], "10.1.0.10")
        .with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 2))
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2));
    config.interfaces = vec![interface.to_owned()];
    config
}

/// What is left of it in places that outlive a process.
fn remains(lab: &Lab, site: &Site) -> Vec<String> {
    let find = format!("find {} -type f -not -name '*.debug'", lab.path("bpf").display());
    let mut remains: Vec<String> = site.balancer.run(&find).lines().map(str::to_owned).collect();
    if has_program(&site.balancer, "eth1") {
        remains.push("an XDP program".to_owned());
    }
    if lab.path("admin.sock").exists() {
        remains.push("the admin socket".to_owned());
    }
    remains
}

#[test]
fn a_clean_end_leaves_nothing_behind() {
    let Some(lab) = Lab::new("sigterm") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    for signal in ["TERM", "INT"] {
        let guideway = Guideway::start(&lab, &site.balancer, &nat_config("{ name: eth1 }"));
        assert!(has_program(&site.balancer, "eth1"));
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
        assert_eq!(report["answered"], 100, "{report}");
        let status = guideway.end_by(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(remains(&lab, &site), Vec::<String>::new(), "{signal}");
    }
    assert!(!site.balancer.run("ip neigh show").contains("managed"), "the kernel is let off");
}

/// Under L2 DSR all state is with the ends, so a connection outlives the balancer.
#[test]
fn kill_is_survived_by_connections_under_dsr() {
    let Some(lab) = Lab::new("killdsr") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    for backend in &site.backends {
        // Answer for the VIP, but do not ask or answer ARP for it.
        backend.run(
            "ip address add 10.1.0.100/32 dev lo
             sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        );
    }
    let _peers = serve_all(&site, "--lines 0.0.0.0:7001");
    let mut config = Config::new(&["eth1"], "")
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2).line("mode: l2dsr"));
    config.snat.clear();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let options = "--to 10.1.0.100:7001 --connections 20 --timeout-ms 20000";
    let hold = Hold::open(&site.client, "hold.log", options);
    guideway.kill();

    assert!(has_program(&site.balancer, "eth1"), "it outlives the process");
    let kernel = || {
        [("Ip", "InReceives"), ("Tcp", "OutRsts"), ("Icmp", "OutDestUnreachs")]
            .map(|(protocol, name)| site.balancer.kernel_counter(protocol, name))
    };
    let before = kernel();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(kernel(), before, "the kernel sees nothing of what was taken");

    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert!(guideway.steer_counter("steer_no_worker") > 0, "counted over the crash");
    let more = Hold::open(&site.client, "more.log", options);
    for (name, hold) in [("before", hold), ("after", more)] {
        let report = hold.close();
        assert_eq!(
            (&report["alive"], &report["moved"]),
            (&json!(20), &json!(0)),
            "{name}: {report}"
        );
    }
    assert_eq!(guideway.terminate().code(), Some(0));
    assert_eq!(remains(&lab, &site), Vec::<String>::new(), "what was taken over is removed too");
}

/// Under NAT the state died with the process, so old connections are told at once, and new ones work.
#[test]
fn kill_ends_connections_under_nat_with_a_reset() {
    let Some(lab) = Lab::new("killnat") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let config = nat_config("{ name: eth1 }");
    for round in 0..3 {
        let guideway = Guideway::start(&lab, &site.balancer, &config);
        let options = "--to 10.1.0.100:7001 --connections 10 --timeout-ms 20000";
        let hold = Hold::open(&site.client, "hold.log", options);
        guideway.kill();
        let guideway = Guideway::start(&lab, &site.balancer, &config);
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
        assert_eq!(report["answered"], 200, "round {round}: {report}");
        let report = hold.close();
        assert_eq!(report["failures"], json!({"ConnectionReset (errno 104)": 10}), "{report}");
        guideway.kill();
    }
    assert!(has_program(&site.balancer, "eth1"));
}

#[test]
fn on_worker_gone_kernel_gives_traffic_to_the_kernel() {
    let Some(lab) = Lab::new("gonekern") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let config = nat_config("{ name: eth1, on_worker_gone: kernel }");
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    guideway.kill();
    // As a machine would that serves itself while its balancer is away.
    site.balancer.run("ip address add 10.1.0.100/32 dev eth1");
    let own = serve(&site.balancer, "kernel", "--greet 10.1.0.100:7000");
    wait_until("the closed sockets to be let go", || {
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 5 --timeout-ms 2000");
        report["per_backend"]["kernel"] == 5
    });
    drop(own);
    site.balancer.run("ip address delete 10.1.0.100/32 dev eth1");
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(report["answered"], 100, "{report}");
    assert_eq!(report["per_backend"]["kernel"], Value::Null, "{report}");
    drop(guideway);
}

#[test]
fn a_second_instance_is_refused() {
    let Some(lab) = Lab::new("second") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let config = nat_config("{ name: eth1 }");
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 10");
    let pid = format!("(pid {})", guideway.id());
    let (socket, bpf_dir) = ("admin.sock", format!("bpf_dir: {}", lab.path("bpf").display()));
    let elsewhere = format!("{bpf_dir}/other");
    let rows = [
        ("the same", vec![], vec!["another guideway is running", &pid]),
        ("another socket", vec![(socket, "other.sock")], vec!["held by another AF_XDP socket"]),
        (
            "another socket and other pins",
            vec![(socket, "other.sock"), (&bpf_dir, &elsewhere)],
            vec!["already has the XDP program", "ip link set dev eth1 xdp off"],
        ),
    ];
    for (description, changes, wanted) in rows {
        let mut text = config.text(&lab);
        changes.iter().for_each(|(from, to)| text = text.replace(from, to));
        let (code, told) = refused(&lab, &site.balancer, &text);
        assert_eq!(code, Some(1), "{description}: {told}");
        for word in wanted {
            assert!(told.contains(word), "{description}: {told}");
        }
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
        assert_eq!(report["answered"], 100, "after {description}: {report}");
    }
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");
    assert_eq!(guideway.terminate().code(), Some(0));
    assert_eq!(remains(&lab, &site), Vec::<String>::new());
}
