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
//! batch is prepared as a whole, the lines of memory it needs are fetched ([`Engine::look_ahead`]),
//! and then it is finished frame by frame.

use super::classify::{Class, classify};
use super::flow_state::changes_state;
use super::flow_table::FlowPlace;
use super::flows::Flows;
use super::fragments::Fragments;
use super::path_mtu::PathMtus;
use super::plain::PlainWay;
use super::reply_limit::ReplyLimit;
use super::upkeep::Sweep;
use super::{
    Counters, FlowEvent, FragmentLimits, Ports, Shard, ShardMap, Station, Traffic, Verdict,
};
use crate::forwarding::{BackendId, ServiceIndex, Snapshot};
use crate::wire::{
    FrameView, Headers, Link, PortId, Tags, parse_quote, parse_tunnel_quote, put_rest,
};

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
    /// New flows a second that get entries where they need none (direct return).
    pub max_new_flows_per_second: u32,
    /// How much of fragmented datagrams is kept.
    pub fragments: FragmentLimits,
    /// Length of the ring of flow events; 0 turns it off.
    pub flow_events: usize,
    /// Are packets and bytes counted by flow? Costs 40 bytes a flow, and nothing when off.
    pub flow_meters: bool,
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
    /// A fragment that came before its datagram's first one. Its bytes were copied; what becomes of
    /// them is counted when [`Engine::take_held`] gives them back, or when they are given up.
    Held,
    /// Another worker owns the flow: the frame, unchanged, is for it. What becomes of it only the
    /// caller knows, so the caller counts: `handed_over` when the owner's ring took it, else the
    /// verdict [`super::DropReason::HandOverFull`]. The owner's engine counts `taken_over`. So
    /// for each engine received + taken over = verdicts + handed over + held frames.
    HandOver {
        /// The owner.
        worker: u8,
        /// How it arrives there.
        arrival: Arrival,
    },
}

/// How a frame got here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Received by this worker on a port.
    Received(PortId),
    /// Received on a port by another worker and handed over. Never handed over again, but for a
    /// fragment whose flow is another's.
    TakenOver(PortId),
    /// A fragment, handed over by the worker that keeps its datagram, with what the first one says.
    /// Never handed over again.
    TakenOverFragment(PortId, Ports),
    /// A fragment that was held, with what its first one says. It was counted when it came.
    Released(PortId, Ports),
}

impl Arrival {
    /// The port the frame came in by, at whichever worker.
    #[inline]
    pub fn port(self) -> PortId {
        match self {
            Arrival::Received(port) | Arrival::TakenOver(port) => port,
            Arrival::TakenOverFragment(port, _) | Arrival::Released(port, _) => port,
        }
    }

    /// What is known of a fragment's flow.
    pub(super) fn ports(self) -> Option<Ports> {
        match self {
            Arrival::Received(_) | Arrival::TakenOver(_) => None,
            Arrival::TakenOverFragment(_, ports) | Arrival::Released(_, ports) => Some(ports),
        }
    }

    /// How it arrives at the worker it is handed over to.
    pub(super) fn handed_over(self) -> Arrival {
        match self.ports() {
            Some(ports) => Arrival::TakenOverFragment(self.port(), ports),
            None => Arrival::TakenOver(self.port()),
        }
    }
}

/// A frame that is parsed and classified, and whose owner is known: from [`Engine::prepare`] to
/// [`Engine::finish`]. Written in place and not moved, see [`crate::wire::parse_into`].
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    pub(super) headers: Headers,
    /// Of a client's or a backend's packet: its place in the flow table. Of a fragment: that of its
    /// datagram among the fragmented ones.
    pub(super) hash: u64,
    /// Where its flow probably is.
    pub(super) guess: FlowPlace,
    /// Where it has no flow: the backend that Maglev gives it, if that is known already.
    pub(super) choice: BackendId,
    /// Of a client's packet: what it is for.
    pub(super) service: ServiceIndex,
    /// May it go the plain way?
    pub(super) way: PlainWay,
    /// Of one that may: may it change its flow's state?
    pub(super) is_changing: bool,
    /// Were all headers read? Else those that plain ways need, see [`Prepared::headers_of`].
    pub(super) is_read: bool,
    /// Of one that may not go a plain way; see [`Prepared::class`].
    pub(super) class: Class,
    pub(super) arrival: Arrival,
    /// Another worker that has to do the rest.
    pub(super) owner: Option<u8>,
}

impl Prepared {
    /// No frame.
    pub const NONE: Prepared = Prepared {
        headers: Headers::NONE,
        hash: 0,
        guess: FlowPlace::NONE,
        choice: BackendId::NONE,
        service: ServiceIndex(0),
        way: PlainWay::None,
        is_changing: false,
        is_read: true,
        class: Class::Settled(Verdict::NotOurs),
        arrival: Arrival::Received(PortId(0)),
        owner: None,
    };

