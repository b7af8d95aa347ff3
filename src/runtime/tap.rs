//! Copies of frames for an operator, from workers to whoever reads them: where the kernel's tcpdump is
//! blind.
//!
//! A worker without a tap asks once a frame whether it has one. One with a tap copies into memory that
//! came with it, and counts what does not fit: it never waits, and never allocates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{Message, WorkerShared};
use crate::dataplane::{Arrival, Outcome, Prepared, TapCopy, TapFilter, TapPoint, Verdict};
use crate::wire::PortId;

/// Copies of one worker that may wait for their reader.
const WAITING: usize = 1024;
/// Longest wait for a worker to take its tap, and to give it back.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The worker's end.
#[derive(Debug)]
pub struct Tap {
    filter: TapFilter,
    full: Producer<TapCopy>,
    empty: Consumer<TapCopy>,
    lost: Arc<AtomicU64>,
    /// The worker has it.
    is_there: Arc<AtomicBool>,
    /// The frame in hand, as it came.
    before: Vec<u8>,
    before_len: usize,
    /// Frames until the next one that is looked at.
    skip: u32,
    back: Sender<Box<Tap>>,
}

impl Tap {
    /// The worker has it: from here on frames are copied.
    pub(super) fn arrive(&self) {
        self.is_there.store(true, Ordering::Release);
    }

    /// A frame before the engine has it.
    #[cold]
    pub(super) fn before(&mut self, frame: &[u8]) {
        self.skip = self.skip.checked_sub(1).unwrap_or(self.filter.one_in.saturating_sub(1));
        if self.skip == 0 {
            self.before_len = frame.len();
            self.before.clear();
            self.before.extend_from_slice(cut(frame, self.filter.snap_bytes));
        }
    }

    /// The same frame after it. One that was handed over is copied by the worker that has it now.
    #[cold]
    pub(super) fn after(&mut self, prepared: &Prepared, outcome: Outcome, frame: &[u8]) {
        let verdict = match outcome {
            Outcome::Verdict(verdict) => Some(verdict),
            Outcome::Held => None,
            Outcome::HandOver { .. } => return,
        };
        if self.skip != 0 || !self.filter.wants(&self.before, frame, verdict) {
            return;
        }
        let (arrival, service) = (prepared.arrival(), prepared.service());
        let is_drop = matches!(verdict, Some(Verdict::Drop(_)));
        if self.filter.takes_in || self.filter.takes_drops && is_drop {
            let (before, len) = (std::mem::take(&mut self.before), self.before_len);
            self.put(&before, |copy| {
                (copy.point, copy.port, copy.len) = (TapPoint::In, arrival.port(), len);
                (copy.verdict, copy.arrival, copy.service) = (verdict, arrival, service);
            });
            self.before = before;
        }
        let leaves_by = match verdict {
            Some(Verdict::Forward(port) | Verdict::Reply(port, _)) => port,
            _ => return,
        };
        if self.filter.takes_out {
            self.put(cut(frame, self.filter.snap_bytes), |copy| {
                (copy.point, copy.port, copy.len) = (TapPoint::Out, leaves_by, frame.len());
                (copy.verdict, copy.arrival, copy.service) = (verdict, arrival, service);
            });
        }
    }

    fn put(&mut self, bytes: &[u8], fill: impl FnOnce(&mut TapCopy)) {
        let Ok(mut copy) = self.empty.pop() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        fill(&mut copy);
        copy.time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        copy.bytes.clear();
        copy.bytes.extend_from_slice(bytes);
        // There are no more copies than places.
        let _ = self.full.push(copy);
    }

    /// Is nobody there to read?
    pub(super) fn is_over(&self) -> bool {
        self.full.is_abandoned()
    }

    /// To whoever frees it.
    pub(super) fn give_back(self: Box<Self>) {
        let back = self.back.clone();
        // Whoever began the capture may have stopped waiting.
        let _ = back.try_send(self);
    }
}

fn cut(frame: &[u8], snap_bytes: usize) -> &[u8] {
    frame.get(..snap_bytes).unwrap_or(frame)
}

