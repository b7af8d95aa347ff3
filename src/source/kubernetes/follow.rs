//! Follows a cluster for ever: watches, delivers what is to be served, and writes while it is the one
//! that writes. Whatever happens to the API, what was delivered last stays.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::connect;
use super::deliver::Deliveries;
use super::elect::elect;
use super::keep::Kept;
use super::objects::Key;
use super::plan::{Write, plan, tidy};
use super::pool::Pool;
use super::watch::{News, watch_all};
use super::world::{Change, Kind, Options, World};
use super::write::{Failure, Planned, Writer};
use crate::control::KubernetesSpec;
use crate::source::ask::Ask;
use crate::source::moment::now_unix_ms;

/// News that may wait: a watch that is faster than we are waits.
const MOST_WAITING: usize = 4096;
/// Services that are written to at a time.
const MOST_WRITES: usize = 32;
/// First wait after a write that the API refused, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often claims are looked through.
const TIDY_EVERY: Duration = Duration::from_secs(10);
const CONNECT_AGAIN: Duration = Duration::from_secs(5);
/// Changes of this time are kept on disk together.
const KEEP_AFTER: Duration = Duration::from_secs(2);

/// How a cluster is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterState {
    /// Since when all of it is known.
    pub known_unix_ms: Option<u64>,
    /// When something was taken last; after a start, when the kept state was.
    pub taken_unix_ms: Option<u64>,
    /// Services of the cluster that are ours.
    pub ours: usize,
    /// Services of the desired state that were made of them.
    pub services: usize,
    /// It is this one that writes.
    pub leads: bool,
    /// Writes that the API did not take, by service.
    pub refused: BTreeMap<String, String>,
    /// What is in the way, by kind of object.
    pub problems: BTreeMap<String, String>,
}

/// What a cluster is followed with.
pub struct Cluster {
    /// Place among the feeds and clusters of the configuration.
    pub number: usize,
    /// How it is reached, and what is ours in it.
    pub spec: KubernetesSpec,
    /// A name that no other replica has.
    pub instance: String,
    /// Where deliveries go.
    pub asks: mpsc::Sender<Ask>,
    /// Seen by status.
    pub state: Arc<Mutex<ClusterState>>,
    /// Keeps what was taken on disk. May take a while.
    pub keep: Arc<dyn Fn(Kept) + Send + Sync>,
}

/// Follows a cluster until the receiver of deliveries is gone. `world` is what was kept of it.
pub async fn follow(cluster: Cluster, world: World) {
    // What was kept is served already.
    let deliveries = Deliveries::new(&world);
    let state = Following { world, deliveries, queue: Queue::default(), keep_at: None, cluster };
    let name = state.cluster.spec.name.clone();
    let client = loop {
        let spec = &state.cluster.spec;
        match connect(spec.kubeconfig.as_deref(), spec.context.as_deref()).await {
            Ok(client) => break client,
            Err(why) => {
                tracing::warn!(cluster = %name, why, "the cluster is not followed, its last state stays");
                state.note(|state| state.problems.insert("connection".to_string(), why));
            }
        }
        if state.cluster.asks.is_closed() {
            return;
        }
        sleep(CONNECT_AGAIN).await;
    };
    state.note(|state| state.problems.remove("connection"));
    tracing::info!(cluster = %name, "the cluster is followed");
    state.run(client).await;
}

/// What a service's writes have come to.
struct Done {
    key: Key,
    assumed: Vec<IpAddr>,
    changes: Vec<Change>,
    result: Result<(), Failure>,
}

/// Services that wait to be written to.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Key>,
    is_waiting: HashSet<Key>,
    under_way: HashSet<Key>,
    /// Became different while it was written to.
    again: HashSet<Key>,
    /// After a refusal: not before, and how long the next wait is.
    waits: HashMap<Key, (Instant, Duration)>,
}

