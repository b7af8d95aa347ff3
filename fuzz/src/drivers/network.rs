//! A small network of both families: clients behind port 0, backends behind port 1.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use guideway::dataplane::{EngineConfig, FragmentLimits, ShardMap};
use guideway::forwarding::{
    Backend, BackendGonePolicy, BackendId, BackendState, ClusterKey, FlowRules, FlowTimeouts,
    HashBy, Mode, MssClamp, Neighbour, NextHop, NoBackendPolicy, Port, PrefixSet, Route,
    RouteTable, Service, ServiceGonePolicy, ServiceIndex, Snapshot, SnapshotParts, SnatAddress,
    TunnelSource, TunnelSources,
};
use guideway::wire::encap::{Dscp, Tunnel};
use guideway::wire::{MacAddress, PortId, Protocol, Tags};

pub const CLIENTS: PortId = PortId(0);
pub const BACKENDS: PortId = PortId(1);
/// No flow lives longer without a packet.
pub const LONGEST_IDLE_MS: u64 = 1_000_000;

/// The station of a number: 02:00:00:00:00:xx. Ours are 1 and 2.
pub const fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

/// Host `host` of network `net` in one family or the other.
pub fn address(is_v6: bool, net: u8, host: u8) -> IpAddr {
    match is_v6 {
        false => IpAddr::from([10, net, 0, host]),
        true => IpAddr::from([0x2001, 0xdb8, u16::from(net), 0, 0, 0, 0, u16::from(host)]),
    }
}

const GUE: Mode = Mode::Tunnel(Tunnel::GUE, Dscp::Copied);
const GRE: Mode = Mode::Tunnel(Tunnel::Gre { key: Some(7) }, Dscp::Fixed(10));
const IPIP: Mode = Mode::Tunnel(Tunnel::Ipip, Dscp::Copied);

