//! What is no longer configured but still has flows.

use std::collections::{HashMap, HashSet};

use super::before::{Before, identity_of};
use super::plan::Plan;
use super::{CompileInput, Note};
use crate::forwarding::{Backend, BackendId, BackendState, ServiceIndex};

/// What stays of the previous snapshot beside what is configured.
pub(super) struct Kept {
    /// Backends that are no longer configured, those included that are kept as retired.
    pub left: Vec<BackendId>,
    /// Retired backends and the generation they were retired in.
    pub retired: Vec<(BackendId, u64)>,
    /// Places, in the previous snapshot, of removed services, and when they were removed.
    pub gone: Vec<(ServiceIndex, u64)>,
    /// Ids that must rest, see [`crate::forwarding::Ledger::cut`].
    pub cut: Vec<(BackendId, u64)>,
    pub notes: Vec<Note>,
}

/// A retired backend stays while a worker may have a flow of it; a removed service while one of its
/// backends stays, and not longer than `limits.service_gone_linger`; of too many retired backends
/// those that were retired first are cut.
pub(super) fn keep(input: &CompileInput<'_>, before: &Before<'_>, plan: &Plan<'_>) -> Kept {
    let lingering = Lingering::of(input, plan);
    let generation = input.previous.generation + 1;
    let still = |&&(id, since): &&(BackendId, u64)| !input.live.none_since(since, id);
    let mut kept = Kept {
        left: left(before, plan, &lingering),
        retired: vec![],
        gone: vec![],
        cut: input.previous.ledger().cut.iter().filter(still).copied().collect(),
        notes: vec![],
    };
    for backend in kept.left.clone().into_iter().filter_map(|id| before.backend(id)) {
        let retired = backend.state == BackendState::Retired;
        let since = if retired { backend.retired_in } else { generation };
        if retired && input.live.none_since(since, backend.id) {
            continue;
        }
        if lingering.over.contains(&backend.service) {
            kept.cut_backend(input, backend, "limits.service_gone_linger is over");
        } else {
            kept.retired.push((backend.id, since));
        }
    }
    kept.retired.sort_by_key(|&(id, since)| (since, id));
    let too_many = kept.retired.len().saturating_sub(input.limits.retired_backends);
    for (id, _) in kept.retired.drain(..too_many).collect::<Vec<_>>() {
        if let Some(backend) = before.backend(id) {
            kept.cut_backend(input, backend, "limits.retired_backends is reached");
        }
    }
    kept.gone = lingering.with_backends(input, &kept.retired);
    kept
}

/// Backends of the previous snapshot that no wanted service has any more, by id. Services that are not
/// looked at have all that they had.
fn left(before: &Before<'_>, plan: &Plan<'_>, lingering: &Lingering) -> Vec<BackendId> {
    let claimed = plan.claimed();
    let changed = plan.services.iter().filter_map(|planned| planned.old);
    let removed = lingering.since_ms.keys().copied();
    let members = changed.chain(removed).flat_map(|place| before.members(place));
    let all = members.chain(&before.memory.retired).copied();
    let mut left: Vec<BackendId> = all.filter(|id| !claimed.contains(id)).collect();
    left.sort_unstable();
    left
}

impl Kept {
    fn cut_backend(&mut self, input: &CompileInput<'_>, backend: &Backend, limit: &'static str) {
        let service = &input.previous.services[backend.service.index()].name;
        self.cut.push((backend.id, input.previous.generation + 1));
        self.notes.push(Note::RetiredCut {
            service: service.to_string(),
            backend: backend.name.to_string(),
            flows: input.live.of(backend.id),
            limit,
        });
    }
}

/// Services of the previous snapshot that are not configured.
struct Lingering {
    /// Since when; those that go just now stand with the present time.
    since_ms: HashMap<ServiceIndex, u64>,
    /// Those whose flows had the time to be told.
    over: HashSet<ServiceIndex>,
}

impl Lingering {
    fn of(input: &CompileInput<'_>, plan: &Plan<'_>) -> Lingering {
        let known: HashMap<ServiceIndex, u64> =
            input.previous.ledger().gone_since_ms.iter().copied().collect();
        let linger_ms = u64::from(input.limits.service_gone_linger_ms);
        let mut lingering = Lingering { since_ms: HashMap::new(), over: HashSet::new() };
        for index in (0..input.previous.services.len() as u32).map(ServiceIndex) {
            if plan.is_wanted(index) {
                continue;
            }
            let since_ms = known.get(&index).copied();
            lingering.since_ms.insert(index, since_ms.unwrap_or(input.now_ms));
            // Never in the step it is removed in: workers still make flows of it.
            if since_ms.is_some_and(|since| input.now_ms.saturating_sub(since) >= linger_ms) {
                lingering.over.insert(index);
            }
        }
        lingering
    }

    /// The removed services that have one of these backends, in the order of the previous snapshot.
    fn with_backends(
        &self,
        input: &CompileInput<'_>,
        retired: &[(BackendId, u64)],
    ) -> Vec<(ServiceIndex, u64)> {
        let services =
            retired.iter().filter_map(|&(id, _)| Some(input.previous.backend(id)?.service));
        let mut gone: Vec<(ServiceIndex, u64)> =
            services.filter_map(|service| Some((service, *self.since_ms.get(&service)?))).collect();
        gone.sort_by_key(|&(service, _)| {
            let old = &input.previous.services[service.index()];
            (old.name.clone(), identity_of(old))
        });
        gone.dedup();
        gone
    }
}
