//! Follows a cluster for ever: watches, delivers what is to be served, and writes while it is the one
//! that writes. Whatever happens to the API, what was delivered last stays.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::connect;
use super::deliver::Deliveries;
use super::elect::elect;
use super::keep::Kept;
use super::objects::Key;
use super::plan::{Write, plan, tidy};
use super::pool::Pool;
use super::queue::Queue;
use super::state::{ClusterState, Question};
use super::usage::{untold, usages};
use super::view::views;
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
/// How often claims are looked through.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How often pools are counted while something of them changes.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What is written there, as its role has it.
const POOL_STATUS: &str = "addresspools/status";
const CONNECT_AGAIN: Duration = Duration::from_secs(5);
/// Changes of this time are kept on disk together.
const KEEP_AFTER: Duration = Duration::from_secs(2);

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

/// Follows a cluster until the receiver of deliveries is gone. `world` is what was kept of it; `questions`
/// are answered between two changes.
pub async fn follow(cluster: Cluster, world: World, mut questions: mpsc::Receiver<Question>) {
    // What was kept is served already.
    let deliveries = Deliveries::new(&world);
    let state = Following {
        world,
        deliveries,
        queue: Queue::default(),
        keep_at: None,
        is_to_count: true,
        cluster,
    };
    let name = state.cluster.spec.name.clone();
    let client = loop {
        let spec = &state.cluster.spec;
        match connect(spec.kubeconfig.as_deref(), spec.context.as_deref()).await {
            Ok(client) => break client,
            Err(why) => {
                tracing::warn!(cluster = %name, why, "the cluster is not followed, its last state stays");
                state.note(|state| state.problem("connection", Some(&why), now_unix_ms()));
            }
        }
        if state.cluster.asks.is_closed() {
            return;
        }
        state.answer_for(&mut questions, CONNECT_AGAIN).await;
    };
    state.note(|state| state.problem("connection", None, now_unix_ms()));
    tracing::info!(cluster = %name, "the cluster is followed");
    state.run(client, questions).await;
}

/// What a service's writes have come to.
struct Done {
    key: Key,
    assumed: Vec<IpAddr>,
    changes: Vec<Change>,
    result: Result<(), Failure>,
}

/// What the one that writes has under way.
struct Work {
    writer: Writer,
    writes: JoinSet<Done>,
    tidying: JoinSet<Vec<Change>>,
    tidy_at: Instant,
    telling: JoinSet<Vec<Result<Change, String>>>,
    count_at: Instant,
}

impl Work {
    fn new(writer: Writer) -> Work {
        let (tidy_at, count_at) = (Instant::now() + TIDY_EVERY, Instant::now());
        let (writes, tidying, telling) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        Work { writer, writes, tidying, tidy_at, telling, count_at }
    }
}

struct Following {
    cluster: Cluster,
    world: World,
    deliveries: Deliveries,
    queue: Queue,
    keep_at: Option<Instant>,
    /// Claims or pools are others than those that were counted.
    is_to_count: bool,
}

impl Following {
    fn note<T>(&self, change: impl FnOnce(&mut ClusterState) -> T) -> T {
        change(&mut self.cluster.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what each service is like. Whoever asked may have stopped waiting.
    fn answer(&self, question: &Question) {
        let _ = question.try_send(views(&self.world));
    }

    async fn answer_for(&self, questions: &mut mpsc::Receiver<Question>, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(question) = questions.recv() => self.answer(&question),
            }
        }
    }

