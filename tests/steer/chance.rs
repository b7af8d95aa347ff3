//! The program against the engine, over frames changed by chance: both must agree on what is ours.
//!
//! More than CI tries: `GUIDEWAY_STEER_FRAMES=1000000 cargo test --test steer chance`; another
//! sequence of frames: `GUIDEWAY_STEER_SEED=7`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use guideway::dataplane::{
    Arrival, DropReason, Engine, EngineConfig, FragmentLimits, Outcome, ShardMap, Ticks, Verdict,
};
use guideway::forwarding::{
    Backend, BackendGonePolicy, BackendId, BackendState, ClusterKey, FlowRules, FlowTimeouts, Mode,
    MssClamp, NoBackendPolicy, Port, RouteTable, Service, ServiceGonePolicy, ServiceIndex,
    Snapshot, SnapshotParts, SnatAddress, TunnelSource, TunnelSources,
};
use guideway::wire::{Body, Content, FrameView, Packet, ParseOutcome, PortId, Protocol, parse};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::frames::tagged;
use super::{
    BACKEND, BACKEND6, Bench, OWN, SHARED, SHARED6, SOURCES, SOURCES6, VIP, VIP6, back, ipv4, ipv6,
    may_run, vlan,
};

/// What the rules of [`Bench`] say, as the engine has it.
fn snapshot() -> Snapshot {
    let service = |address: IpAddr, port, protocol, shared_address| Service {
        name: format!("{address} {port}").into(),
        vip: SocketAddr::new(address, port),
        protocol,
        shared_address,
        mode: Mode::Nat,
        slots: Arc::from([]),
        no_backend: NoBackendPolicy::Drop,
        timeouts: FlowTimeouts::default(),
        on_service_gone: ServiceGonePolicy::Drop,
        on_backend_gone: BackendGonePolicy::Drop,
        gone: false,
        mss: MssClamp::Auto,
        last_port: None,
        rules: FlowRules::default(),
    };
    let several = |service| Service { mode: Mode::Dnat, last_port: Some(5999), ..service };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let mut services = vec![
        service(VIP.into(), 80, tcp, false),
        service(VIP6.into(), 80, tcp, false),
        service(SHARED6.into(), 443, tcp, true),
        Service { mode: Mode::Dnat, ..service(VIP.into(), 8443, tcp, false) },
        Service { mode: Mode::Dnat, ..service(VIP6.into(), 8443, tcp, false) },
        several(service(VIP.into(), 5000, udp, false)),
        several(service(VIP6.into(), 5000, udp, false)),
    ];
    let backend = |id: u32, address: IpAddr, port| {
        Some(Backend {
            id: BackendId(id),
            name: format!("b{id}").into(),
            service: ServiceIndex(3 + id),
            via: None,
            socket: SocketAddr::new(address, port),
            mode: Mode::Dnat,
            weight: 1,
            state: BackendState::Active,
            retired_in: 0,
            gone: false,
            next_hop: None,
            snat: [].into(),
        })
    };
    let source = |network: IpAddr, prefix_len| Some(TunnelSource::new(network.into(), prefix_len));
    let mut snat = Vec::new();
    for shared in [IpAddr::V4(SHARED), IpAddr::V6(SHARED6)] {
        services.push(service(shared, 80, tcp, true));
        services.push(service(shared, 53, udp, true));
        let sctp = service(shared, 2905, Protocol::Sctp, true);
        services.push(Service { mode: Mode::L2dsr, ..sctp });
        for ports in [20000..=20999, 30000..=30999] {
            snat.push(SnatAddress { address: shared, ports, port: None, shared_address: true });
        }
    }
    let port = Port { name: "eth0".into(), mac: OWN, mtu_bytes: 1500, up: true };
    Snapshot::new(SnapshotParts {
        generation: 1,
        services,
        backends: vec![
            backend(0, BACKEND.into(), 8080),
            backend(1, BACKEND6.into(), 8080),
            backend(2, BACKEND.into(), 0),
            backend(3, BACKEND6.into(), 0),
        ],
        snat,
        ports: vec![port],
        routes: RouteTable::default(),
        cluster_key: ClusterKey([5; 16]),
        tunnel_sources: TunnelSources {
            v4: source(SOURCES.into(), 24),
            v6: source(SOURCES6.into(), 64),
        },
        own_addresses: [IpAddr::V4(SHARED), IpAddr::V6(SHARED6)].map(Into::into).to_vec(),
    })
}

fn engine() -> Engine {
    Engine::new(EngineConfig {
        worker: 0,
        shards: ShardMap::even(1),
        max_flows: 16,
        max_backends: 4,
        snat_hold_down_ms: 0,
        max_snat_blocks: 1,
        max_replies_per_second: 1_000_000,
        flow_events: 0,
        flow_meters: false,
        fragments: FragmentLimits::default(),
        max_new_flows_per_second: 100_000_000,
        flow_hash_key: [1; 16],
    })
}

fn verdict(engine: &mut Engine, snapshot: &Snapshot, now: Ticks, frame: &[u8]) -> Verdict {
    let mut memory = [&[0; 256], frame, &[0; 256]].concat();
    let mut view = FrameView::new(&mut memory, 256, frame.len());
    match engine.process(snapshot, now, Arrival::Received(PortId(0)), &mut view) {
        Outcome::Verdict(verdict) => verdict,
        Outcome::HandOver { .. } => panic!("there is one worker"),
        // It waits for its first one, and so is ours.
        Outcome::Held => Verdict::Drop(DropReason::Malformed),
    }
}