impl Queue {
    fn push(&mut self, key: Key) {
        if self.under_way.contains(&key) {
            self.again.insert(key);
        } else if self.is_waiting.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    /// The next one whose time has come.
    fn pop(&mut self, now: Instant) -> Option<Key> {
        for _ in 0..self.waiting.len() {
            let key = self.waiting.pop_front()?;
            if self.waits.get(&key).is_some_and(|(at, _)| *at > now) {
                self.waiting.push_back(key);
                continue;
            }
            self.is_waiting.remove(&key);
            return Some(key);
        }
        None
    }

    fn done(&mut self, key: &Key) {
        self.under_way.remove(key);
        if self.again.remove(key) {
            self.push(key.clone());
        }
    }

    fn next_wait(&self) -> Option<Instant> {
        self.waits.iter().filter(|(key, _)| self.is_waiting.contains(*key)).map(|(_, w)| w.0).min()
    }
}

struct Following {
    cluster: Cluster,
    world: World,
    deliveries: Deliveries,
    queue: Queue,
    keep_at: Option<Instant>,
}

impl Following {
    fn note<T>(&self, change: impl FnOnce(&mut ClusterState) -> T) -> T {
        change(&mut self.cluster.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run(mut self, client: kube::Client) {
        let (news, mut told) = mpsc::channel(MOST_WAITING);
        let mut tasks = JoinSet::new();
        watch_all(&client, &news, &mut tasks);
        let begin = Instant::now();
        let leads_until = Arc::new(AtomicU64::new(0));
        let (spec, instance) = (&self.cluster.spec, &self.cluster.instance);
        tasks.spawn(elect(
            client.clone(),
            spec.clone(),
            instance.clone(),
            begin,
            leads_until.clone(),
        ));
        let writer = Writer::new(client, &spec.manager, instance);
        let (mut writes, mut tidying) = (JoinSet::<Done>::new(), JoinSet::<Vec<Change>>::new());
        let (mut led, mut tidy_at) = (false, Instant::now() + TIDY_EVERY);
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            // What is in the way of a write that waits is no reason to look again and again.
            let may_write =
                led && !self.world.is_listing() && self.queue.under_way.len() < MOST_WRITES;
            let retry = self.queue.next_wait().filter(|_| may_write);
            let wake =
                retry.into_iter().chain(self.keep_at).chain(self.deliveries.again_at()).min();
            tokio::select! {
                one = told.recv() => {
                    let Some(one) = one else { return };
                    self.take(one);
                    while let Ok(more) = told.try_recv() {
                        self.take(more);
                    }
                }
                taken = self.deliveries.done() => self.delivered(taken),
                Some(Ok(done)) = writes.join_next() => {
                    self.finish(done);
                    while let Some(Ok(done)) = writes.try_join_next() {
                        self.finish(done);
                    }
                }
                Some(Ok(changes)) = tidying.join_next() => {
                    changes.into_iter().for_each(|change| self.world.answer(change));
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                _ = look.tick() => {}
            }
            if self.cluster.asks.is_closed() {
                return;
            }
            let now = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            let leads = leads_until.load(Ordering::Relaxed) > now;
            if leads != led {
                led = leads;
                self.note(|state| state.leads = leads);
                tracing::info!(cluster = %self.cluster.spec.name, leads, "who writes has changed");
                self.world.all_are_dirty();
            }
            if !self.world.is_known() {
                continue;
            }
            self.deliver();
            let is_time = tidy_at <= Instant::now() && tidying.is_empty();
            if is_time {
                tidy_at = Instant::now() + TIDY_EVERY;
            }
            if leads && !self.world.is_listing() {
                self.start(&writer, &mut writes);
                if is_time {
                    tidy_at = tidy_at.min(self.tidy(&writer, &mut tidying));
                }
            }
            self.keep();
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Change(change) => self.world.apply(*change),
            News::Begin(kind) => self.world.begin_list(kind),
            News::Trouble(kind, problem) => self.trouble(kind, problem),
        }
    }

    fn trouble(&self, kind: Kind, problem: Option<String>) {
        let kind = match kind {
            Kind::Service => "services",
            Kind::Slice => "endpointslices",
            Kind::Node => "nodes",
            Kind::Pool => "addresspools",
            Kind::Claim => "addressclaims",
        };
        let before = self.note(|state| match problem.clone() {
            Some(problem) => state.problems.insert(kind.to_string(), problem),
            None => state.problems.remove(kind),
        });
        let cluster = &self.cluster.spec.name;
        match problem {
            Some(why) if before.as_ref() != Some(&why) => {
                tracing::warn!(%cluster, kind, why, "a watch is lost, its last state stays");
            }
            None if before.is_some() => tracing::info!(%cluster, kind, "watched again"),
            _ => {}
        }
    }

    /// What has changed goes into the desired state, and into the queue of those to be written to.
    fn deliver(&mut self) {
        let dirty = self.world.take_dirty();
        self.deliveries.push(&dirty);
        dirty.into_iter().for_each(|key| self.queue.push(key));
        let Cluster { asks, number, .. } = &self.cluster;
        self.deliveries.start(&self.world, asks, *number);
    }

    fn delivered(&mut self, taken: bool) {
        let now = now_unix_ms();
        if taken {
            self.keep_at.get_or_insert(Instant::now() + KEEP_AFTER);
        }
        let forms = self.deliveries.forms();
        let (ours, services) = (forms.ours(), forms.len());
        self.note(|state| {
            state.known_unix_ms.get_or_insert(now);
            if taken {
                state.taken_unix_ms = Some(now);
            }
            (state.ours, state.services) = (ours, services);
        });
    }

    fn start(&mut self, writer: &Writer, writes: &mut JoinSet<Done>) {
        let now = Instant::now();
        while self.queue.under_way.len() < MOST_WRITES {
            let Some(key) = self.queue.pop(now) else { return };
            let planned = plan(&self.world, &key);
            let service =
                self.world.service(&key).map(|service| Planned::of(&self.world, &key, service));
            let (Some(service), false) = (service, planned.is_empty()) else {
                self.queue.waits.remove(&key);
                self.note(|state| state.refused.remove(&key.to_string()));
                continue;
            };
            // The next service must not be given the same address.
            let mut assumed = vec![];
            for write in &planned {
                if let Write::Take(address, claim) = write
                    && claim.version.is_empty()
                {
                    self.world.apply(Change::Claim(*address, Some(claim.clone())));
                    assumed.push(*address);
                }
            }
            self.queue.under_way.insert(key.clone());
            let writer = writer.clone();
            writes.spawn(async move {
                let (changes, result) = writer.write(service, planned).await;
                Done { key, assumed, changes, result }
            });
        }
    }

    fn finish(&mut self, done: Done) {
        let Done { key, assumed, changes, result } = done;
        changes.into_iter().for_each(|change| self.world.answer(change));
        for address in assumed {
            // It was not taken after all.
            if self.world.claim(address).is_some_and(|claim| claim.version.is_empty()) {
                self.world.apply(Change::Claim(address, None));
            }
        }
        self.queue.done(&key);
        match result {
            Ok(()) => {
                self.queue.waits.remove(&key);
                self.note(|state| state.refused.remove(&key.to_string()));
            }
            Err(failure) => self.again(key, failure),
        }
    }

    /// A plan that met something else is made anew, at once or after a while.
    fn again(&mut self, key: Key, failure: Failure) {
        let (wait, next) = match &failure {
            Failure::Beaten => (Duration::from_millis(50), FIRST_WAIT),
            Failure::Refused(why) => {
                let cluster = &self.cluster.spec.name;
                let before = self.note(|state| state.refused.insert(key.to_string(), why.clone()));
                if before.as_ref() != Some(why) {
                    tracing::warn!(%cluster, service = %key, why, "the API did not take a write");
                }
                let wait = self.queue.waits.get(&key).map_or(FIRST_WAIT, |(_, next)| *next);
                (wait.mul_f64(rand::random_range(0.5..1.0)), (wait * 2).min(LONGEST_WAIT))
            }
        };
        self.queue.waits.insert(key.clone(), (Instant::now() + wait, next));
        self.queue.push(key);
    }

    /// Puts claims in order. Gives when the next one has to be.
    fn tidy(&self, writer: &Writer, tidying: &mut JoinSet<Vec<Change>>) -> Instant {
        let now_ms = now_unix_ms();
        let (found, next_ms) = tidy(&self.world, now_ms);
        let rest_ms = match found.len() > MOST_WRITES {
            true => Some(0),
            false => next_ms.map(|next| next.saturating_sub(now_ms)),
        };
        let next = Instant::now() + rest_ms.map_or(TIDY_EVERY, Duration::from_millis);
        let found: Vec<_> = found
            .into_iter()
            .take(MOST_WRITES)
            .filter_map(|(address, what)| Some((address, self.world.claim(address)?.clone(), what)))
            .collect();
        if found.is_empty() {
            return next;
        }
        let writer = writer.clone();
        tidying.spawn(async move {
            let mut all = vec![];
            for (address, claim, what) in found {
                let (changes, result) = writer.tidy(address, &claim, what).await;
                all.extend(changes);
                if let Err(Failure::Refused(why)) = result {
                    tracing::warn!(%address, why, "a claim could not be put in order");
                }
            }
            all
        });
        next
    }

    fn keep(&mut self) {
        if self.keep_at.is_some_and(|at| at <= Instant::now()) {
            self.keep_at = None;
            let kept = Kept::of(&self.world, now_unix_ms());
            let keep = self.cluster.keep.clone();
            tokio::task::spawn_blocking(move || keep(kept));
        }
    }
}

impl Options {
    /// What a configuration says. `is_one_of_several`: names have the cluster in front.
    ///
    /// # Errors
    /// What is wrong with a pool.
    pub fn of(spec: &KubernetesSpec, is_one_of_several: bool) -> Result<Options, String> {
        let pools: Result<Vec<_>, String> = spec.pools.iter().map(Pool::of).collect();
        Ok(Options {
            classes: spec.classes.iter().map(|class| Arc::from(class.as_str())).collect(),
            default: spec.default,
            manager: spec.manager.as_str().into(),
            pools: pools?,
            prefix: if is_one_of_several { format!("{}.", spec.name) } else { String::new() },
        })
    }
}
