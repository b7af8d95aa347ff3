//! All targets at once: one task each, restarted when its target changes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{ProbeError, probe};
use crate::control::{Health, HealthCheckSpec, HealthState};

/// One backend to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeTarget {
    /// Name of its service.
    pub service: Arc<str>,
    /// Its name in the service.
    pub backend: Arc<str>,
    /// Where it is probed.
    pub socket: SocketAddr,
    /// How.
    pub spec: HealthCheckSpec,
}

/// News about a backend: its health changed, or why it is as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthEvent {
    /// Name of its service.
    pub service: Arc<str>,
    /// Its name in the service.
    pub backend: Arc<str>,
    /// What is thought of it now; the same as in its last event when only the reason is new.
    pub health: Health,
    /// The last result: `ok`, or why it failed.
    pub reason: String,
}

type Key = (Arc<str>, Arc<str>);

/// Probes every target at its interval. Memory and open sockets are bounded: a small task a
/// target, and at most [`Prober::new`]'s number of probes at once.
#[derive(Debug)]
pub struct Prober {
    seed: u64,
    permits: Arc<Semaphore>,
}

impl Prober {
    /// `seed` gives the random phases and jitter; `at_once` is the most probes that may be under
    /// way, each of which takes a file descriptor. Beyond it probes wait, and are late.
    pub fn new(seed: u64, at_once: usize) -> Prober {
        Prober { seed, permits: Arc::new(Semaphore::new(at_once.clamp(1, 65_536))) }
    }

    /// Probes until the sender of `targets` or the receiver of `events` is gone. Only targets that
    /// changed are started anew, and begin as unknown; a target that is gone is silent at once.
    pub async fn run(
        self,
        mut targets: watch::Receiver<Arc<Vec<ProbeTarget>>>,
        events: mpsc::Sender<HealthEvent>,
    ) {
        let mut running: HashMap<Key, (ProbeTarget, AbortHandle)> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let wanted = targets.borrow_and_update().clone();
            self.follow(&wanted, &mut running, &mut tasks, &events);
            loop {
                tokio::select! {
                    changed = targets.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = events.closed() => return,
                    Some(ended) = tasks.join_next() => {
                        if let Err(error) = ended && error.is_panic() {
                            tracing::error!(%error, "a health check ended by a bug of ours");
                        }
                    }
                }
            }
        }
    }

    /// Stops the tasks of targets that are gone or changed, and starts those that are new.
    fn follow(
        &self,
        wanted: &[ProbeTarget],
        running: &mut HashMap<Key, (ProbeTarget, AbortHandle)>,
        tasks: &mut JoinSet<()>,
        events: &mpsc::Sender<HealthEvent>,
    ) {
        let by_key: HashMap<Key, &ProbeTarget> =
            wanted.iter().map(|t| ((t.service.clone(), t.backend.clone()), t)).collect();
        running.retain(|key, (target, task)| {
            let stays = by_key.get(key).is_some_and(|&wanted| wanted == target);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, target) in by_key {
            if let Entry::Vacant(place) = running.entry(key) {
                let rng = SmallRng::seed_from_u64(self.seed ^ hash_of(place.key()));
                let (permits, events) = (self.permits.clone(), events.clone());
                let task = tasks.spawn(watch_target(target.clone(), rng, permits, events));
                place.insert((target.clone(), task));
            }
        }
    }
}

