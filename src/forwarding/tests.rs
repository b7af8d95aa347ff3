//! Look-ups of a snapshot, and the steer table as a function of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use super::*;
use crate::wire::{Address, FlowKey, MacAddress, PortId, Protocol, Tags};

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn service(vip: &str, slots: &[u32]) -> Service {
    Service {
        name: vip.into(),
        vip: vip.parse().unwrap(),
        protocol: Protocol::Tcp,
        shared_address: false,
        mode: Mode::Nat,
        slots: slots.iter().map(|&id| BackendId(id)).collect(),
        last_port: None,
        rules: FlowRules::default(),
        mss: MssClamp::Auto,
        no_backend: NoBackendPolicy::Reset,
        timeouts: FlowTimeouts::default(),
        on_service_gone: ServiceGonePolicy::Reset,
        on_backend_gone: BackendGonePolicy::Reset,
        gone: false,
    }
}

fn shared(service: Service) -> Service {
    Service { shared_address: true, ..service }
}

fn snat(address: &str, start: u16, end: u16, shared_address: bool) -> SnatAddress {
    SnatAddress {
        address: address.parse().unwrap(),
        ports: start..=end,
        port: None,
        shared_address,
    }
}

fn backend(id: u32, service: u32) -> Option<Backend> {
    Some(Backend {
        id: BackendId(id),
        name: format!("b{id}").into(),
        service: ServiceIndex(service),
        via: None,
        socket: SocketAddr::new(Ipv4Addr::from_bits(0x0a02_000b + id).into(), 80),
        mode: Mode::Nat,
        weight: 1,
        state: BackendState::Active,
        retired_in: 0,
        gone: false,
        next_hop: None,
        snat: [0].into(),
    })
}

fn parts(services: Vec<Service>, snat: Vec<SnatAddress>) -> SnapshotParts {
    let port = Port { name: "eth0".into(), mac: MacAddress::ZERO, mtu_bytes: 1_500, up: true };
    SnapshotParts {
        generation: 1,
        tunnel_sources: TunnelSources::default(),
        own_addresses: vec![],
        services,
        backends: vec![backend(0, 0), None, backend(2, 0), backend(3, 1)],
        snat,
        ports: vec![port],
        routes: RouteTable::default(),
        cluster_key: ClusterKey(*b"sixteen bytes ok"),
    }
}

fn snapshot(services: Vec<Service>, snat: Vec<SnatAddress>) -> Snapshot {
    Snapshot::new(parts(services, snat))
}

/// A key of a client's packet to 10.1.0.100:80.
fn flow(client: u32) -> FlowKey {
    let source = SocketAddrV4::new(
        Ipv4Addr::from_bits(0xc000_0200 + client / 1_000),
        1_024 + (client % 1_000) as u16,
    );
    FlowKey::new(Protocol::Tcp, source, "10.1.0.100:80".parse::<SocketAddr>().unwrap())
}

#[test]
fn whose_an_address_is() {
    let snapshot = snapshot(
        vec![
            service("10.1.0.100:80", &[]),
            service("10.1.0.100:81", &[]),
            shared(service("10.1.0.1:80", &[])),
            service("[2001:db8::100]:80", &[]),
        ],
        vec![
            snat("2001:db8::10", 1_024, 65_535, false),
            snat("10.1.0.10", 1_024, 65_535, false),
            snat("10.1.0.100", 1_024, 2_000, false),
            snat("10.1.0.1", 1_024, 2_000, true),
        ],
    );
    let rows = [
        ("10.1.0.100", Some(AddressRole::Vip)),
        ("10.1.0.10", Some(AddressRole::Snat)),
        ("10.1.0.1", Some(AddressRole::Shared)),
        ("10.1.0.101", None),
        ("0.0.0.0", None),
        ("2001:db8::100", Some(AddressRole::Vip)),
        ("2001:db8::10", Some(AddressRole::Snat)),
        ("::10.1.0.100", None),
    ];
    for (text, wanted) in rows {
        assert_eq!(snapshot.address_role(address(text)), wanted, "{text}");
    }
    let all: Vec<String> =
        snapshot.addresses().map(|(address, role)| format!("{address} {role:?}")).collect();
    assert_eq!(
        all,
        [
            "10.1.0.1 Shared",
            "10.1.0.10 Snat",
            "10.1.0.100 Vip",
            "2001:db8::10 Snat",
            "2001:db8::100 Vip"
        ]
    );
}

