//! From node spec to running workers: devices, engines, rings, threads, XDP programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use rtrb::Producer;

use crate::control::{
    IdlePolicy, NodeSpec, Spread, WorkerGonePolicy, XdpModeChoice, ZeroCopyChoice,
};
use crate::dataplane::{Engine, EngineConfig, FlowEvent, NicHash, ShardMap};
use crate::forwarding::SteerEntry;
use crate::io::afxdp::ethtool::{HashedFields, Rss};
use crate::io::afxdp::{
    self, AfxdpDevice, InterfaceOptions, OpenOptions, Opened, Steer, SteerRule, XdpMode, ZeroCopy,
};
use crate::io::{Device, QueueStatistics};
use crate::runtime::{
    HandOver, Idle, Publisher, SteerTarget, Supervisor, Waker, Worker, WorkerShared, engine_config,
    privileges,
};
use crate::wire::MacAddress;
use crate::wire::toeplitz::{self, Toeplitz};

/// Running workers and what they were given.
pub struct DataPlane {
    /// Where snapshots are published.
    pub publisher: Arc<Publisher>,
    /// The threads.
    pub supervisor: Supervisor,
    /// The XDP programs.
    pub steer: SteerPrograms,
}

/// Takes the interfaces and starts the workers. They do nothing before a snapshot is published. Ends of
/// flows go into these rings, a worker's each, if there are any.
///
/// # Errors
/// What cannot be had, with advice.
pub fn start(node: &NodeSpec, ended_flows: Vec<Producer<FlowEvent>>) -> anyhow::Result<DataPlane> {
    let workers = worker_count(node)?;
    let opened = afxdp::open(&open_options(node, workers))?;
    let Opened { devices, wakers, steer, notes, warnings, rss } = opened;
    // What the start needed is done; threads from here on have no more than this.
    if let Err(error) = privileges::keep_only(privileges::CONTROL) {
        tracing::warn!(%error, "the control thread keeps its privileges");
    }
    notes.iter().for_each(|note| tracing::info!("{note}"));
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    devices.iter().zip(0..).for_each(|(device, worker)| tell_modes(device, worker));
    let shared: Vec<Arc<WorkerShared>> = (0..)
        .zip(wakers)
        .map(|(number, waker)| {
            let waker: Waker = Arc::new(move || waker.wake());
            Arc::new(WorkerShared::new(number, waker))
        })
        .collect();
    let publisher = Arc::new(Publisher::new(shared.clone()));
    let limits = &node.limits;
    let rings = HandOver::mesh(workers, limits.hand_over_ring, limits.frame_bytes as usize);
    let flow_hash_key = rand::random();
    let shards = shard_map(node, &rss, workers);
    let made = devices.into_iter().zip(rings).zip(shared);
    let mut ended_flows = ended_flows.into_iter();
    let made = made.map(|((device, rings), shared)| {
        let (number, shards) = (shared.number, shards.clone());
        let config = engine_config(&node.limits, number, shards, flow_hash_key);
        let waiting = node.flow_records.as_ref().map_or(0, |spec| spec.waiting_per_worker);
        let config = EngineConfig { flow_events: waiting, flow_meters: waiting > 0, ..config };
        let engine = Engine::new(config);
        let core = core_of(node, shared.number);
        let ends = (publisher.clone(), shared.clone());
        let mut worker = Worker::new(device, engine, rings, ends, idle_of(node, core), core);
        if let Some(ring) = ended_flows.next() {
            worker = worker.with_ended_flows(ring);
        }
        (worker, shared, core)
    });
    match Supervisor::start(made.collect()) {
        Ok(supervisor) => Ok(DataPlane { publisher, supervisor, steer: SteerPrograms(steer) }),
        Err(error) => {
            steer.detach();
            Err(error).context("the worker threads")
        }
    }
}