    async fn run(mut self, client: kube::Client, mut questions: mpsc::Receiver<Question>) {
        let (news, mut told) = mpsc::channel(MOST_WAITING);
        let mut tasks = JoinSet::new();
        watch_all(&client, &news, &mut tasks);
        let begin = Instant::now();
        let leads_until = Arc::new(AtomicU64::new(0));
        tasks.spawn(self.elect(client.clone(), begin, leads_until.clone()));
        let spec = &self.cluster.spec;
        let writer = Writer::new(client, &spec.manager, &self.cluster.instance);
        let mut work = Work::new(writer);
        let mut led = false;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            // What is in the way of a write that waits is no reason to look again and again.
            let may_write = led && !self.world.is_listing() && self.queue.under_way() < MOST_WRITES;
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
                Some(Ok(done)) = work.writes.join_next() => {
                    self.finish(done);
                    while let Some(Ok(done)) = work.writes.try_join_next() {
                        self.finish(done);
                    }
                }
                Some(Ok(changes)) = work.tidying.join_next() => {
                    changes.into_iter().for_each(|change| self.answered(change));
                }
                Some(Ok(answers)) = work.telling.join_next() => self.pools_told(answers),
                Some(question) = questions.recv() => self.answer(&question),
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
            if self.world.is_known() {
                self.deliver();
                self.work(leads, &mut work);
                self.keep();
            }
        }
    }

    fn elect(
        &self,
        client: kube::Client,
        begin: Instant,
        until: Arc<AtomicU64>,
    ) -> impl Future<Output = ()> + use<> {
        let Cluster { spec, instance, state, .. } = &self.cluster;
        let state = state.clone();
        let tell = move |problem: Option<&str>| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.problem("lease", problem, now_unix_ms())
        };
        elect(client, spec.clone(), instance.clone(), (begin, until), tell)
    }

    /// What the one that writes has to do, and what is due from time to time.
    fn work(&mut self, leads: bool, work: &mut Work) {
        let is_time = work.tidy_at <= Instant::now() && work.tidying.is_empty();
        if is_time {
            work.tidy_at = Instant::now() + TIDY_EVERY;
            // What was not taken, or what another one had to write, may have to be told now.
            self.is_to_count = true;
        }
        self.count(leads, work);
        if leads && !self.world.is_listing() {
            self.start(&work.writer, &mut work.writes);
            if is_time {
                let next = self.tidy(&work.writer, &mut work.tidying);
                work.tidy_at = work.tidy_at.min(next);
            }
        }
    }

    fn apply(&mut self, change: Change) {
        self.is_to_count |= is_counted(&change);
        self.world.apply(change);
    }

    /// What a write was answered.
    fn answered(&mut self, change: Change) {
        self.is_to_count |= is_counted(&change);
        self.world.answer(change);
    }

    /// Counts the addresses of pools, at most once a second; the one that writes tells it to the cluster.
    fn count(&mut self, leads: bool, work: &mut Work) {
        if !self.is_to_count || work.count_at > Instant::now() || !work.telling.is_empty() {
            return;
        }
        (self.is_to_count, work.count_at) = (false, Instant::now() + COUNT_EVERY);
        let pools = usages(&self.world);
        let untold = untold(&self.world, &pools);
        self.note(|state| state.pools = pools);
        if !leads || untold.is_empty() {
            self.note(|state| state.problem(POOL_STATUS, None, now_unix_ms()));
            return;
        }
        let writer = work.writer.clone();
        work.telling.spawn(async move {
            let mut all = vec![];
            for (name, usage) in untold {
                all.push(writer.pool_status(name, usage).await);
            }
            all
        });
    }

    fn pools_told(&mut self, told: Vec<Result<Change, String>>) {
        let why = told.iter().find_map(|told| told.as_ref().err().cloned());
        told.into_iter().flatten().for_each(|change| self.world.apply(change));
        let is_new = self.note(|state| state.problem(POOL_STATUS, why.as_deref(), now_unix_ms()));
        if let Some(why) = why.filter(|_| is_new) {
            let cluster = &self.cluster.spec.name;
            tracing::warn!(%cluster, why, "the status of a pool could not be written");
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Change(change) => self.apply(*change),
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
        let is_new = self.note(|state| state.problem(kind, problem.as_deref(), now_unix_ms()));
        let cluster = &self.cluster.spec.name;
        match problem {
            Some(why) if is_new => {
                tracing::warn!(%cluster, kind, why, "a watch is lost, its last state stays");
            }
            None if is_new => tracing::info!(%cluster, kind, "watched again"),
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

    fn start(&mut self, writer: &Writer, under_way: &mut JoinSet<Done>) {
        let now = Instant::now();
        while self.queue.under_way() < MOST_WRITES {
            let Some(key) = self.queue.pop(now) else { return };
            let writes = plan(&self.world, &key);
            let service = self.world.service(&key).filter(|_| !writes.is_empty());
            let Some(service) = service else {
                self.is_well(&key);
                continue;
            };
            let planned = Planned::of(&self.world, &key, service);
            // The next service must not be given the same address.
            let mut assumed = vec![];
            for write in &writes {
                if let Write::Take(address, claim) = write
                    && claim.version.is_empty()
                {
                    self.world.apply(Change::Claim(*address, Some(claim.clone())));
                    assumed.push(*address);
                }
            }
            self.queue.begin(key.clone());
            let writer = writer.clone();
            under_way.spawn(async move {
                let (changes, result) = writer.write(planned, writes).await;
                Done { key, assumed, changes, result }
            });
        }
    }

    fn finish(&mut self, done: Done) {
        let Done { key, assumed, changes, result } = done;
        changes.into_iter().for_each(|change| self.answered(change));
        for address in assumed {
            // It was not taken after all.
            if self.world.claim(address).is_some_and(|claim| claim.version.is_empty()) {
                self.world.apply(Change::Claim(address, None));
            }
        }
        self.queue.done(&key);
        match result {
            Ok(()) => self.is_well(&key),
            Err(failure) => self.again(key, &failure),
        }
    }

    fn is_well(&mut self, key: &Key) {
        self.queue.is_well(key);
        self.note(|state| state.refused.remove(&key.to_string()));
    }

    /// A plan that met something else is made anew, at once or after a while.
    fn again(&mut self, key: Key, failure: &Failure) {
        if let Failure::Refused(why) = failure {
            let cluster = &self.cluster.spec.name;
            if self.note(|state| state.refuse(key.to_string(), why, now_unix_ms())) {
                tracing::warn!(%cluster, service = %key, why, "the API did not take a write");
            }
        }
        self.queue.again(key, matches!(failure, Failure::Refused(_)), Instant::now());
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

/// Has it to do with how many addresses of a pool are in use?
fn is_counted(change: &Change) -> bool {
    !matches!(change, Change::Service(..) | Change::Slice(..) | Change::Node(..))
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
