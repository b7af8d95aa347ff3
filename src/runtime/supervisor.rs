//! Threads: one pinned thread a worker, restarted in place when it panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Seldom, Worker, WorkerShared, clock, privileges};
use crate::io::Device;

/// How long a worker that panicked is given before it goes on: a hundred restarts a second at most.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(10);
/// Longest wait for a worker to end: one that is stuck must not keep the process from ending.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Running worker threads.
#[derive(Debug)]
pub struct Supervisor {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    workers: Vec<Arc<WorkerShared>>,
}

impl Supervisor {
    /// Starts a thread for each worker, pinned to its core where one is given.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<D: Device + Send + 'static>(
        workers: Vec<(Worker<D>, Arc<WorkerShared>, Option<usize>)>,
    ) -> std::io::Result<Supervisor> {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = workers.iter().map(|(_, shared, _)| shared.clone()).collect();
        let mut supervisor = Supervisor { stop, threads: vec![], workers: shared };
        for (worker, shared, core) in workers {
            let stop = supervisor.stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("gw-worker-{}", shared.number))
                .spawn(move || supervise(worker, &shared, core, &stop))?;
            supervisor.threads.push(thread);
        }
        Ok(supervisor)
    }

    /// Do all threads run? One ends only by [`Self::stop`], or by a panic while it recovers.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Stops the workers and waits for them; their devices are dropped. One that is stuck is left
    /// to the end of the process.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.wake());
        let deadline = Instant::now() + STOP_WITHIN;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                tracing::error!(thread = thread.thread().name(), "a worker is stuck, and left");
                continue;
            }
            // A thread that ended by a panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Runs a worker until `stop`, through any number of panics.
fn supervise<D: Device>(
    mut worker: Worker<D>,
    shared: &WorkerShared,
    core: Option<usize>,
    stop: &AtomicBool,
) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(worker = shared.number, core = id, "the worker could not be pinned");
    }
    if let Err(error) = privileges::keep_only(privileges::WORKER) {
        tracing::warn!(worker = shared.number, %error, "the worker keeps its privileges");
    }
    let mut panics = Seldom::new(1_000);
    loop {
        // Unwind safety: `recover` rebuilds everything derived from the flow entries, and frames
        // in hand are kept outside the call.
        let ended = catch_unwind(AssertUnwindSafe(|| worker.run(stop)));
        let Err(panic) = ended else { return };
        shared.count_restart();
        let reason = panic_text(panic.as_ref());
        if let Some(untold) = panics.ask(clock::now().0) {
            let worker = shared.number;
            tracing::error!(worker, reason, untold, "a worker panicked and is restarted");
        }
        // A worker that panics over and over must not take a core and fill the log.
        std::thread::sleep(PAUSE_AFTER_PANIC);
        worker = worker.recover();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
