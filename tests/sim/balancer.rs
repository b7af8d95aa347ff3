//! What a worker of a run is made of: its device behind a bad link, and its engine.

use guideway::dataplane::{EngineConfig, FragmentLimits, NicHash, ShardMap};
use guideway::io::fault::{FaultInjector, FaultOptions};
use guideway::io::memory::{FarEnd, MemoryDevice, MemoryOptions};
use guideway::runtime::Worker;
use guideway::wire::toeplitz::Toeplitz;

use super::desired::MAX_BACKENDS;
use super::plan::Plan;
use super::tap::Tap;

pub type SimDevice = Tap<FaultInjector<MemoryDevice>>;
pub type SimWorker = Worker<SimDevice>;

pub fn device(plan: &Plan, ports: usize, seed: u64) -> (SimDevice, Vec<FarEnd>) {
    let ports = (0..ports).map(|port| format!("port{port}")).collect();
    let (memory, far_ends) = MemoryDevice::new(MemoryOptions { ports, ..Default::default() });
    let options = FaultOptions {
        seed,
        receive: plan.receive_faults,
        transmit: plan.transmit_faults,
        reorder_span: plan.reorder_span,
    };
    (Tap::new(FaultInjector::new(memory, options)), far_ends)
}

/// Owners by the keyed hash, or by that of a NIC with an indirection table of 128 places.
fn shards(plan: &Plan) -> ShardMap {
    if !plan.nic_hash {
        return ShardMap::even(plan.workers);
    }
    let toeplitz = Toeplitz::new(&std::array::from_fn(|place| (place * 37 + 11) as u8));
    let indirection: Vec<u32> = (0..128).map(|place| place % plan.workers as u32).collect();
    let nic = NicHash { toeplitz, tcp_ports: true, udp_ports: false };
    ShardMap::of_nic(nic, &indirection, plan.workers).expect("128 divides 256")
}

pub fn engine_config(plan: &Plan, worker: u8) -> EngineConfig {
    EngineConfig {
        worker,
        shards: shards(plan),
        max_flows: plan.max_flows,
        max_backends: MAX_BACKENDS,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 4096,
        max_replies_per_second: 1000,
        max_new_flows_per_second: plan.new_flows_per_second,
        fragments: FragmentLimits::default(),
        flow_events: 4 * 4096,
        flow_meters: true,
        flow_hash_key: *b"a key of the sim",
    }
}
