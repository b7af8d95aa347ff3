//! The engines of several workers, each of them twice: one works as the worker does, in batches that
//! are looked ahead for, the other takes frame after frame. The two must not differ.

use guideway::dataplane::{
    Arrival, DropReason, Engine, FlowEntry, FlowState, Outcome, Prepared, SHARDS, Shard, Ticks,
    Verdict,
};
use guideway::forwarding::Snapshot;

use crate::wire::{FlowKey, FrameView, PortId};

use super::judge;
use super::network::{LONGEST_IDLE_MS, config, snapshot};

/// Memory of one frame.
const CHUNK: usize = 2048;

/// A frame on its way to a worker.
#[derive(Clone)]
pub struct Sent {
    pub port: PortId,
    pub frame: Vec<u8>,
    /// Room in front of it.
    pub headroom: usize,
}

/// What became of it.
pub struct Passed {
    /// Where it came in.
    pub port: PortId,
    pub verdict: Verdict,
    pub out: Vec<u8>,
}

struct Worker {
    ahead: Engine,
    single: Engine,
    handed_over: u64,
    imported: u64,
}

pub struct Workers {
    all: Vec<Worker>,
    pub snapshot: Snapshot,
    pub now: Ticks,
}

impl Workers {
    pub fn new(count: usize) -> Workers {
        let worker = |number| {
            let engine = || Engine::new(config(number as u8, count));
            Worker { ahead: engine(), single: engine(), handed_over: 0, imported: 0 }
        };
        Workers {
            all: (0..count).map(worker).collect(),
            snapshot: snapshot(0, 1),
            // Short of where the 32 bits of entries begin again.
            now: Ticks(u64::from(u32::MAX) - 5000),
        }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// A batch that a worker receives, and all frames that have their verdict then, by whoever owns
    /// their flow: those of the batch, and fragments that were held.
    pub fn receive(&mut self, at: usize, batch: &[Sent]) -> Vec<Passed> {
        let arriving: Vec<_> =
            batch.iter().map(|sent| (Arrival::Received(sent.port), sent.clone())).collect();
        let (mut settled, mut waiting) = (Vec::new(), vec![(at, arriving)]);
        let mut turns = 0;
        while let Some((at, arriving)) = waiting.pop() {
            turns += 1;
            assert!(turns < 1000, "it goes round");
            let outcomes = self.pass(at, &arriving);
            for ((outcome, out), (_, sent)) in outcomes.into_iter().zip(arriving) {
                match outcome {
                    Outcome::Verdict(verdict) => {
                        settled.push(Passed { port: sent.port, verdict, out });
                    }
                    Outcome::Held => {}
                    Outcome::HandOver { worker, arrival } => {
                        let to = usize::from(worker);
                        assert!(at != to && to < self.count(), "handed over from {at} to {to}");
                        assert!(out == sent.frame, "handed over, and changed");
                        waiting.push((to, vec![(arrival, sent)]));
                    }
                }
            }
            if let Some(held) = self.all[at].take_held() {
                waiting.push((at, vec![held]));
            }
        }
        settled
    }

    /// Frames through both engines of a worker.
    fn pass(&mut self, at: usize, arriving: &[(Arrival, Sent)]) -> Vec<(Outcome, Vec<u8>)> {
        let Workers { all, snapshot, now } = self;
        let worker = &mut all[at];
        let mut prepared = vec![Prepared::NONE; arriving.len()];
        for ((arrival, sent), prepared) in arriving.iter().zip(&mut prepared) {
            worker.ahead.prepare(snapshot, *arrival, &sent.frame, prepared);
        }
        worker.ahead.look_ahead(snapshot, &mut prepared);
        let mut outcomes = Vec::new();
        for ((arrival, sent), prepared) in arriving.iter().zip(&prepared) {
            let mut chunk = chunk(sent);
            let mut view = FrameView::new(&mut chunk, sent.headroom, sent.frame.len());
            let outcome = worker.ahead.finish(snapshot, *now, prepared, &mut view);
            let out = view.bytes().to_vec();
            assert_eq!(worker.alone(snapshot, *now, *arrival, sent), (outcome, out.clone()));
            match outcome {
                Outcome::Verdict(verdict) => {
                    judge::check(snapshot, sent.port, verdict, (&sent.frame, &out));
                }
                Outcome::Held => {}
                Outcome::HandOver { .. } => worker.handed_over += 1,
            }
            worker.check();
            outcomes.push((outcome, out));
        }
        outcomes
    }

    /// Time passes, and the engines do their house-keeping.
    pub fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
        for worker in &mut self.all {
            worker.ahead.tick(&self.snapshot, self.now);
            worker.single.tick(&self.snapshot, self.now);
            worker.check();
        }
    }

    pub fn publish(&mut self, bits: u16) {
        self.snapshot = snapshot(bits, self.snapshot.generation + 1);
    }

    /// Engines made whole as after a panic.
    pub fn recover(&mut self, at: usize) {
        let worker = &mut self.all[at];
        let made_whole = |engine: &mut Engine| {
            let old = std::mem::replace(engine, Engine::new(config(0, 1)));
            *engine = old.recover();
        };
        made_whole(&mut worker.ahead);
        made_whole(&mut worker.single);
        worker.check();
    }

    /// All flows, from worker to worker.
    pub fn entries(&self) -> Vec<FlowEntry> {
        self.all.iter().flat_map(Worker::entries).collect()
    }

