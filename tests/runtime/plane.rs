//! A data plane of threads over memory devices, with a controller that a test drives by hand.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use guideway::control::{
    BackendSpec, DesiredState, HealthCheckKind, HealthCheckSpec, LimitsSpec, LinkState,
    ServiceSpec, SnatSpec, Topology,
};
use guideway::dataplane::{Counters, Engine, EngineConfig, FragmentLimits, ShardMap};
use guideway::forwarding::{ClusterKey, FlowTimeouts, Neighbour, Route, SteerEntry, SteerTable};
use guideway::io::Device;
use guideway::io::memory::{FarEnd, MemoryDevice, MemoryOptions};
use guideway::runtime::{
    Controller, HandOver, Idle, Publisher, SteerTarget, Supervisor, Waker, Worker, WorkerShared,
};
use guideway::wire::{MacAddress, PortId, Tags};

pub const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 100), 80);
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// One entry that was put into, or taken out of, the XDP programs.
#[derive(Clone, Debug)]
pub struct SteerRow {
    pub added: bool,
    pub entry: SteerEntry,
    /// At that moment every worker ran a snapshot that takes it.
    pub known_to_workers: bool,
}

/// Stands in for the XDP programs.
pub struct Recorder {
    publisher: Arc<Publisher>,
    pub log: Vec<SteerRow>,
    /// Refuses everything.
    pub broken: bool,
}

impl Recorder {
    fn note(&mut self, added: bool, entry: SteerEntry) -> Result<(), String> {
        if self.broken {
            return Err("no such map".into());
        }
        let newest = self.publisher.current();
        let acknowledged = self.publisher.acknowledged() == newest.generation;
        let known = acknowledged && SteerTable::of(&newest).entries.contains(&entry);
        self.log.push(SteerRow { added, entry, known_to_workers: known });
        Ok(())
    }
}

impl SteerTarget for Recorder {
    fn add(&mut self, entry: SteerEntry) -> Result<(), String> {
        self.note(true, entry)
    }

    fn remove(&mut self, entry: SteerEntry) -> Result<(), String> {
        self.note(false, entry)
    }

    fn activate(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn set_mac(&mut self, _: &str, _: MacAddress) -> Result<(), String> {
        Ok(())
    }
}

pub struct Plane {
    pub publisher: Arc<Publisher>,
    pub controller: Controller<Recorder>,
    supervisor: Supervisor,
    shared: Vec<Arc<WorkerShared>>,
    far_ends: Vec<FarEnd>,
}

impl Plane {
    pub fn start(workers: usize) -> Plane {
        Plane::start_with(workers, |device| device)
    }

