//! A service's slots: Maglev over all its backends, a second choice for the unusable ones.

use std::sync::Arc;

use super::CompileInput;
use super::before::Before;
use super::plan::Planned;
use crate::forwarding::{BackendId, BackendState};
use crate::maglev::{Candidate, TableError, build, size_for, size_needed};

/// Slot -> backend, empty when none is usable.
///
/// The table is over all backends of a weight above 0. A slot of one that is draining by `drain` or
/// unhealthy goes to the owner of the same slot in a table over the usable ones, so no other slot
/// moves, and nodes that see health differently differ in those slots alone.
pub(super) fn slots(
    input: &CompileInput<'_>,
    before: &Before<'_>,
    planned: &Planned<'_>,
) -> Result<Arc<[BackendId]>, TableError> {
    let (mut candidates, mut ids, mut usable) = (Vec::new(), Vec::new(), Vec::new());
    for member in &planned.members {
        if member.spec.weight > 0 {
            candidates.push(Candidate { name: &member.spec.name, weight: member.spec.weight });
            ids.push(member.id);
            usable.push(member.state == BackendState::Active);
        }
    }
    if !usable.contains(&true) {
        return Ok([].into());
    }
    let size = table_size(planned);
    if let Some(slots) = unchanged(input, before, planned, size) {
        return Ok(slots);
    }
    let key = &input.cluster_key.0;
    let first = build(key, &candidates, size)?;
    if !usable.contains(&false) {
        return Ok(first.into_iter().map(|place| ids[place as usize]).collect());
    }
    // Weight 0 takes a candidate out and leaves the places of the others as they are.
    for (candidate, usable) in candidates.iter_mut().zip(&usable) {
        candidate.weight *= u16::from(*usable);
    }
    let second = build(key, &candidates, size)?;
    let choose = |(&first, &second): (&u32, &u32)| {
        ids[if usable[first as usize] { first } else { second } as usize]
    };
    Ok(first.iter().zip(&second).map(choose).collect())
}

fn table_size(planned: &Planned<'_>) -> u32 {
    let all = planned.members.iter();
    let candidates =
        all.map(|member| Candidate { name: &member.spec.name, weight: member.spec.weight });
    planned.spec.table_size.unwrap_or_else(|| size_for(size_needed(candidates)))
}

/// The previous table, if it was made from the same: key, size, and ids, weights and usability of
/// all backends that take part. The same id means the same name.
fn unchanged(
    input: &CompileInput<'_>,
    before: &Before<'_>,
    planned: &Planned<'_>,
    size: u32,
) -> Option<Arc<[BackendId]>> {
    let (index, old) = (planned.old?, &before.snapshot.services[planned.old?.index()]);
    if before.snapshot.cluster_key() != input.cluster_key || old.slots.len() != size as usize {
        return None;
    }
    let members = before.members(index).iter().filter_map(|&id| before.backend(id));
    let mut then: Vec<_> = members
        .filter(|backend| backend.weight > 0)
        .map(|backend| (backend.id, backend.weight, backend.state == BackendState::Active))
        .collect();
    then.sort_unstable();
    let mut now: Vec<_> = (planned.members.iter())
        .filter(|member| member.spec.weight > 0)
        .map(|member| (member.id, member.spec.weight, member.state == BackendState::Active))
        .collect();
    now.sort_unstable();
    (then == now).then(|| old.slots.clone())
}
