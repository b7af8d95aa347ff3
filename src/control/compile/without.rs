//! What a service's table would be if a backend were not in the configuration any more.

use super::before::Memory;
use super::tables::choose;
use super::warm::FULL;
use crate::forwarding::{Backend, BackendId, BackendState, ServiceIndex, Snapshot};
use crate::maglev::Candidate;

/// The slots of a service of this snapshot without the backend of this name, as many as it has now,
/// empty when no usable backend would be left; none when it has no such backend, or only a removed
/// one. As if all slow starts were over.
pub fn slots_without(
    snapshot: &Snapshot,
    service: ServiceIndex,
    name: &str,
) -> Option<Vec<BackendId>> {
    let all = snapshot.backends.iter().flatten();
    let mut members: Vec<&Backend> =
        all.filter(|backend| backend.service == service && !backend.is_retired()).collect();
    let count = members.len();
    members.retain(|backend| *backend.name != *name);
    if members.len() == count {
        return None;
    }
    members.retain(|backend| backend.weight > 0);
    let memory = snapshot.origin().get::<Memory>();
    let spec = memory.and_then(|memory| memory.spec(service));
    let is_backup = |backend: &Backend| {
        spec.is_some_and(|spec| spec.backends.iter().any(|b| b.backup && *b.name == *backend.name))
    };
    let is_usable =
        |backend: &Backend| matches!(backend.state, BackendState::Active | BackendState::Standby);
    let backups = !members.iter().any(|backend| is_usable(backend) && !is_backup(backend));
    members.retain(|backend| is_backup(backend) == backups);
    if !members.iter().any(|backend| is_usable(backend)) {
        return Some(Vec::new());
    }
    let warmth: Vec<u8> =
        members.iter().map(|backend| if is_usable(backend) { FULL } else { 0 }).collect();
    let candidates: Vec<_> =
        members.iter().map(|b| Candidate { name: &b.name, weight: b.weight }).collect();
    let size = snapshot.services.get(service.index())?.slots.len() as u32;
    // A table of fewer candidates fits where one of more did.
    let places = choose(&snapshot.cluster_key().0, &candidates, &warmth, size).unwrap_or_default();
    Some(places.into_iter().map(|place| members[place as usize].id).collect())
}
