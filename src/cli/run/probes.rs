//! Health checks of a run: which backends are probed, how many at once, and who is told.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};

use super::status::StatusContext;
use crate::control::DesiredState;
use crate::health::{HealthEvent, ProbeTarget, Prober};
use crate::runtime::Event;

/// Most probes under way at once; each takes a file descriptor.
const PROBES_AT_ONCE: u64 = 8_192;
/// Descriptors for all else: sockets of workers, netlink, status, files.
const OTHER_DESCRIPTORS: u64 = 512;

pub type Targets = Arc<Vec<ProbeTarget>>;

/// Who is probed, and how.
pub fn targets_of(desired: &DesiredState) -> Vec<ProbeTarget> {
    let mut targets = vec![];
    for service in &desired.services {
        let Some(spec) = &service.health_check else { continue };
        let (name, spec): (Arc<str>, _) = (service.name.as_str().into(), Arc::new(spec.clone()));
        for backend in &service.backends {
            // Without a port those that differ in it share a check.
            let port = if spec.kind.has_ports() { spec.port.unwrap_or(backend.port) } else { 0 };
            targets.push(ProbeTarget {
                service: name.clone(),
                backend: backend.name.as_str().into(),
                socket: SocketAddr::new(spec.probed.address_of(backend), port),
                spec: spec.clone(),
            });
        }
    }
    targets
}

/// Probes for ever.
pub async fn run_probes(targets: watch::Receiver<Targets>, context: Arc<StatusContext>) {
    let (events, seen) = mpsc::channel(1024);
    tokio::spawn(forward_health(seen, context));
    let prober = Prober::new(rand::random(), probes_at_once());
    if let Err(error) = prober.run(targets, events).await {
        tracing::error!(%error, "no health checks: all backends count as they were");
    }
}

/// As many as there may be descriptors for: the limit is raised as far as it goes.
fn probes_at_once() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = (PROBES_AT_ONCE + OTHER_DESCRIPTORS).min(most);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < wanted {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current = wanted,
            Err(error) => tracing::warn!(%error, current, wanted, "limit of open files"),
        }
    }
    let free = current.saturating_sub(OTHER_DESCRIPTORS).max(current / 2);
    usize::try_from(free.min(PROBES_AT_ONCE)).unwrap_or(1)
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
