//! The packet engine: frame + now + snapshot -> verdict + rewritten frame.
//!
//! Pure: no clock, no I/O, no thread, no lock, no allocation after [`Engine::new`].

use super::{Counters, FlowEntry, Shard, ShardMap, Verdict};
use crate::forwarding::Snapshot;
use crate::wire::{FrameView, PortId};

/// Milliseconds of CLOCK_BOOTTIME, read once a batch by whoever calls the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticks(pub u64);

/// Secrets and sizes of one worker's engine. Fixed for its life.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This worker's number.
    pub worker: u8,
    /// Who owns which shard; the same for all workers.
    pub shards: ShardMap,
    /// Most flow entries this worker may hold.
    pub max_flows: usize,
    /// Backend ids are below this: the length of the live-flow counts.
    pub max_backends: usize,
    /// How long a SNAT port rests after its flow closed, in milliseconds.
    pub snat_hold_down_ms: u32,
    /// Most blocks of 256 SNAT ports (one backend, SNAT address and shard each).
    pub max_snat_blocks: usize,
    /// Answers (ARP, echo, reset, unreachable) a second.
    pub max_replies_per_second: u32,
    /// Length of the ring of flow events; 0 turns it off.
    pub flow_events: usize,
    /// Secret of the hash that gives shards and places in the flow table: the same for all workers,
    /// and part of the exported state.
    pub flow_hash_key: [u8; 16],
}

/// What the caller has to do with the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done; the frame was counted.
    Verdict(Verdict),
    /// Another worker owns the flow: the frame, unchanged, is for it. When its ring is full, the
    /// caller counts [`super::DropReason::HandOverFull`].
    HandOver {
        /// The owner.
        worker: u8,
    },
}

/// How a frame got here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Received by this worker on a port.
    Received(PortId),
    /// Received on a port by another worker and handed over. Never handed over again.
    TakenOver(PortId),
}

/// One worker's packet engine with its flow table, NAT bindings and counters.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Allocates everything it will ever need.
    pub fn new(_config: EngineConfig) -> Engine {
        todo!()
    }

    /// Decides about one frame and rewrites it in place.
    pub fn process(
        &mut self,
        _snapshot: &Snapshot,
        _now: Ticks,
        _arrival: Arrival,
        _frame: &mut FrameView<'_>,
    ) -> Outcome {
        todo!()
    }

    /// Bounded house-keeping, once a batch: expiry, and giving up flows whose backend was cut.
    pub fn tick(&mut self, _snapshot: &Snapshot, _now: Ticks) {
        todo!()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        todo!()
    }

    /// For what the caller counts: hand-overs, frames lost at a restart.
    pub fn counters_mut(&mut self) -> &mut Counters {
        todo!()
    }

    /// Live flows by backend id, `max_backends` long.
    pub fn live_flows(&self) -> &[u32] {
        todo!()
    }

    /// Copies up to `out.len()` entries of `shard` beginning at `cursor`; gives the number copied
    /// and the next cursor, none at the end. For hand-over and sync.
    pub fn export(
        &self,
        _shard: Shard,
        _cursor: u32,
        _out: &mut [FlowEntry],
    ) -> (usize, Option<u32>) {
        todo!()
    }

    /// Takes entries that were exported; those that do not fit, or of another layout version, are
    /// refused and counted in the answer.
    pub fn import(&mut self, _now: Ticks, _entries: &[FlowEntry]) -> usize {
        todo!()
    }

    /// Does it hold any flow entry, live or resting?
    pub fn has_flows(&self) -> bool {
        todo!()
    }

    /// After a panic: an engine with the same entries, all look-ups rebuilt from them.
    pub fn recover(self) -> Engine {
        todo!()
    }
}
