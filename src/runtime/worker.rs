//! The worker loop: one thread, one device, one engine, run to completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use rtrb::Producer;

use super::{HandOver, Message, Publisher, Reader, Tap, WorkerShared, clock};
use crate::dataplane::{
    Arrival, DropReason, Engine, FlowEvent, FlowWalk, Outcome, Prepared, Ticks, Verdict,
};
use crate::forwarding::Snapshot;
use crate::io::{BATCH, Batch, Device, Frame};
use crate::wire::PortId;

/// Longest sleep while flows live: bounds how late an entry is expired.
const SLEEP_WITH_FLOWS: Duration = Duration::from_millis(20);
/// Longest sleep otherwise: the waker ends it when there is something to do.
const SLEEP_IDLE: Duration = Duration::from_millis(200);
/// How long an idle worker on a core of its own polls before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// What a worker does when a batch was empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Looks again at once, for ever.
    Busy,
    /// Looks again for a moment, then sleeps: for a core that is the worker's alone.
    SpinThenSleep,
    /// Sleeps at once: for cores that others need too.
    Sleep,
}

/// One worker: everything it needs for its whole life.
#[derive(Debug)]
pub struct Worker<D> {
    snapshots: Reader,
    bench: Bench<D>,
    publisher: Arc<Publisher>,
    shared: Arc<WorkerShared>,
    idle: Idle,
    core: Option<usize>,
    batches: u64,
    last_work: Instant,
    /// Frames a panic inside the device has lost for good.
    lost_frames: u32,
}

/// The worker's bench: what it handles frames with, apart from the snapshot it reads.
#[derive(Debug)]
struct Bench<D> {
    device: D,
    engine: Engine,
    hand_over: HandOver,
    /// Frames received and not yet decided about, last first. Here and not on the stack, so that
    /// a panic loses none of them.
    batch: Batch,
    /// What the engine found out about the frames of the batch, at the same places.
    prepared: Box<[Prepared; BATCH]>,
    /// The frame the engine has in hand.
    current: Option<Frame>,
    /// What the engine had counted as arrived before `current`, and how that arrived: for a frame
    /// over which there was a panic.
    arrived_before: u64,
    arrival: Arrival,
    /// A walk over the flows, and where it goes back to.
    walk: Option<(Box<FlowWalk>, Sender<Box<FlowWalk>>)>,
    /// Somebody looks at frames.
    tap: Option<Box<Tap>>,
    /// Where ends of flows go, for records of them.
    ended_flows: Option<Producer<FlowEvent>>,
}

impl<D: Device> Worker<D> {
    /// Puts a worker together; `core` is where its thread is pinned, for reports.
    pub fn new(
        device: D,
        engine: Engine,
        hand_over: HandOver,
        (publisher, shared): (Arc<Publisher>, Arc<WorkerShared>),
        idle: Idle,
        core: Option<usize>,
    ) -> Worker<D> {
        Worker {
            snapshots: Reader::new(publisher.clone(), shared.clone()),
            bench: Bench {
                device,
                engine,
                hand_over,
                batch: Batch::new(),
                prepared: Box::new([Prepared::NONE; BATCH]),
                current: None,
                arrived_before: 0,
                arrival: Arrival::Received(PortId(0)),
                walk: None,
                tap: None,
                ended_flows: None,
            },
            publisher,
            shared,
            idle,
            core,
            batches: 0,
            last_work: Instant::now(),
            lost_frames: 0,
        }
    }

    /// Gives the ends of flows to whoever makes records of them. What does not fit waits in the engine, as
    /// many as its `flow_events`; beyond, they are lost, and counted.
    #[must_use]
    pub fn with_ended_flows(mut self, ring: Producer<FlowEvent>) -> Worker<D> {
        self.bench.ended_flows = Some(ring);
        self
    }