#[test]
fn who_owns_a_snat_port() {
    let pools = vec![
        snat("10.1.0.10", 1_024, 1_999, false),
        snat("10.1.0.10", 2_000, 2_999, false),
        snat("10.1.0.11", 1_024, 65_535, false),
        snat("2001:db8::10", 1_024, 65_535, false),
    ];
    let snapshot = snapshot(vec![], pools);
    let rows = [
        ("10.1.0.10", 1_023, None),
        ("10.1.0.10", 1_024, Some(0)),
        ("10.1.0.10", 1_999, Some(0)),
        ("10.1.0.10", 2_000, Some(1)),
        ("10.1.0.10", 3_000, None),
        ("10.1.0.11", 65_535, Some(2)),
        ("10.1.0.12", 2_000, None),
        ("2001:db8::10", 2_000, Some(3)),
        ("2001:db8::11", 2_000, None),
    ];
    for (text, port, wanted) in rows {
        assert_eq!(snapshot.find_snat(address(text), port), wanted, "{text} port {port}");
    }
}

#[test]
fn flows_spread_over_the_slots() {
    let slots: Vec<u32> = (0..101).map(|slot| [0, 2][slot % 2]).collect();
    let snapshot = snapshot(vec![service("10.1.0.100:80", &slots)], vec![]);
    let (_, service) = snapshot.find_service(&flow(0)).unwrap();
    let mut hits = [0u32; 101];
    for client in 0..101_000 {
        let slot = snapshot.slot(service, &flow(client)).unwrap();
        hits[slot] += 1;
        assert_eq!(snapshot.select(service, &flow(client)).unwrap().id, service.slots[slot]);
    }
    // 1000 each on average, a standard deviation of 31.5.
    assert!(hits.iter().all(|hits| (840..1_160).contains(hits)), "{hits:?}");
    assert_eq!(snapshot.slot_counts(), [51, 0, 50, 0]);
}

/// Nodes of an ECMP group must agree, also while one of them is already upgraded: these numbers
/// change only together with a note for operators.
#[test]
fn the_slot_of_a_flow_is_fixed_for_ever() {
    let snapshot = snapshot(vec![service("10.1.0.100:80", &[0; 65_537])], vec![]);
    let (_, service) = snapshot.find_service(&flow(0)).unwrap();
    let found = [0, 1, 1_000].map(|client| snapshot.slot(service, &flow(client)).unwrap());
    assert_eq!(found, [8_586, 43_297, 44_683]);
}

#[test]
fn no_slots_and_unknown_backends_give_none() {
    let snapshot =
        snapshot(vec![service("10.1.0.100:80", &[]), service("10.1.0.100:81", &[1, 9])], vec![]);
    for service in &snapshot.services {
        assert!(snapshot.select(service, &flow(1)).is_none(), "{}", service.name);
    }
    assert!(Snapshot::empty().find_service(&flow(1)).is_none());
    assert!(snapshot.backend(BackendId(1)).is_none() && snapshot.backend(BackendId(9)).is_none());
    let last = snapshot.backend(BackendId(3)).unwrap();
    assert_eq!(&*snapshot.service_of(last).unwrap().name, "10.1.0.100:81");
    assert!(snapshot.port(PortId(0)).is_some() && snapshot.port(PortId(1)).is_none());
}

