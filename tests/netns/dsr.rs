//! L2 direct server return: backends have the VIP on loopback and answer clients themselves.

use crate::support::{
    Config, Guideway, Hold, Lab, Process, Service, Site, serve, storm, transfer, udp,
};

/// Gives every backend the VIP on loopback. It answers for it, but neither answers ARP for it nor
/// asks in its name: a client would learn the backend's MAC for the VIP from that.
pub fn serve_the_vip(site: &Site, options: &str) -> Vec<Process> {
    (1..)
        .zip(&site.backends)
        .map(|(number, backend)| {
            backend.run(
                "ip address add 10.1.0.100/32 dev lo
                 sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
            );
            serve(backend, &format!("b{number}"), options)
        })
        .collect()
}

#[test]
fn tcp_and_udp_come_back_directly() {
    let Some(lab) = Lab::new("dsr") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let options = "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 10.1.0.100:7002";
    let _peers = serve_the_vip(&site, options);
    let dsr = |name, port| Service::nat(name, Site::VIP, port, "10.1.0", 2).line("mode: l2dsr");
    let mut config = Config::new(&["eth1"], "")
        .with(dsr("greet", 7000).checked())
        .with(dsr("lines", 7001))
        .with(dsr("datagrams", 7002).line("protocol: udp"));
    config.snat.clear();
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 20");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 400 --concurrency 8");
    assert_eq!(report["answered"], 400, "{report}");
    assert_eq!(report["per_backend"].as_object().unwrap().len(), 2, "{report}");
    let report = udp(&site.client, "--to 10.1.0.100:7002 --sockets 30 --count 4");
    assert_eq!((&report["answered"], &report["moved"]), (&120.into(), &0.into()), "{report}");

    // What comes back goes past the balancer: it sees the requests and acknowledgments only.
    let before = guideway.status()["counters"]["received_bytes"].as_u64().unwrap();
    let report = transfer(&site.client, "--to 10.1.0.100:7001 --get 10000000");
    assert_eq!(report["is_same"], true, "{report}");
    let after = guideway.status()["counters"]["received_bytes"].as_u64().unwrap();
    assert!(after - before < 5_000_000, "{} bytes for acknowledgments", after - before);
    let report = transfer(&site.client, "--to 10.1.0.100:7001 --put 10000000");
    assert_eq!(report["is_same"], true, "{report}");

    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&20.into(), &0.into()), "{report}");
}

#[test]
fn a_full_flow_table_forwards_by_maglev_alone() {
    let Some(lab) = Lab::new("dsrfull") else { return };
    let site = Site::one_arm(&lab, 2, 1);
    let _peers = serve_the_vip(&site, "--lines 0.0.0.0:7001");
    let mut config = Config::new(&["eth1"], "")
        .with(Service::nat("lines", Site::VIP, 7001, "10.1.0", 2).line("mode: l2dsr"));
    config.snat.clear();
    config.limits = "flows_per_worker: 1024".to_owned();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:7001 --connections 1500");
    assert!(guideway.counter("forwarded_stateless") > 0);
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&1500.into(), &0.into()), "{report}");
}