    /// Runs until `stop`.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.turn(clock::now()) {
                self.last_work = Instant::now();
            } else {
                self.rest();
            }
        }
    }

    /// One batch: receive, decide, send, house-keeping. Says whether there was any work.
    pub fn turn(&mut self, now: Ticks) -> bool {
        let Worker { snapshots, bench, publisher, shared, .. } = self;
        let snapshot: &Snapshot = snapshots.refresh();
        bench.device.reclaim();
        let worked = bench.receive(snapshot, now)
            + bench.take_over(snapshot, now)
            + bench.send_held(snapshot, now)
            + bench.messages(shared)
            + bench.walk(now)
            + bench.give_ended_flows();
        bench.end_tap();
        bench.hand_over.wake_receivers(|worker| publisher.workers()[worker].wake_if_sleeping());
        bench.engine.tick(snapshot, now);
        bench.device.flush();
        self.check_conservation();
        self.batches += u64::from(worked > 0);
        self.report();
        worked > 0
    }

    /// Every frame is somewhere.
    ///
    /// # Panics
    /// When one is not: a programmer's mistake, which the supervisor turns into a restart.
    fn check_conservation(&self) {
        let census = self.bench.device.census();
        let found = census.fill + census.in_hand + census.transmit + census.free;
        assert!(
            found + self.lost_frames == census.total && census.in_hand == 0,
            "frames are not conserved: {census:?}, {} known to be lost",
            self.lost_frames
        );
    }

    fn report(&self) {
        let Worker { shared, bench, snapshots, .. } = self;
        shared.report_if_wanted(|report| {
            report.generation = snapshots.running().generation;
            report.counters = bench.engine.counters().clone();
            report.live_flows.clear();
            report.live_flows.extend_from_slice(bench.engine.live_flows());
            report.traffic.clear();
            report.traffic.extend_from_slice(bench.engine.traffic());
            report.path_mtus.clear();
            report.path_mtus.extend(bench.engine.path_mtus(clock::now()));
            report.device = bench.device.statistics();
            report.census = bench.device.census();
            report.batches = self.batches;
            report.waiting = (bench.hand_over.waiting() + bench.engine.held_frames()) as u64;
            report.core = self.core;
        });
    }

    /// Nothing to do: sleep, or look again.
    fn rest(&mut self) {
        let spin = match self.idle {
            Idle::Busy => true,
            Idle::SpinThenSleep => self.last_work.elapsed() < SPIN,
            Idle::Sleep => false,
        };
        if spin {
            std::hint::spin_loop();
            return;
        }
        self.shared.fall_asleep();
        // What was pushed before `fall_asleep` is seen here; what comes after wakes us.
        if self.bench.hand_over.waiting() == 0 {
            let engine = &self.bench.engine;
            let expires = engine.has_flows() || engine.has_fragments();
            self.bench.device.wait(if expires { SLEEP_WITH_FLOWS } else { SLEEP_IDLE });
        }
        self.shared.awake();
    }

    /// Makes the worker whole again after a panic: frames in hand go back to the device and are
    /// counted, the engine rebuilds its look-ups from the flow entries.
    pub fn recover(mut self) -> Worker<D> {
        let Bench { mut device, engine, mut batch, mut current, .. } = self.bench;
        let mut engine = engine.recover();
        let counters = engine.counters_mut();
        if let Some(frame) = current.take() {
            device.release(frame);
            if counters.arrived() == self.bench.arrived_before {
                counters.count_arrival(self.bench.arrival);
            }
            counters.count(Verdict::Drop(DropReason::WorkerRestarted));
        }
        for frame in batch.drain(..) {
            counters.count_arrival(Arrival::Received(frame.port));
            device.release(frame);
            counters.count(Verdict::Drop(DropReason::WorkerRestarted));
        }
        device.recover_lost_frames();
        let census = device.census();
        self.lost_frames = census.total.saturating_sub(census.fill + census.transmit + census.free);
        self.bench = Bench { device, engine, batch, current, ..self.bench };
        self
    }

    /// The device, for tests that look at the far end.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.bench.device
    }

    /// The engine, for tests that look at counters and flows.
    pub fn engine(&self) -> &Engine {
        &self.bench.engine
    }

    /// The engine, for tests that take its flow events.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.bench.engine
    }
}

impl<D: Device> Bench<D> {
    /// A batch from the device, each frame run to its verdict. The batch is prepared as a whole, so
    /// that its frames wait for memory together.
    fn receive(&mut self, snapshot: &Snapshot, now: Ticks) -> usize {
        let received = self.device.receive(&mut self.batch);
        // The batch is emptied from its end; turned round, that is the order of arrival.
        self.batch.reverse();
        for (frame, prepared) in self.batch.iter().zip(self.prepared.iter_mut()) {
            let arrival = Arrival::Received(frame.port);
            let view = self.device.view(frame);
            self.engine.prepare(snapshot, arrival, view.bytes(), prepared);
        }
        self.engine.look_ahead(snapshot, &mut self.prepared[..self.batch.len()]);
        while let Some(frame) = self.batch.pop() {
            self.current = Some(frame);
            self.decide(snapshot, now, self.batch.len());
        }
        received
    }

    /// Gives the current frame its one verdict and does what the verdict says. It is the one that
    /// was prepared at this place.
    fn decide(&mut self, snapshot: &Snapshot, now: Ticks, prepared: usize) {
        let Some(frame) = &mut self.current else { return };
        let Some(prepared) = self.prepared.get(prepared) else { return };
        self.arrived_before = self.engine.counters().arrived();
        self.arrival = prepared.arrival();
        let mut view = self.device.view(frame);
        if let Some(tap) = &mut self.tap {
            tap.before(view.bytes());
        }
        let mut outcome = self.engine.finish(snapshot, now, prepared, &mut view);
        let (start, len) = (view.start(), view.len());
        if let Outcome::HandOver { worker, arrival } = outcome {
            let sent = self.hand_over.send(worker, arrival, view.bytes());
            let counters = self.engine.counters_mut();
            if sent {
                counters.events.handed_over += 1;
            } else {
                let full = Verdict::Drop(DropReason::HandOverFull);
                counters.count(full);
                outcome = Outcome::Verdict(full);
            }
        }
        if let Some(tap) = &mut self.tap {
            tap.after(prepared, outcome, view.bytes());
        }
        self.device.keep(frame, start, len);
        let Some(frame) = self.current.take() else { return };
        match outcome {
            Outcome::Verdict(Verdict::Forward(out) | Verdict::Reply(out, _)) => {
                // The device counts `transmit_full`.
                if let Err(frame) = self.device.transmit(out, frame) {
                    self.device.release(frame);
                }
            }
            _ => self.device.release(frame),
        }
    }

