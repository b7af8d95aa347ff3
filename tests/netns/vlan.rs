//! Clients in VLANs of one port, beside untagged ones: asked, answered and served with the tags that
//! they came with. (The kernels at hand have no VLAN device for the balancer itself; guests have.)

use super::nat::assert_every_frame_has_a_verdict;
use crate::support::{
    Config, Guideway, Lab, Service, Site, Uml, serve_all, storm, testpeer, wait_until,
};

/// VLAN 10, and VLAN 30 inside of the provider's VLAN 20: the VIPs are on both links.
const VLANS: &str = "modprobe -a ipv6 8021q
    sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0
    sysctl -qw net.ipv6.conf.default.disable_ipv6=0
    ip link add link eth0 name one type vlan id 10
    ip link add link eth0 name outer type vlan proto 802.1ad id 20
    ip link add link outer name two type vlan id 30
    for link in outer one two; do ip link set $link up; done
    ip address add 10.10.0.50/24 dev one; ip address add 10.30.0.50/24 dev two
    ip -6 address add 2001:db8:10::50/64 dev one nodad
    ip -6 address add 2001:db8:30::50/64 dev two nodad\n";

fn config() -> Config {
    let nat = |name, vip, port, network| Service::nat(name, vip, port, network, 2);
    let mut config = Config::new(&["eth1"], "10.1.0.10")
        .with(nat("greet", Site::VIP, 7000, "10.1.0").checked())
        .with(nat("greet6", Site::VIP_6, 7000, "2001:db8:1:").checked())
        .with(nat("datagrams", Site::VIP, 7002, "10.1.0").line("protocol: udp"));
    config.snat.push("{ address: 2001:db8:1::10 }".to_owned());
    config
}

#[test]
fn clients_of_both_families_in_one_vlan_and_in_two() {
    let Some(lab) = Lab::new("vlan") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    // The switch's kernel takes tags out of the bytes; they have to be back in them on the wire.
    site.switches[0].run("ethtool -K lb txvlan off tx-vlan-stag-hw-insert off >/dev/null");
    let _peers = serve_all(&site, "--greet [::]:7000 --udp [::]:7002");
    let guideway = Guideway::start(&lab, &site.balancer, &config());
    let guest = Uml::plug(&lab, &site.switches[0], "guest", "10.1.0.51/24", VLANS);
    let peer = testpeer();
    let (mut arp, mut ndp) = (guideway.counter("arp"), guideway.counter("neighbour_advertisement"));
    for link in ["one", "two"] {
        guest.run(&format!(
            "ip route replace 10.1.0.100/32 dev {link}
             ip -6 route replace 2001:db8:1::100/128 dev {link}"
        ));
        for vip in ["10.1.0.100", "[2001:db8:1::100]"] {
            let ask = format!("{} storm --to {vip}:7000 --count 100", peer.display());
            let report = guest.run(&ask);
            assert!(report.contains("\"answered\":100"), "{link} {vip}: {report}");
        }
        let ask = format!("{} udp --to 10.1.0.100:7002 --sockets 5 --count 4", peer.display());
        let report = guest.run(&ask);
        assert!(report.contains("\"answered\":20"), "{link}: {report}");
        guest.run("ping -q -c 2 -i 0.2 -W 2 10.1.0.100; ping -6 -q -c 2 -W 2 2001:db8:1::100");
        let known = guest.run(&format!("ip neigh show 10.1.0.100 dev {link}"));
        assert!(known.contains(&site.balancer.mac("eth1")), "{link}: {known}");
        let now = (guideway.counter("arp"), guideway.counter("neighbour_advertisement"));
        assert!(now.0 > arp && now.1 > ndp, "{link}: asked in this VLAN");
        (arp, ndp) = now;
    }
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(report["answered"], 100, "untagged: {report}");
    assert_eq!(guideway.steer_counter("passed_vlan"), 0);
    assert_every_frame_has_a_verdict(&guideway);

    // A third tag is more than is looked behind: the kernel has it.
    guest.run(
        "ip link add link two name three type vlan id 40; ip link set three up
         ip address add 10.40.0.50/24 dev three
         ip route replace 10.1.0.100/32 dev three",
    );
    assert!(!guest.succeeds("ping -c 1 -W 1 10.1.0.100"));
    wait_until("it to be counted", || guideway.steer_counter("passed_vlan") > 0);
}
