//! Which backends are gone, so that their flows get what `on_backend_gone` says: the dead, and those
//! that have drained for as long as their service lets them.

use super::plan::Member;
use super::{CompileInput, Ledger};
use crate::control::ServiceSpec;
use crate::forwarding::{BackendGonePolicy, BackendId, BackendState};

/// The drains of one compile. All are asked for, so that the next compile knows since when they are.
pub(super) struct Drains<'a> {
    now_ms: u64,
    /// By id.
    known: &'a [(BackendId, u64)],
    since_ms: Vec<(BackendId, u64)>,
    next_gone_ms: Option<u64>,
}

impl<'a> Drains<'a> {
    pub fn of(input: &CompileInput<'a>) -> Drains<'a> {
        let known = &input.previous.ledger().draining_since_ms;
        Drains { now_ms: input.now_ms, known, since_ms: vec![], next_gone_ms: None }
    }

    /// Of a configured backend.
    pub fn is_gone(&mut self, service: &ServiceSpec, member: &Member<'_>) -> bool {
        let drains = member.state == BackendState::Draining;
        let is_over = drains && self.is_over(member.id, service.drain_time_ms);
        is_over || (member.is_dead && service.on_backend_gone != BackendGonePolicy::Keep)
    }

    /// Of one that gets no new flow since the operator says so. One that drained before it was removed
    /// has drained since then.
    pub fn is_over(&mut self, id: BackendId, drain_time_ms: Option<u32>) -> bool {
        let place = self.known.binary_search_by_key(&id, |&(id, _)| id);
        let since_ms = place.map_or(self.now_ms, |place| self.known[place].1);
        self.since_ms.push((id, since_ms));
        let Some(time_ms) = drain_time_ms else { return false };
        let end_ms = since_ms.saturating_add(u64::from(time_ms));
        if self.now_ms >= end_ms {
            return true;
        }
        self.next_gone_ms = Some(self.next_gone_ms.map_or(end_ms, |next| next.min(end_ms)));
        false
    }

    pub fn write(&mut self, ledger: &mut Ledger) {
        self.since_ms.sort_unstable();
        ledger.draining_since_ms = std::mem::take(&mut self.since_ms);
        ledger.next_gone_ms = self.next_gone_ms;
    }
}
