//! All checks at once, in one task that sleeps until something is due or has come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::connects::Connects;
use super::probe::{TlsConfigs, probe};
use super::schedule::{CheckId, Due, Schedule};
use super::{HealthEvent, ProbeError, TargetGroup};
use crate::control::{HealthCheckKind, HealthCheckSpec};

/// Checks begin at multiples of this: one waking serves all of them.
const TICK_MS: u64 = 4;
/// While connects are under way they are looked at so often; less and less often while none ends.
const LOOK_MS: std::ops::RangeInclusive<u64> = 1..=16;

/// Probes every target at its interval. Memory and open sockets are bounded: a small entry a check,
/// and at most [`Prober::new`]'s number of probes at once.
#[derive(Debug)]
pub struct Prober {
    seed: u64,
    at_once: usize,
}

impl Prober {
    /// `seed` gives the random phases and jitter; `at_once` is the most probes that may be under
    /// way, each of which takes a file descriptor. Beyond it probes wait, and are late.
    pub fn new(seed: u64, at_once: usize) -> Prober {
        Prober { seed, at_once: at_once.clamp(1, 65_536) }
    }

    /// Probes until the sender of `targets` or the receiver of `events` is gone. Only targets that
    /// changed are started anew, and begin as unknown; a target that is gone is silent at once.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub async fn run(
        self,
        mut targets: watch::Receiver<Arc<Vec<TargetGroup>>>,
        events: mpsc::Sender<HealthEvent>,
    ) -> std::io::Result<()> {
        let mut work = Work::new(&self, Connects::new()?);
        loop {
            let wanted = targets.borrow_and_update().clone();
            work.follow(&wanted);
            loop {
                work.go_on();
                for event in work.events.drain(..) {
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
                let wake = work.wake();
                tokio::select! {
                    changed = targets.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                    () = events.closed() => return Ok(()),
                    Some(ended) = work.tries.join_next_with_id() => work.take(ended),
                    () = sleep_until(wake) => {}
                }
            }
        }
    }
}

type Ended = Result<(Id, Result<(), ProbeError>), JoinError>;

struct Work {
    schedule: Schedule,
    connects: Connects,
    /// Every try that is not a bare TCP connect.
    tries: JoinSet<Result<(), ProbeError>>,
    running: HashMap<Id, (CheckId, AbortHandle)>,
    tls: Arc<TlsConfigs>,
    at_once: usize,
    /// How long until connects are looked at again.
    look_ms: u64,
    started: Instant,
    events: Vec<HealthEvent>,
    done: Vec<(CheckId, Result<(), ProbeError>)>,
}

impl Work {
    fn new(prober: &Prober, connects: Connects) -> Work {
        Work {
            schedule: Schedule::new(prober.seed),
            connects,
            tries: JoinSet::new(),
            running: HashMap::new(),
            tls: Arc::default(),
            at_once: prober.at_once,
            look_ms: *LOOK_MS.start(),
            started: Instant::now(),
            events: vec![],
            done: vec![],
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn follow(&mut self, targets: &[TargetGroup]) {
        let now_ms = self.now_ms();
        for id in self.schedule.follow(targets, now_ms, &mut self.events) {
            self.connects.cancel(id);
            for (_, task) in self.running.values().filter(|(other, _)| *other == id) {
                task.abort();
            }
        }
    }

    /// Takes the results there are, and begins what is due.
    fn go_on(&mut self) {
        let now_ms = self.now_ms();
        self.connects.poll(now_ms, &mut self.done);
        let is_quiet = self.done.is_empty();
        self.look_ms =
            if is_quiet { (2 * self.look_ms).min(*LOOK_MS.end()) } else { *LOOK_MS.start() };
        for (id, result) in self.done.drain(..) {
            self.schedule.finish(id, &result, now_ms, &mut self.events);
        }
        while self.connects.len() + self.running.len() < self.at_once
            && let Some(due) = self.schedule.begin(now_ms)
        {
            self.begin(due, now_ms);
        }
    }

    fn begin(&mut self, Due { id, socket, spec }: Due, now_ms: u64) {
        if is_bare(&spec) {
            let ends = (socket, spec.source);
            self.look_ms = *LOOK_MS.start();
            if let Some(result) = self.connects.begin(id, ends, now_ms, spec.timeout_ms.into()) {
                self.schedule.finish(id, &result, now_ms, &mut self.events);
            }
            return;
        }
        let tls = self.tls.clone();
        let task = self.tries.spawn(async move { probe(socket, &spec, &tls).await });
        self.running.insert(task.id(), (id, task));
    }

    fn take(&mut self, ended: Ended) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a health check ended by a bug of ours");
                }
                (error.id(), Err(ProbeError::NotTried("a bug of Guideway's".to_string())))
            }
        };
        if let Some((id, _)) = self.running.remove(&task) {
            let now_ms = self.now_ms();
            self.schedule.finish(id, &result, now_ms, &mut self.events);
        }
    }

    /// When there is something to do if nothing comes.
    fn wake(&self) -> Instant {
        let is_full = self.connects.len() + self.running.len() >= self.at_once;
        let due_ms = self.schedule.next_ms().filter(|_| !is_full);
        let due_ms = due_ms.map(|due_ms| due_ms.next_multiple_of(TICK_MS));
        let look_ms = (self.connects.len() > 0).then(|| self.now_ms() + self.look_ms);
        let next_ms = due_ms.into_iter().chain(look_ms).min();
        // A day is for ever: something else will come first.
        let next_ms = next_ms.unwrap_or_else(|| self.now_ms() + 86_400_000);
        self.started + Duration::from_millis(next_ms)
    }
}

/// A TCP connect and nothing else.
fn is_bare(spec: &HealthCheckSpec) -> bool {
    spec.kind == HealthCheckKind::TCP
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;
