//! A service's slots: Maglev over all its backends, a second choice for the unusable ones.

use std::sync::Arc;

use super::CompileInput;
use super::before::Before;
use super::plan::{Member, Planned};
use super::warm::{FULL, Warming};
use crate::control::ServiceSpec;
use crate::forwarding::{BackendId, BackendState};
use crate::maglev::{Candidate, TableError, build, size_for, size_needed};

/// Slot -> backend, empty when none is usable.
///
/// The table is over all backends of a weight above 0 of those in use: the backups, or the others. A
/// slot of one that is draining by `drain` or unhealthy goes to the owner of the same slot in a table
/// over the usable ones, so no other slot moves, and nodes that see health differently differ in those
/// slots alone. So do slots of a backend that has not its full share yet: it keeps one after the other
/// of its own.
pub(super) fn slots(
    (input, before, warming): (&CompileInput<'_>, &Before<'_>, &Warming),
    planned: &Planned<'_>,
) -> Result<Arc<[BackendId]>, TableError> {
    let is_in = |member: &&Member<'_>| {
        member.spec.weight > 0 && member.spec.backup == planned.chosen.backups
    };
    let members: Vec<&Member<'_>> = planned.members.iter().filter(is_in).collect();
    let is_usable = |member: &Member<'_>| member.state == BackendState::Active;
    if !members.iter().any(|member| is_usable(member)) {
        return Ok([].into());
    }
    let size = table_size(planned);
    let is_as_it_was = !planned.members.iter().any(|m| m.warmth < FULL || warming.knows(m.id));
    if is_as_it_was && let Some(slots) = unchanged(input, before, planned, size) {
        return Ok(slots);
    }
    let candidates: Vec<Candidate<'_>> = (members.iter())
        .map(|member| Candidate { name: &member.spec.name, weight: member.spec.weight })
        .collect();
    // With nobody at full share each has all of its own.
    let is_full = |member: &&&Member<'_>| is_usable(member) && member.warmth >= FULL;
    let some_full = members.iter().any(|member| is_full(&member));
    let warmth_of = |member: &&Member<'_>| match (is_usable(member), some_full) {
        (false, _) => 0,
        (true, false) => FULL,
        (true, true) => member.warmth,
    };
    let warmth: Vec<u8> = members.iter().map(warmth_of).collect();
    let places = choose(&input.cluster_key.0, &candidates, &warmth, size)?;
    Ok(places.into_iter().map(|place| members[place as usize].id).collect())
}

/// Whose each of `size` slots is, as places in `candidates`, of which `warmth` says how much of its
/// share each may have, up to [`FULL`]: the owner in a table over all, or the one in a table over those
/// with all of their share.
///
/// # Errors
/// See [`build`].
pub fn choose(
    key: &[u8; 16],
    candidates: &[Candidate<'_>],
    warmth: &[u8],
    size: u32,
) -> Result<Vec<u32>, TableError> {
    let mut first = build(key, candidates, size)?;
    if warmth.iter().all(|&warmth| warmth >= FULL) {
        return Ok(first);
    }
    // Weight 0 takes a candidate out and leaves the places of the others as they are.
    let mut remaining = candidates.to_vec();
    for (candidate, &warmth) in remaining.iter_mut().zip(warmth) {
        candidate.weight *= u16::from(warmth >= FULL);
    }
    let second = build(key, &remaining, size)?;
    let mut seen = vec![0u32; candidates.len()];
    for (place, other) in first.iter_mut().zip(second) {
        let number = &mut seen[*place as usize];
        *number += 1;
        if !is_kept(*number, warmth[*place as usize]) {
            *place = other;
        }
    }
    Ok(first)
}

/// Has a backend of this warmth its slot of this number? Those of each warmth are spread evenly, and
/// are among those of the next.
fn is_kept(number: u32, warmth: u8) -> bool {
    // 7 and 10 have no common divisor: ten slots in a row have ten different turns.
    number * 7 % u32::from(FULL) < u32::from(warmth)
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
    // A table of other backups is another one, also where all are in the same state.
    if before.spec(index).is_none_or(|old| backups(old) != backups(planned.spec)) {
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

/// Names of a service's backups.
fn backups(spec: &ServiceSpec) -> Vec<&str> {
    let backups = spec.backends.iter().filter(|backend| backend.backup);
    let mut names: Vec<&str> = backups.map(|backend| backend.name.as_str()).collect();
    names.sort_unstable();
    names
}