    /// Other workers take over, as after a restart with another number of them.
    pub fn restart(&mut self, count: usize) {
        let entries = self.entries();
        let next = Workers::new(count);
        (self.all, self.now) = (next.all, Ticks(self.now.0 + 100));
        assert!(self.import(&entries) <= entries.len(), "a flow has two owners");
    }

    /// Every worker is offered all of these; gives how many were taken.
    pub fn import(&mut self, entries: &[FlowEntry]) -> usize {
        // What is known of clients is no flow, and not counted as one.
        let (clients, flows): (Vec<FlowEntry>, _) = entries.iter().partition(|e| is_affinity(e));
        let mut taken = 0;
        for worker in &mut self.all {
            for entries in [&flows, &clients] {
                let refused = worker.ahead.import(self.now, entries);
                assert_eq!(worker.single.import(self.now, entries), refused);
                taken += entries.len() - refused;
                if std::ptr::eq(entries, &flows) {
                    worker.imported += (entries.len() - refused) as u64;
                }
            }
            worker.check();
        }
        taken
    }

    /// When nothing comes any more, nothing is left.
    pub fn end(mut self) {
        self.check_entries();
        for _ in 0..3 {
            self.wait(LONGEST_IDLE_MS + 1);
        }
        for worker in &self.all {
            assert!(!worker.ahead.has_flows(), "a flow that does not end");
            assert_eq!(worker.ahead.held_frames(), 0, "a frame that is held for ever");
            assert!(worker.ahead.live_flows().iter().all(|&live| live == 0), "a flow of nobody");
        }
    }

    /// No two flows have one key, and those that began are those that ended and those that live.
    fn check_entries(&self) {
        let mut keys = Vec::new();
        for worker in &self.all {
            let entries = worker.entries();
            let events = worker.ahead.counters().events;
            let ended = events.flows_expired + events.flows_closed + events.flows_cut;
            let begun = events.flows_created + worker.imported;
            // What is known of a client each worker may know.
            let (clients, flows): (Vec<&FlowEntry>, Vec<&FlowEntry>) =
                entries.iter().partition(|e| is_affinity(e));
            assert_eq!(begun, ended + flows.len() as u64, "flows are conserved");
            check_differ(clients.iter().map(|entry| entry.key));
            keys.extend(flows.iter().map(|entry| entry.key));
        }
        check_differ(keys.into_iter());
    }
}

impl Worker {
    /// The second engine, one frame at a time and without looking ahead.
    fn alone(
        &mut self,
        snapshot: &Snapshot,
        now: Ticks,
        arrival: Arrival,
        sent: &Sent,
    ) -> (Outcome, Vec<u8>) {
        let mut chunk = chunk(sent);
        let mut view = FrameView::new(&mut chunk, sent.headroom, sent.frame.len());
        let mut prepared = Prepared::NONE;
        self.single.prepare(snapshot, arrival, view.bytes(), &mut prepared);
        let outcome = self.single.finish(snapshot, now, &prepared, &mut view);
        (outcome, view.bytes().to_vec())
    }

    /// A fragment that was held and may go on.
    fn take_held(&mut self) -> Option<(Arrival, Sent)> {
        let take = |engine: &mut Engine| {
            let mut taken = None;
            let is_one = engine.take_held(|arrival, frame| {
                taken = Some((arrival, frame.to_vec()));
            });
            assert_eq!(is_one, taken.is_some());
            taken
        };
        let held = take(&mut self.ahead);
        assert_eq!(take(&mut self.single), held);
        let (arrival, frame) = held?;
        Some((arrival, Sent { port: arrival.port(), frame, headroom: 256 }))
    }

    /// Frames are conserved, and the two engines are as one.
    fn check(&mut self) {
        let counters = self.ahead.counters();
        let held = self.ahead.held_frames() as u64;
        assert_eq!(counters.arrived(), counters.verdicts() + self.handed_over + held);
        let not_the_engines = [DropReason::HandOverFull, DropReason::HandOverNoFrame];
        assert!(not_the_engines.iter().all(|&reason| counters.dropped[reason as usize] == 0));
        assert_eq!(counters, self.single.counters());
        assert_eq!(self.ahead.live_flows(), self.single.live_flows());
        assert_eq!(self.ahead.traffic(), self.single.traffic());
    }

    fn entries(&self) -> Vec<FlowEntry> {
        let [ahead, single] = [&self.ahead, &self.single].map(entries);
        assert_eq!(ahead, single);
        ahead
    }
}

fn is_affinity(entry: &FlowEntry) -> bool {
    FlowState::of(entry) == Some(FlowState::Affinity)
}

fn check_differ(keys: impl Iterator<Item = FlowKey>) {
    let mut seen = Vec::new();
    for key in keys {
        assert!(!seen.contains(&key), "two flows of one key: {key:?}");
        seen.push(key);
    }
}

/// The frame in memory where something else stood before.
fn chunk(sent: &Sent) -> [u8; CHUNK] {
    let mut chunk = [0xa5; CHUNK];
    chunk[sent.headroom..sent.headroom + sent.frame.len()].copy_from_slice(&sent.frame);
    chunk
}

/// An engine's flows, by export in small slices.
fn entries(engine: &Engine) -> Vec<FlowEntry> {
    let mut all = Vec::new();
    for shard in (0..SHARDS).filter(|_| engine.has_flows()) {
        let (mut slice, mut cursor) = ([FlowEntry::FREE; 3], Some(0));
        while let Some(at) = cursor {
            let (copied, next) = engine.export(Shard(shard as u8), at, &mut slice);
            all.extend_from_slice(&slice[..copied]);
            cursor = next;
        }
    }
    all
}
