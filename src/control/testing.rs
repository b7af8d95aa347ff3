//! Small worlds for the tests of this module.

use std::net::IpAddr;

use super::*;
use crate::forwarding::{ClusterKey, Neighbour, Route, Snapshot};
use crate::wire::{MacAddress, PortId, Tags};

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `b1` at 10.2.0.11, `b2` at 10.2.0.12 and so on.
pub(super) fn backend(number: u8) -> BackendSpec {
    BackendSpec::new(format!("b{number}"), ([10, 2, 0, 10 + number], 80).into())
}

/// NAT, TCP, 10.1.0.100:80, probed, with backends `b1` to `b<count>`.
pub(super) fn service(name: &str, count: u8) -> ServiceSpec {
    ServiceSpec {
        table_size: Some(251),
        health_check: Some(HealthCheckSpec::new(HealthCheckKind::TCP)),
        ..ServiceSpec::new(name, ([10, 1, 0, 100], 80).into(), (1..=count).map(backend).collect())
    }
}

/// The same of IPv6: [2001:db8:1::100]:80 with backends at 2001:db8:2::11 and so on.
pub(super) fn service_6(name: &str, count: u8) -> ServiceSpec {
    let mut service = service(name, count);
    service.address = address("2001:db8:1::100");
    for (number, backend) in (11..).zip(&mut service.backends) {
        backend.address = address(&format!("2001:db8:2::{number}"));
    }
    service
}

pub(super) fn snat(text: &str, interface: Option<&str>) -> SnatSpec {
    SnatSpec {
        address: address(text),
        ports: 1_024..=65_535,
        interface: interface.map(str::to_string),
        shared_address: false,
    }
}

pub(super) fn desired(services: Vec<ServiceSpec>) -> DesiredState {
    let services = services.into_iter().map(Shared::from).collect();
    DesiredState { services, snat: vec![snat("10.1.0.10", None)], ..DesiredState::default() }
}

/// eth0 to the clients (10.1.0.0/24, default route), eth1 to the backends (10.2.0.0/24).
pub(super) fn topology() -> Topology {
    let link = |name: &str, last| LinkState {
        name: name.to_string(),
        ifindex: u32::from(last) + 2,
        bridge_ifindex: None,
        mac: MacAddress([2, 0, 0, 0, 1, last]),
        mtu_bytes: 1_500,
        up: true,
    };
    let route = |network, prefix_len, port, gateway: Option<&str>| Route {
        network: address(network),
        prefix_len,
        metric: 0,
        port: PortId(port),
        tags: Tags::NONE,
        gateway: gateway.map(address),
    };
    let neighbour = |text: &str, port, last| Neighbour {
        address: address(text),
        port: PortId(port),
        tags: Tags::NONE,
        mac: MacAddress([2, 0, 0, 0, 2, last]),
        gone: false,
    };
    Topology {
        links: vec![link("eth0", 0), link("eth1", 1)],
        upper_links: vec![],
        own_addresses: vec![
            OwnAddress { address: address("10.1.0.1"), ifindex: 2 },
            OwnAddress { address: address("10.2.0.1"), ifindex: 3 },
        ],
        routes: vec![
            route("10.1.0.0", 24, 0, None),
            route("10.2.0.0", 24, 1, None),
            route("0.0.0.0", 0, 0, Some("10.1.0.254")),
        ],
        neighbours: (1..=9)
            .map(|i| neighbour(&format!("10.2.0.{}", 10 + i), 1, i))
            .chain([neighbour("10.1.0.254", 0, 254)])
            .collect(),
        local_port_range: Some((32_768, 60_999)),
    }
}

/// The same with IPv6 beside it: 2001:db8:1::/64 on eth0 and a default route by the router fe80::fe,
/// 2001:db8:2::/64 on eth1 in VLAN 10.
pub(super) fn topology_6() -> Topology {
    let mut topology = topology();
    let route = |network, prefix_len, port, tags, gateway: Option<&str>| Route {
        network: address(network),
        prefix_len,
        metric: 1_024,
        port: PortId(port),
        tags,
        gateway: gateway.map(address),
    };
    let vlan = Tags::customer(10);
    topology.routes.extend([
        route("2001:db8:1::", 64, 0, Tags::NONE, None),
        route("2001:db8:2::", 64, 1, vlan, None),
        route("::", 0, 0, Tags::NONE, Some("fe80::fe")),
    ]);
    let neighbour = |text: &str, port, tags, last| Neighbour {
        address: address(text),
        port: PortId(port),
        tags,
        mac: MacAddress([2, 0, 0, 0, 2, last]),
        gone: false,
    };
    topology.neighbours.extend([
        neighbour("2001:db8:2::11", 1, vlan, 11),
        neighbour("2001:db8:2::12", 1, Tags::NONE, 12),
        neighbour("fe80::fe", 0, Tags::NONE, 0xfe),
        neighbour("fe80::fe", 1, vlan, 0xfd),
    ]);
    topology.own_addresses.push(OwnAddress { address: address("2001:db8:1::1"), ifindex: 2 });
    topology.own_addresses.push(OwnAddress { address: address("2001:db8:2::1"), ifindex: 9 });
    let (name, port) = ("eth1.10".to_string(), PortId(1));
    topology.upper_links.push(UpperLink { name, ifindex: 9, port, tags: vlan });
    topology
}