    /// How the frame got here.
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// Where the frame came from: a [`Station::word`], and the tags.
    #[inline(always)]
    pub(super) fn station(&self, frame: &[u8]) -> (u64, Tags) {
        let link = &self.headers.link;
        let (mac, tags) = match frame.first_chunk() {
            Some(header) if !self.is_read => (Link::source_word(header), Tags::NONE),
            _ => (link.source.word(), link.tags),
        };
        (Station::word_of(mac, self.arrival.port()), tags)
    }

    /// What it is and for whom.
    pub(super) fn class(&self) -> Class {
        match self.way {
            PlainWay::None => self.class,
            PlainWay::Forward => Class::Forward(self.service),
            PlainWay::Back => Class::Back,
            PlainWay::Return => Class::Return(self.service),
        }
    }

    /// All of its headers; `frame` is what was prepared, unchanged.
    pub(super) fn headers_of(&self, frame: &[u8]) -> Headers {
        let mut headers = self.headers;
        if !self.is_read
            && let Some((link, packet)) = frame.split_first_chunk()
        {
            headers.link.read_untagged(link);
            put_rest(packet, &mut headers.ip);
        }
        headers
    }
}

/// What is known of the place of a packet's flow before it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) hash: u64,
    pub(super) guess: Option<FlowPlace>,
    /// Of a new one: see [`Prepared::choice`].
    pub(super) choice: BackendId,
}

/// What is the same for all steps of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Ticks,
    pub(super) ingress: PortId,
    pub(super) link: &'a Link,
}

impl Turn<'_> {
    /// The low 32 bits of the time, as they stand in entries.
    pub(super) fn now_ms(&self) -> u32 {
        self.now.0 as u32
    }

    /// Where the frame came from.
    pub(super) fn station(&self) -> Station {
        Station { port: self.ingress, tags: self.link.tags, mac: self.link.source }
    }
}

/// One worker's packet engine with its flow table, NAT bindings and counters.
#[derive(Debug)]
pub struct Engine {
    pub(super) worker: u8,
    pub(super) shards: ShardMap,
    pub(super) flows: Flows,
    pub(super) fragments: Fragments,
    pub(super) sweep: Sweep,
    pub(super) replies: ReplyLimit,
    /// Entries for new flows where they are not needed.
    pub(super) new_flows: ReplyLimit,
    pub(super) path_mtus: PathMtus,
    /// Of the last outer IPv4 header.
    pub(super) outer_identification: u16,
}

