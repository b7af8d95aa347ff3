use super::*;

fn facts() -> InterfaceFacts {
    let zero = Some(0);
    let all = Conf {
        rp_filter: zero,
        arp_ignore: zero,
        arp_announce: zero,
        accept_local: zero,
        disable_ipv6: zero,
    };
    let own = Conf { arp_ignore: Some(1), arp_announce: Some(2), ..all.clone() };
    InterfaceFacts { name: "eth1".to_string(), own, all, mtu: 1552 }
}

/// Interface, address, and bits of its network.
type Place = (&'static str, &'static str, u8);

fn machine(rows: &[Place]) -> BTreeSet<MachineAddress> {
    let of = |&(interface, address, prefix_len): &Place| MachineAddress {
        interface: interface.to_string(),
        address: address.parse().unwrap(),
        prefix_len,
    };
    rows.iter().map(of).collect()
}

/// Everything that is not fine: setting, state and command.
fn problems(
    facts: &InterfaceFacts,
    addresses: &[Place],
    vips: &[&str],
) -> Vec<(String, State, Option<String>)> {
    let vips: Vec<IpAddr> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
    let wishes = Wishes { vips: &vips, any_source: false };
    let found = look(std::slice::from_ref(facts), &machine(addresses), &wishes);
    let bad = found.into_iter().filter(|finding| finding.state != State::Fine);
    bad.map(|finding| (finding.setting, finding.state, finding.fix)).collect()
}

const VIP: &str = "10.1.0.100";
const ON_LO: &[Place] = &[("lo", VIP, 32), ("eth1", "10.1.0.11", 24)];

#[test]
fn a_machine_that_is_set_right_has_no_problem() {
    assert_eq!(problems(&facts(), ON_LO, &[VIP]), []);
    let mut loose = facts();
    loose.own.rp_filter = Some(2);
    loose.all.rp_filter = Some(1);
    assert_eq!(problems(&loose, ON_LO, &[VIP]), [], "the larger value holds");
}

#[test]
fn sysctls_by_row() {
    type Change = fn(&mut InterfaceFacts);
    let rows: [(&str, Change, &str); 8] = [
        (
            "strict on the interface",
            |facts| facts.own.rp_filter = Some(1),
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
        ),
        (
            "strict for all",
            |facts| facts.all.rp_filter = Some(1),
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
        ),
        (
            "answers ARP",
            |facts| facts.own.arp_ignore = Some(0),
            "sysctl -w net.ipv4.conf.eth1.arp_ignore=1",
        ),
        (
            "answers ARP for global addresses, by all",
            |facts| facts.all.arp_ignore = Some(3),
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
        ),
        (
            "asks in the VIP's name",
            |facts| facts.own.arp_announce = Some(1),
            "sysctl -w net.ipv4.conf.eth1.arp_announce=2",
        ),
        (
            "believes its own addresses from outside",
            |facts| facts.own.accept_local = Some(1),
            "sysctl -w net.ipv4.conf.eth1.accept_local=0",
        ),
        (
            "believes them by all, too",
            |facts| {
                facts.own.accept_local = Some(1);
                facts.all.accept_local = Some(1);
            },
            "sysctl -w net.ipv4.conf.all.accept_local=0 && \
             sysctl -w net.ipv4.conf.eth1.accept_local=0",
        ),
        (
            "an interface with a dot",
            |facts| {
                facts.name = "eth1.5".to_string();
                facts.own.rp_filter = Some(1);
            },
            "sysctl -w net.ipv4.conf.eth1/5.rp_filter=2",
        ),
    ];
    for (description, change, wanted) in rows {
        let mut changed = facts();
        change(&mut changed);
        let found = problems(&changed, ON_LO, &[VIP]);
        let [(_, State::Wrong, Some(fix))] = &found[..] else { panic!("{description}: {found:?}") };
        assert_eq!(fix, wanted, "{description}");
    }
}

#[test]
fn vips_by_row() {
    let add = "ip address add 10.1.0.100/32 dev lo";
    let rows: [(&str, &[Place], Option<String>); 5] = [
        ("nowhere", &[], Some(add.to_string())),
        (
            "on the interface itself",
            &[("lo", VIP, 32), ("eth1", VIP, 24)],
            Some(format!("ip address del 10.1.0.100/24 dev eth1 && {add}")),
        ),
        (
            "on lo with its network",
            &[("lo", VIP, 24)],
            Some(format!("ip address del 10.1.0.100/24 dev lo && {add}")),
        ),
        ("on another interface", &[("dummy0", VIP, 24)], None),
        ("on lo", ON_LO, None),
    ];
    for (description, addresses, wanted) in rows {
        let found = problems(&facts(), addresses, &[VIP]);
        let fix = found.first().and_then(|(_, _, fix)| fix.clone());
        assert_eq!((found.len(), fix), (usize::from(wanted.is_some()), wanted), "{description}");
    }
}

#[test]
fn ipv6_matters_only_to_ipv6_vips() {
    let mut off = facts();
    off.own.disable_ipv6 = Some(1);
    assert_eq!(problems(&off, ON_LO, &[VIP]), []);
    let found = problems(&off, &[("lo", "fd00::100", 128)], &["fd00::100"]);
    let fix = "sysctl -w net.ipv6.conf.eth1.disable_ipv6=0".to_string();
    assert_eq!(found[0].2, Some(fix), "{found:?}");
    off.own.disable_ipv6 = None;
    assert_eq!(problems(&off, &[("lo", "fd00::100", 128)], &["fd00::100"]), []);
}

#[test]
fn a_small_mtu_is_a_hint_with_its_numbers() {
    let mut small = facts();
    small.mtu = 1500;
    let wishes = Wishes { vips: &[], any_source: true };
    let found = look(&[small], &BTreeSet::new(), &wishes);
    let hints: Vec<_> = found.iter().filter(|finding| finding.state == State::Hint).collect();
    let settings: Vec<_> = hints.iter().map(|hint| hint.setting.as_str()).collect();
    assert_eq!(settings, ["--vip", "--source", "MTU of eth1"]);
    for word in ["1480 bytes with IPIP", "1472 with GRE", "1468 with GUE", "advmss 1408"] {
        assert!(hints[2].why.contains(word), "{word}: {}", hints[2].why);
    }
}
