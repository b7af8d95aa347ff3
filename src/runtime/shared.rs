//! What a worker and the control thread see of each other. Nothing here makes a packet wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;

use super::tap::Tap;
use crate::dataplane::{Counters, FlowWalk, Traffic};
use crate::forwarding::BackendId;
use crate::io::{DeviceStatistics, FrameCensus};
use crate::wire::PortId;

/// Wakes a worker that sleeps in its device's `wait`.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Messages that may wait for one worker; beyond, [`WorkerShared::send`] refuses.
const MESSAGES: usize = 1024;

/// What the control thread asks of a worker, looked at once a batch.
#[derive(Debug)]
pub enum Message {
    /// Send this frame by this port (an announcement).
    Transmit(PortId, Box<[u8]>),
    /// Go on with this walk over the flows, and give it back when it is done or full. A worker walks
    /// one at a time: the one before is forgotten.
    Walk(Box<FlowWalk>, Sender<Box<FlowWalk>>),
    /// Copy frames for an operator, until whoever reads the copies is gone.
    Tap(Box<Tap>),
}

/// A worker's state at one moment between two batches, so that its numbers add up.
#[derive(Clone, Debug, Default)]
pub struct WorkerReport {
    /// Generation the worker ran when it reported.
    pub generation: u64,
    /// Verdicts and events.
    pub counters: Counters,
    /// Live flows by backend id.
    pub live_flows: Vec<u32>,
    /// What went to and came from each backend, by backend id.
    pub traffic: Vec<Traffic>,
    /// Path MTUs of backends that routers have told of.
    pub path_mtus: Vec<(BackendId, u16)>,
    /// The device's own counts.
    pub device: DeviceStatistics,
    /// Where the device's frames are.
    pub census: FrameCensus,
    /// Batches that had at least one frame.
    pub batches: u64,
    /// Frames that wait: in the rings, handed over by other workers, or as fragments for the first one
    /// of their datagram.
    pub waiting: u64,
    /// Core the worker is pinned to.
    pub core: Option<usize>,
}

/// One worker's side of the border to the control thread.
pub struct WorkerShared {
    /// The worker's number.
    pub number: u8,
    acknowledged: AtomicU64,
    report_wanted: AtomicU64,
    report_given: AtomicU64,
    report: Mutex<WorkerReport>,
    restarts: AtomicU64,
    sleeping: AtomicBool,
    messages: ArrayQueue<Message>,
    /// Held by whoever waits for a part of a walk: a worker has one in hand.
    walking: Mutex<()>,
    /// Is there a capture? A worker has one tap.
    is_captured: AtomicBool,
    waker: Waker,
}

impl std::fmt::Debug for WorkerShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerShared({}, generation {})", self.number, self.acknowledged())
    }
}

impl WorkerShared {
    /// For worker `number`, woken by `waker`.
    pub fn new(number: u8, waker: Waker) -> WorkerShared {
        WorkerShared {
            number,
            acknowledged: AtomicU64::new(0),
            report_wanted: AtomicU64::new(0),
            report_given: AtomicU64::new(0),
            report: Mutex::default(),
            restarts: AtomicU64::new(0),
            sleeping: AtomicBool::new(false),
            messages: ArrayQueue::new(MESSAGES),
            walking: Mutex::default(),
            is_captured: AtomicBool::new(false),
            waker,
        }
    }

    /// The newest generation this worker has begun to use; it uses no older one any more.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, generation: u64) {
        self.acknowledged.store(generation, Ordering::Release);
    }

    /// How often the worker was restarted after a panic.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the worker something to do.
    ///
    /// # Errors
    /// The message, when too many wait already.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.messages.push(message)?;
        self.wake();
        Ok(())
    }

    /// Waits until no other part of a walk is under way. Never called by the worker.
    pub(super) fn walk_alone(&self) -> MutexGuard<'_, ()> {
        self.walking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to capture this worker's frames; `false` when somebody has it.
    pub(super) fn begin_capture(&self) -> bool {
        !self.is_captured.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_capture(&self) {
        self.is_captured.store(false, Ordering::Release);
    }

    pub(super) fn next_message(&self) -> Option<Message> {
        self.messages.pop()
    }

    /// Wakes the worker, asleep or not.
    pub fn wake(&self) {
        (self.waker)();
    }

    /// Wakes the worker only if it sleeps: for hand-over, once a batch.
    pub(super) fn wake_if_sleeping(&self) {
        // Pairs with the fence in `fall_asleep`: either the sleeper sees what was pushed before
        // this, or this sees that it sleeps.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Says that the worker is about to sleep; it looks into its rings once more after this.
    pub(super) fn fall_asleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Asks for a fresh report; gives the number to wait for with [`Self::has_reported`].
    pub fn ask_report(&self) -> u64 {
        let number = self.report_wanted.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        number
    }

    /// Has the report asked for under this number been given?
    pub fn has_reported(&self, number: u64) -> bool {
        self.report_given.load(Ordering::Acquire) >= number
    }

    /// The last report given.
    pub fn report(&self) -> WorkerReport {
        self.lock_report().clone()
    }

    /// Looks at the last report without copying it.
    pub fn with_report<T>(&self, look: impl FnOnce(&WorkerReport) -> T) -> T {
        look(&self.lock_report())
    }

    fn lock_report(&self) -> MutexGuard<'_, WorkerReport> {
        // A report is numbers only: one that was interrupted by a panic is no danger.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the worker once a batch: writes a report if one is wanted and nobody reads the
    /// last one right now. Never waits.
    pub(super) fn report_if_wanted(&self, write: impl FnOnce(&mut WorkerReport)) {
        let wanted = self.report_wanted.load(Ordering::Acquire);
        if wanted == self.report_given.load(Ordering::Relaxed) {
            return;
        }
        let report = match self.report.try_lock() {
            Ok(report) => Some(report),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        if let Some(mut report) = report {
            write(&mut report);
            self.report_given.store(wanted, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_only_when_wanted() {
        let shared = WorkerShared::new(0, Arc::new(|| ()));
        shared.report_if_wanted(|_| panic!("nobody asked"));
        let number = shared.ask_report();
        assert!(!shared.has_reported(number));
        shared.report_if_wanted(|report| report.batches = 7);
        assert!(shared.has_reported(number));
        assert_eq!(shared.report().batches, 7);
    }

    #[test]
    fn messages_are_bounded() {
        let shared = WorkerShared::new(0, Arc::new(|| ()));
        let message = || Message::Transmit(PortId(0), Box::from([0u8; 60]));
        assert!((0..MESSAGES).all(|_| shared.send(message()).is_ok()));
        assert!(shared.send(message()).is_err());
        assert!(shared.next_message().is_some());
    }
}
