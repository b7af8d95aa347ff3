//! The packet engine: frame + now + snapshot -> verdict + rewritten frame.
//!
//! Pure: no clock, no I/O, no thread, no lock, no allocation after [`Engine::new`]. A frame's steps:
//!
//! 1. parse and classify (`classify.rs`): ours, and if so from a client, a backend, or a question
//! 2. owner: the flow's shard tells which worker; the others hand the frame over
//! 3. select (`forward.rs`, `back.rs`): the flow's backend, or Maglev's and a new entry
//! 4. rewrite in place, or turn into an answer (`answer.rs`)
//!
//! Steps 1 and 2 read only ([`Engine::prepare`]), 3 and 4 change state ([`Engine::finish`]): so a
//! batch can be prepared as a whole, its flow table lines fetched meanwhile, and then finished.

use super::classify::{Class, classify};
use super::flows::Flows;
use super::reply_limit::ReplyLimit;
use super::upkeep::Sweep;
use super::{Counters, FlowEvent, Shard, ShardMap, Verdict};
use crate::forwarding::Snapshot;
use crate::wire::{FrameView, MacAddress, PortId};

/// Milliseconds of CLOCK_BOOTTIME, read once a batch by whoever calls the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticks(pub u64);

/// Secrets and sizes of one worker's engine. Fixed for its life.
#[derive(Clone)]
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

impl std::fmt::Debug for EngineConfig {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EngineConfig { worker, max_flows, max_backends, max_snat_blocks, .. } = self;
        f.debug_struct("EngineConfig")
            .field("worker", worker)
            .field("max_flows", max_flows)
            .field("max_backends", max_backends)
            .field("max_snat_blocks", max_snat_blocks)
            .finish_non_exhaustive()
    }
}

/// What the caller has to do with the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done; the frame was counted.
    Verdict(Verdict),
    /// Another worker owns the flow: the frame, unchanged, is for it. What becomes of it only the
    /// caller knows, so the caller counts: `handed_over` when the owner's ring took it, else the
    /// verdict [`super::DropReason::HandOverFull`]. The owner's engine counts `taken_over`. So
    /// for each engine received + taken over = verdicts + handed over.
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

/// A frame that is parsed and classified, and whose owner is known: from [`Engine::prepare`] to
/// [`Engine::finish`].
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    arrival: Arrival,
    source_mac: MacAddress,
    class: Class,
    /// Of a client's or a backend's packet: its place in the flow table.
    hash: u64,
    /// Another worker that has to do the rest.
    owner: Option<u8>,
}

/// What is the same for all steps of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Ticks,
    pub(super) ingress: PortId,
    pub(super) source_mac: MacAddress,
}

impl Turn<'_> {
    /// The low 32 bits of the time, as they stand in entries.
    pub(super) fn now_ms(&self) -> u32 {
        self.now.0 as u32
    }
}

/// One worker's packet engine with its flow table, NAT bindings and counters.
#[derive(Debug)]
pub struct Engine {
    pub(super) worker: u8,
    pub(super) shards: ShardMap,
    pub(super) flows: Flows,
    pub(super) sweep: Sweep,
    pub(super) replies: ReplyLimit,
}

impl Engine {
    /// Allocates everything it will ever need.
    pub fn new(config: EngineConfig) -> Engine {
        Engine {
            flows: Flows::new(&config),
            sweep: Sweep::default(),
            replies: ReplyLimit::new(config.max_replies_per_second),
            worker: config.worker,
            shards: config.shards,
        }
    }

    /// Decides about one frame and rewrites it in place.
    #[inline]
    pub fn process(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        arrival: Arrival,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        let prepared = self.prepare(snapshot, arrival, frame.bytes());
        self.finish(snapshot, now, &prepared, frame)
    }

    /// Parses and classifies a frame and finds its owner. Changes and counts nothing.
    #[inline]
    pub fn prepare(&self, snapshot: &Snapshot, arrival: Arrival, frame: &[u8]) -> Prepared {
        let (Arrival::Received(ingress) | Arrival::TakenOver(ingress)) = arrival;
        let (class, source_mac) = classify(snapshot, ingress, frame);
        let (hash, shard) = match &class {
            Class::Forward(_, transport) => {
                let hash = self.flows.hash.of(&transport.key);
                (hash, Some(self.shards.shard_of(&transport.key, hash)))
            }
            Class::Back(transport) => {
                let shard = Shard::of_snat_port(transport.key.destination_port);
                (self.flows.hash.of(&transport.key), Some(shard))
            }
            Class::Settled(_) | Class::Arp(_) | Class::Echo(_) => (0, None),
        };
        let owner = shard.map(|shard| self.shards.owner(shard));
        let may_hand_over = matches!(arrival, Arrival::Received(_));
        let owner = owner.filter(|&owner| may_hand_over && owner != self.worker);
        Prepared { arrival, source_mac, class, hash, owner }
    }

    /// Does the rest for a prepared frame. Between the two, neither the frame nor the snapshot may
    /// change.
    #[inline]
    pub fn finish(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        let ingress = match prepared.arrival {
            Arrival::Received(port) => {
                self.flows.counters.received += 1;
                self.flows.counters.received_bytes += frame.len() as u64;
                port
            }
            Arrival::TakenOver(port) => {
                self.flows.counters.events.taken_over += 1;
                port
            }
        };
        if let Some(worker) = prepared.owner {
            return Outcome::HandOver { worker };
        }
        let turn = Turn { snapshot, now, ingress, source_mac: prepared.source_mac };
        let verdict = match &prepared.class {
            Class::Settled(verdict) => *verdict,
            Class::Forward(service, transport) => {
                self.forward(&turn, *service, transport, prepared.hash, frame)
            }
            Class::Back(transport) => self.back(&turn, transport, prepared.hash, frame),
            Class::Arp(request) => self.answer_arp(&turn, request, frame),
            Class::Echo(request) => self.answer_echo(&turn, request, frame),
        };
        self.flows.counters.count(verdict);
        Outcome::Verdict(verdict)
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.flows.counters
    }

    /// For what the caller counts: hand-overs, frames lost at a restart.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.flows.counters
    }

    /// Live flows by backend id, `max_backends` long.
    pub fn live_flows(&self) -> &[u32] {
        &self.flows.live
    }

    /// Is there any flow?
    pub fn has_flows(&self) -> bool {
        self.flows.table.len() > 0
    }

    /// The oldest flow event that was not taken yet. None ever when `flow_events` is 0.
    pub fn take_flow_event(&mut self) -> Option<FlowEvent> {
        self.flows.take_event()
    }
}
