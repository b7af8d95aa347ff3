//! A small network and an engine in it. Port 0 leads to clients, port 1 to backends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use guideway::dataplane::{
    Arrival, Counters, DropReason, Engine, EngineConfig, EventCounters, FragmentLimits, Outcome,
    ReplyKind, Shard, ShardMap, Ticks, Verdict,
};
use guideway::forwarding::{
    Backend, BackendGonePolicy, BackendId, BackendState, ClusterKey, FlowRules, FlowTimeouts, Mode,
    MssClamp, Neighbour, NextHop, NoBackendPolicy, Port, Route, RouteTable, Service,
    ServiceGonePolicy, ServiceIndex, Snapshot, SnapshotParts, SnatAddress, TunnelSources,
};
use guideway::wire::{FrameView, PortId, Protocol, Tags};

use super::frames::{mac, socket};

pub const CLIENTS: PortId = PortId(0);
pub const BACKENDS: PortId = PortId(1);

/// Times that differ, so that a test tells which one was used.
pub const TIMEOUTS: FlowTimeouts = FlowTimeouts {
    tcp_opening_ms: 20_000,
    tcp_established_ms: 1_000_000,
    tcp_closing_ms: 30_000,
    tcp_reset_ms: 40_000,
    udp_ms: 50_000,
    affinity_ms: 0,
};

pub fn service(name: &str, vip: &str, protocol: Protocol, mode: Mode) -> Service {
    Service {
        name: name.into(),
        vip: socket(vip),
        protocol,
        shared_address: false,
        mode,
        slots: Arc::from([]),
        last_port: None,
        rules: FlowRules::default(),
        mss: MssClamp::Auto,
        no_backend: NoBackendPolicy::Reset,
        timeouts: TIMEOUTS,
        on_service_gone: ServiceGonePolicy::Reset,
        on_backend_gone: BackendGonePolicy::Reset,
        gone: false,
    }
}

/// Services: 0 web (NAT), 1 dns (NAT), 2 direct (DSR), 3 direct-dns (DSR).
/// Backends: 0 and 1 of web, 2 of dns, 3 and 4 of direct, 5 of direct-dns.
pub fn parts() -> SnapshotParts {
    let mut services = vec![
        service("web", "10.1.0.100:80", Protocol::Tcp, Mode::Nat),
        service("dns", "10.1.0.100:53", Protocol::Udp, Mode::Nat),
        service("direct", "10.1.0.101:80", Protocol::Tcp, Mode::L2dsr),
        service("direct-dns", "10.1.0.101:53", Protocol::Udp, Mode::L2dsr),
    ];
    let sockets = [
        (0, "10.2.0.10:8080"),
        (0, "10.2.0.11:8080"),
        (1, "10.2.0.12:5353"),
        (2, "10.2.0.13:80"),
        (2, "10.2.0.14:80"),
        (3, "10.2.0.15:53"),
    ];
    let backends: Vec<_> = sockets.iter().enumerate().map(backend).collect();
    for (id, (service, _)) in sockets.iter().enumerate() {
        let slots = &mut services[*service].slots;
        *slots = slots.iter().copied().chain([BackendId(id as u32)]).collect();
    }
    let port =
        |name: &str, last| Port { name: name.into(), mac: mac(last), mtu_bytes: 1500, up: true };
    let snat = SnatAddress {
        address: [10, 1, 0, 10].into(),
        ports: 1024..=65535,
        port: None,
        shared_address: false,
    };
    SnapshotParts {
        generation: 1,
        tunnel_sources: TunnelSources::default(),
        own_addresses: vec![],
        services,
        backends,
        snat: vec![snat],
        ports: vec![port("clients0", 1), port("backends0", 2)],
        routes: routes(false),
        cluster_key: ClusterKey([5; 16]),
    }
}

fn backend((id, (service, at)): (usize, &(usize, &str))) -> Option<Backend> {
    Some(Backend {
        id: BackendId(id as u32),
        name: format!("b{id}").into(),
        service: ServiceIndex(*service as u32),
        via: None,
        socket: socket(at),
        mode: if *service < 2 { Mode::Nat } else { Mode::L2dsr },
        weight: 1,
        state: BackendState::Active,
        retired_in: 0,
        gone: false,
        next_hop: Some(NextHop { port: BACKENDS, tags: Tags::NONE, mac: mac(0xb0 + id as u8) }),
        snat: Arc::from([0]),
    })
}

/// Clients' subnet on port 0 with a router 02:..:fe; the client's station c1 may be gone.
pub fn routes(client_gone: bool) -> RouteTable {
    let gateway = IpAddr::from([10, 1, 0, 254]);
    let route = |gateway, prefix_len, network: [u8; 4]| Route {
        network: network.into(),
        prefix_len,
        metric: 0,
        port: CLIENTS,
        tags: Tags::NONE,
        gateway,
    };
    let neighbour = |address, last, gone| Neighbour {
        address,
        port: CLIENTS,
        tags: Tags::NONE,
        mac: mac(last),
        gone,
    };
    RouteTable::new(
        vec![route(Some(gateway), 0, [0; 4]), route(None, 24, [10, 1, 0, 0])],
        vec![
            neighbour(gateway, 0xfe, false),
            neighbour(IpAddr::from([10, 1, 0, 60]), 0xc1, client_gone),
        ],
    )
}

