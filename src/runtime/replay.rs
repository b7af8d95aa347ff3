//! A capture through the same worker, engine and `compile` as live traffic, on the capture's clock.
//!
//! One worker: how many there are changes no verdict. Secrets are fixed, so equal inputs give equal
//! outputs, on every machine.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use super::{HandOver, Idle, Publisher, Worker, WorkerShared, engine_config};
use crate::control::{
    CompileInput, DesiredState, HealthView, LimitsSpec, LiveFlows, Note, Refusal, Topology, compile,
};
use crate::dataplane::{Counters, Engine, ShardMap, Ticks};
use crate::forwarding::ClusterKey;
use crate::io::pcap::PcapDevice;
use crate::io::{Device, DeviceStatistics, PcapError};

/// The flow table's and Maglev's secret in every replay.
const FIXED_KEY: [u8; 16] = *b"guideway  replay";

/// Between frames, time passes in steps of this length, as a worker with flows wakes up.
const STEP_MS: u64 = 20;
/// Most steps in one pause, so that a capture of years ends; they are longer then.
const MOST_STEPS: u64 = 20_000;
/// How often it is seen whether retired backends can leave.
const LEAVERS_EVERY_MS: u64 = 1000;

/// What `compile` asks for besides limits.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What the operator wants.
    pub desired: DesiredState,
    /// Which backends are down.
    pub health: HealthView,
    /// Links, addresses, routes and neighbours.
    pub topology: Topology,
}

/// A world that begins at a time.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Milliseconds after the first frame.
    pub at_ms: u64,
    /// From then on.
    pub world: World,
}

/// A snapshot that was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Milliseconds after the first frame.
    pub at_ms: u64,
    /// Its number.
    pub generation: u64,
    /// The chapter it belongs to, by its place.
    pub chapter: usize,
    /// What an operator would read in the log.
    pub notes: Vec<Note>,
}

/// What became of the capture.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// Verdicts and events.
    pub counters: Counters,
    /// The device's counts.
    pub device: DeviceStatistics,
    /// Records that hold less than was on the wire.
    pub truncated: u64,
    /// From the first frame to the last.
    pub span_ms: u64,
    /// Flows that live at the end.
    pub live_flows: u64,
    /// Snapshots, in their order.
    pub publications: Vec<Publication>,
    /// Chapters that begin after the last frame, by their places: they did not happen.
    pub unused_chapters: Vec<usize>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// `compile` refuses a chapter.
    #[error("chapter {chapter} is refused")]
    Refused {
        /// Its place.
        chapter: usize,
        /// Why.
        refusals: Vec<Refusal>,
    },
    /// Input or output.
    #[error(transparent)]
    Pcap(#[from] PcapError),
}

/// Runs all of a capture. The first chapter begins before the first frame, whatever its time says.
///
/// # Errors
/// A chapter that does not compile; a capture that cannot be read, or written.
pub fn replay<R: Read, W: Write>(
    device: PcapDevice<R, W>,
    limits: &LimitsSpec,
    chapters: Vec<Chapter>,
) -> Result<ReplayReport, ReplayError> {
    let mut run = Run::new(device, limits, chapters);
    run.begin_chapters(true)?;
    while let Some(frame_ms) = run.next_frame_ms() {
        match run.next_chapter_ms() {
            Some(chapter_ms) if chapter_ms <= frame_ms => {
                run.pass_until(chapter_ms)?;
                run.begin_chapters(false)?;
            }
            _ => {
                run.pass_until(frame_ms)?;
                run.frames_of(frame_ms);
            }
        }
    }
    run.give_up_held();
    run.worker.device_mut().finish()?;
    Ok(run.report())
}

struct Run<'a, R: Read, W: Write> {
    worker: Worker<PcapDevice<R, W>>,
    publisher: Arc<Publisher>,
    limits: &'a LimitsSpec,
    /// Chapters to come, with their places.
    chapters: VecDeque<(usize, Chapter)>,
    place: usize,
    world: World,
    /// The capture's clock at its first frame.
    epoch_ms: u128,
    now_ms: u64,
    leavers_seen_ms: u64,
    publications: Vec<Publication>,
}

impl<'a, R: Read, W: Write> Run<'a, R, W> {
    fn new(mut device: PcapDevice<R, W>, limits: &'a LimitsSpec, chapters: Vec<Chapter>) -> Self {
        let epoch_ms = device.next_tick().unwrap_or(0);
        device.give_until(None);
        let shared = Arc::new(WorkerShared::new(0, Arc::new(|| ())));
        let publisher = Arc::new(Publisher::new(vec![shared.clone()]));
        let engine = Engine::new(engine_config(limits, 0, ShardMap::even(1), FIXED_KEY));
        let no_rings = HandOver::mesh(1, 0, 0).remove(0);
        let border = (publisher.clone(), shared);
        let worker = Worker::new(device, engine, no_rings, border, Idle::Sleep, None);
        let mut chapters: VecDeque<_> = chapters.into_iter().enumerate().collect();
        chapters.make_contiguous().sort_by_key(|(place, chapter)| (*place > 0, chapter.at_ms));
        Run {
            worker,
            publisher,
            limits,
            chapters,
            place: 0,
            world: World::default(),
            epoch_ms,
            now_ms: 0,
            leavers_seen_ms: 0,
            publications: vec![],
        }
    }

