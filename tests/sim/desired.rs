//! What the balancer is told: services, SNAT and outer addresses, the network around it, limits.

use guideway::control::{
    BackendSpec, HealthCheckKind, HealthCheckSpec, LimitsSpec, LinkState, ServiceSpec, SnatSpec,
    Topology, TunnelSourceSpec,
};
use guideway::forwarding::{FlowTimeouts, Neighbour, Route};
use guideway::wire::{Family, MacAddress, PortId, Protocol};

use super::plan::Plan;
use super::pool::Pool;
use super::site::{
    Machine, SERVICE_PORT, address, family_of, prefix_len, snat_address, tunnel_network, vip,
};

pub const TIMEOUTS: FlowTimeouts = FlowTimeouts {
    tcp_opening_ms: 60_000,
    tcp_established_ms: 600_000,
    tcp_closing_ms: 60_000,
    tcp_reset_ms: 10_000,
    udp_ms: 120_000,
    affinity_ms: 0,
};

pub fn timeouts(plan: &Plan, pool: Pool) -> FlowTimeouts {
    let affinity_ms = plan.pool(pool).rules.affinity_ms;
    FlowTimeouts { affinity_ms, udp_ms: plan.udp_ms, ..TIMEOUTS }
}

/// Most backends, retired ones included.
pub const MAX_BACKENDS: usize = 128;

/// A pool's TCP and UDP service.
pub fn names(pool: Pool) -> [String; 2] {
    [Protocol::Tcp, Protocol::Udp].map(|protocol| name(pool, protocol))
}

pub fn name(pool: Pool, protocol: Protocol) -> String {
    format!("{pool:?}-{protocol:?}").to_lowercase()
}

pub fn backend(machine: &Machine) -> BackendSpec {
    BackendSpec::new(machine.name(), (machine.address, machine.listens_on()).into())
}

pub fn service(
    plan: &Plan,
    pool: Pool,
    protocol: Protocol,
    backends: &[BackendSpec],
) -> ServiceSpec {
    let pool_plan = plan.pool(pool);
    let vip = (vip(plan.family, pool), SERVICE_PORT).into();
    ServiceSpec {
        protocol,
        mode: pool_plan.mode,
        // Small, so that compiling costs the simulator little.
        table_size: Some(251),
        // Nothing probes here: the plan says what is found. Without it all would be healthy.
        health_check: Some(HealthCheckSpec::new(HealthCheckKind::TCP)),
        timeouts: timeouts(plan, pool),
        rules: pool_plan.rules.clone(),
        on_backend_gone: pool_plan.on_gone,
        drain_time_ms: pool_plan.drain_time_ms,
        removed_time_ms: None,
        ..ServiceSpec::new(name(pool, protocol), vip, backends.to_vec())
    }
}

/// A SNAT address on the network of each port.
pub fn snat(family: Family, ports: usize) -> Vec<SnatSpec> {
    let spec = |port: usize| SnatSpec {
        address: snat_address(family, PortId(port as u8)),
        ports: 20_000..=23_999,
        interface: Some(link_name(port)),
        shared_address: false,
    };
    (0..ports).map(spec).collect()
}

pub fn tunnel_sources() -> Vec<TunnelSourceSpec> {
    let source = |family| {
        let (network, prefix_len) = tunnel_network(family);
        TunnelSourceSpec { network, prefix_len }
    };
    [Family::Ipv4, Family::Ipv6].map(source).to_vec()
}

fn link_name(port: usize) -> String {
    format!("port{port}")
}

/// Every network is on the link, in both families.
pub fn topology(plan: &Plan, machines: &[Machine], links: Vec<MacAddress>) -> Topology {
    let tags = |port: usize| plan.vlans[port].tags;
    let route = |(port, family): (usize, Family)| Route {
        network: address(family, PortId(port as u8), 0),
        prefix_len: prefix_len(family),
        metric: 0,
        port: PortId(port as u8),
        tags: tags(port),
        gateway: None,
    };
    let neighbour = |machine: &Machine| Neighbour {
        address: machine.address,
        port: machine.port,
        tags: tags(machine.port.index()),
        mac: machine.mac,
        gone: false,
    };
    let mut neighbours: Vec<Neighbour> = machines.iter().map(neighbour).collect();
    neighbours.sort_by_key(|neighbour| (neighbour.address, neighbour.port));
    let mut families = vec![plan.family];
    families.extend(machines.iter().map(|machine| family_of(machine.address)));
    let is_used = |family: &Family| families.contains(family);
    let families = [Family::Ipv4, Family::Ipv6].into_iter().filter(is_used);
    let routes = families.flat_map(|family| (0..links.len()).map(move |port| (port, family)));
    Topology {
        routes: routes.map(route).collect(),
        links: links.into_iter().enumerate().map(|(port, mac)| link(port, mac)).collect(),
        upper_links: vec![],
        own_addresses: vec![],
        neighbours,
        local_port_range: None,
    }
}

fn link(port: usize, mac: MacAddress) -> LinkState {
    LinkState {
        name: link_name(port),
        ifindex: port as u32 + 1,
        bridge_ifindex: None,
        mac,
        mtu_bytes: 1500,
        up: true,
    }
}

pub fn limits(plan: &Plan) -> LimitsSpec {
    LimitsSpec {
        flows_per_worker: 4096,
        backends: MAX_BACKENDS,
        retired_backends: 64,
        service_gone_linger_ms: 60_000,
        snat_hold_down_ms: 60_000,
        snat_blocks_per_worker: 4096,
        new_flows_per_second: 1_000_000,
        replies_per_second: 1000,
        fragmented_packets: 64,
        fragments_held: 16,
        fragment_hold_ms: 2_000,
        frames_per_queue: 512,
        frame_bytes: 2048,
        hand_over_ring: plan.hand_over_ring,
    }
}