#[test]
fn the_same_whatever_the_generation() {
    let make = |change: fn(&mut SnapshotParts)| {
        let mut parts = parts(
            vec![service("10.1.0.100:80", &[0, 2])],
            vec![snat("10.1.0.10", 1_024, 65_535, false)],
        );
        change(&mut parts);
        Snapshot::new(parts)
    };
    let first = make(|_| {});
    type Change = fn(&mut SnapshotParts);
    let rows: [(&str, Change, bool); 9] = [
        ("nothing", |_| {}, true),
        ("generation", |p| p.generation = 7, true),
        ("a slot", |p| p.services[0].slots = Arc::from([BackendId(2), BackendId(0)]), false),
        ("a service's policy", |p| p.services[0].no_backend = NoBackendPolicy::Drop, false),
        ("a backend", |p| p.backends[0] = None, false),
        ("a SNAT port", |p| p.snat[0].ports = 1_024..=65_534, false),
        ("a port", |p| p.ports[0].up = false, false),
        ("the key", |p| p.cluster_key = ClusterKey([0; 16]), false),
        (
            "a route",
            |p| {
                p.routes = RouteTable::new(
                    vec![Route {
                        network: Ipv4Addr::UNSPECIFIED.into(),
                        prefix_len: 0,
                        metric: 0,
                        port: PortId(0),
                        tags: Tags::NONE,
                        gateway: None,
                    }],
                    vec![],
                );
            },
            false,
        ),
    ];
    for (description, change, wanted) in rows {
        assert_eq!(make(change).same_as(&first), wanted, "{description}");
    }
}

#[test]
fn what_is_steered() {
    let entries = |services, snat| -> Vec<String> {
        let table = SteerTable::of(&snapshot(services, snat));
        table.entries.iter().map(|entry| format!("{entry:?}")).collect()
    };
    assert_eq!(entries(vec![], vec![]), [""; 0]);
    let services = || vec![service("10.1.0.100:80", &[]), service("10.1.0.100:81", &[])];
    assert_eq!(entries(services(), vec![]), ["Whole(10.1.0.100)"], "one address, one entry");
    let gone = Service { gone: true, ..service("10.1.0.101:80", &[]) };
    assert_eq!(entries(vec![gone], vec![]), ["Whole(10.1.0.101)"], "its flows are still told");
    let both = vec![service("10.1.0.100:80", &[]), service("[2001:db8::100]:80", &[])];
    assert_eq!(entries(both, vec![]), ["Whole(10.1.0.100)", "Whole(2001:db8::100)"]);
    let udp = Service { protocol: Protocol::Udp, ..service("10.1.0.1:53", &[]) };
    assert_eq!(
        entries(
            vec![shared(service("10.1.0.1:80", &[])), shared(udp)],
            vec![snat("10.1.0.1", 61_000, 65_535, true), snat("10.1.0.10", 1_024, 65_535, false)],
        ),
        [
            "Whole(10.1.0.10)",
            "Port(10.1.0.1, Tcp, 80)",
            "Port(10.1.0.1, Udp, 53)",
            "PortRange(10.1.0.1, 61000, 65535)",
        ]
    );
}

#[test]
fn what_is_added_and_removed() {
    let table = |vips: &[&str]| {
        SteerTable::of(&snapshot(vips.iter().map(|vip| service(vip, &[])).collect(), vec![]))
    };
    let running = table(&["10.1.0.100:80", "10.1.0.101:80"]);
    let wanted = table(&["10.1.0.101:81", "10.1.0.102:80"]);
    let added: Vec<_> = wanted.added_to(&running).collect();
    let removed: Vec<_> = wanted.removed_from(&running).collect();
    assert_eq!(added, [SteerEntry::Whole([10, 1, 0, 102].into())]);
    assert_eq!(removed, [SteerEntry::Whole([10, 1, 0, 100].into())]);
    assert_eq!(wanted.added_to(&wanted).count() + wanted.removed_from(&wanted).count(), 0);
}