/// How frames get to a worker: what was chosen by trying.
fn tell_modes(device: &AfxdpDevice, worker: u8) {
    for queue in device.statistics().queues {
        let QueueStatistics { interface, queue, mode, .. } = queue;
        tracing::info!(worker, interface, queue, mode, "queue");
    }
}

/// How many workers there are: as configured, or as many as the interface with the most queues has.
///
/// # Errors
/// When an interface does not tell its queues.
pub fn worker_count(node: &NodeSpec) -> anyhow::Result<usize> {
    if let Some(count) = node.workers.count {
        return Ok(usize::from(count));
    }
    let mut most = 1;
    for interface in &node.interfaces {
        most = most.max(afxdp::queue_count(&interface.name)? as usize);
    }
    Ok(most)
}

fn open_options(node: &NodeSpec, workers: usize) -> OpenOptions {
    let interface = |spec: &crate::control::InterfaceSpec| InterfaceOptions {
        name: spec.name.clone(),
        mode: match spec.xdp_mode {
            XdpModeChoice::Auto => XdpMode::Auto,
            XdpModeChoice::Native => XdpMode::Native,
            XdpModeChoice::Generic => XdpMode::Generic,
        },
        zero_copy: match spec.zero_copy {
            ZeroCopyChoice::Auto => ZeroCopy::Auto,
            ZeroCopyChoice::Required => ZeroCopy::Required,
            ZeroCopyChoice::Off => ZeroCopy::Off,
        },
        drop_without_worker: spec.on_worker_gone == WorkerGonePolicy::Drop,
    };
    OpenOptions {
        interfaces: node.interfaces.iter().map(interface).collect(),
        workers,
        frames_per_queue: node.limits.frames_per_queue,
        frame_bytes: node.limits.frame_bytes,
        bpf_dir: node.bpf_dir.clone(),
    }
}

/// By the hash of the first interface that tells how it spreads packets, so that its packets
/// arrive at their owner; else by a hash of our own, and packets are handed over.
///
/// Where flows are spread by clients, only a NIC that hashes no ports is of use.
fn shard_map(node: &NodeSpec, rss: &[Option<Rss>], workers: usize) -> ShardMap {
    let by_client = node.workers.spread == Spread::Client;
    let told = node.interfaces.iter().zip(rss);
    for (interface, rss) in
        told.filter_map(|(interface, rss)| Some((&interface.name, rss.as_ref()?)))
    {
        if let Some(map) = shard_map_of(rss, workers, !by_client) {
            tracing::info!(interface, "packets are owned as this NIC's RSS spreads them");
            return map;
        }
        if by_client {
            tracing::info!(
                interface,
                "its RSS is not used: it hashes ports, or is of another form"
            );
        } else {
            tracing::info!(
                interface,
                "its RSS is not used: not Toeplitz, or a table of another form"
            );
        }
    }
    if workers > 1 {
        tracing::info!("no RSS to go by: packets are owned by a hash of our own, and handed over");
    }
    match by_client {
        true => ShardMap::by_client(workers, rand::random()),
        false => ShardMap::even(workers),
    }
}

fn shard_map_of(rss: &Rss, workers: usize, may_hash_ports: bool) -> Option<ShardMap> {
    let key = rss.key.get(..toeplitz::KEY_LEN)?.try_into().ok()?;
    let hashes_ports = |fields: Option<HashedFields>| {
        let fields = fields?;
        fields.addresses.then_some(fields.ports)
    };
    let toeplitz = rss.toeplitz.then(|| Toeplitz::new(key))?;
    let (tcp_ports, udp_ports) = (hashes_ports(rss.tcp)?, hashes_ports(rss.udp)?);
    if !may_hash_ports && (tcp_ports || udp_ports) {
        return None;
    }
    ShardMap::of_nic(NicHash { toeplitz, tcp_ports, udp_ports }, &rss.indirection, workers)
}

