//! The tokio side: netlink, probes, file watch, signals, admin socket. All send events to the
//! control thread and hold nothing that packets wait for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::alive::{keep_told, pages};
use super::clusters::Clusters;
use super::ending;
use super::feeds::{Feeds, MOST_WAITING};
use super::notify::Notifier;
use super::probes::{Probed, Targets, run_probes};
use super::reload::{HANG_UP, Reloader};
use super::status::StatusContext;
use crate::admin::{
    AdminSocket, Answers, ChangeReport, DrainError, HttpListener, Pages, StopReport,
};
use crate::announce::{WantedGroup, groups_of, keep_groups};
use crate::cli::moment::now_unix_ms;
use crate::control::{
    DesiredState, InterfaceSpec, NeighbourList, Topology, WantedNeighbour, wanted_neighbours,
};
use crate::forwarding::Snapshot;
use crate::runtime::{Event, Seldom, netlink, privileges};
use crate::source;
use crate::source::yaml::watch::FileWatch;

type Wanted = BTreeSet<WantedNeighbour>;

/// How often threads are looked after, and how long what broke rests before it is begun anew.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The control thread's ends: told after each step.
pub struct Hooks {
    wanted: watch::Sender<Wanted>,
    targets: watch::Sender<Targets>,
    groups: watch::Sender<BTreeSet<WantedGroup>>,
    context: Arc<StatusContext>,
    neighbours: NeighbourList,
    /// What probes were told of last.
    probed: Probed,
    /// How often it is told what the XDP programs' tables have no room for.
    pub steer_refused: Seldom,
}

/// The tasks' ends.
pub struct Outside {
    wanted: watch::Receiver<Wanted>,
    targets: watch::Receiver<Targets>,
    groups: watch::Receiver<BTreeSet<WantedGroup>>,
}

/// Channels between control thread and tasks.
pub fn channels(topology: &Topology, context: Arc<StatusContext>) -> (Outside, Hooks) {
    let (wanted, wanted_seen) =
        watch::channel(wanted_neighbours(&DesiredState::default(), topology));
    let (targets, targets_seen) = watch::channel(Arc::default());
    let (groups, groups_seen) = watch::channel(BTreeSet::new());
    let outside = Outside { wanted: wanted_seen, targets: targets_seen, groups: groups_seen };
    let (neighbours, probed) = (NeighbourList::default(), Probed::default());
    let steer_refused = Seldom::new(10_000);
    (outside, Hooks { wanted, targets, groups, context, neighbours, probed, steer_refused })
}

impl Hooks {
    /// Which stations have to be known, and where neighbours ask for ours, by what is wanted now.
    pub fn update(&mut self, desired: &DesiredState, topology: &Topology, snapshot: &Snapshot) {
        if let Some(wanted) = self.neighbours.follow(desired, topology, snapshot) {
            set(&self.wanted, wanted);
        }
        set(&self.groups, groups_of(snapshot));
    }

    /// Which backends are probed, when another desired state was taken over.
    pub fn update_probes(&mut self, desired: &DesiredState) {
        if let Some((targets, left)) = self.probed.follow(desired) {
            self.context.forget_health(&left);
            self.targets.send_replace(targets);
        }
    }
}

/// Tells only what is new.
fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|now| {
        *now != value && {
            *now = value;
            true
        }
    });
}

/// Where tasks run, and the signals that are waited for. Made before anything that a signal would
/// leave half done: until it is there, each of them ends the process on the spot.
pub struct Tasks {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Tasks {
    /// Begins to hear signals.
    ///
    /// # Errors
    /// When the system gives no thread or no signal.
    pub fn new() -> anyhow::Result<Tasks> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gw-tasks")
            .on_thread_start(give_up_privileges)
            .enable_all()
            .build()
            .context("the tokio runtime")?;
        let entered = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
            hang_up: signal(SignalKind::hangup()).context("SIGHUP")?,
        };
        drop(entered);
        Ok(Tasks { runtime, signals })
    }

    /// Has a helper thread do something: threads that come of it have its privileges, and not those
    /// that the start alone needs.
    ///
    /// # Errors
    /// When it panicked.
    pub fn by_a_helper<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        self.runtime.block_on(self.runtime.spawn_blocking(work)).context("a helper thread")
    }
}

