//! The services that have to be looked at, in an order of their own, with places and ids.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use super::before::Before;
use super::policy::{self, Chosen};
use super::retire::Kept;
use super::warm::{self, Warming};
use super::{CompileInput, Refusal};
use crate::control::{BackendSpec, HealthFrom, HealthView, ServiceSpec, Shared};
use crate::forwarding::{BackendId, BackendState, ServiceIndex};

/// Stands for "no id yet" while the plan is made.
const NO_ID: BackendId = BackendId(u32::MAX);

/// Services by name, their backends by name: the input's order is forgotten here.
pub(super) struct Plan<'a> {
    /// Those that are not surely as they were.
    pub services: Vec<Planned<'a>>,
    /// Where each service of the input was, if it was.
    old_places: Vec<Option<ServiceIndex>>,
    /// By place in the previous snapshot: its place in the input, if it is configured.
    wanted: Vec<Option<usize>>,
    /// Services that have to move, so that no place is empty: from, to.
    moved: HashMap<ServiceIndex, ServiceIndex>,
    /// Services of the next snapshot.
    pub services_len: usize,
}

/// One service.
pub(super) struct Planned<'a> {
    pub spec: &'a Shared<ServiceSpec>,
    pub members: Vec<Member<'a>>,
    /// Where it was, also when it was gone.
    pub old: Option<ServiceIndex>,
    /// Where it is to be.
    pub place: ServiceIndex,
    /// Place in the input, for messages.
    input_place: usize,
    /// Which of the backends are in use.
    pub chosen: Chosen,
}

/// One backend.
pub(super) struct Member<'a> {
    pub spec: &'a BackendSpec,
    pub socket: SocketAddr,
    pub id: BackendId,
    pub state: BackendState,
    /// Its health check says so, and is believed, whatever its state is.
    pub is_dead: bool,
    /// Its health check says so, and is not believed.
    pub is_disbelieved: bool,
    /// How much of its share it has, up to [`warm::FULL`].
    pub warmth: u8,
}

impl<'a> Planned<'a> {
    /// Backends that were there before have their ids, the others none yet.
    fn new(
        spec: &'a Shared<ServiceSpec>,
        (input_place, old): (usize, Option<ServiceIndex>),
        health: &HealthView,
        before: &Before<'_>,
    ) -> Planned<'a> {
        let ids = old.map(|old| before.ids_of(old)).unwrap_or_default();
        let member = |backend: &'a BackendSpec| {
            let socket = SocketAddr::new(backend.address, backend.port);
            let id = ids.get(&(&*backend.name, socket, spec.mode)).copied();
            let is_dead = is_dead(spec, backend, health);
            Member {
                spec: backend,
                socket,
                id: id.unwrap_or(NO_ID),
                state: BackendState::Active,
                is_dead,
                is_disbelieved: false,
                warmth: warm::FULL,
            }
        };
        let mut members: Vec<Member<'a>> = spec.backends.iter().map(member).collect();
        members.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let chosen = policy::choose(&mut members, spec.min_healthy_percent);
        let place = old.unwrap_or(ServiceIndex(u32::MAX));
        Planned { spec, members, old, place, input_place, chosen }
    }

    pub fn path(&self) -> String {
        format!("services[{}].table_size", self.input_place)
    }
}

fn is_dead(service: &ServiceSpec, backend: &BackendSpec, health: &HealthView) -> bool {
    match service.health {
        HealthFrom::Feed => backend.healthy == Some(false),
        HealthFrom::Local => {
            let probed = service.health_check.is_some();
            probed && !health.get(&service.name, &backend.name).is_usable()
        }
    }
}

