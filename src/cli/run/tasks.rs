//! The tokio side: netlink, probes, file watch, signals, admin socket. All send events to the
//! control thread and hold nothing that packets wait for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::reload::Reloader;
use super::status::StatusContext;
use crate::admin::AdminSocket;
use crate::control::{DesiredState, Topology, retired_neighbours, wanted_neighbours};
use crate::forwarding::Snapshot;
use crate::health::{HealthEvent, ProbeTarget, Prober};
use crate::runtime::{Event, netlink};
use crate::source::yaml::watch::FileWatch;
use crate::wire::PortId;

type Wanted = BTreeSet<(PortId, Ipv4Addr)>;

/// Most probes under way at once; each takes a file descriptor.
const PROBES_AT_ONCE: usize = 512;

/// The control thread's ends: told after each step.
pub struct Hooks {
    wanted: watch::Sender<Wanted>,
    targets: watch::Sender<Arc<Vec<ProbeTarget>>>,
    context: Arc<StatusContext>,
}

/// The tasks' ends.
pub struct Outside {
    wanted: watch::Receiver<Wanted>,
    targets: watch::Receiver<Arc<Vec<ProbeTarget>>>,
}

/// Channels between control thread and tasks.
pub fn channels(topology: &Topology, context: Arc<StatusContext>) -> (Outside, Hooks) {
    let (wanted, wanted_seen) =
        watch::channel(wanted_neighbours(&DesiredState::default(), topology));
    let (targets, targets_seen) = watch::channel(Arc::default());
    let outside = Outside { wanted: wanted_seen, targets: targets_seen };
    (outside, Hooks { wanted, targets, context })
}

impl Hooks {
    /// Which stations have to be known and which backends probed, by what is wanted now.
    pub fn update(&self, desired: &DesiredState, topology: &Topology, snapshot: &Snapshot) {
        let mut wanted = wanted_neighbours(desired, topology);
        wanted.extend(retired_neighbours(snapshot, topology));
        self.wanted.send_if_modified(|now| {
            *now != wanted && {
                *now = wanted;
                true
            }
        });
        let targets = targets_of(desired);
        self.targets.send_if_modified(|now| {
            let is_new = **now != targets;
            if is_new {
                let is_probed = |service: &str, backend: &str| {
                    targets.iter().any(|t| &*t.service == service && &*t.backend == backend)
                };
                self.context.keep_health(is_probed);
                *now = Arc::new(targets);
            }
            is_new
        });
    }
}

fn targets_of(desired: &DesiredState) -> Vec<ProbeTarget> {
    let mut targets = vec![];
    for service in &desired.services {
        let Some(spec) = &service.health_check else { continue };
        let name: Arc<str> = Arc::from(service.name.as_str());
        for backend in &service.backends {
            let port = spec.port.unwrap_or(backend.port);
            targets.push(ProbeTarget {
                service: name.clone(),
                backend: Arc::from(backend.name.as_str()),
                socket: std::net::SocketAddrV4::new(backend.address, port),
                spec: spec.clone(),
            });
        }
    }
    targets
}

/// Runs all tasks until SIGTERM or SIGINT.
///
/// # Errors
/// A task that cannot be started.
pub fn run_until_signal(
    outside: Outside,
    admin: AdminSocket,
    reloader: Reloader,
    changes: FileWatch,
    context: Arc<StatusContext>,
    topology: Topology,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gw-tasks")
        .enable_all()
        .build()
        .context("the tokio runtime")?;
    runtime.block_on(async {
        let (topologies, topologies_seen) = watch::channel(topology);
        let interfaces = context.node.interfaces.clone();
        tokio::spawn(async move {
            let ended = netlink::watch_topology(interfaces, outside.wanted, topologies).await;
            tracing::error!(?ended, "routes and neighbours are no longer watched");
        });
        tokio::spawn(forward_topologies(topologies_seen.clone(), context.clone()));
        let (health, health_seen) = mpsc::channel(1024);
        let prober = Prober::new(rand::random(), PROBES_AT_ONCE);
        tokio::spawn(prober.run(outside.targets, health));
        tokio::spawn(forward_health(health_seen, context.clone()));
        let report = {
            let context = context.clone();
            Arc::new(move || context.report())
        };
        tokio::spawn(async move {
            if let Err(error) = admin.serve(report).await {
                tracing::error!(%error, "the admin socket is closed");
            }
        });
        tracing::info!(pid = std::process::id(), "guideway is running");
        watch_and_wait(reloader, changes, topologies_seen).await
    })
}

/// Reloads on SIGHUP and on changes of the file, until a signal ends it.
async fn watch_and_wait(
    mut reloader: Reloader,
    mut changes: FileWatch,
    topologies: watch::Receiver<Topology>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    loop {
        let why = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => "SIGHUP",
            () = changes.changed() => "the file changed",
        };
        let topology = topologies.borrow().clone();
        // Reading and compiling takes its time; signals wait for it, packets do not.
        let task = tokio::task::spawn_blocking(move || {
            reloader.reload(&topology, why);
            reloader
        });
        reloader = task.await.context("the reload panicked")?;
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

async fn forward_health(mut seen: mpsc::Receiver<HealthEvent>, context: Arc<StatusContext>) {
    while let Some(event) = seen.recv().await {
        let HealthEvent { service, backend, health, reason } = &event;
        tracing::info!(%service, %backend, ?health, reason, "health");
        context.note_health(&event);
        let HealthEvent { service, backend, health, .. } = event;
        if context.events.send(Event::Health { service, backend, health }).is_err() {
            return;
        }
    }
}
