//! Datagrams longer than the MTU, in fragments by the kernels on both sides, and in orders that only a
//! raw socket makes.

use super::dsr::serve_the_vip;
use super::nat::assert_every_frame_has_a_verdict;
use crate::support::{
    Config, Guideway, Lab, Service, Site, fragments, serve, serve_all, udp, wait_until,
};

const VIPS: [&str; 2] = ["10.1.0.100:7002", "[2001:db8:1::100]:7002"];
const CLIENTS: [&str; 2] = ["10.1.0.50:5000", "[2001:db8:1::50]:5000"];

/// One UDP service of each family, under NAT.
fn nat(interfaces: &[&str], net: u8) -> Config {
    let service =
        |name, vip, network: &str| Service::nat(name, vip, 7002, network, 2).line("protocol: udp");
    let mut config = Config::new(interfaces, &format!("10.{net}.0.10"))
        .with(service("four", Site::VIP, &format!("10.{net}.0")))
        .with(service("six", Site::VIP_6, &format!("2001:db8:{net}:")));
    config.snat.push(format!("{{ address: \"2001:db8:{net}::10\" }}"));
    config
}

/// Questions and answers of several lengths, in fragments that the kernels make.
fn assert_long_datagrams_are_answered(site: &Site) {
    for (vip, bytes) in VIPS.iter().flat_map(|vip| [1500, 4000, 20_000, 65_000].map(|n| (vip, n))) {
        let options = format!("--to {vip} --sockets 20 --count 3 --bytes {bytes}");
        let report = udp(&site.client, &options);
        assert_eq!(report["answered"], 60, "{options}: {report}");
        assert_eq!((&report["moved"], &report["different"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(report["per_backend"].as_object().unwrap().len(), 2, "{report}");
    }
}

/// The same in every order, as no kernel sends them.
fn assert_any_order_is_answered(site: &Site, guideway: &Guideway) {
    let held = guideway.counter("fragments_held");
    for ((vip, client), order) in VIPS
        .iter()
        .zip(CLIENTS)
        .flat_map(|both| ["reversed", "odd-first", "doubled"].map(|o| (both, o)))
    {
        let options = format!("--client {client} --to {vip} --count 10 --bytes 20000");
        let report = fragments(&site.client, &format!("{options} --part 1400 --order {order}"));
        assert_eq!(
            (&report["answered"], &report["different"]),
            (&10.into(), &0.into()),
            "{order}: {report}"
        );
    }
    // Of 15 fragments 14, and 7, come before the first one. With the last one the datagram is
    // forgotten, so that the last one's double begins another.
    assert_eq!(guideway.counter("fragments_held") - held, 2 * 10 * (14 + 7 + 1));
    assert_eq!(guideway.counter("fragment_repeated"), 2 * 10 * 14);
    wait_until("the doubles to be given up", || guideway.counter("fragment_timeout") == 2 * 10);
}

/// What is wrong reaches no backend and has its name.
fn assert_wrong_ones_are_dropped(site: &Site, guideway: &Guideway) {
    let before = guideway.counter("fragment_timeout");
    for (vip, client) in VIPS.iter().zip(CLIENTS) {
        for order in ["overlapping", "without-first"] {
            let options = format!("--client {client} --to {vip} --count 3 --timeout-ms 300");
            let report = fragments(&site.client, &format!("{options} --order {order}"));
            assert_eq!(report["answered"], 0, "{order}: {report}");
        }
    }
    // Of 4008 bytes in 800 each, the third to the sixth and the one too many.
    assert_eq!(guideway.counter("fragment_overlap"), 2 * 3 * 5);
    wait_until("the others to be given up", || {
        guideway.counter("fragment_timeout") == before + 2 * 3 * 5
    });
    assert_eq!(guideway.status()["counters"]["in_hand_over"], 0);
}

fn assert_nothing_else_was_dropped(guideway: &Guideway) {
    for name in [
        "fragment",
        "fragment_no_flow",
        "fragment_table_full",
        "fragment_hold_full",
        "malformed",
        "not_ours",
    ] {
        assert_eq!(guideway.counter(name), 0, "{name}");
    }
    assert_eq!(guideway.counter("fragments_forgotten"), 0);
    assert_every_frame_has_a_verdict(guideway);
}

#[test]
fn under_nat_both_ways() {
    let Some(lab) = Lab::new("frag") else { return };
    let site = Site::two_arms(&lab, 2, 1).with_ipv6();
    let _peers = serve_all(&site, "--udp [::]:7002");
    let guideway = Guideway::start(&lab, &site.balancer, &nat(&["eth1", "eth2"], 2));
    assert_long_datagrams_are_answered(&site);
    assert_eq!(guideway.counter("fragments_held"), 0, "kernels keep the order");
    assert_any_order_is_answered(&site, &guideway);
    assert_wrong_ones_are_dropped(&site, &guideway);
    assert_nothing_else_was_dropped(&guideway);
}

#[test]
fn under_dsr_to_the_backend() {
    let Some(lab) = Lab::new("fragdsr") else { return };
    let site = Site::one_arm(&lab, 2, 1).with_ipv6();
    for backend in &site.backends {
        backend.add_ipv6("lo", "2001:db8:1::100/128");
    }
    let peers = format!("--udp {} --udp {}", VIPS[0], VIPS[1]);
    let _peers = serve_the_vip(&site, &peers);
    let mut config = nat(&["eth1"], 1);
    config.services.iter_mut().for_each(|service| service.lines.push("mode: l2dsr".to_owned()));
    config.snat.clear();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert_long_datagrams_are_answered(&site);
    assert_any_order_is_answered(&site, &guideway);
    assert_wrong_ones_are_dropped(&site, &guideway);
    assert_nothing_else_was_dropped(&guideway);
}

/// Fragments arrive at one worker, their datagram is kept by another, and its flow by any.
#[test]
fn over_two_workers() {
    let Some(lab) = Lab::new("frag2") else { return };
    let site = Site::two_arms(&lab, 2, 2).with_ipv6();
    let _peers: Vec<_> = (1..)
        .zip(&site.backends)
        .map(|(number, backend)| serve(backend, &format!("b{number}"), "--udp [::]:7002"))
        .collect();
    let mut config = nat(&["eth1", "eth2"], 2);
    config.workers = "count: 2, idle: sleep".to_owned();
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    assert_long_datagrams_are_answered(&site);
    assert_any_order_is_answered(&site, &guideway);
    assert!(guideway.counter("handed_over") > 0);
    assert_eq!(guideway.counter("handed_over"), guideway.counter("taken_over"));
    assert_nothing_else_was_dropped(&guideway);
}