    /// When the next frame was captured; frames whose time goes back count as captured now.
    fn next_frame_ms(&mut self) -> Option<u64> {
        let tick = self.worker.device_mut().next_tick()?;
        Some((tick.saturating_sub(self.epoch_ms) as u64).max(self.now_ms))
    }

    fn next_chapter_ms(&self) -> Option<u64> {
        self.chapters.front().map(|(_, chapter)| chapter.at_ms.max(self.now_ms))
    }

    /// Takes over the chapters that begin by now, or only the first.
    fn begin_chapters(&mut self, only_first: bool) -> Result<(), ReplayError> {
        while let Some((place, chapter)) =
            self.chapters.pop_front_if(|(_, chapter)| only_first || chapter.at_ms <= self.now_ms)
        {
            self.place = place;
            self.world = chapter.world;
            self.publish()?;
            if only_first {
                break;
            }
        }
        Ok(())
    }

    /// Lets the clock go to `until_ms`, with the house-keeping a worker does meanwhile.
    fn pass_until(&mut self, until_ms: u64) -> Result<(), ReplayError> {
        let pause = until_ms.saturating_sub(self.now_ms);
        let step = STEP_MS.max(pause / MOST_STEPS);
        self.worker.device_mut().give_until(None);
        while self.now_ms < until_ms {
            self.now_ms = until_ms.min(self.now_ms + step);
            self.worker.turn(Ticks(self.now_ms));
            let is_time = self.now_ms - self.leavers_seen_ms >= LEAVERS_EVERY_MS;
            if is_time && !self.publisher.current().is_settled() {
                self.leavers_seen_ms = self.now_ms;
                self.publish()?;
            }
        }
        Ok(())
    }

    /// All frames captured in this millisecond.
    fn frames_of(&mut self, frame_ms: u64) {
        let tick = self.epoch_ms + u128::from(frame_ms);
        self.worker.device_mut().give_until(Some(tick));
        while self.worker.device_mut().next_tick().is_some_and(|next| next <= tick) {
            self.worker.turn(Ticks(self.now_ms));
        }
        self.worker.device_mut().give_until(None);
    }

    /// Fragments whose first one is not in the capture get their verdict.
    fn give_up_held(&mut self) {
        if self.worker.engine().held_frames() > 0 {
            let later_ms = self.now_ms + u64::from(self.limits.fragment_hold_ms) + 1;
            self.worker.turn(Ticks(later_ms));
        }
    }

    fn publish(&mut self) -> Result<(), ReplayError> {
        // So that the snapshot before is acknowledged, and its flows are counted.
        self.worker.turn(Ticks(self.now_ms));
        let previous = self.publisher.current();
        let live = LiveFlows {
            generation: self.publisher.acknowledged(),
            counts: self.worker.engine().live_flows().to_vec(),
        };
        let compiled = compile(&CompileInput {
            desired: &self.world.desired,
            health: &self.world.health,
            topology: &self.world.topology,
            live: &live,
            previous: &previous,
            limits: self.limits,
            cluster_key: ClusterKey(FIXED_KEY),
            now_ms: self.now_ms,
        });
        let compiled =
            compiled.map_err(|refusals| ReplayError::Refused { chapter: self.place, refusals })?;
        if previous.generation == 0 || !compiled.snapshot.same_as(&previous) {
            self.publications.push(Publication {
                at_ms: self.now_ms,
                generation: compiled.snapshot.generation,
                chapter: self.place,
                notes: compiled.notes,
            });
            self.publisher.publish(Arc::new(compiled.snapshot));
            self.worker.turn(Ticks(self.now_ms));
            self.publisher.free_old();
        }
        Ok(())
    }

    fn report(mut self) -> ReplayReport {
        let device = self.worker.device_mut();
        let (statistics, truncated) = (device.statistics(), device.truncated());
        ReplayReport {
            counters: self.worker.engine().counters().clone(),
            device: statistics,
            truncated,
            span_ms: self.now_ms,
            live_flows: self.worker.engine().live_flows().iter().map(|&n| u64::from(n)).sum(),
            publications: self.publications,
            unused_chapters: self.chapters.iter().map(|&(place, _)| place).collect(),
        }
    }
}
