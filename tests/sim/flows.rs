//! The flows of a run from their beginning to their end: what each client asks for, what may happen to
//! it, and that nothing else has.

use guideway::forwarding::BackendGonePolicy;

use super::client::End;
use super::history::{Allowed, Asked};
use super::plan::Fate;
use super::station::Flow;
use super::world::World;

/// A client whose flow stands still for so long gives up, if its backend may be silent.
const SILENCE_MS: u64 = 60_000;

impl World {
    pub(super) fn begin_flows(&mut self) {
        while let Some(plan) = self.plan.flows.get(self.next_flow) {
            if plan.at_ms > self.now_ms {
                return;
            }
            let (family, pool) = (self.plan.family, plan.pool);
            let key = self.stations[plan.client].begin((family, self.now_ms), plan.clone());
            self.next_flow += 1;
            if self.plan.is_stateless(pool) && !self.plan.is_refused(plan) {
                self.follow_maglev(&[key]);
            }
        }
    }

    /// Where packets without an entry go from now on: asked whenever that may change.
    pub(super) fn follow_maglev(&mut self, keys: &[guideway::wire::FlowKey]) {
        let snapshot = self.publisher.current();
        for key in keys {
            let service = snapshot.find_service(key);
            let chosen = service.and_then(|(_, service)| snapshot.select(service, key));
            if let Some(backend) = chosen {
                self.history.goes_to(*key, super::site::number_of(&backend.name));
            }
        }
    }

    /// The keys of flows that go on, and may have no entry.
    pub(super) fn stateless_keys(&self) -> Vec<guideway::wire::FlowKey> {
        let goes_on = |flow: &&Flow| {
            let is_stateless = self.plan.is_stateless(flow.plan.pool);
            flow.end().is_none() && is_stateless && !self.plan.is_refused(&flow.plan)
        };
        self.flows().filter(goes_on).map(|flow| flow.key).collect()
    }

    fn allowed(&self, flow: &Flow, until_ms: u64) -> Allowed {
        let pool = self.plan.pool(flow.plan.pool);
        let asked = Asked {
            key: flow.key,
            pool: flow.plan.pool,
            protocol: flow.protocol(),
            on_gone: pool.on_gone,
        };
        self.history.allowed(&asked, flow.begun_ms..=until_ms)
    }

    /// Clients whose backend may be silent do not wait for ever.
    pub(super) fn give_up_silent(&mut self) {
        let mut stations = std::mem::take(&mut self.stations);
        for station in &mut stations {
            let may = |flow: &Flow| {
                self.plan.is_refused(&flow.plan) || self.allowed(flow, self.now_ms).silence
            };
            station.give_up(self.now_ms, SILENCE_MS, may);
        }
        self.stations = stations;
    }

    /// Every flow has ended as it had to, or as it may.
    pub(super) fn check_ends(&mut self) {
        let (mut reset, mut silent, mut moved, mut refused) = (0, 0, 0, 0);
        for flow in self.flows() {
            let had = self.history.had(flow.key);
            // Nobody hears of a client that its service does not allow, and nobody tells it.
            if self.plan.is_refused(&flow.plan) {
                assert_eq!((flow.end(), had), (Some(&End::Silent), &[][..]), "{:?}", flow.plan);
                refused += 1;
                continue;
            }
            let allowed = self.allowed(flow, flow.ended_ms.unwrap_or(self.now_ms));
            let is_moved = had.len() > 1;
            let is_kept = self.plan.pool(flow.plan.pool).on_gone == BackendGonePolicy::Keep;
            match (flow.plan.fate, flow.end()) {
                (Fate::Whole, Some(End::Whole(numbers))) => {
                    assert!(
                        numbers.iter().all(|number| had.contains(number)),
                        "{numbers:?} {had:?}"
                    );
                }
                (Fate::Reset, Some(End::Reset(_))) => {}
                (Fate::Whole, Some(End::Reset(_))) if allowed.reset => reset += 1,
                (Fate::Whole, Some(End::Silent)) if allowed.silence => silent += 1,
                (Fate::Whole, Some(End::Reset(len))) if self.may_move(flow, *len) && is_moved => {}
                (_, other) => panic!(
                    "{:?} ended at {:?} with {other:?}; it had {had:?}, {allowed:?}, {is_kept}",
                    flow.plan, flow.ended_ms
                ),
            }
            moved += u64::from(is_moved);
        }
        self.summary.reset = reset;
        self.summary.silent = silent;
        self.summary.refused = refused;
        self.summary.moved = moved;
    }

    /// Two reasons why a connection may be reset that has had two backends. Without an entry it goes
    /// where Maglev says, whatever that knows of it. And with direct return the balancer does not see
    /// what a backend answers: a client that asks again after its backend was found down is given
    /// another one; if the first was alive and has answered after all, the client is reset, before
    /// its first byte.
    fn may_move(&self, flow: &Flow, len: u64) -> bool {
        let mode = self.plan.pool(flow.plan.pool).mode;
        self.plan.is_stateless(flow.plan.pool) || (mode.is_direct_return() && len == 0)
    }
}