/// What tasks work with.
pub struct Parts {
    pub outside: Outside,
    pub admin: AdminSocket,
    pub http: Option<HttpListener>,
    pub reloader: Reloader,
    /// Who tells that the configuration has changed.
    pub told: (FileWatch, Feeds, Clusters),
    pub context: Arc<StatusContext>,
    pub topology: Topology,
    pub notifier: Arc<Notifier>,
}

/// Runs all tasks until SIGTERM or SIGINT. `check` is asked every second whether all threads run.
///
/// # Errors
/// What `check` says, or a reload that panicked.
pub fn run_until_signal(
    tasks: Tasks,
    parts: Parts,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Tasks { runtime, signals } = tasks;
    let Parts { outside, admin, http, reloader, told, context, topology, notifier } = parts;
    let (changes, feeds, clusters) = told;
    runtime.block_on(async {
        let (topologies, topologies_seen) = watch::channel(topology);
        let interfaces = context.node.interfaces.clone();
        tokio::spawn(follow_kernel(interfaces, outside.wanted, topologies));
        tokio::spawn(keep_groups(outside.groups, topologies_seen.clone()));
        tokio::spawn(forward_topologies(topologies_seen.clone(), context.clone()));
        tokio::spawn(run_probes(outside.targets, context.clone()));
        let (deliver, delivered) = mpsc::channel(MOST_WAITING);
        feeds.follow(&context, &deliver);
        clusters.follow(&deliver);
        tokio::spawn(keep_told(notifier.clone(), context.clone()));
        let pages = context.node.http.map(|http| pages(context.clone(), http));
        if let Some((http, pages)) = http.zip(pages) {
            tokio::spawn(serve_http(http, pages));
        }
        let (asked, asks) = mpsc::channel(8);
        tokio::spawn(serve_admin(admin, answers(context.clone(), asked)));
        tracing::info!(pid = std::process::id(), "guideway is running");
        let threads = async {
            loop {
                sleep(CHECK_EVERY).await;
                check()?;
            }
        };
        let topologies = topologies_seen;
        let watched = Watched { signals, changes, asks, delivered, topologies };
        let ended = tokio::select! {
            ended = watch_and_wait(watched, reloader, notifier.clone()) => ended,
            failed = threads => failed,
        };
        notifier.stopping();
        ended
    })
}

/// What the admin socket is answered by. Changes, drains and the end go to the task that reloads.
fn answers(context: Arc<StatusContext>, asked: mpsc::Sender<Ask>) -> Answers {
    let (to_drain, to_stop) = (asked.clone(), asked.clone());
    let of_clusters = context.clone();
    let refused = || Some(STOPPING.to_string());
    let change = move |request| {
        let done = ask(&asked, move |reloader, topology| reloader.change(request, topology));
        done.unwrap_or_else(|| ChangeReport { refused: refused(), ..ChangeReport::default() })
    };
    let drain = move |request| {
        let done = ask(&to_drain, move |reloader, _| reloader.drain(request));
        done.unwrap_or_else(|| Err(DrainError::Failed(STOPPING.to_string())))
    };
    let stop = move |request| {
        let done = ask(&to_stop, move |reloader, _| reloader.begin_end(request));
        done.unwrap_or_else(|| StopReport { refused: refused(), stopping: None })
    };
    Answers {
        data_plane: context.clone(),
        kubernetes: Arc::new(move || of_clusters.kubernetes()),
        status: Arc::new(move || context.report()),
        change: Arc::new(change),
        drain: Arc::new(drain),
        stop: Arc::new(stop),
    }
}

async fn serve_admin(admin: AdminSocket, answers: Answers) {
    if let Err(error) = admin.serve(answers).await {
        tracing::error!(%error, "the admin socket is closed");
    }
}

async fn serve_http(http: HttpListener, pages: Pages) {
    if let Err(error) = http.serve(pages).await {
        tracing::error!(%error, "HTTP is closed");
    }
}