/// How the two differ, if they may not.
///
/// What the program takes must be something to the engine: else it is taken from the machine. What
/// is something to the engine must be taken, with two exceptions. Frames that cannot be read are
/// nobody's. And of an address that is the machine's too, or nobody's of ours, the engine would drop
/// what the program never gives it: fragments, and ICMP that is not about a flow of ours.
fn difference(frame: &[u8], is_taken: bool, verdict: Verdict) -> Option<&'static str> {
    if is_taken {
        return (verdict == Verdict::NotOurs).then_some("taken, and not ours");
    }
    let ParseOutcome::Parsed(Packet { body, .. }) = parse(frame) else { return None };
    let is_shared = match body {
        Body::Ip(ip) => [IpAddr::V4(SHARED), IpAddr::V6(SHARED6)].contains(&ip.destination().ip()),
        Body::Arp(_) => false,
    };
    let is_the_kernels = match body {
        Body::Ip(ip) => !matches!(ip.content, Content::Tcp(_) | Content::Udp | Content::Sctp(_)),
        Body::Arp(_) => false,
    };
    // An ARP message of another operation asks nobody.
    let is_no_arp = verdict == Verdict::Drop(DropReason::ArpNotRequest);
    // To somebody else: of errors the program has looked at less, and of DNAT backends' fragments it
    // knows whether the first one was taken.
    let is_elsewhere = match body {
        Body::Ip(ip) => ![IpAddr::V4(VIP), IpAddr::V6(VIP6)].contains(&ip.destination().ip()),
        Body::Arp(_) => false,
    };
    let is_unsure = match body {
        Body::Ip(ip) => matches!(ip.content, Content::IcmpError | Content::Fragment(_)),
        Body::Arp(_) => false,
    };
    let is_excused = (is_shared && is_the_kernels) || is_no_arp || (is_elsewhere && is_unsure);
    (verdict != Verdict::NotOurs && !is_excused).then_some("ours, and not taken")
}

/// A frame of the tables with some of it otherwise, and lengths and checksums mostly right.
fn changed(chance: &mut StdRng, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = frames.choose(chance).expect("frames").clone();
    if chance.random_bool(0.8) {
        mend(&mut frame);
    }
    for _ in 0..chance.random_range(0..4) {
        let at = chance.random_range(0..frame.len().min(120));
        let byte = &mut frame[at];
        match chance.random_range(0..3) {
            0 => *byte ^= 1 << chance.random_range(0..8),
            1 => *byte = *[0, 1, 6, 17, 44, 58, 60, 80, 0xff].choose(chance).expect("numbers"),
            _ => *byte = chance.random(),
        }
    }
    if chance.random_bool(0.1) {
        frame = tagged(&frame, &[(0x8100, chance.random())]);
    }
    if chance.random_bool(0.8) {
        mend_header(&mut frame);
    }
    if chance.random_bool(0.1) {
        frame.truncate(chance.random_range(14..=frame.len()));
    }
    frame
}

/// Where the IP header of a frame begins, and whether it is IPv4.
fn packet_of(frame: &[u8]) -> Option<(usize, bool)> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    match frame.get(at..at + 2)? {
        [8, 0] if frame.len() >= at + 22 => Some((at + 2, true)),
        [0x86, 0xdd] if frame.len() >= at + 42 => Some((at + 2, false)),
        _ => None,
    }
}

/// Gives TCP the length of its header and UDP its own, which the tables leave out.
fn mend(frame: &mut [u8]) {
    let Some((at, is_v4)) = packet_of(frame) else { return };
    let (protocol, len) = match is_v4 {
        true => (frame[at + 9], usize::from(frame[at] & 15) * 4),
        false => (frame[at + 6], 40),
    };
    let Some(transport) = frame.get_mut(at + len..) else { return };
    match protocol {
        6 if transport.len() >= 20 => (transport[12], transport[13]) = (0x50, 0x02),
        17 if transport.len() >= 8 => {
            let len = (transport.len() as u16).to_be_bytes();
            transport[4..6].copy_from_slice(&len);
        }
        _ => {}
    }
    mend_header(frame);
}

/// Makes the checksum of an IPv4 header right.
fn mend_header(frame: &mut [u8]) {
    let Some((at, true)) = packet_of(frame) else { return };
    let len = usize::from(frame[at] & 15) * 4;
    if len < 20 || frame.len() < at + len {
        return;
    }
    frame[at + 10..at + 12].fill(0);
    let sum = !guideway::wire::checksum::fold(guideway::wire::checksum::sum(&frame[at..at + len]));
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn program_and_engine_agree_on_what_is_ours() {
    if !may_run() {
        return;
    }
    let (bench, snapshot, mut engine) = (Bench::new(), snapshot(), engine());
    let rows = [ipv4::rows(), ipv6::rows(), vlan::rows(), back::rows()].concat();
    // The kernel runs programs on nothing shorter than a link header.
    let frames: Vec<_> =
        rows.into_iter().map(|row| row.1).filter(|frame| frame.len() >= 14).collect();
    let seed = number("GUIDEWAY_STEER_SEED", 1);
    let mut chance = StdRng::seed_from_u64(seed);
    let mut taken = 0;
    let count = number("GUIDEWAY_STEER_FRAMES", 20_000);
    for turn in 0..count {
        let frame = changed(&mut chance, &frames);
        let is_taken = bench.run(&frame).1 == "steer_no_worker";
        let verdict = verdict(&mut engine, &snapshot, Ticks(turn), &frame);
        let difference = difference(&frame, is_taken, verdict);
        assert_eq!(difference, None, "{verdict:?} for {frame:02x?}, seed {seed}, turn {turn}");
        taken += u64::from(is_taken);
    }
    let share = taken * 100 / count;
    assert!((10..90).contains(&share), "{share} % were taken: what did the rest show?");
}