impl Engine {
    /// Allocates everything it will ever need.
    pub fn new(config: EngineConfig) -> Engine {
        Engine {
            flows: Flows::new(&config),
            fragments: Fragments::new(&config.fragments, config.worker, config.shards.workers()),
            sweep: Sweep::default(),
            replies: ReplyLimit::new(config.max_replies_per_second),
            new_flows: ReplyLimit::new(config.max_new_flows_per_second),
            worker: config.worker,
            shards: config.shards,
            path_mtus: PathMtus::new(config.max_backends),
            outer_identification: 0,
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
        let mut prepared = Prepared::NONE;
        self.prepare(snapshot, arrival, frame.bytes(), &mut prepared);
        self.look_ahead(snapshot, std::slice::from_mut(&mut prepared));
        self.finish(snapshot, now, &prepared, frame)
    }

    /// Parses and classifies a frame and finds its owner. Changes and counts nothing.
    #[inline(always)]
    pub fn prepare(
        &self,
        snapshot: &Snapshot,
        arrival: Arrival,
        frame: &[u8],
        prepared: &mut Prepared,
    ) {
        let ingress = arrival.port();
        (prepared.guess, prepared.choice) = (FlowPlace::NONE, BackendId::NONE);
        (prepared.arrival, prepared.owner) = (arrival, None);
        if self.prepare_plain(snapshot, ingress, frame, prepared).is_none() {
            self.prepare_thoroughly(snapshot, ingress, frame, prepared);
        }
    }

    #[inline(never)]
    fn prepare_thoroughly(
        &self,
        snapshot: &Snapshot,
        ingress: PortId,
        frame: &[u8],
        prepared: &mut Prepared,
    ) {
        (prepared.way, prepared.is_read) = (PlainWay::None, true);
        prepared.class = classify(snapshot, ingress, frame, &mut prepared.headers);
        prepared.is_changing = prepared.headers.ip.segment().is_some_and(changes_state);
        let key = &prepared.headers.ip.key;
        let shard = match prepared.class {
            Class::Forward(service) => {
                (prepared.way, prepared.service) = (PlainWay::Forward, service);
                prepared.hash = self.flows.hash.of(key);
                self.shards.shard_of(key, prepared.hash)
            }
            Class::Back => {
                prepared.way = PlainWay::Back;
                prepared.hash = self.flows.hash.of(key);
                Shard::of_snat_port(key.destination_port)
            }
            // It goes the way of the client's packets, to whoever has their flow.
            Class::Return(service) => {
                let Some(service) = snapshot.services.get(service.index()) else { return };
                let key = service.key_of_answer(key);
                prepared.hash = self.flows.hash.of(&key);
                self.shards.shard_of(&key, prepared.hash)
            }
            // What is quoted was sent by the flow's owner.
            Class::ErrorForward(_) | Class::ErrorBack | Class::ErrorReturn(_) => {
                let Ok(quote) = parse_quote(frame, &prepared.headers.ip) else { return };
                let key = quote.key.reversed();
                prepared.hash = self.flows.hash.of(&key);
                match prepared.class {
                    Class::ErrorReturn(service) => {
                        let Some(service) = snapshot.services.get(service.index()) else { return };
                        let key = service.key_of_answer(&key);
                        prepared.hash = self.flows.hash.of(&key);
                        self.shards.shard_of(&key, prepared.hash)
                    }
                    Class::ErrorBack => Shard::of_snat_port(key.destination_port),
                    _ => self.shards.shard_of(&key, prepared.hash),
                }
            }
            // It goes to whoever has the flow of the packet inside.
            Class::TunnelError => {
                let Some(quote) = parse_tunnel_quote(frame, &prepared.headers.ip) else { return };
                let Some(inner) = &quote.inner else { return };
                prepared.hash = self.flows.hash.of(&inner.key);
                self.shards.shard_of(&inner.key, prepared.hash)
            }
            Class::Fragment => return self.prepare_fragment(snapshot, prepared),
            _ => return,
        };
        self.find_owner(shard, prepared.hash, prepared);
    }

    /// Whose frame is it? If ours, the first line it needs is fetched.
    #[inline(always)]
    pub(super) fn find_owner(&self, shard: Shard, hash: u64, prepared: &mut Prepared) {
        let owner = self.shards.owner(shard);
        if owner != self.worker && matches!(prepared.arrival, Arrival::Received(_)) {
            (prepared.owner, prepared.way) = (Some(owner), PlainWay::None);
        } else {
            self.flows.table.prefetch_index(hash);
        }
    }

    /// Does the rest for a prepared frame. Between the two, neither the frame nor the snapshot may
    /// change.
    #[inline(always)]
    pub fn finish(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        let (len, now_ms) = (frame.len(), now.0 as u32);
        let sent = self.send_plain(snapshot, now_ms, prepared, frame);
        match prepared.arrival {
            Arrival::Received(_) => {
                self.flows.counters.received += 1;
                self.flows.counters.received_bytes += len as u64;
            }
            Arrival::TakenOver(_) | Arrival::TakenOverFragment(..) => {
                self.flows.counters.events.taken_over += 1;
            }
            Arrival::Released(..) => {}
        }
        if let Some(port) = sent {
            self.flows.counters.forwarded += 1;
            return Outcome::Verdict(Verdict::Forward(port));
        }
        self.finish_thoroughly(snapshot, now, prepared, frame)
    }

    #[inline(never)]
    fn finish_thoroughly(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Outcome {
        if let Some(worker) = prepared.owner {
            return Outcome::HandOver { worker, arrival: prepared.arrival.handed_over() };
        }
        let class = prepared.class();
        if matches!(class, Class::Fragment) {
            return self.finish_fragment(snapshot, now, prepared, frame);
        }
        let verdict = self.finish_class(snapshot, now, (prepared, class), frame);
        self.flows.counters.count(verdict);
        Outcome::Verdict(verdict)
    }

    fn finish_class(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        (prepared, class): (&Prepared, Class),
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let headers = &prepared.headers_of(frame.bytes());
        let turn = &Turn { snapshot, now, ingress: prepared.arrival.port(), link: &headers.link };
        let ip = &headers.ip;
        match class {
            Class::Settled(verdict) => verdict,
            Class::Forward(service) => {
                let looked = Looked {
                    hash: prepared.hash,
                    guess: Some(prepared.guess),
                    choice: prepared.choice,
                };
                self.forward(turn, service, ip, looked, frame)
            }
            Class::Back => self.back(turn, ip, prepared.hash, frame),
            Class::Return(_) => self.back_dnat(turn, ip, frame),
            Class::Echo => self.answer_echo(turn, ip, frame),
            Class::Solicitation => self.answer_solicitation(turn, ip, frame),
            Class::Arp => self.answer_arp(turn, frame),
            Class::ErrorForward(service) => {
                self.error_forward(turn, service, ip, prepared.hash, frame)
            }
            Class::ErrorBack => self.error_back(turn, ip, prepared.hash, frame),
            Class::ErrorReturn(_) => self.error_return(turn, ip, frame),
            Class::TunnelError => self.tunnel_error(turn, ip, prepared.hash, frame),
            // Finished before it comes here: it may have no verdict yet.
            Class::Fragment => Verdict::Drop(super::DropReason::Fragment),
        }
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

    /// What went to and came from each backend, by backend id, `max_backends` long.
    pub fn traffic(&self) -> &[Traffic] {
        &self.flows.traffic
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
