//! One balancer in memory: services, backends, an engine.

use std::sync::Arc;

use guideway::dataplane::{Engine, EngineConfig, FragmentLimits, ShardMap};
use guideway::forwarding::{
    Backend, BackendGonePolicy, BackendId, BackendState, ClusterKey, FlowRules, FlowTimeouts, Mode,
    MssClamp, NextHop, NoBackendPolicy, Port, RouteTable, Service, ServiceGonePolicy, ServiceIndex,
    Snapshot, SnapshotParts, SnatAddress, TunnelSource, TunnelSources,
};
use guideway::wire::{Address, MacAddress, PortId, Protocol, Tags};

use super::frames::{Family, Frames};

/// Clients are behind port 0, backends behind port 1.
pub const CLIENTS: PortId = PortId(0);
pub const BACKENDS: PortId = PortId(1);

const fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn backend_address(family: Family, number: u32) -> Address {
    match family {
        Family::V4 => Address::v4(0x0a02_0000 + number),
        Family::V6 => Address::from_bits(0xfd00_0002 << 96 | u128::from(number)),
    }
}

/// Of a service of several ports, which its backends listen on, too.
pub const LAST_PORT: u16 = 95;

/// `services` services of `backends` backends each, of one port or of those up to `last_port`.
pub fn snapshot(
    mode: Mode,
    family: Family,
    services: u32,
    backends: u32,
    last_port: Option<u16>,
) -> Snapshot {
    let names: Vec<String> = (0..backends).map(|number| format!("b{number}")).collect();
    let candidates: Vec<_> =
        names.iter().map(|name| guideway::maglev::Candidate { name, weight: 1 }).collect();
    // Of many services small ones: known flows have no use for them.
    let size = if services == 1 { 65_537 } else { 1_021 };
    let table = guideway::maglev::build(&[5; 16], &candidates, size).unwrap_or_default();
    let service = |number: u32| Service {
        name: format!("s{number}").into(),
        vip: Frames::vip(family, number).socket(80),
        protocol: Protocol::Tcp,
        shared_address: false,
        mode,
        slots: table.iter().map(|&place| BackendId(number * backends + place)).collect(),
        last_port,
        rules: FlowRules::default(),
        mss: MssClamp::Auto,
        no_backend: NoBackendPolicy::Reset,
        timeouts: FlowTimeouts::default(),
        on_service_gone: ServiceGonePolicy::Reset,
        on_backend_gone: BackendGonePolicy::Reset,
        gone: false,
    };
    let snat: Arc<[u16]> = (0..8).collect();
    let backend = |id: u32| {
        Some(Backend {
            id: BackendId(id),
            name: names[(id % backends) as usize].as_str().into(),
            service: ServiceIndex(id / backends),
            via: None,
            mode,
            // Port 0: the one that the client has chosen.
            socket: backend_address(family, id).socket(last_port.map_or(8080, |_| 0)),
            weight: 1,
            state: BackendState::Active,
            retired_in: 0,
            gone: false,
            next_hop: Some(NextHop { port: BACKENDS, tags: Tags::NONE, mac: mac(0xb0) }),
            snat: snat.clone(),
        })
    };
    let snat_address = |number: u32| SnatAddress {
        address: backend_address(family, 0x00ff_0000 + number).ip(),
        ports: 1024..=65535,
        port: None,
        shared_address: false,
    };
    let port =
        |name: &str, last| Port { name: name.into(), mac: mac(last), mtu_bytes: 1500, up: true };
    Snapshot::new(SnapshotParts {
        generation: 1,
        tunnel_sources: TunnelSources {
            v4: Some(TunnelSource::new(Address::v4(0x0a09_0000), 16)),
            v6: Some(TunnelSource::new(Address::from_bits(0xfd00_0009 << 96), 64)),
        },
        own_addresses: vec![],
        services: (0..services).map(service).collect(),
        backends: (0..services * backends).map(backend).collect(),
        snat: (0..8).map(snat_address).collect(),
        // One MAC for both: frames of both directions are made from one template.
        ports: vec![port("clients0", 1), port("backends0", 1)],
        routes: RouteTable::default(),
        cluster_key: ClusterKey([5; 16]),
    })
}

/// An engine with room for `flows`, and the counts of `backends`.
pub fn engine(flows: usize, backends: usize) -> Engine {
    Engine::new(EngineConfig {
        worker: 0,
        shards: ShardMap::even(1),
        max_flows: flows,
        max_backends: backends,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 256 * backends.min(128) * 8,
        max_replies_per_second: 1000,
        max_new_flows_per_second: 100_000_000,
        fragments: FragmentLimits::default(),
        flow_events: 0,
        flow_meters: false,
        flow_hash_key: *b"sixteen secrets!",
    })
}