/// As configured, or worker w on core w modulo the cores there are.
fn core_of(node: &NodeSpec, worker: u8) -> Option<usize> {
    let worker = usize::from(worker);
    match &node.workers.cores {
        Some(cores) => cores.get(worker % cores.len().max(1)).copied(),
        None => {
            let cores = core_affinity::get_core_ids()?;
            cores.get(worker % cores.len().max(1)).map(|core| core.id)
        }
    }
}

/// `auto` polls only on a core the kernel keeps other threads away from: polling on a shared core
/// was measured at a quarter of the throughput of sleeping.
fn idle_of(node: &NodeSpec, core: Option<usize>) -> Idle {
    match node.workers.idle {
        IdlePolicy::Busy => Idle::Busy,
        IdlePolicy::Sleep => Idle::Sleep,
        IdlePolicy::Auto => {
            let isolated = std::fs::read_to_string("/sys/devices/system/cpu/isolated");
            let isolated = isolated.unwrap_or_default();
            let alone = core.is_some_and(|core| in_cpu_list(isolated.trim(), core));
            if alone { Idle::SpinThenSleep } else { Idle::Sleep }
        }
    }
}

/// Is `core` in a kernel CPU list such as `1-3,5`?
fn in_cpu_list(list: &str, core: usize) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.trim().parse::<usize>().ok().zip(last.trim().parse::<usize>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&core))
    })
}

/// The XDP programs of all interfaces as the control loop sees them.
pub struct SteerPrograms(pub Steer);

impl SteerPrograms {
    /// Counters by interface and name.
    pub fn counters(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let counters = self.0.counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "the XDP programs' counters cannot be read");
            vec![]
        });
        let named = counters.into_iter();
        named.map(|c| (c.interface, c.counters.into_iter().collect())).collect()
    }
}

impl SteerTarget for SteerPrograms {
    fn add(&mut self, entry: SteerEntry) -> Result<(), String> {
        self.0.add(&rule_of(entry)).map_err(|error| error.to_string())
    }

    fn remove(&mut self, entry: SteerEntry) -> Result<(), String> {
        self.0.remove(&rule_of(entry)).map_err(|error| error.to_string())
    }

    fn activate(&mut self) -> Result<(), String> {
        self.0.activate().map_err(|error| error.to_string())
    }

    fn set_mac(&mut self, interface: &str, mac: MacAddress) -> Result<(), String> {
        self.0.set_mac(interface, mac).map_err(|error| error.to_string())
    }
}

fn rule_of(entry: SteerEntry) -> SteerRule {
    match entry {
        SteerEntry::Whole(address) => SteerRule::Whole(address),
        SteerEntry::Port(address, protocol, port) => {
            SteerRule::Port(address, protocol.number(), port)
        }
        SteerEntry::PortRange(address, first, last) => SteerRule::PortRange(address, first, last),
        SteerEntry::Room(address, room_bytes) => SteerRule::Room(address, room_bytes),
        SteerEntry::TunnelSource(network, prefix_len) => {
            SteerRule::TunnelSource(network, prefix_len)
        }
        SteerEntry::Own(address) => SteerRule::Own(address),
        SteerEntry::Backend(address, protocol, port) => {
            SteerRule::Backend(address, protocol.number(), port)
        }
        SteerEntry::BackendPorts(address, protocol, first, last) => {
            SteerRule::BackendPorts(address, protocol.number(), first, last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xdp_program_has_room_for_what_validation_lets_pass() {
        assert_eq!(crate::forwarding::MOST_SHARED_RANGES, afxdp::layout::STEER_RANGES);
    }

    #[test]
    fn cpu_lists_as_the_kernel_writes_them() {
        let rows = [("", 0, false), ("0", 0, true), ("1-3,5", 2, true), ("1-3,5", 4, false)];
        for (list, core, wanted) in rows {
            assert_eq!(in_cpu_list(list, core), wanted, "{list} {core}");
        }
    }
}