pub fn config() -> EngineConfig {
    EngineConfig {
        worker: 0,
        shards: ShardMap::even(1),
        max_flows: 1000,
        max_backends: 16,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 4096,
        max_replies_per_second: 100,
        max_new_flows_per_second: 100_000_000,
        fragments: FragmentLimits::default(),
        flow_events: 0,
        flow_meters: false,
        flow_hash_key: [1; 16],
    }
}

/// Every counter that is not zero, by name.
pub type Named = BTreeMap<&'static str, u64>;

pub fn named(counters: &Counters) -> Named {
    let head = ["received", "received_bytes", "forwarded", "not_ours"].into_iter();
    let names = head
        .chain(ReplyKind::ALL.iter().map(|kind| kind.name()))
        .chain(DropReason::ALL.iter().map(|reason| reason.name()))
        .chain(EventCounters::NAMES);
    names.zip(counters.values()).filter(|&(_, value)| value > 0).collect()
}

pub fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forward(_) => "forwarded",
        Verdict::Reply(_, kind) => kind.name(),
        Verdict::Drop(reason) => reason.name(),
        Verdict::NotOurs => "not_ours",
    }
}

pub struct World {
    pub engine: Engine,
    pub snapshot: Snapshot,
    pub now: Ticks,
}

impl World {
    pub fn new() -> World {
        World::with(config(), |_| ())
    }

    pub fn with(config: EngineConfig, change: impl FnOnce(&mut SnapshotParts)) -> World {
        let mut parts = parts();
        change(&mut parts);
        let (engine, snapshot) = (Engine::new(config), Snapshot::new(parts));
        World { engine, snapshot, now: Ticks(u64::from(u32::MAX) - 5000) }
    }

    /// Another snapshot takes over.
    pub fn publish(&mut self, change: impl FnOnce(&mut SnapshotParts)) {
        let mut parts = parts();
        parts.generation = self.snapshot.generation + 1;
        change(&mut parts);
        self.snapshot = Snapshot::new(parts);
    }

    pub fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    /// Lets the sweep go over the whole table, which takes two seconds.
    pub fn sweep(&mut self) {
        self.engine.tick(&self.snapshot, self.now);
        for _ in 0..2 {
            self.now.0 += 1000;
            self.engine.tick(&self.snapshot, self.now);
        }
    }

    pub fn run(&mut self, arrival: Arrival, frame: &[u8]) -> (Outcome, Vec<u8>) {
        let mut chunk = [0; 2048];
        chunk[256..256 + frame.len()].copy_from_slice(frame);
        let mut view = FrameView::new(&mut chunk, 256, frame.len());
        let outcome = self.engine.process(&self.snapshot, self.now, arrival, &mut view);
        (outcome, view.bytes().to_vec())
    }

    /// Fragments that were held and may go on now, each with what becomes of it.
    pub fn send_held(&mut self) -> Vec<(Outcome, Vec<u8>)> {
        let mut sent = Vec::new();
        loop {
            let mut held = None;
            if !self.engine.take_held(|arrival, frame| held = Some((arrival, frame.to_vec()))) {
                return sent;
            }
            let (arrival, frame) = held.unwrap();
            sent.push(self.run(arrival, &frame));
        }
    }

    /// One received frame: exactly this verdict, and of all counters exactly these changed besides
    /// the verdict's own. Gives the frame as it leaves.
    #[track_caller]
    pub fn expect(
        &mut self,
        description: &str,
        port: PortId,
        frame: &[u8],
        verdict: Verdict,
        others: &[(&'static str, u64)],
    ) -> Vec<u8> {
        let before = self.engine.counters().values();
        let (outcome, out) = self.run(Arrival::Received(port), frame);
        assert_eq!(outcome, Outcome::Verdict(verdict), "{description}");
        let after = self.engine.counters().values();
        let changes =
            Counters::from_values(&std::array::from_fn(|place| after[place] - before[place]));
        let own = [("received", 1), ("received_bytes", frame.len() as u64), (name_of(verdict), 1)];
        let wanted: Named = own.into_iter().chain(others.iter().copied()).collect();
        assert_eq!(named(&changes), wanted, "{description}");
        out
    }

    pub fn live(&self) -> u32 {
        self.engine.live_flows().iter().sum()
    }

    /// All entries, by export in small slices.
    pub fn entries(&self) -> Vec<guideway::dataplane::FlowEntry> {
        let mut all = Vec::new();
        for shard in 0..=255 {
            let (mut slice, mut cursor) = ([guideway::dataplane::FlowEntry::FREE; 3], Some(0));
            while let Some(at) = cursor {
                let (copied, next) = self.engine.export(Shard(shard), at, &mut slice);
                all.extend_from_slice(&slice[..copied]);
                cursor = next;
            }
        }
        all
    }
}