fn hash_of(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

async fn watch_target(
    target: ProbeTarget,
    mut rng: SmallRng,
    permits: Arc<Semaphore>,
    events: mpsc::Sender<HealthEvent>,
) {
    let spec = &target.spec;
    let interval_ms = u64::from(spec.interval_ms.max(1));
    let started = Instant::now();
    // A random phase spreads targets that were configured at once over the interval.
    let mut next = started + Duration::from_millis(rng.random_range(0..interval_ms));
    let mut state = HealthState::new(spec.rise, spec.fall);
    let mut told = String::new();
    loop {
        sleep_until(next).await;
        let Ok(permit) = permits.acquire().await else { return };
        let begun = Instant::now();
        let result = probe(target.socket, spec).await;
        drop(permit);
        next = (begun + jittered(interval_ms, &mut rng)).max(Instant::now());
        let reason = match &result {
            Ok(()) => "ok".to_string(),
            Err(ProbeError::Failed(reason)) => reason.clone(),
            Err(error @ ProbeError::NotTried(_)) => {
                // Once and not at every interval: a shortage meets all targets at once.
                let reason = error.to_string();
                if told != reason {
                    let (service, backend) = (&target.service, &target.backend);
                    tracing::warn!(%service, %backend, reason, "health check");
                    told = reason;
                }
                continue;
            }
        };
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let changed = state.observe(result.is_ok(), now_ms);
        if changed.is_none() && told == reason {
            continue;
        }
        told.clone_from(&reason);
        let (service, backend) = (target.service.clone(), target.backend.clone());
        if events
            .send(HealthEvent { service, backend, health: state.health(), reason })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The interval, 10 % more or less, so that targets do not fall into step.
fn jittered(interval_ms: u64, rng: &mut SmallRng) -> Duration {
    let tenth_us = interval_ms * 100;
    Duration::from_micros(interval_ms * 1000 - tenth_us + rng.random_range(0..=2 * tenth_us))
}

#[cfg(test)]
mod tests {
    use super::super::probe::tests::spec;
    use super::*;
    use crate::control::HealthCheckKind;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    fn target(backend: &str, socket: SocketAddr) -> ProbeTarget {
        let spec = HealthCheckSpec { rise: 1, ..spec(HealthCheckKind::Tcp) };
        ProbeTarget { service: "web".into(), backend: backend.into(), socket, spec }
    }

    async fn next(events: &mut mpsc::Receiver<HealthEvent>) -> (String, Health, String) {
        let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
        let event = event.expect("an event in time").expect("prober runs");
        (event.backend.to_string(), event.health, event.reason)
    }

    #[tokio::test]
    async fn follows_backends_and_targets() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at_other = other.local_addr().unwrap();
        let (targets, watched) = watch::channel(Arc::new(vec![target("b1", address)]));
        let (sender, mut events) = mpsc::channel(16);
        let prober = tokio::spawn(Prober::new(7, 8).run(watched, sender));
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, "ok".into()));

        drop(listener);
        let refused = || "connect: connection refused".to_string();
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, refused()));
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Down, refused()));

        targets.send_replace(Arc::new(vec![target("b1", address), target("b2", at_other)]));
        assert_eq!(next(&mut events).await, ("b2".into(), Health::Up, "ok".into()));

        // The same name at another address is another target: unknown, so one success is enough.
        targets.send_replace(Arc::new(vec![target("b1", at_other), target("b2", at_other)]));
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, "ok".into()));
        drop(targets);
        prober.await.unwrap();
    }

    #[tokio::test]
    async fn many_targets_share_few_descriptors() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let mut all: Vec<_> = (0..10_000).map(|i| target(&format!("b{i}"), address)).collect();
        all.iter_mut().for_each(|t| t.spec.interval_ms = 60_000);
        all[..50].iter_mut().for_each(|t| t.spec.interval_ms = 10);
        let (targets, watched) = watch::channel(Arc::new(all));
        let (sender, mut events) = mpsc::channel(64);
        let prober = tokio::spawn(Prober::new(7, 4).run(watched, sender));
        let mut up = std::collections::BTreeSet::new();
        while up.len() < 50 {
            let (backend, health, _) = next(&mut events).await;
            assert_eq!(health, Health::Up);
            up.insert(backend);
        }
        targets.send_replace(Arc::new(vec![]));
        drop(targets);
        prober.await.unwrap();
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut rng = SmallRng::seed_from_u64(1);
        let all: Vec<_> = (0..1000).map(|_| jittered(2000, &mut rng).as_millis()).collect();
        assert!(all.iter().all(|ms| (1800..=2200).contains(ms)));
        assert!(all.iter().any(|&ms| ms < 1850) && all.iter().any(|&ms| ms > 2150));
    }
}
