//! How many flows each service with a limit has, at this worker.
//!
//! Counts are kept by backend; those of a service are added up once a snapshot, when the first new flow
//! asks, and then kept along. A service stands at the place of the backend in its first slot, so that
//! there is a place for each however many services there are.

use super::engine::Turn;
use super::forward::Refusal;
use super::{DropReason, Engine};
use crate::forwarding::{NoBackendPolicy, Service, Snapshot};

/// No place: the backend's service has no limit.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct ServiceFlows {
    /// Of the snapshot that was added up last; 0: none yet.
    generation: u64,
    workers: u32,
    worker: u32,
    /// By backend id: its service's place.
    places: Box<[u32]>,
    /// By place.
    counts: Box<[u32]>,
}

impl ServiceFlows {
    pub(super) fn new(max_backends: usize, worker: u8, workers: usize) -> ServiceFlows {
        ServiceFlows {
            generation: 0,
            workers: workers as u32,
            worker: u32::from(worker),
            places: vec![NONE; max_backends].into_boxed_slice(),
            counts: vec![0; max_backends].into_boxed_slice(),
        }
    }

    /// A flow of a backend began or ended.
    #[inline]
    pub(super) fn count(&mut self, backend: u32, change: impl Fn(u32) -> u32) {
        // Until the first limit is asked about there is nothing to keep along.
        if self.generation == 0 {
            return;
        }
        let place = self.places.get(backend as usize).copied().unwrap_or(NONE);
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count = change(*count);
        }
    }

    /// All is to be added up anew, since flows have come and gone without a word.
    pub(super) fn forget(&mut self) {
        self.generation = 0;
    }

    /// Has this service with a limit as many flows as it may have here? `live` are the flows by backend.
    fn is_full(&mut self, snapshot: &Snapshot, service: &Service, live: &[u32]) -> bool {
        // With none it has no use for a limit.
        let Some(first) = service.slots.first() else { return false };
        if self.generation != snapshot.generation {
            self.add_up(snapshot, live);
        }
        let count = self.counts.get(first.index()).copied().unwrap_or(0);
        count >= self.share(service.rules.max_flows)
    }

    /// This worker's share of a number: all shares add up to it, but for those of nothing, which are 1.
    fn share(&self, all: u32) -> u32 {
        let (each, rest) = (all / self.workers.max(1), all % self.workers.max(1));
        (each + u32::from(self.worker < rest)).max(1)
    }

    /// Once a snapshot: a look at each backend.
    #[cold]
    fn add_up(&mut self, snapshot: &Snapshot, live: &[u32]) {
        self.generation = snapshot.generation;
        self.places.fill(NONE);
        self.counts.fill(0);
        for backend in snapshot.backends.iter().flatten() {
            let Some(service) = snapshot.service_of(backend) else { continue };
            let Some(first) = service.slots.first().filter(|_| service.rules.max_flows > 0) else {
                continue;
            };
            if let Some(place) = self.places.get_mut(backend.id.index()) {
                *place = first.0;
            }
            let here = live.get(backend.id.index()).copied().unwrap_or(0);
            if let Some(count) = self.counts.get_mut(first.index()) {
                *count = count.saturating_add(here);
            }
        }
    }
}

impl Engine {
    /// May the service have one more flow? `true`: it has to do without an entry.
    #[inline]
    pub(super) fn goes_without(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
    ) -> Result<bool, Refusal> {
        if service.rules.max_flows == 0 {
            return Ok(false);
        }
        let flows = &mut self.flows;
        if !flows.of_services.is_full(turn.snapshot, service, &flows.live) {
            return Ok(false);
        }
        flows.counters.events.max_flows_reached += 1;
        match service.no_backend {
            _ if service.mode.is_direct_return() => Ok(true),
            NoBackendPolicy::Reset => Err(Refusal::Tell),
            NoBackendPolicy::Unreachable => Err(Refusal::TellUnreachable),
            NoBackendPolicy::Drop => Err(DropReason::ServiceFull.into()),
        }
    }
}
