//! Peers with a kernel of their own: what user-mode Linux can be asked for, each kind of traffic
//! once, so that tests of Guideway may lean on it. One of them is a backend already.

use crate::support::encapsulated::{self, Outer};
use crate::support::{
    Config, Guideway, Lab, Namespace, Process, Service, Site, Uml, storm, switch, transfer, udp,
    wait_until,
};

/// What a backend with the VIP on loopback does: it answers for it, but neither answers ARP for it
/// nor asks in its name.
pub const HAS_THE_VIP: &str = "ip address add 10.1.0.100/32 dev lo
    sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2\n";

/// A namespace with a guest, 10.1.0.11, at the other end of its interface `tap0`, 10.1.0.50.
fn client_and_guest(lab: &Lab, script: &str) -> (Namespace, Uml) {
    let client = lab.namespace("client");
    let script = format!("ip address add 10.1.0.11/24 dev eth0\n{script}");
    let guest = Uml::start(lab, &client, "tap0", &script);
    client.run("ip address add 10.1.0.50/24 dev tap0");
    (client, guest)
}

fn sniff(namespace: &Namespace, interface: &str, filter: &str) -> Process {
    let line = format!("tcpdump --immediate-mode -l -n -e -v -i {interface} {filter}");
    let mut process = namespace.start(&line, "sniff.log");
    process.wait_for_output("listening on");
    process
}

#[test]
fn boots_answers_and_writes_nowhere_else() {
    let Some(lab) = Lab::new("umlboot") else { return };
    let (client, guest) = client_and_guest(&lab, "");
    client.run("ping -c 3 -i 0.2 -W 2 10.1.0.11");
    guest.run("ping -c 3 -i 0.2 -W 2 10.1.0.50");
    assert!(guest.run("uname -a").contains("6."), "a kernel's name");
    assert!(!guest.succeeds("touch /etc/guest || touch /usr/guest"), "the host's files are safe");
    assert_eq!(guest.try_run("echo out; echo err >&2; exit 7"), (7, "out\nerr\n".to_owned()));

    // Seconds since 1970 there, and here right after.
    let there: i64 = guest.run("date +%s").trim().parse().unwrap();
    let here: i64 = client.run("date +%s").trim().parse().unwrap();
    assert!((here - there).abs() <= 2, "clocks: {there} there, {here} here");

    // Bulk both ways: no segment is larger than a wire's, where the guest's driver drops it.
    guest.serve("guest", "--lines 0.0.0.0:7001");
    let report = transfer(&client, "--to 10.1.0.11:7001 --get 3000000 --put 3000000 --seconds 20");
    assert_eq!(report["is_same"], true, "{report}");

    // IPv6, which any program may load, has no address to greet the link from.
    assert_eq!(guest.run("modprobe ipv6; ip -6 address show dev eth0"), "");

    // Its plug can be pulled and it can be started anew on the same tap.
    drop(guest);
    assert!(!client.succeeds("ping -c 1 -W 1 10.1.0.11"));
    let guest = Uml::start(&lab, &client, "tap0", "ip address add 10.1.0.11/24 dev eth0");
    client.run("ip neigh flush dev tap0; ping -c 1 -W 2 10.1.0.11");
    let pids = || client.run(&format!("ip netns pids {}", client.name()));
    assert!(pids().lines().count() > 2);
    drop(guest);
    assert!(pids().lines().count() <= 2, "something of the guest still runs: {}", pids());
}

#[test]
fn has_the_modules_that_the_host_lacks() {
    let Some(lab) = Lab::new("umlmods") else { return };
    let (_client, guest) = client_and_guest(&lab, "");
    let modules = ["8021q", "ipip", "ip_gre", "fou", "ip6_tunnel", "ip6_gre", "fou6", "sctp"];
    let loaded = modules.map(|module| guest.succeeds(&format!("modprobe {module}")));
    for (module, loaded) in modules.iter().zip(loaded) {
        println!("{module:12} {}", if loaded { "yes" } else { "no" });
    }
    assert_eq!(loaded, [true; 8], "{modules:?}");
}

#[test]
fn two_vlans_of_one_port() {
    let Some(lab) = Lab::new("umlvlan") else { return };
    let front = switch(&lab, "front");
    let vlans = |host: u8| {
        [10, 20].map(|vlan| {
            format!(
                "ip link add link eth0 name eth0.{vlan} type vlan id {vlan}
                 ip link set eth0.{vlan} up; ip address add 10.{vlan}.0.{host}/24 dev eth0.{vlan}\n"
            )
        })
    };
    let first = Uml::plug(&lab, &front, "g1", "10.1.0.11/24", &vlans(11).concat());
    let _second = Uml::plug(&lab, &front, "g2", "10.1.0.12/24", &vlans(12).concat());
    let wire = sniff(&front, "g2", "icmp or vlan");
    for address in ["10.1.0.12", "10.10.0.12", "10.20.0.12"] {
        first.run(&format!("ping -c 1 -W 2 {address}"));
    }
    wait_until("both tags and none on the wire", || {
        let seen = wire.output();
        let is_seen = |net: u8, tag: &str| {
            // With -v tcpdump writes a packet's addresses into the line after.
            let mut pairs = seen.lines().zip(seen.lines().skip(1));
            pairs.any(|(link, network)| {
                network.contains(&format!("10.{net}.0.11 > 10.{net}.0.12: ICMP echo request"))
                    && link.contains(tag)
            })
        };
        is_seen(10, "vlan 10, ")
            && is_seen(20, "vlan 20, ")
            && is_seen(1, "ethertype IPv4 (0x0800)")
    });
}