impl<'a> Plan<'a> {
    pub fn new(input: &CompileInput<'a>, before: &Before<'_>) -> Plan<'a> {
        let wanted = &input.desired.services;
        let mut plan = Plan {
            services: vec![],
            old_places: Vec::with_capacity(wanted.len()),
            wanted: vec![None; before.snapshot.services.len()],
            moved: HashMap::new(),
            services_len: 0,
        };
        for (number, spec) in wanted.iter().enumerate() {
            let old = before.place(number, spec);
            plan.old_places.push(old);
            if let Some(old) = old {
                plan.wanted[old.index()] = Some(number);
            }
            if old.is_none_or(|old| !before.is_as_it_was(old, spec, input.health)) {
                plan.services.push(Planned::new(spec, (number, old), input.health, before));
            }
        }
        plan.services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        plan
    }

    /// Is the service that was at this place configured?
    pub fn is_wanted(&self, old: ServiceIndex) -> bool {
        self.wanted.get(old.index()).is_some_and(Option::is_some)
    }

    /// What is wanted of the service that was at this place.
    pub fn spec_of(&self, old: ServiceIndex, input: &CompileInput<'a>) -> Option<&'a ServiceSpec> {
        let number = (*self.wanted.get(old.index())?)?;
        input.desired.services.get(number).map(|spec| &**spec)
    }

    /// Ids that configured backends have taken over, of the services that are looked at.
    pub fn claimed(&self) -> HashSet<BackendId> {
        self.services.iter().flat_map(|planned| &planned.members).map(|member| member.id).collect()
    }

    /// Services stay where they are. New ones, by name, take the places that others have left, then
    /// come behind the last one; the last ones take what places are empty still.
    pub fn give_places(&mut self, input: &CompileInput<'a>, before: &Before<'_>, kept: &Kept) {
        let gone: HashSet<ServiceIndex> = kept.gone.iter().map(|&(place, _)| place).collect();
        let all = (0..before.snapshot.services.len() as u32).map(ServiceIndex);
        let empty = |place: &ServiceIndex| !self.is_wanted(*place) && !gone.contains(place);
        let mut empty: BTreeSet<u32> = all.filter(empty).map(|place| place.0).collect();
        let mut end = before.snapshot.services.len() as u32;
        for planned in self.services.iter_mut().filter(|planned| planned.old.is_none()) {
            planned.place = ServiceIndex(empty.pop_first().unwrap_or_else(|| {
                end += 1;
                end - 1
            }));
        }
        while let Some(&last_empty) = empty.last() {
            end -= 1;
            if last_empty != end {
                let first = empty.pop_first().unwrap_or(last_empty);
                self.moved.insert(ServiceIndex(end), ServiceIndex(first));
            } else {
                empty.pop_last();
            }
        }
        self.services_len = end as usize;
        self.look_at_moved(input, before);
    }

    /// What has moved is not as it was.
    fn look_at_moved(&mut self, input: &CompileInput<'a>, before: &Before<'_>) {
        if self.moved.is_empty() {
            return;
        }
        let known: HashSet<ServiceIndex> = self.services.iter().filter_map(|p| p.old).collect();
        for old in self.moved.keys().filter(|old| !known.contains(old)) {
            let Some(number) = self.wanted.get(old.index()).copied().flatten() else { continue };
            let Some(spec) = input.desired.services.get(number) else { continue };
            self.services.push(Planned::new(spec, (number, Some(*old)), input.health, before));
        }
        for planned in &mut self.services {
            let moved = planned.old.and_then(|old| self.moved.get(&old));
            planned.place = moved.copied().unwrap_or(planned.place);
        }
        self.services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    }

    /// Where a service is that was at this place, wanted or gone.
    pub fn place_now(&self, old: ServiceIndex) -> ServiceIndex {
        self.moved.get(&old).copied().unwrap_or(old)
    }

    /// Is each service of the input where it was?
    pub fn is_in_place(&self) -> bool {
        self.moved.is_empty() && self.services.iter().all(|planned| planned.old.is_some())
    }

    /// Where each service of the input is.
    pub fn places(&self) -> Vec<ServiceIndex> {
        let new: HashMap<usize, ServiceIndex> =
            self.services.iter().map(|planned| (planned.input_place, planned.place)).collect();
        let place = |(number, old): (usize, &Option<ServiceIndex>)| match old {
            Some(old) => self.place_now(*old),
            None => new.get(&number).copied().unwrap_or(ServiceIndex(u32::MAX)),
        };
        self.old_places.iter().enumerate().map(place).collect()
    }

    /// Gives the new backends ids that nobody holds: no backend of the previous snapshot, no flow
    /// and nobody who was cut a moment ago.
    pub fn give_ids(
        &mut self,
        input: &CompileInput<'_>,
        before: &Before<'_>,
        kept: &Kept,
    ) -> Result<(), Refusal> {
        let cut: HashSet<BackendId> = kept.cut.iter().map(|&(id, _)| id).collect();
        let is_free = |id: &BackendId| input.live.of(*id) == 0 && !cut.contains(id);
        let limit = u32::try_from(input.limits.backends).unwrap_or(u32::MAX - 1);
        let mut free = before.memory.ids.free(limit).filter(is_free);
        for member in self.services.iter_mut().flat_map(|planned| &mut planned.members) {
            if member.id == NO_ID {
                member.id = free.next().ok_or_else(|| too_many(input, kept, limit))?;
            }
        }
        Ok(())
    }

    /// Says how much of its share each backend has; after all have ids.
    pub fn warm(&mut self, input: &CompileInput<'_>, before: &Before<'_>) -> Warming {
        let mut warming = Warming::of(input);
        for planned in &mut self.services {
            let old = planned.old.and_then(|old| before.snapshot.services.get(old.index()));
            warming.warm(planned.spec, old, &mut planned.members, before);
        }
        warming
    }
}

fn too_many(input: &CompileInput<'_>, kept: &Kept, limit: u32) -> Refusal {
    let configured: usize = input.desired.services.iter().map(|spec| spec.backends.len()).sum();
    let resting = kept.retired.len() + kept.cut.len();
    Refusal::new(
        "limits.backends",
        format!(
            "{configured} backends are configured, and {resting} that were removed still have \
             flows: more than {limit} together"
        ),
        "a larger limits.backends (it needs a restart), or fewer backends",
    )
}
