//! Asks the workers for their flows, one after the other.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{TryRecvError, bounded};

use super::{Message, WorkerShared};
use crate::dataplane::FlowWalk;

/// Longest wait for a part from a worker. One that is asleep is woken, a busy one has its turn after
/// the batch in hand: a million places take it some 5,000 batches.
const PART_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked for one.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// A worker did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "worker {worker} did not answer within {PART_WITHIN:?}: is it stuck? `guideway status` shows its batches"
)]
pub struct WalkError {
    /// Its number.
    pub worker: u8,
}

/// Walks over the flows of all workers; `take` is given each part with the worker's number and says
/// whether to go on. Blocks while they do it. Several walks at once take turns, part by part: one
/// whose `take` is slow keeps nobody waiting.
///
/// # Errors
/// When a worker does not answer.
pub fn walk_flows(
    workers: &[Arc<WorkerShared>],
    begin: impl Fn() -> FlowWalk,
    mut take: impl FnMut(u8, &FlowWalk) -> ControlFlow<()>,
) -> Result<(), WalkError> {
    for worker in workers {
        let stuck = WalkError { worker: worker.number };
        let mut walk = Box::new(begin());
        loop {
            walk = ask(worker, walk).ok_or(stuck)?;
            if take(worker.number, &walk).is_break() {
                return Ok(());
            }
            if walk.is_done() {
                break;
            }
            walk.found.clear();
        }
    }
    Ok(())
}

/// Gives the walk to a worker and waits for it to come back.
fn ask(worker: &WorkerShared, walk: Box<FlowWalk>) -> Option<Box<FlowWalk>> {
    let _alone = worker.walk_alone();
    let (back, came_back) = bounded(1);
    worker.send(Message::Walk(walk, back)).ok()?;
    let until = Instant::now() + PART_WITHIN;
    // Looked for and not waited for: then the worker need not wake anybody.
    loop {
        match came_back.try_recv() {
            Ok(walk) => return Some(walk),
            Err(TryRecvError::Empty) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            Err(_) => return None,
        }
    }
}
