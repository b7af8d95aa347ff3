//! The previous snapshot, and what it was compiled from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::CompileInput;
use super::ids::Ids;
use crate::control::{DesiredState, HealthFrom, HealthView, ServiceSpec, Shared, Topology};
use crate::forwarding::{Backend, BackendId, BackendState, Mode, Service, ServiceIndex, Snapshot};
use crate::wire::Protocol;

/// What makes a service the same one in two snapshots.
pub(super) type Identity = (SocketAddr, Protocol);

pub(super) fn identity_of(service: &Service) -> Identity {
    (service.vip, service.protocol)
}

pub(super) fn identity_of_spec(spec: &ServiceSpec) -> Identity {
    (SocketAddr::new(spec.address, spec.port), spec.protocol)
}

/// What a snapshot was compiled from: its [`crate::forwarding::Origin`].
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// What was wanted. Nothing of a snapshot that was not compiled.
    pub desired: DesiredState,
    /// Where each of the wanted services is in the snapshot.
    pub places: Arc<[ServiceIndex]>,
    pub topology: Arc<Topology>,
    pub health: HealthView,
    /// By [`ServiceIndex`].
    pub known: Vec<Arc<Known>>,
    pub by_identity: Arc<HashMap<Identity, ServiceIndex>>,
    /// Retired backends, ascending.
    pub retired: Vec<BackendId>,
    /// Ids that backends have.
    pub ids: Ids,
}

/// What is known of one service of a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What it was compiled from; none of one that is gone, and of one that was not compiled.
    pub spec: Option<Shared<ServiceSpec>>,
    /// Its configured backends.
    pub members: Vec<BackendId>,
    /// It stands in the ledger: one of them drains or has not its full share yet, so that time alone
    /// changes something, or its health is not believed.
    pub is_in_ledger: bool,
}

impl Memory {
    /// What the service at this place was compiled from.
    pub fn spec(&self, place: ServiceIndex) -> Option<&ServiceSpec> {
        self.known.get(place.index())?.spec.as_deref()
    }

    /// Of a snapshot that nobody remembers, such as the empty one, from what stands in it.
    fn of(snapshot: &Snapshot) -> Memory {
        let mut known = vec![Known::default(); snapshot.services.len()];
        let (mut retired, mut ids) = (Vec::new(), Ids::default());
        for backend in snapshot.backends.iter().flatten() {
            ids.set(backend.id, true);
            if backend.state == BackendState::Retired {
                retired.push(backend.id);
            } else {
                known[backend.service.index()].members.push(backend.id);
            }
        }
        Memory {
            desired: DesiredState::default(),
            places: [].into(),
            topology: Arc::default(),
            health: HealthView::new(),
            known: known.into_iter().map(Arc::new).collect(),
            by_identity: Arc::new(by_identity(snapshot)),
            retired,
            ids,
        }
    }
}

/// Where each service of a snapshot is.
pub(super) fn by_identity(snapshot: &Snapshot) -> HashMap<Identity, ServiceIndex> {
    let services = snapshot.services.iter().zip(0..);
    services.map(|(service, place)| (identity_of(service), ServiceIndex(place))).collect()
}

/// The previous snapshot and its indices.
pub(super) struct Before<'a> {
    pub snapshot: &'a Snapshot,
    pub memory: Cow<'a, Memory>,
    /// What concerns all services is as it was.
    is_comparable: bool,
    retired: HashMap<ServiceIndex, Vec<BackendId>>,
}

impl<'a> Before<'a> {
    pub fn of(input: &CompileInput<'a>) -> Before<'a> {
        let snapshot = input.previous;
        let (memory, is_comparable) = match snapshot.origin().get::<Memory>() {
            None => (Cow::Owned(Memory::of(snapshot)), false),
            Some(memory) => {
                let is_comparable = snapshot.cluster_key() == input.cluster_key
                    && memory.desired.snat == input.desired.snat
                    && *memory.topology == *input.topology;
                (Cow::Borrowed(memory), is_comparable)
            }
        };
        let mut retired: HashMap<ServiceIndex, Vec<BackendId>> = HashMap::new();
        for backend in memory.retired.iter().filter_map(|&id| snapshot.backend(id)) {
            retired.entry(backend.service).or_default().push(backend.id);
        }
        Before { snapshot, memory, is_comparable, retired }
    }

    /// The place of a wanted service, also when it was gone; `number` is its place in the input.
    pub fn place(&self, number: usize, spec: &ServiceSpec) -> Option<ServiceIndex> {
        let identity = identity_of_spec(spec);
        // Nearly always the input is in the order of last time.
        let same = self.memory.desired.services.get(number);
        let is_there = same.is_some_and(|same| identity_of_spec(same) == identity);
        let place = self.memory.places.get(number).filter(|_| is_there);
        place.or_else(|| self.memory.by_identity.get(&identity)).copied()
    }

    /// Would compiling this service make what is there already?
    pub fn is_as_it_was(
        &self,
        place: ServiceIndex,
        spec: &Shared<ServiceSpec>,
        health: &HealthView,
    ) -> bool {
        let Some(known) = self.memory.known.get(place.index()) else { return false };
        let is_same = known.spec.as_ref().is_some_and(|known| known.is_same(spec) || known == spec);
        let is_health_same = || {
            let is_local = spec.health == HealthFrom::Local && spec.health_check.is_some();
            !is_local || health.is_same_of(&self.memory.health, &spec.name)
        };
        self.is_comparable && is_same && !known.is_in_ledger && is_health_same()
    }

    /// Ids by which a service's backends can be found again, also those that are retired.
    pub fn ids_of(&self, place: ServiceIndex) -> HashMap<(&'a str, SocketAddr, Mode), BackendId> {
        let retired = self.retired.get(&place).into_iter().flatten();
        let ids = self.members(place).iter().chain(retired);
        let backends = ids.filter_map(|&id| self.snapshot.backend(id));
        backends.map(|b| ((&*b.name, b.socket, b.mode), b.id)).collect()
    }

    pub fn backend(&self, id: BackendId) -> Option<&'a Backend> {
        self.snapshot.backend(id)
    }

    /// What the service at this place was compiled from.
    pub fn spec(&self, place: ServiceIndex) -> Option<&ServiceSpec> {
        self.memory.spec(place)
    }

    /// Ids of a service's backends that were configured.
    pub fn members(&self, place: ServiceIndex) -> &[BackendId] {
        self.memory.known.get(place.index()).map_or(&[], |known| &known.members)
    }
}