pub(super) fn limits() -> LimitsSpec {
    LimitsSpec {
        flows_per_worker: 1_024,
        backends: 64,
        retired_backends: 8,
        service_gone_linger_ms: 60_000,
        snat_hold_down_ms: 60_000,
        snat_blocks_per_worker: 64,
        new_flows_per_second: 1_000_000,
        replies_per_second: 1_000,
        fragmented_packets: 64,
        fragments_held: 16,
        fragment_hold_ms: 2_000,
        frames_per_queue: 4_096,
        frame_bytes: 2_048,
        hand_over_ring: 64,
    }
}

/// Everything `compile` is given, and the snapshot that came of it last: a control loop in small.
pub(super) struct World {
    pub desired: DesiredState,
    pub health: HealthView,
    pub topology: Topology,
    pub live: LiveFlows,
    pub limits: LimitsSpec,
    pub key: ClusterKey,
    pub now_ms: u64,
    pub snapshot: Snapshot,
}

impl World {
    pub fn new(services: Vec<ServiceSpec>) -> World {
        World {
            desired: desired(services),
            health: HealthView::new(),
            topology: topology(),
            live: LiveFlows::default(),
            limits: limits(),
            key: ClusterKey(*b"sixteen bytes ok"),
            now_ms: 0,
            snapshot: Snapshot::empty(),
        }
    }

    pub fn try_compile(&self) -> Result<Compiled, Vec<Refusal>> {
        compile(&self.input())
    }

    pub fn input(&self) -> CompileInput<'_> {
        CompileInput {
            desired: &self.desired,
            health: &self.health,
            topology: &self.topology,
            live: &self.live,
            previous: &self.snapshot,
            limits: &self.limits,
            cluster_key: self.key,
            now_ms: self.now_ms,
        }
    }

    /// Compiles and publishes, as if every worker took it up at once.
    pub fn step(&mut self) -> Vec<Note> {
        let compiled = self.try_compile().unwrap();
        self.snapshot = compiled.snapshot;
        self.live.generation = self.snapshot.generation;
        compiled.notes
    }

    /// Sets the live flows of a backend, by id.
    pub fn flows(&mut self, id: u32, count: u32) {
        let place = id as usize;
        self.live.counts.resize(self.live.counts.len().max(place + 1), 0);
        self.live.counts[place] = count;
    }

    /// `service/backend id state`, by id, `!` where the service is gone.
    pub fn backends(&self) -> Vec<String> {
        let line = |backend: &crate::forwarding::Backend| {
            let service = self.snapshot.service_of(backend).unwrap();
            let gone = if service.gone { "!" } else { "" };
            format!("{}{gone}/{} {} {:?}", service.name, backend.name, backend.id.0, backend.state)
        };
        self.snapshot.backends.iter().flatten().map(line).collect()
    }
}

/// A machine with the interfaces of [`topology`].
pub(super) fn node() -> NodeSpec {
    let interface = |name: &str| InterfaceSpec {
        name: name.to_string(),
        bridge: None,
        xdp_mode: XdpModeChoice::Auto,
        zero_copy: ZeroCopyChoice::Auto,
        on_worker_gone: WorkerGonePolicy::Drop,
    };
    NodeSpec {
        interfaces: vec![interface("eth0"), interface("eth1")],
        workers: WorkersSpec {
            count: Some(1),
            cores: None,
            idle: IdlePolicy::Auto,
            spread: Spread::Flow,
        },
        limits: limits(),
        admin_socket: "/run/guideway/admin.sock".into(),
        http: None,
        state_dir: "/var/lib/guideway".into(),
        bpf_dir: "/sys/fs/bpf/guideway".into(),
        cluster_key_file: None,
        flow_records: None,
        feeds: vec![],
        kubernetes: vec![],
    }
}
