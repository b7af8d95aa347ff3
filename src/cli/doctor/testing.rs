//! A machine on which all is as it should be, for tests to spoil.

use super::facts::{Config, Facts, InterfaceFacts, LinkFacts};
use super::finding::{Finding, State};
use crate::control::{IdlePolicy, LinkState, OwnAddress, Topology};
use crate::forwarding::{Neighbour, Route};
use crate::io::afxdp::ethtool::{Offloads, Rss};
use crate::io::afxdp::features::XdpFeatures;
use crate::source::yaml;
use crate::wire::{MacAddress, PortId, Tags};

const CONFIG: &str = "\
version: 1
interfaces: [{ name: eth1 }]
snat: [{ address: 10.1.0.10 }]
services:
  - name: web
    address: 10.1.0.100
    port: 80
    backends: [{ name: b1, address: 10.1.0.11 }, { name: b2, address: 10.1.0.12 }]
";

/// The configuration with something in it replaced.
pub fn config(from: &str, to: &str) -> Option<Result<Config, String>> {
    let text = CONFIG.replace(from, to);
    assert!(from.is_empty() || text != CONFIG, "{from} is not in it");
    let loaded = yaml::parse("f", &text).unwrap_or_else(|error| panic!("{error}"));
    Some(Ok(Config { node: loaded.node, desired: loaded.desired }))
}

/// Four cores, an interface with two queues, and all that root may do.
pub fn facts() -> Facts {
    let config = config("", "").unwrap().unwrap();
    let interface = InterfaceFacts {
        spec: config.node.interfaces[0].clone(),
        link: Some(LinkFacts { mtu: 1_500, up: true, ..LinkFacts::default() }),
        queues: 2,
        features: Some(XdpFeatures { native: true, redirect: true, zero_copy: true }),
        rss: Ok(Rss {
            toeplitz: true,
            key: vec![1; 40],
            indirection: vec![0, 1, 0, 1],
            tcp: None,
            udp: None,
        }),
        offloads: Offloads {
            tx_checksum: Some(true),
            gro: Some(true),
            lro: Some(false),
            rx_vlan: Some(false),
        },
        peer: None,
        rp_filter: (Some(0), Some(0)),
        has_no_ipv6: false,
    };
    Facts {
        config: Some(Ok(config)),
        kernel: "6.18.5".into(),
        capabilities: u64::MAX,
        memlock_bytes: Some(8 << 20),
        cpus: vec![0, 1, 2, 3],
        clock_source: "tsc".into(),
        neighbours_most: [Some(1_024); 2],
        topology: Some(topology()),
        interfaces: vec![interface],
        ..Facts::default()
    }
}

fn topology() -> Topology {
    let (port, tags) = (PortId(0), Tags::NONE);
    let station = |last: u8| Neighbour {
        address: [10, 1, 0, last].into(),
        port,
        tags,
        mac: MacAddress([2, 0, 0, 0, 0, last]),
        gone: false,
    };
    let network = [10, 1, 0, 0].into();
    Topology {
        links: vec![LinkState {
            name: "eth1".into(),
            ifindex: 2,
            bridge_ifindex: None,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu_bytes: 1_500,
            up: true,
        }],
        own_addresses: vec![OwnAddress { address: [10, 1, 0, 1].into(), ifindex: 2 }],
        routes: vec![Route { network, prefix_len: 24, metric: 0, port, tags, gateway: None }],
        neighbours: vec![station(11), station(12)],
        ..Topology::default()
    }
}

/// Workers that never sleep.
pub fn busy(facts: &mut Facts) {
    if let Some(Ok(config)) = &mut facts.config {
        config.node.workers.idle = IdlePolicy::Busy;
    }
}

/// Is a check's worst finding of that kind, and does it say that?
pub fn told(description: &str, findings: &[Finding], check: &str, state: State, found: &str) {
    let of_it: Vec<&Finding> = findings.iter().filter(|f| f.check == check).collect();
    let rank = |finding: &&&Finding| finding.state as u8;
    let worst = of_it.iter().max_by_key(rank);
    let worst = worst.unwrap_or_else(|| panic!("{description}: {check} is not in {findings:?}"));
    assert_eq!(worst.state, state, "{description}: {of_it:?}");
    assert!(of_it.iter().any(|f| f.found.contains(found)), "{description}: {of_it:?}");
    assert_eq!(worst.advice.is_some(), state != State::Ok, "{description}: what to do is said");
}