    /// Takes frames from other workers' rings into this device's memory, at most a batch.
    fn take_over(&mut self, snapshot: &Snapshot, now: Ticks) -> usize {
        for taken in 0..BATCH {
            // Noted as `decide` does: taking it into a frame may already panic.
            self.arrived_before = self.engine.counters().arrived();
            let (device, current) = (&mut self.device, &mut self.current);
            let arrival = &mut self.arrival;
            let waiting = self.hand_over.receive(|parcel| {
                *arrival = parcel.arrival();
                *current = copy_in(device, arrival.port(), parcel.bytes());
            });
            if !waiting {
                return taken;
            }
            if !self.decide_copy(snapshot, now) {
                let counters = self.engine.counters_mut();
                counters.count_arrival(self.arrival);
                counters.count(Verdict::Drop(DropReason::HandOverNoFrame));
            }
        }
        BATCH
    }

    /// Fragments that were held, and whose first one is there by now, at most a batch.
    fn send_held(&mut self, snapshot: &Snapshot, now: Ticks) -> usize {
        for sent in 0..BATCH {
            self.arrived_before = self.engine.counters().arrived();
            let (device, current) = (&mut self.device, &mut self.current);
            let arrival = &mut self.arrival;
            let waiting = self.engine.take_held(|held, bytes| {
                *arrival = held;
                *current = copy_in(device, held.port(), bytes);
            });
            if !waiting {
                return sent;
            }
            if !self.decide_copy(snapshot, now) {
                let counters = self.engine.counters_mut();
                counters.count(Verdict::Drop(DropReason::FragmentNoFrame));
            }
        }
        BATCH
    }

    /// As [`Self::decide`], for a frame that is alone; `false` when there is none.
    fn decide_copy(&mut self, snapshot: &Snapshot, now: Ticks) -> bool {
        let Some(frame) = &self.current else { return false };
        let view = self.device.view(frame);
        self.engine.prepare(snapshot, self.arrival, view.bytes(), &mut self.prepared[0]);
        self.decide(snapshot, now, 0);
        true
    }

    /// Does what the control thread asked for, at most a batch.
    fn messages(&mut self, shared: &WorkerShared) -> usize {
        for done in 0..BATCH {
            match shared.next_message() {
                None => return done,
                Some(Message::Walk(walk, back)) => self.walk = Some((walk, back)),
                Some(Message::Tap(tap)) => {
                    tap.arrive();
                    self.tap = Some(tap);
                }
                Some(Message::Transmit(port, bytes)) => {
                    let Some(frame) = self.device.acquire(port, bytes.len()) else { continue };
                    self.device.view(&frame).bytes_mut().copy_from_slice(&bytes);
                    self.engine.counters_mut().events.announcements += 1;
                    if let Err(frame) = self.device.transmit(port, frame) {
                        self.device.release(frame);
                    }
                }
            }
        }
        BATCH
    }

    /// Gives the tap back once nobody reads what it copies.
    fn end_tap(&mut self) {
        if self.tap.as_ref().is_some_and(|tap| tap.is_over())
            && let Some(tap) = self.tap.take()
        {
            tap.give_back();
        }
    }

    /// Ends of flows for records of them, at most a batch and more than can end in one.
    fn give_ended_flows(&mut self) -> usize {
        let Some(ring) = &mut self.ended_flows else { return 0 };
        let mut given = 0;
        for _ in 0..8 * BATCH {
            if ring.is_full() {
                break;
            }
            let Some(event) = self.engine.take_flow_event() else { break };
            if event.end.is_some() {
                // There is room.
                let _ = ring.push(event);
                given += 1;
            }
        }
        given
    }

    /// One part of the walk over the flows that is under way.
    fn walk(&mut self, now: Ticks) -> usize {
        let Some((mut walk, back)) = self.walk.take() else { return 0 };
        if self.engine.walk(now, &mut walk) {
            // Whoever asked may have stopped waiting.
            let _ = back.try_send(walk);
        } else {
            self.walk = Some((walk, back));
        }
        1
    }
}

/// A frame of the device with these bytes, as if they had come by `port`.
fn copy_in<D: Device>(device: &mut D, port: PortId, bytes: &[u8]) -> Option<Frame> {
    let frame = device.acquire(port, bytes.len())?;
    device.view(&frame).bytes_mut().copy_from_slice(bytes);
    Some(frame)
}
