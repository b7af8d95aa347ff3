//! tshark as judge of every packet on both sides: all modes of one arm, both families, with
//! fragments, ICMP errors and resets.

use crate::modes::{at, decapsulating};
use crate::support::judge::Judge;
use crate::support::{Config, Guideway, Lab, Process, Service, Site, fragments, serve, transfer};

/// A mode's line and the last number of its VIPs.
const MODES: [(&str, u8); 6] = [
    ("mode: nat", 101),
    ("mode: l2dsr", 102),
    ("mode: dscp\n    dscp: 10", 103),
    ("mode: ipip", 104),
    ("mode: gre", 105),
    // Without a header of GUE's, so that tshark sees the packet inside.
    ("mode: gue\n    tunnel: { gue_version: 1 }", 106),
];

fn vips(last: u8) -> [String; 2] {
    [format!("10.1.0.{last}"), format!("2001:db8:1::{last}")]
}

/// The VIPs on loopback, a rule that puts back what mode `dscp` took, and `guideway decap`.
fn prepare(lab: &Lab, site: &Site) -> Vec<Process> {
    let mut running = Vec::new();
    for (number, backend) in (1..).zip(&site.backends) {
        let direct: Vec<_> = MODES.iter().skip(1).flat_map(|(_, last)| vips(*last)).collect();
        let own = vips(10 + number);
        let mut peer = "--lines [::]:7001".to_owned();
        for address in &own {
            peer += &format!(" --udp {}", at(address, 7002));
        }
        for vip in &direct {
            peer += &format!(" --udp {}", at(vip, 7002));
        }
        for ((table, own), vip) in ["ip", "ip6"].iter().zip(&own).zip(vips(103)) {
            backend.run(&format!(
                "nft add table {table} guideway
                 nft 'add chain {table} guideway restore {{ type filter hook prerouting priority raw; }}'
                 nft 'add rule {table} guideway restore {table} daddr {own} {table} dscp 10 \
                  {table} daddr set {vip}'"
            ));
        }
        running.push(decapsulating(lab, number, backend, &direct));
        running.push(serve(backend, &format!("b{number}"), &peer));
    }
    running
}

fn config() -> Config {
    let mut config = Config::new(&["eth1"], "10.1.0.10");
    config.snat.push("{ address: \"2001:db8:1::10\" }".to_owned());
    config.tunnel_sources = vec!["10.9.0.0/24".into(), "\"2001:db8:9::/64\"".into()];
    for (mode, last) in MODES {
        for vip in vips(last) {
            let network = if vip.contains(':') { "2001:db8:1:" } else { "10.1.0" };
            let family = if vip.contains(':') { 6 } else { 4 };
            let service = |name: &str, port| {
                let name = format!("{name}-{last}-{family}");
                Service::nat(&name, &vip, port, network, 2).line(mode)
            };
            let mut refused = [service("refused", 7003), service("refused-udp", 7003)];
            for service in &mut refused {
                service.backends.iter_mut().for_each(|b| b.more = "drain: true".to_owned());
            }
            let [refused, refused_udp] = refused;
            config = config
                .with(service("lines", 7001))
                .with(service("datagrams", 7002).line("protocol: udp"))
                .with(refused)
                .with(refused_udp.line("protocol: udp"));
        }
    }
    config.with(Service::nat("several", "10.1.0.107", 7000, "10.1.0", 2).up_to(7003))
}

#[test]
fn what_leaves_is_well_formed_and_adds_up() {
    let Some(lab) = Lab::new("judge") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    let _running = prepare(&lab, &site);
    let guideway = Guideway::start(&lab, &site.balancer, &config());
    let clients = Judge::listen(&lab, &site.switches[0], &["client"]);
    let backends = Judge::listen(&lab, &site.switches[0], &["b1", "b2"]);
    for (mode, last) in MODES {
        for vip in vips(last) {
            let name = format!("{mode} of {vip}");
            let to = at(&vip, 7001);
            let report = transfer(&site.client, &format!("--to {to} --get 60000 --put 60000"));
            assert_eq!(report["is_same"], true, "{name}: {report}");
            let is_v6 = vip.contains(':');
            let client = at(if is_v6 { "2001:db8:1::50" } else { Site::CLIENT }, 5000);
            let options = format!("--client {client} --to {} --count 3", at(&vip, 7002));
            let options = format!("{options} --bytes 5000 --part 1200 --order reversed");
            let report = fragments(&site.client, &options);
            assert_eq!(
                (&report["answered"], &report["different"]),
                (&3.into(), &0.into()),
                "{name}"
            );
            let family = if is_v6 { 6 } else { 4 };
            // Sixteen flows, so that each backend has some. Nobody waits for the answers: ICMP errors about
            // them go to the backends. Then answers of our own: to one whose hops run out, and to those
            // that no backend takes; the last one fails by being refused, which ends the script.
            site.client.try_run(&format!(
                "for n in $(seq 16); do echo x | socat -u - UDP{family}-SENDTO:{}; done
                 echo x | socat -u - UDP{family}-SENDTO:{},ttl=1
                 echo x | socat -u - UDP{family}-SENDTO:{}
                 echo x | socat -t0.2 - TCP{family}:{}",
                at(&vip, 7002),
                at(&vip, 7002),
                at(&vip, 7003),
                at(&vip, 7003),
            ));
        }
    }
    let report = transfer(&site.client, "--to 10.1.0.107:7001 --get 60000 --put 60000");
    assert_eq!(report["is_same"], true, "one of several ports by NAT: {report}");
    assert!(guideway.counter("tcp_reset") >= 12, "each mode and family refused one");
    assert!(guideway.counter("icmp_port_unreachable") >= 12);
    assert!(guideway.counter("fragments_held") > 0);
    clients.decide(&[
        "ip.flags.mf == 1",
        "ipv6.fraghdr.more == 1",
        "tcp.flags.reset == 1",
        "icmp.type == 3",
        "icmp.type == 11",
        "icmpv6.type == 1",
        "udp && !icmp",
    ]);
    backends.decide(&[
        "icmp.type == 3",
        "icmpv6.type == 1",
        "ip.dsfield.dscp == 10",
        "ipv6.tclass.dscp == 10",
        "gre",
        "ip.proto == 4",
        "udp.dstport == 6080",
    ]);
}