/// Name, last byte of the VIP, port, protocol, mode, backends. For each family once.
type Row = (&'static str, u8, u16, Protocol, Mode, std::ops::Range<u32>);
const SERVICES: [Row; 16] = [
    ("web", 100, 80, Protocol::Tcp, Mode::Nat, 0..2),
    ("dns", 100, 53, Protocol::Udp, Mode::Nat, 2..3),
    ("direct", 101, 80, Protocol::Tcp, Mode::L2dsr, 3..5),
    ("direct-dns", 101, 53, Protocol::Udp, Mode::L2dsr, 5..6),
    ("shared", 1, 443, Protocol::Tcp, Mode::Nat, 6..7),
    ("several", 102, 90, Protocol::Tcp, GUE, 7..9),
    ("routed", 103, 80, Protocol::Tcp, Mode::Dnat, 9..10),
    ("stateless-dns", 102, 53, Protocol::Udp, GRE, 10..11),
    ("marked", 104, 80, Protocol::Tcp, Mode::Dscp(10), 12..14),
    ("marked-dns", 104, 53, Protocol::Udp, Mode::Dscp(10), 14..15),
    ("range", 105, 90, Protocol::Tcp, Mode::Nat, 15..17),
    ("range-routed", 106, 90, Protocol::Tcp, Mode::Dnat, 17..18),
    ("all", 107, 1, Protocol::Tcp, Mode::Nat, 18..19),
    ("all-routed", 108, 1, Protocol::Tcp, Mode::Dnat, 19..20),
    ("few", 109, 80, Protocol::Tcp, Mode::Nat, 20..21),
    ("few-direct", 109, 53, Protocol::Udp, Mode::L2dsr, 21..22),
];
const WEB: usize = 0;
const DNS: usize = 1;
const DIRECT: usize = 2;
const DIRECT_DNS: usize = 3;
const SEVERAL: usize = 5;
const STATELESS: usize = 7;
const MARKED: usize = 8;
const RANGE: usize = 10;
const RANGE_ROUTED: usize = 11;
const ALL: usize = 12;
const ALL_ROUTED: usize = 13;
const FEW: usize = 14;
const FEW_DIRECT: usize = 15;
/// The services before are those that inputs ask for by three bits; the others, by one more.
pub const MORE: usize = MARKED;
/// Of services of several ports, but not all.
const LAST_PORT: u16 = 93;
/// Backends that stand in no row: of the last one's service, when it has another mode.
const OF_OTHER_MODE: u32 = 11;
/// It has an address of the other family.
const OF_OTHER_FAMILY: u32 = 8;
const BACKENDS_A_FAMILY: u32 = 22;

/// Where packets to a service go, to the first of its ports; or, `past` those, to one that is another of
/// its ports or no service's.
pub fn vip(is_v6: bool, choice: usize, past: u16) -> SocketAddr {
    let row = &SERVICES[choice % SERVICES.len()];
    SocketAddr::new(address(is_v6, 1, row.1), row.2 + past)
}

/// Where a backend listens; port 0: on each port that a client may choose.
fn backend(is_v6: bool, number: u32) -> SocketAddr {
    let number = number % BACKENDS_A_FAMILY;
    let is_v6 = is_v6 != (number == OF_OTHER_FAMILY);
    let port = if matches!(number, 15..20) { 0 } else { 8080 + number as u16 };
    SocketAddr::new(address(is_v6, 2, 10 + number as u8), port)
}

/// Where it answers from, asked or not.
pub fn answers_from(is_v6: bool, number: usize) -> SocketAddr {
    let mut socket = backend(is_v6, number as u32);
    if socket.port() == 0 {
        socket.set_port(LAST_PORT);
    }
    socket
}

/// Is it a port of a UDP service, or of one of its backends?
pub fn is_udp(port: u16) -> bool {
    matches!(port, 53 | 8082 | 8085 | 8090 | 8091 | 8094 | 8101)
}

/// Outer sources of tunnels.
fn tunnel_source(is_v6: bool) -> TunnelSource {
    TunnelSource::new(address(is_v6, 9, 0).into(), if is_v6 { 64 } else { 24 })
}

/// The source address that backends see.
pub fn snat(is_v6: bool) -> IpAddr {
    address(is_v6, 1, 10)
}

/// The snapshot of a number: each of its bits is one thing that is otherwise than in number 0.
pub fn snapshot(bits: u16, generation: u64) -> Snapshot {
    let has = |bit: u32| bits >> bit & 1 == 1;
    let both =
        |parts: &dyn Fn(bool, u32) -> Vec<Service>| [parts(false, 0), parts(true, 1)].concat();
    let mut services = both(&services);
    let mut backends: Vec<_> =
        (0..2 * BACKENDS_A_FAMILY).map(|id| Some(backend_of(id, has(10)))).collect();
    for family in 0..2 {
        change(family, &has, &mut services, &mut backends);
    }
    if has(4) {
        services.iter_mut().for_each(|service| {
            service.no_backend = NoBackendPolicy::Drop;
            service.on_service_gone = ServiceGonePolicy::Drop;
        });
    }
    let mut ports = vec![port("clients0", 1), port("backends0", 2)];
    ports[1].up = !has(6);
    ports[0].mtu_bytes = if has(12) { 1280 } else { 1500 };
    let mut snat: Vec<_> = [false, true].into_iter().flat_map(snat_addresses).collect();
    if has(9) {
        snat.iter_mut().for_each(|snat| snat.address = address(snat.address.is_ipv6(), 1, 11));
    }
    if has(13) {
        snat.iter_mut().for_each(|snat| snat.ports = 40_000..=40_255);
    }
    let routes = routes(has(11));
    let cluster_key = ClusterKey([5; 16]);
    let parts = SnapshotParts {
        generation,
        services,
        backends,
        snat,
        ports,
        routes,
        cluster_key,
        tunnel_sources: TunnelSources {
            v4: Some(tunnel_source(false)),
            v6: Some(tunnel_source(true)),
        },
        own_addresses: vec![],
    };
    if has(14) { Snapshot::empty() } else { Snapshot::new(parts) }
}

/// What some of the bits change in the services and backends of a family.
fn change(
    family: usize,
    has: &dyn Fn(u32) -> bool,
    services: &mut [Service],
    backends: &mut [Option<Backend>],
) {
    let at = |service: usize| service + family * SERVICES.len();
    let id = |number: usize| number + family * BACKENDS_A_FAMILY as usize;
    let drop_all = |service: &mut Service| service.slots = Arc::from([]);
    if has(0) {
        backends[id(0)].iter_mut().for_each(|b| {
            (b.state, b.gone) = (BackendState::Unhealthy, has(10));
        });
        services[at(WEB)].slots = Arc::from([BackendId(id(1) as u32)]);
    }
    if has(1) {
        backends[id(1)].iter_mut().for_each(|b| b.state = BackendState::Draining);
        services[at(WEB)].slots = Arc::from([BackendId(id(0) as u32)]);
        backends[id(15)].iter_mut().for_each(|b| b.state = BackendState::Draining);
        services[at(RANGE)].slots = Arc::from([BackendId(id(16) as u32)]);
    }
    if has(2) {
        services[at(WEB)].gone = true;
        drop_all(&mut services[at(WEB)]);
    }
    if has(3) {
        drop_all(&mut services[at(DIRECT)]);
        backends[id(17)].iter_mut().for_each(|b| b.state = BackendState::Unhealthy);
        drop_all(&mut services[at(RANGE_ROUTED)]);
    }
    if has(5) {
        backends[id(2)].iter_mut().for_each(|b| b.next_hop = None);
    }
    if has(7) {
        backends[id(3)] = None;
        backends[id(13)] = None;
    }
    if has(8) {
        backends[id(1)].iter_mut().for_each(|b| b.socket.set_port(9));
        // Another value for new flows, and fewer of them.
        let marked = Mode::Dscp(46);
        services[at(MARKED)].mode = marked;
        backends[id(12)].iter_mut().for_each(|b| b.mode = marked);
        services[at(FEW)].rules.max_flows = 1;
    }
    if has(15) {
        services[at(STATELESS)].mode = IPIP;
        services[at(STATELESS)].slots = Arc::from([BackendId(id(11) as u32)]);
        // Drained for long enough.
        backends[id(3)].iter_mut().for_each(|b| {
            (b.state, b.gone) = (BackendState::Draining, true);
        });
        services[at(DIRECT)].slots = Arc::from([BackendId(id(4) as u32)]);
        services[at(WEB)].on_backend_gone = BackendGonePolicy::Drop;
    }
}

fn services(is_v6: bool, family: u32) -> Vec<Service> {
    let service = |(name, host, port, protocol, mode, backends): &Row| Service {
        name: format!("{name}{family}").into(),
        vip: SocketAddr::new(address(is_v6, 1, *host), *port),
        protocol: *protocol,
        shared_address: *host == 1,
        mode: *mode,
        slots: backends.clone().map(|id| BackendId(id + family * BACKENDS_A_FAMILY)).collect(),
        no_backend: NoBackendPolicy::Reset,
        timeouts: FlowTimeouts {
            tcp_opening_ms: 20_000,
            tcp_established_ms: LONGEST_IDLE_MS as u32,
            tcp_closing_ms: 30_000,
            tcp_reset_ms: 40_000,
            udp_ms: 50_000,
            affinity_ms: 0,
        },
        on_service_gone: ServiceGonePolicy::Reset,
        on_backend_gone: BackendGonePolicy::Reset,
        gone: false,
        mss: MssClamp::Auto,
        last_port: None,
        rules: FlowRules::default(),
    };
    let mut services: Vec<Service> = SERVICES.iter().map(service).collect();
    for several in [SEVERAL, RANGE, RANGE_ROUTED] {
        services[several].last_port = Some(LAST_PORT);
    }
    for all in [ALL, ALL_ROUTED] {
        services[all].last_port = Some(u16::MAX);
    }
    // All clients but the one that is not in the network's first half.
    let half = (address(is_v6, 1, 0), if is_v6 { 122 } else { 26 });
    services[FEW].rules.allow = Some(Arc::new(PrefixSet::new([half])));
    (services[FEW].rules.max_flows, services[FEW_DIRECT].rules.max_flows) = (3, 2);
    services[SEVERAL].rules.hash = HashBy::DestinationPort;
    services[STATELESS].rules.hash = HashBy::ClientAndPort;
    services[STATELESS].rules.entries = false;
    // One client of two may use it.
    let allowed = (address(is_v6, 1, 60), if is_v6 { 128 } else { 32 });
    services[DIRECT_DNS].rules.allow = Some(Arc::new(PrefixSet::new([allowed])));
    for with_affinity in [DNS, DIRECT, RANGE] {
        let service = &mut services[with_affinity];
        (service.rules.hash, service.rules.affinity_ms) = (HashBy::Client, AFFINITY_MS);
        service.timeouts.affinity_ms = AFFINITY_MS;
    }
    services
}

const AFFINITY_MS: u32 = 45_000;

fn backend_of(id: u32, on_vlan: bool) -> Backend {
    let (family, number) = (id / BACKENDS_A_FAMILY, id % BACKENDS_A_FAMILY);
    let service = SERVICES.iter().position(|row| row.5.contains(&number)).unwrap_or(STATELESS);
    let tags = if on_vlan { Tags::customer(20) } else { Tags::NONE };
    Backend {
        id: BackendId(id),
        name: format!("b{id}").into(),
        service: ServiceIndex((service + family as usize * SERVICES.len()) as u32),
        via: None,
        socket: backend(family == 1, number),
        mode: if number == OF_OTHER_MODE { IPIP } else { SERVICES[service].4 },
        weight: 1,
        state: BackendState::Active,
        retired_in: 0,
        gone: false,
        next_hop: Some(NextHop { port: BACKENDS, tags, mac: mac(0xb0 + number as u8) }),
        snat: Arc::from([2 * family as u16, 2 * family as u16 + 1]),
    }
}

/// One address of our own, and one that is the machine's too.
fn snat_addresses(is_v6: bool) -> [SnatAddress; 2] {
    let own = SnatAddress {
        address: snat(is_v6),
        ports: 1024..=65535,
        port: None,
        shared_address: false,
    };
    let shared = SnatAddress {
        address: address(is_v6, 1, 1),
        ports: 30_000..=30_999,
        port: None,
        shared_address: true,
    };
    [own, shared]
}

fn port(name: &str, last: u8) -> Port {
    Port { name: name.into(), mac: mac(last), mtu_bytes: 1500, up: true }
}

/// A router for everything, and one client's station, which may be gone.
fn routes(client_gone: bool) -> RouteTable {
    let (mut routes, mut neighbours) = (Vec::new(), Vec::new());
    for is_v6 in [false, true] {
        let gateway = address(is_v6, 1, 254);
        let network = if is_v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) };
        let (port, tags) = (CLIENTS, Tags::NONE);
        let gateway_of = Some(gateway);
        routes.push(Route { network, prefix_len: 0, metric: 0, port, tags, gateway: gateway_of });
        let client = address(is_v6, 1, 60);
        let station = |address, last, gone| Neighbour { address, port, tags, mac: mac(last), gone };
        neighbours.push(station(gateway, 0xfe, false));
        neighbours.push(station(client, 0xc0, client_gone));
    }
    RouteTable::new(routes, neighbours)
}

/// A worker with room for few flows, so that limits are met.
pub fn config(worker: u8, workers: usize) -> EngineConfig {
    EngineConfig {
        worker,
        shards: ShardMap::even(workers),
        max_flows: 24,
        max_backends: 2 * BACKENDS_A_FAMILY as usize,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 16,
        max_replies_per_second: 20,
        flow_events: 4,
        flow_meters: true,
        fragments: FragmentLimits::default(),
        max_new_flows_per_second: 100_000_000,
        flow_hash_key: [1; 16],
    }
}