/// Helper threads need less than the start does, and are there before it.
fn give_up_privileges() {
    if let Err(error) = privileges::keep_only(privileges::CONTROL) {
        tracing::warn!(%error, "a helper thread keeps its privileges");
    }
}

/// Watches routes and neighbours for ever: what breaks is begun anew.
async fn follow_kernel(
    interfaces: Vec<InterfaceSpec>,
    wanted: watch::Receiver<Wanted>,
    topologies: watch::Sender<Topology>,
) {
    loop {
        let (wanted, topologies) = (wanted.clone(), topologies.clone());
        match netlink::watch_topology(interfaces.clone(), wanted, topologies).await {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, "watching routes and neighbours begins anew"),
        }
        sleep(CHECK_EVERY).await;
    }
}

/// Something that is done with the configuration, between two reloads.
type Ask = Box<dyn FnOnce(&mut Reloader, &Topology) + Send>;

/// What is answered when nobody is there to do it.
const STOPPING: &str = "Guideway is stopping";

/// Has the task that reloads do something, and waits for it. Nothing: Guideway is stopping.
fn ask<T: Send + 'static>(
    asked: &mpsc::Sender<Ask>,
    work: impl FnOnce(&mut Reloader, &Topology) -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let work = Box::new(move |reloader: &mut Reloader, topology: &Topology| {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(work(reloader, topology));
    });
    asked.blocking_send(work).ok()?;
    answered.blocking_recv().ok()
}

/// What the task that reloads waits for.
struct Watched {
    signals: Signals,
    changes: FileWatch,
    asks: mpsc::Receiver<Ask>,
    delivered: mpsc::Receiver<source::ask::Ask>,
    topologies: watch::Receiver<Topology>,
}

/// Reloads on SIGHUP and on changes of the file, and changes it when asked, until a signal ends it, or
/// the flows are over of one that is to end.
async fn watch_and_wait(
    watched: Watched,
    mut reloader: Reloader,
    notifier: Arc<Notifier>,
) -> anyhow::Result<()> {
    let Watched { signals, mut changes, mut asks, mut delivered, topologies } = watched;
    let Signals { mut terminate, mut interrupt, mut hang_up } = signals;
    let context = reloader.context.clone();
    let mut seconds = interval(CHECK_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let cause = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = ending::over(&context, &notifier) => return Ok(()),
            _ = hang_up.recv() => Cause::Reload(HANG_UP),
            () = changes.changed() => Cause::Reload("the file changed"),
            Some(ask) = asks.recv() => Cause::Ask(ask),
            Some(ask) = delivered.recv() => Cause::Feed(ask),
            _ = seconds.tick() => match reloader.is_drain_over(now_unix_ms()) {
                true => Cause::Ask(Box::new(|reloader, _| reloader.end_drains(now_unix_ms()))),
                false => continue,
            },
        };
        let topology = topologies.borrow().clone();
        let notifier = notifier.clone();
        // Reading and compiling takes its time; signals wait for it, packets do not.
        let task = tokio::task::spawn_blocking(move || {
            reloader.act(cause, &topology, &notifier);
            reloader
        });
        reloader = task.await.context("the reload panicked")?;
    }
}

/// What a reload is for.
enum Cause {
    Reload(&'static str),
    Ask(Ask),
    Feed(source::ask::Ask),
}

impl Reloader {
    fn act(&mut self, cause: Cause, topology: &Topology, notifier: &Notifier) {
        match cause {
            Cause::Reload(why) => {
                notifier.reloading();
                self.reload(topology, why);
                notifier.ready(&self.context.in_short());
            }
            Cause::Feed(ask) => self.take_feed(ask, topology),
            Cause::Ask(work) => work(self, topology),
        }
    }
}

async fn forward_topologies(mut seen: watch::Receiver<Topology>, context: Arc<StatusContext>) {
    while seen.changed().await.is_ok() {
        let topology = Box::new(seen.borrow_and_update().clone());
        if context.events.send(Event::Topology(topology)).is_err() {
            return;
        }
    }
}
