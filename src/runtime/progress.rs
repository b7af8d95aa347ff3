//! Which workers make progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::WorkerShared;

/// How often it is looked for answers.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The numbers of those that do not answer within this time. A worker answers between two batches, so
/// one that does is not stuck in one. Blocks until all have answered or the time is over.
pub fn silent_workers(workers: &[Arc<WorkerShared>], within: Duration) -> Vec<u8> {
    let asked: Vec<u64> = workers.iter().map(|worker| worker.ask_report()).collect();
    let until = Instant::now() + within;
    let is_silent = |(worker, number): &(&Arc<WorkerShared>, &u64)| !worker.has_reported(**number);
    loop {
        let silent: Vec<u8> =
            workers.iter().zip(&asked).filter(is_silent).map(|(worker, _)| worker.number).collect();
        if silent.is_empty() || Instant::now() >= until {
            return silent;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_does_not_answer_is_named() {
        let workers: Vec<_> =
            (0..3).map(|w| Arc::new(WorkerShared::new(w, Arc::new(|| ())))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        // Worker 1 is stuck in a batch.
        let alive = [workers[0].clone(), workers[2].clone()].map(|worker| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    worker.report_if_wanted(|_| ());
                    std::thread::sleep(LOOK_EVERY);
                }
            })
        });
        assert_eq!(silent_workers(&workers, Duration::from_millis(200)), [1]);
        assert_eq!(silent_workers(&workers[..1], Duration::from_secs(20)), [0u8; 0]);
        stop.store(true, Ordering::Relaxed);
        alive.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