/// A capture cannot begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaptureError {
    /// A worker copies for one reader at a time.
    #[error("another capture is running: there is one at a time")]
    Another,
    /// Too many messages wait.
    #[error("worker {0} does not take messages: is it stuck? `guideway status` shows its batches")]
    Stuck(u8),
}

/// The reader's end of one worker's tap.
#[derive(Debug)]
struct Read {
    worker: Arc<WorkerShared>,
    /// None once the capture ends.
    rings: Option<(Consumer<TapCopy>, Producer<TapCopy>)>,
    lost: Arc<AtomicU64>,
    is_there: Arc<AtomicBool>,
    back: Receiver<Box<Tap>>,
}

/// A capture at all workers, until it is dropped.
#[derive(Debug)]
pub struct Capture {
    reads: Vec<Read>,
}

impl Capture {
    /// Begins to copy, and waits until all workers do.
    ///
    /// # Errors
    /// When there is a capture already, or a worker does not take messages.
    pub fn begin(
        workers: &[Arc<WorkerShared>],
        filter: &TapFilter,
    ) -> Result<Capture, CaptureError> {
        let mut capture = Capture { reads: Vec::new() };
        for worker in workers {
            if !worker.begin_capture() {
                return Err(CaptureError::Another);
            }
            let (tap, read) = pair(worker, filter);
            // From here on the end of `capture` is the end of this worker's, too.
            capture.reads.push(read);
            let sent = worker.send(Message::Tap(tap));
            sent.map_err(|_| CaptureError::Stuck(worker.number))?;
        }
        let until = Instant::now() + BACK_WITHIN;
        for read in &capture.reads {
            while !read.is_there.load(Ordering::Acquire) {
                if Instant::now() > until {
                    return Err(CaptureError::Stuck(read.worker.number));
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(capture)
    }

    /// Gives the copies there are, worker by worker, each with its worker's number; says how many.
    pub fn take(&mut self, mut give: impl FnMut(u8, &TapCopy)) -> usize {
        let mut taken = 0;
        for read in &mut self.reads {
            let Some((full, empty)) = &mut read.rings else { continue };
            for _ in 0..WAITING {
                let Ok(copy) = full.pop() else { break };
                give(read.worker.number, &copy);
                // There is the place it was taken from.
                let _ = empty.push(copy);
                taken += 1;
            }
        }
        taken
    }

    /// Copies that did not fit, since the reader was too slow.
    pub fn lost(&self) -> u64 {
        self.reads.iter().map(|read| read.lost.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Capture {
    /// Waits for the taps, so that no worker frees memory. One that is stuck keeps its tap, and cannot be
    /// captured again before it gives it back or is restarted.
    fn drop(&mut self) {
        let until = Instant::now() + BACK_WITHIN;
        for read in &mut self.reads {
            read.rings = None;
            read.worker.wake();
        }
        for read in &self.reads {
            // Disconnected: there is no tap any more.
            if !matches!(read.back.recv_deadline(until), Err(RecvTimeoutError::Timeout)) {
                read.worker.end_capture();
            }
        }
    }
}

fn pair(worker: &Arc<WorkerShared>, filter: &TapFilter) -> (Box<Tap>, Read) {
    let (full, read_full) = RingBuffer::new(WAITING);
    let (mut fill_empty, empty) = RingBuffer::new(WAITING);
    let room = || Vec::with_capacity(filter.snap_bytes);
    for _ in 0..WAITING {
        let copy = TapCopy {
            time: Duration::ZERO,
            point: TapPoint::In,
            port: PortId(0),
            verdict: None,
            arrival: Arrival::Received(PortId(0)),
            service: None,
            len: 0,
            bytes: room(),
        };
        // The ring has room for just these.
        let _ = fill_empty.push(copy);
    }
    let lost = Arc::new(AtomicU64::new(0));
    let is_there = Arc::new(AtomicBool::new(false));
    let (back, came_back) = bounded(1);
    let tap = Tap {
        filter: filter.clone(),
        full,
        empty,
        lost: lost.clone(),
        is_there: is_there.clone(),
        before: room(),
        before_len: 0,
        skip: 0,
        back,
    };
    let rings = Some((read_full, fill_empty));
    (Box::new(tap), Read { worker: worker.clone(), rings, lost, is_there, back: came_back })
}
