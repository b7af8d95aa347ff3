//! The desired state in an order of its own, with ids.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::before::{Before, Identity};
use super::retire::Kept;
use super::{CompileInput, Refusal};
use crate::control::{BackendSpec, DesiredState, HealthView, ServiceSpec};
use crate::forwarding::{BackendId, BackendState, ServiceIndex};

/// Stands for "no id yet" while the plan is made.
const NO_ID: BackendId = BackendId(u32::MAX);

/// Services by name, their backends by name: the input's order is forgotten here.
pub(super) struct Plan<'a> {
    pub services: Vec<Planned<'a>>,
    places: HashMap<Identity, ServiceIndex>,
}

/// One service.
pub(super) struct Planned<'a> {
    pub spec: &'a ServiceSpec,
    pub members: Vec<Member<'a>>,
    /// Place in the input, for messages.
    input_place: usize,
}

/// One backend.
pub(super) struct Member<'a> {
    pub spec: &'a BackendSpec,
    pub socket: SocketAddr,
    pub id: BackendId,
    pub state: BackendState,
    /// Its health check says so, whatever its state is.
    pub is_dead: bool,
}

impl Planned<'_> {
    pub fn identity(&self) -> Identity {
        (SocketAddr::new(self.spec.address, self.spec.port), self.spec.protocol)
    }

    pub fn path(&self) -> String {
        format!("services[{}].table_size", self.input_place)
    }
}

fn is_dead(service: &ServiceSpec, backend: &BackendSpec, health: &HealthView) -> bool {
    let probed = service.health_check.is_some();
    probed && !health.get(&service.name, &backend.name).is_usable()
}

fn state_of(backend: &BackendSpec, is_dead: bool) -> BackendState {
    if backend.drain || backend.weight == 0 {
        BackendState::Draining
    } else if is_dead {
        BackendState::Unhealthy
    } else {
        BackendState::Active
    }
}

impl<'a> Plan<'a> {
    /// Backends that were there before have their ids, the others none yet.
    pub fn new(desired: &'a DesiredState, health: &HealthView, before: &Before<'_>) -> Plan<'a> {
        let mut services: Vec<Planned<'a>> = (desired.services.iter().enumerate())
            .map(|(input_place, spec)| Planned { spec, members: vec![], input_place })
            .collect();
        services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let mut places = HashMap::with_capacity(services.len());
        for (place, planned) in services.iter_mut().enumerate() {
            let service = planned.spec;
            places.insert(planned.identity(), ServiceIndex(place as u32));
            let old = before.service(planned.identity());
            let member = |spec: &'a BackendSpec| {
                let socket = SocketAddr::new(spec.address, spec.port);
                let way = (socket, service.mode);
                let id = old.and_then(|(index, _)| before.find(index, &spec.name, way));
                let is_dead = is_dead(service, spec, health);
                let state = state_of(spec, is_dead);
                Member { spec, socket, id: id.unwrap_or(NO_ID), state, is_dead }
            };
            planned.members = service.backends.iter().map(member).collect();
            planned.members.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        }
        Plan { services, places }
    }

    /// Where a service of this identity is now, if it is configured.
    pub fn place(&self, identity: Identity) -> Option<ServiceIndex> {
        self.places.get(&identity).copied()
    }

    /// What is wanted of the service at this place.
    pub fn service(&self, place: ServiceIndex) -> Option<&'a ServiceSpec> {
        Some(self.services.get(place.index())?.spec)
    }

    /// Ids that configured backends have taken over, as a set by id.
    pub fn claimed(&self, len: usize) -> Vec<bool> {
        let mut claimed = vec![false; len];
        for member in self.services.iter().flat_map(|planned| &planned.members) {
            if let Some(mark) = claimed.get_mut(member.id.index()) {
                *mark = true;
            }
        }
        claimed
    }

    /// Gives the new backends ids that nobody holds: no backend of the previous snapshot, no flow
    /// and nobody who was cut a moment ago.
    pub fn give_ids(&mut self, input: &CompileInput<'_>, kept: &Kept) -> Result<(), Refusal> {
        let cut: std::collections::HashSet<BackendId> =
            kept.cut.iter().map(|&(id, _)| id).collect();
        let is_free = |id: &BackendId| {
            input.previous.backend(*id).is_none() && input.live.of(*id) == 0 && !cut.contains(id)
        };
        let limit = u32::try_from(input.limits.backends).unwrap_or(u32::MAX - 1);
        let mut free = (0..limit).map(BackendId).filter(is_free);
        let configured = self.services.iter().map(|planned| planned.members.len()).sum::<usize>();
        for member in self.services.iter_mut().flat_map(|planned| &mut planned.members) {
            if member.id == NO_ID {
                member.id = free.next().ok_or_else(|| {
                    let resting = kept.retired.len() + kept.cut.len();
                    Refusal::new(
                        "limits.backends",
                        format!(
                            "{configured} backends are configured, and {resting} that were removed \
                             still have flows: more than {limit} together"
                        ),
                        "a larger limits.backends (it needs a restart), or fewer backends",
                    )
                })?;
            }
        }
        Ok(())
    }

    /// One more than the largest id.
    pub fn ids_end(&self) -> usize {
        let members = self.services.iter().flat_map(|planned| &planned.members);
        members.map(|member| member.id.index() + 1).max().unwrap_or(0)
    }
}
