//! Health checks of a run: which backends are probed, how many at once, and who is told.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};

use super::status::StatusContext;
use crate::control::{BackendSpec, DesiredState, ServiceSpec};
use crate::health::{HealthEvent, ProbeTarget, Prober, TargetGroup};
use crate::runtime::Event;

/// Most probes under way at once; each takes a file descriptor.
const PROBES_AT_ONCE: u64 = 8_192;
/// Descriptors for all else: sockets of workers, netlink, status, files.
const OTHER_DESCRIPTORS: u64 = 512;

pub type Targets = Arc<Vec<TargetGroup>>;
/// Service and backend.
type Member = (Arc<str>, Arc<str>);

/// Who is probed, by service: a change costs what has changed, and not what all have.
#[derive(Default)]
pub struct Probed {
    desired: DesiredState,
    groups: HashMap<String, TargetGroup>,
}

impl Probed {
    /// Takes another state over. Who is probed now, and who is no longer; nothing: the same are as before.
    pub fn follow(&mut self, desired: &DesiredState) -> Option<(Targets, Vec<Member>)> {
        let before = std::mem::replace(&mut self.desired, desired.clone());
        let (gone, new) = desired.changes_since(&before);
        let mut old: HashMap<&str, TargetGroup> = HashMap::new();
        for service in gone {
            old.extend(self.groups.remove(&service.name).map(|group| (&*service.name, group)));
        }
        let (mut is_other, mut left) = (false, vec![]);
        for service in new {
            let Some(group) = group_of(service) else { continue };
            let before = old.remove(&*service.name);
            let group = match before {
                Some(before) if before == group => before,
                before => {
                    is_other = true;
                    left.extend(before.iter().flat_map(|before| left_of(before, &group)));
                    group
                }
            };
            self.groups.insert(service.name.clone(), group);
        }
        is_other |= !old.is_empty();
        left.extend(old.values().flat_map(|group| left_of(group, &[])));
        is_other.then(|| (Arc::new(self.groups.values().cloned().collect()), left))
    }
}

/// Members of one group that are not in another one.
fn left_of(group: &[ProbeTarget], other: &[ProbeTarget]) -> Vec<Member> {
    let stay: HashSet<&str> = other.iter().map(|target| &*target.backend).collect();
    let left = group.iter().filter(|target| !stay.contains(&*target.backend));
    left.map(|target| (target.service.clone(), target.backend.clone())).collect()
}

/// Who is probed of a service, and how.
fn group_of(service: &ServiceSpec) -> Option<TargetGroup> {
    let spec = Arc::new(service.health_check.clone()?);
    let name: Arc<str> = service.name.as_str().into();
    let target = |backend: &BackendSpec| {
        // Without a port those that differ in it share a check.
        let port = if spec.kind.has_ports() { spec.port.unwrap_or(backend.port) } else { 0 };
        ProbeTarget {
            service: name.clone(),
            backend: backend.name.as_str().into(),
            socket: SocketAddr::new(spec.probed.address_of(backend), port),
            spec: spec.clone(),
        }
    };
    Some(service.backends.iter().map(target).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{HealthCheckKind, HealthCheckSpec, Shared};

    fn service(name: &str, backends: &[&str], checked: bool) -> Shared<ServiceSpec> {
        let backend = |name: &&str| BackendSpec::new(*name, ([10, 2, 0, 1], 80).into());
        let backends = backends.iter().map(backend).collect();
        let mut spec = ServiceSpec::new(name, ([10, 1, 0, 1], 80).into(), backends);
        spec.health_check = checked.then(|| HealthCheckSpec::new(HealthCheckKind::TCP));
        spec.into()
    }

    fn told((targets, left): (Targets, Vec<Member>)) -> String {
        let names = targets.iter().flat_map(|group| group.iter());
        let mut names: Vec<_> = names.map(|t| format!("{}/{}", t.service, t.backend)).collect();
        names.sort();
        let left: Vec<_> =
            left.iter().map(|(service, backend)| format!("{service}/{backend}")).collect();
        format!("{} without {}", names.join(" "), left.join(" "))
    }

    #[test]
    fn who_is_probed_follows_what_has_changed() {
        let mut probed = Probed::default();
        let mut follow = |services: &[&Shared<ServiceSpec>]| {
            let services = services.iter().copied().cloned().collect();
            let state = DesiredState { services, ..DesiredState::default() };
            probed.follow(&state).map_or_else(|| "the same".to_string(), told)
        };
        let (web, dns) = (service("web", &["b1", "b2"], true), service("dns", &["b1"], true));
        assert_eq!(follow(&[&web]), "web/b1 web/b2 without ");
        assert_eq!(follow(&[&web]), "the same");
        assert_eq!(follow(&[&web, &dns]), "dns/b1 web/b1 web/b2 without ");
        let again = service("web", &["b1", "b2"], true);
        assert_eq!(follow(&[&again, &dns]), "the same", "made anew, and equal");
        let less = service("web", &["b2", "b3"], true);
        assert_eq!(follow(&[&less, &dns]), "dns/b1 web/b2 web/b3 without web/b1");
        let silent = service("web", &["b2", "b3"], false);
        assert_eq!(follow(&[&silent, &dns]), "dns/b1 without web/b2 web/b3");
        assert_eq!(follow(&[]), " without dns/b1");
    }
}