    /// With each worker's device wrapped in something.
    pub fn start_with<D: Device + Send + 'static>(
        workers: usize,
        wrap: impl Fn(MemoryDevice) -> D,
    ) -> Plane {
        let (devices, mut far_ends): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| MemoryDevice::new(MemoryOptions::default())).unzip();
        let far_ends = far_ends.iter_mut().map(|ends| ends.remove(0)).collect();
        let shared_of = |(number, device): (usize, &MemoryDevice)| {
            let waker = device.waker();
            let waker: Waker = Arc::new(move || waker.wake());
            Arc::new(WorkerShared::new(number as u8, waker))
        };
        let shared: Vec<_> = devices.iter().enumerate().map(shared_of).collect();
        let publisher = Arc::new(Publisher::new(shared.clone()));
        let rings = HandOver::mesh(workers, 64, 2048);
        let made = devices.into_iter().zip(rings).zip(&shared).map(|((device, rings), shared)| {
            let engine = Engine::new(engine_config(shared.number, workers));
            let ends = (publisher.clone(), shared.clone());
            let worker = Worker::new(wrap(device), engine, rings, ends, Idle::Sleep, None);
            (worker, shared.clone(), None)
        });
        let supervisor = Supervisor::start(made.collect()).unwrap();
        let recorder = Recorder { publisher: publisher.clone(), log: vec![], broken: false };
        let key = ClusterKey([7; 16]);
        let controller = Controller::new(publisher.clone(), recorder, limits(), key, topology());
        Plane { publisher, controller, supervisor, shared, far_ends }
    }

    pub fn workers(&self) -> &[Arc<WorkerShared>] {
        &self.shared
    }

    pub fn push(&self, worker: usize, frame: &[u8]) {
        self.far_ends[worker].push(frame).unwrap();
    }

    /// The next frame a worker sends that is no announcement.
    pub fn take(&self, worker: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.far_ends[worker].take() {
                Some(frame) if frame[12..14] == [8, 0] => return frame,
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(Instant::now() < deadline, "nothing was sent");
        }
    }

    pub fn counters(&self) -> Counters {
        let sum = |sum: Counters, worker: &Arc<WorkerShared>| {
            let number = worker.ask_report();
            let deadline = Instant::now() + PATIENCE;
            while !worker.has_reported(number) {
                assert!(Instant::now() < deadline, "worker {} is stuck", worker.number);
                std::thread::sleep(Duration::from_micros(100));
            }
            sum.plus(&worker.report().counters)
        };
        self.shared.iter().fold(Counters::default(), sum)
    }

    pub fn forwarded(&self) -> u64 {
        self.counters().forwarded
    }

    pub fn restarts(&self) -> u64 {
        self.shared.iter().map(|worker| worker.restarts()).sum()
    }

    pub fn wait(&self, condition: impl Fn(&Plane) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited too long: {:?}", self.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Steps the controller by the real clock until something holds.
    pub fn step_until(&mut self, condition: impl Fn(&Plane) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited too long: {:?}", self.counters());
            self.controller.step(guideway::runtime::clock::now().0).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(self) {
        assert!(self.supervisor.is_running(), "a worker thread has ended");
        self.supervisor.stop();
    }
}

fn engine_config(worker: u8, workers: usize) -> EngineConfig {
    EngineConfig {
        worker,
        shards: ShardMap::even(workers),
        max_flows: 1024,
        max_backends: 64,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 1024,
        max_replies_per_second: 1000,
        max_new_flows_per_second: 100_000_000,
        fragments: FragmentLimits::default(),
        flow_events: 0,
        flow_meters: false,
        flow_hash_key: [3; 16],
    }
}

fn limits() -> LimitsSpec {
    LimitsSpec {
        flows_per_worker: 1024,
        backends: 64,
        retired_backends: 16,
        service_gone_linger_ms: 60_000,
        snat_hold_down_ms: 60_000,
        snat_blocks_per_worker: 1024,
        new_flows_per_second: 1_000_000,
        replies_per_second: 1000,
        fragmented_packets: 64,
        fragments_held: 16,
        fragment_hold_ms: 2_000,
        frames_per_queue: 256,
        frame_bytes: 2048,
        hand_over_ring: 64,
    }
}

/// A NAT service `web` on the VIP with these backends; `b1` is at 10.1.0.11 and so on.
pub fn desired(backends: &[&str]) -> DesiredState {
    let backend = |name: &&str| {
        let last = 10 + name[1..].parse::<u8>().unwrap();
        BackendSpec::new(*name, (Ipv4Addr::new(10, 1, 0, last), 80).into())
    };
    let service = ServiceSpec {
        table_size: Some(251),
        health_check: Some(HealthCheckSpec::new(HealthCheckKind::TCP)),
        timeouts: FlowTimeouts {
            tcp_closing_ms: 100,
            tcp_reset_ms: 100,
            ..FlowTimeouts::default()
        },
        ..ServiceSpec::new("web", VIP.into(), backends.iter().map(backend).collect())
    };
    let snat = SnatSpec {
        address: Ipv4Addr::new(10, 1, 0, 10).into(),
        ports: 1024..=65535,
        interface: None,
        shared_address: false,
    };
    DesiredState { services: vec![service.into()], snat: vec![snat], tunnel_sources: vec![] }
}

/// One interface, 10.1.0.0/24, with the backends b1 to b3 and the client 10.1.0.1 on it.
pub fn topology() -> Topology {
    let station = |address: u8, mac: u8| Neighbour {
        address: Ipv4Addr::new(10, 1, 0, address).into(),
        port: PortId(0),
        tags: Tags::NONE,
        mac: MacAddress([2, 0, 0, 0, 0, mac]),
        gone: false,
    };
    Topology {
        links: vec![LinkState {
            name: "memory0".into(),
            ifindex: 2,
            bridge_ifindex: None,
            mac: OUR_MAC,
            mtu_bytes: 1500,
            up: true,
        }],
        upper_links: vec![],
        own_addresses: vec![],
        routes: vec![Route {
            network: Ipv4Addr::new(10, 1, 0, 0).into(),
            prefix_len: 24,
            metric: 0,
            port: PortId(0),
            tags: Tags::NONE,
            gateway: None,
        }],
        neighbours: (1..=3).map(|n| station(10 + n, 0x10 + n)).chain([station(1, 1)]).collect(),
        local_port_range: None,
    }
}

/// A segment of the client 10.1.0.1 to the VIP.
pub fn to_vip(client_port: u16, flags: u8) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CLIENT_MAC.0, OUR_MAC.0)
        .ipv4([10, 1, 0, 1], VIP.ip().octets(), 64)
        .tcp(client_port, VIP.port(), 1000, 8000);
    let builder = if flags & SYN != 0 { builder.syn() } else { builder };
    let builder = if flags & RST != 0 { builder.rst() } else { builder };
    let builder = if flags & ACK != 0 { builder.ack(1) } else { builder };
    let mut frame = vec![];
    builder.write(&mut frame, &[]).unwrap();
    frame
}

pub fn is_reset(frame: &[u8]) -> bool {
    frame[23] == 6 && frame[47] & RST != 0
}
