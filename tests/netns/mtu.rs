//! Path MTU discovery through the balancer: a link with a smaller MTU on either side of it, and
//! real TCP that only gets through when the kernel's own "fragmentation needed" reaches its sender.

use crate::support::{
    Config, Guideway, Lab, Namespace, Service, Site, plug, serve, switch, transfer,
};

/// Longest packet of the narrow link.
const NARROW: u32 = 1300;

/// Two routers with a narrow link between them; whoever is on the switches knows of wide ones only.
/// `net` is the link's own network.
fn narrow_link(lab: &Lab, role: &str, net: &str, ends: [(&Namespace, &str, &str); 2]) {
    let routers = [format!("{role}a"), format!("{role}b")].map(|name| lab.namespace(&name));
    routers[0].connect("narrow", &routers[1], "narrow", 1);
    for (number, (router, (switch, address, beyond))) in (1..).zip(routers.iter().zip(ends)) {
        plug(router, "eth0", switch, &format!("{role}{number}"), address, 1);
        router.run(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0
             ip link set narrow mtu {NARROW}
             ip address add {net}.{number}/24 dev narrow
             ip route add {beyond} via {net}.{}",
            3 - number
        ));
    }
}

/// Segments are never made smaller by a guess of the kernel's: what it is told has to do.
fn believe_only_errors(hosts: &[&Namespace]) {
    for host in hosts {
        host.run("sysctl -qw net.ipv4.tcp_mtu_probing=0 net.ipv4.ip_no_pmtu_disc=0");
    }
}

/// A client in 10.3.0.0/24 and a backend in 10.4.0.0/24, one of the two behind a narrow link, the
/// other one on the balancer's own link; and one transfer that comes to the narrow link in full size.
fn through_a_narrow_link(name: &str, is_clients: bool, transfer_options: &str) {
    let Some(lab) = Lab::new(name) else { return };
    let (front, back, far) = (switch(&lab, "front"), switch(&lab, "back"), switch(&lab, "far"));
    let (client, balancer) = (lab.namespace("client"), lab.namespace("lb"));
    let backend = lab.namespace("b1");
    plug(&balancer, "eth1", &front, "lb", "10.1.0.1/24", 1);
    plug(&balancer, "eth2", &back, "lb", "10.2.0.1/24", 1);
    let beyond = "10.3.0.0/24";
    let (wide, gateway, net, narrow_host) = match is_clients {
        true => (&front, "10.1.0.251", "10.1.0.0/24", &client),
        false => (&back, "10.2.0.251", "10.2.0.0/24", &backend),
    };
    let near = format!("{gateway}/24");
    narrow_link(&lab, "r", "10.8.1", [(wide, &near, beyond), (&far, "10.3.0.1/24", net)]);
    plug(narrow_host, "eth0", &far, "host", "10.3.0.11/24", 1);
    narrow_host.run("ip route add default via 10.3.0.1");
    match is_clients {
        true => plug(&backend, "eth0", &back, "b1", "10.2.0.11/24", 1),
        false => plug(&client, "eth0", &front, "client", "10.1.0.50/24", 1),
    }
    balancer.run(&format!("ip route add {beyond} via {gateway}"));
    believe_only_errors(&[&client, &backend]);

    let _peer = serve(&backend, "b1", "--lines 0.0.0.0:7001");
    let backends = if is_clients { "10.2.0" } else { "10.3.0" };
    let service = Service::nat("lines", Site::VIP, 7001, backends, 1);
    let config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(service);
    let guideway = Guideway::start(&lab, &balancer, &config);
    let report = transfer(&client, &format!("--to 10.1.0.100:7001 {transfer_options}"));
    assert_eq!(report["is_same"], true, "{report}");
    let (sender, towards) =
        if is_clients { (&backend, "10.2.0.10") } else { (&client, "10.1.0.100") };
    let learned = sender.run(&format!("ip route get {towards}"));
    assert!(learned.contains(&format!("mtu {NARROW}")), "the sender was told: {learned}");
    for counter in ["bad_quote", "bad_icmp_checksum", "no_flow_for_error", "exceeds_mtu"] {
        assert_eq!(guideway.counter(counter), 0, "{counter}");
    }
}

/// The router tells the VIP, and the backend hears of it.
#[test]
fn a_narrow_link_to_the_client() {
    through_a_narrow_link("mtufar", true, "--get 2000000");
}

/// The router tells the SNAT address, and the client hears of it from the VIP.
#[test]
fn a_narrow_link_to_the_backend() {
    through_a_narrow_link("mtuback", false, "--put 2000000");
}

/// Where the balancer's own link to the backends is the narrow one, it tells the client itself.
#[test]
fn a_narrow_link_of_the_balancers_own() {
    let Some(lab) = Lab::new("mtuown") else { return };
    let site = Site::two_arms(&lab, 1, 1);
    believe_only_errors(&[&site.client, &site.backends[0]]);
    site.balancer.run(&format!("ip link set eth2 mtu {NARROW}"));
    let _peer = serve(&site.backends[0], "b1", "--lines 0.0.0.0:7001");
    // Segments are not to be made to fit before they are too long.
    let service = Service::nat("lines", Site::VIP, 7001, "10.2.0", 1).line("mss: off");
    let config = Config::new(&["eth1", "eth2"], "10.2.0.10").with(service);
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let report = transfer(&site.client, "--to 10.1.0.100:7001 --put 2000000");
    assert_eq!(report["is_same"], true, "{report}");
    let learned = site.client.run("ip route get 10.1.0.100");
    assert!(learned.contains(&format!("mtu {NARROW}")), "{learned}");
    assert!(guideway.counter("icmp_too_big") > 0);
    // A traceroute sees the VIP as a hop.
    let out = site.client.try_run("ping -c 1 -W 2 -t 1 10.1.0.100");
    assert!(out.status.success(), "a ping of a VIP costs no hop");
}