#[test]
fn a_backend_with_direct_return_and_one_behind_nat() {
    let Some(lab) = Lab::new("umldsr") else { return };
    let site = Site::one_arm(&lab, 0, 1);
    let guest = Uml::plug(&lab, &site.switches[0], "b1", "10.1.0.11/24", HAS_THE_VIP);
    guest.serve("b1", "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 10.1.0.100:7002");
    let service = |name, port| Service::nat(name, Site::VIP, port, "10.1.0", 1);
    let mut behind_nat = service("nat", 8001);
    behind_nat.backends[0].port = 7001;
    let config = Config::new(&["eth1"], "10.1.0.10")
        .with(service("greet", 7000).line("mode: l2dsr").checked())
        .with(service("lines", 7001).line("mode: l2dsr"))
        .with(service("datagrams", 7002).line("mode: l2dsr").line("protocol: udp"))
        .with(behind_nat);
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 200 --concurrency 8");
    assert_eq!(report["per_backend"]["b1"], 200, "{report}");
    let report = udp(&site.client, "--to 10.1.0.100:7002 --sockets 10 --count 4");
    assert_eq!(report["per_backend"]["b1"], 40, "{report}");
    // Both ways through AF_XDP, which no checksum left to somebody else would survive.
    for port in [7001, 8001] {
        let options = format!("--to 10.1.0.100:{port} --get 3000000 --put 3000000");
        let report = transfer(&site.client, &options);
        assert_eq!(report["is_same"], true, "{port}: {report}");
    }
    assert_eq!(guideway.counter("malformed") + guideway.counter("exceeds_mtu"), 0);
}

#[test]
fn takes_packets_out_of_tunnels() {
    let Some(lab) = Lab::new("umltunn") else { return };
    let script = format!(
        "{HAS_THE_VIP}
         modprobe -a ipip ip_gre fou fou6 ip6_tunnel ip6_gre
         sysctl -qw net.ipv6.conf.all.disable_ipv6=0
         ip address add fd00::11/64 dev eth0 nodad
         ip fou add port 6080 gue; ip fou add port 6081 ipproto 4
         ip fou add port 6080 gue -6
         ip -6 tunnel change ip6tnl0 mode any
         for tunnel in tunl0 gre0 ip6tnl0 ip6gre0; do ip link set $tunnel up; done"
    );
    let (client, guest) = client_and_guest(&lab, &script);
    guest.serve("b1", "--udp 10.1.0.100:7002");
    client.run("ping -c 1 -W 2 10.1.0.11");
    let macs = (guest.mac(), client.mac("tap0"));
    let answers = client.start("socat -u UDP4-RECV:5555 STDOUT", "answers.log");
    wait_until("the socket for answers", || client.succeeds("ss -lnu | grep -q :5555"));
    let taken_out = |tunnel| -> u64 {
        let path = format!("/sys/class/net/{tunnel}/statistics/rx_packets");
        guest.run(&format!("cat {path}")).trim().parse().unwrap()
    };

    let gue = [0, 4, 0, 0];
    let rows: [(&str, &str, Outer); 7] = [
        ("ipip", "tunl0", Outer::V4(4, vec![])),
        ("gre", "gre0", Outer::V4(47, vec![0, 0, 8, 0])),
        ("fou", "tunl0", Outer::V4(17, encapsulated::udp_header(6081, &[]))),
        ("gue", "tunl0", Outer::V4(17, encapsulated::udp_header(6080, &gue))),
        ("ipip over ipv6", "ip6tnl0", Outer::V6(4, vec![])),
        ("gre over ipv6", "ip6gre0", Outer::V6(47, vec![0, 0, 8, 0])),
        ("gue over ipv6", "ip6tnl0", Outer::V6(17, encapsulated::udp_header(6080, &gue))),
    ];
    for (name, tunnel, outer) in rows {
        let before = taken_out(tunnel);
        let frame = outer.frame(&macs, format!("[{name}]").as_bytes());
        encapsulated::send(&lab, &client, "tap0", &frame);
        let answer = format!("b1 [{name}]");
        wait_until(&answer, || answers.output().contains(&answer));
        assert_eq!(taken_out(tunnel), before + 1, "{name} by {tunnel}");
    }
}

#[test]
fn speaks_sctp() {
    let Some(lab) = Lab::new("umlsctp") else { return };
    let front = switch(&lab, "front");
    let server = Uml::plug(&lab, &front, "g1", "10.1.0.11/24", "modprobe sctp");
    let client = Uml::plug(&lab, &front, "g2", "10.1.0.12/24", "modprobe sctp");
    server.start_inside("socat SCTP4-LISTEN:7000,fork EXEC:cat", "socat");
    let is_open = "cat /proc/net/sctp/eps | grep -qw 7000";
    wait_until("the server's endpoint", || server.succeeds(is_open));
    let wire = sniff(&front, "g1", "sctp");
    // Waits for the answer before it closes: SCTP knows no half-closed association.
    let ask = "SYSTEM:echo over sctp; read answer; echo $answer >&2";
    let line = format!("socat SCTP4-CONNECT:10.1.0.11:7000 '{ask}'");
    assert_eq!(client.run(&line), "over sctp\n");
    wait_until("an association on the wire", || {
        let seen = wire.output();
        ["[INIT]", "[INIT ACK]", "[COOKIE ECHO]", "[COOKIE ACK]", "[DATA]", "[SACK]"]
            .iter()
            .all(|chunk| seen.contains(chunk))
    });
    let counters = client.run("cat /proc/net/sctp/snmp");
    let number = |name: &str| {
        let line = counters.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((number("SctpActiveEstabs"), number("SctpChecksumErrors")), (1, 0), "{counters}");
}
