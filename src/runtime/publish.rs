//! Handing snapshots to workers: one atomic load between batches, freed by the control thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::WorkerShared;
use crate::forwarding::Snapshot;

/// Publishes snapshots and keeps each until no worker can use it any more.
#[derive(Debug)]
pub struct Publisher {
    current: ArcSwap<Snapshot>,
    /// Generation of `current`: what workers look at between batches.
    generation: AtomicU64,
    /// Snapshots that a worker may still use. The last reference is dropped here, by the control
    /// thread, never by a worker.
    kept: Mutex<Vec<Arc<Snapshot>>>,
    workers: Vec<Arc<WorkerShared>>,
}

impl Publisher {
    /// Begins with the empty snapshot.
    pub fn new(workers: Vec<Arc<WorkerShared>>) -> Publisher {
        let empty = Arc::new(Snapshot::empty());
        Publisher {
            current: ArcSwap::new(empty.clone()),
            generation: AtomicU64::new(0),
            kept: Mutex::new(vec![empty]),
            workers,
        }
    }

    /// Makes `snapshot` the one workers pick up, and wakes them.
    ///
    /// # Panics
    /// When its generation is not higher than the one before: a mistake of the control loop.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let before = self.generation.load(Ordering::Relaxed);
        assert!(snapshot.generation > before, "{} after {before}", snapshot.generation);
        let generation = snapshot.generation;
        self.keep().push(snapshot.clone());
        self.current.store(snapshot);
        self.generation.store(generation, Ordering::Release);
        self.workers.iter().for_each(|worker| worker.wake());
    }

    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The generation every worker has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.workers.iter().map(|worker| worker.acknowledged()).min().unwrap_or(u64::MAX)
    }

    /// Frees the snapshots no worker can use any more; gives how many are left.
    pub fn free_old(&self) -> usize {
        drop(self.take_old());
        self.keep().len()
    }

    /// Takes back the snapshots no worker can use any more, the oldest first.
    pub fn take_old(&self) -> Vec<Arc<Snapshot>> {
        let acknowledged = self.acknowledged();
        let newest = self.generation.load(Ordering::Relaxed);
        let is_old = |snapshot: &mut Arc<Snapshot>| {
            snapshot.generation < acknowledged && snapshot.generation != newest
        };
        self.keep().extract_if(.., is_old).collect()
    }

    /// The workers it publishes to.
    pub fn workers(&self) -> &[Arc<WorkerShared>] {
        &self.workers
    }

    fn keep(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's view: the snapshot it runs.
#[derive(Debug)]
pub struct Reader {
    publisher: Arc<Publisher>,
    shared: Arc<WorkerShared>,
    running: Arc<Snapshot>,
}

impl Reader {
    /// For the worker `shared` belongs to.
    pub fn new(publisher: Arc<Publisher>, shared: Arc<WorkerShared>) -> Reader {
        Reader { running: publisher.current(), publisher, shared }
    }

    /// Takes a newer snapshot if there is one: between batches, one atomic load when there is none.
    #[inline]
    pub fn refresh(&mut self) -> &Arc<Snapshot> {
        let newest = self.publisher.generation.load(Ordering::Acquire);
        if newest != self.shared.acknowledged() {
            // The publisher keeps a reference to the old one, so this frees nothing.
            self.running = self.publisher.current();
            self.shared.acknowledge(self.running.generation);
        }
        &self.running
    }

    /// The snapshot it runs.
    pub fn running(&self) -> &Arc<Snapshot> {
        &self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(generation: u64) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::empty();
        snapshot.generation = generation;
        Arc::new(snapshot)
    }

    #[test]
    fn a_snapshot_is_kept_until_every_worker_has_a_newer_one() {
        let workers: Vec<_> =
            (0..2).map(|w| Arc::new(WorkerShared::new(w, Arc::new(|| ())))).collect();
        let publisher = Arc::new(Publisher::new(workers.clone()));
        let mut readers: Vec<_> =
            workers.iter().map(|w| Reader::new(publisher.clone(), w.clone())).collect();
        let first = snapshot(1);
        let watch = Arc::downgrade(&first);
        publisher.publish(first);
        readers.iter_mut().for_each(|reader| assert_eq!(reader.refresh().generation, 1));
        publisher.publish(snapshot(2));
        readers[0].refresh();
        publisher.free_old();
        assert!(watch.upgrade().is_some(), "worker 1 still runs generation 1");
        assert_eq!(publisher.acknowledged(), 1);
        readers[1].refresh();
        assert!(watch.upgrade().is_some(), "workers never free a snapshot");
        assert_eq!(publisher.free_old(), 1);
        assert!(watch.upgrade().is_none());
    }
}
