//! Slow start: how much of its share a backend has that came to others a short while ago.

use std::collections::HashMap;

use super::before::Before;
use super::plan::Member;
use super::{CompileInput, Ledger};
use crate::control::ServiceSpec;
use crate::forwarding::{BackendId, BackendState, Service};

/// A backend's whole share, in steps. The first step is had at once.
pub(super) const FULL: u8 = 10;

/// The slow starts of one compile.
pub(super) struct Warming {
    now_ms: u64,
    known: HashMap<BackendId, u64>,
    since_ms: Vec<(BackendId, u64)>,
    next_ms: Option<u64>,
}

impl Warming {
    pub fn of(input: &CompileInput<'_>) -> Warming {
        let known = input.previous.ledger().warming_since_ms.iter().copied().collect();
        Warming { now_ms: input.now_ms, known, since_ms: vec![], next_ms: None }
    }

    /// Was it warming up when the previous snapshot was made?
    pub fn knows(&self, id: BackendId) -> bool {
        self.known.contains_key(&id)
    }

    /// How warm each of a service's backends is; `old` is the service in the previous snapshot. Asked
    /// once for each service that is looked at, when ids are given.
    pub fn warm(
        &mut self,
        spec: &ServiceSpec,
        old: Option<&Service>,
        members: &mut [Member<'_>],
        before: &Before<'_>,
    ) {
        // Who begins a service, or takes it over from nobody, has to carry it from the start.
        let joins = old.is_some_and(|old| !old.gone && !old.slots.is_empty());
        let slow_start_ms = u64::from(spec.slow_start_ms);
        for member in members.iter_mut().filter(|m| m.state == BackendState::Active) {
            let was_active =
                before.backend(member.id).is_some_and(|old| old.state == BackendState::Active);
            let since_ms = match self.known.get(&member.id) {
                Some(&since_ms) if was_active => since_ms,
                _ if joins && !was_active && !member.is_disbelieved => self.now_ms,
                _ => continue,
            };
            let passed_ms = self.now_ms.saturating_sub(since_ms);
            if passed_ms >= slow_start_ms {
                continue;
            }
            let steps = u64::from(FULL - 1);
            let step = passed_ms * steps / slow_start_ms;
            member.warmth = 1 + step as u8;
            let next_ms = since_ms + ((step + 1) * slow_start_ms).div_ceil(steps);
            self.next_ms = Some(self.next_ms.map_or(next_ms, |next| next.min(next_ms)));
            self.since_ms.push((member.id, since_ms));
        }
    }

    pub fn write(&mut self, ledger: &mut Ledger) {
        self.since_ms.sort_unstable();
        ledger.warming_since_ms = std::mem::take(&mut self.since_ms);
        ledger.next_warmer_ms = self.next_ms;
    }
}
