//! What is different in the next snapshot: the services that were looked at and their backends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::before::{Before, Known, Memory};
use super::gone::Drains;
use super::paths::Paths;
use super::plan::{Plan, Planned};
use super::retire::Kept;
use super::warm::{FULL, Warming};
use super::{CompileInput, Note, tables};
use crate::control::Refusal;
use crate::forwarding::{
    Around, Backend, BackendId, BackendState, FlowTimeouts, Ledger, Patch, Service, ServiceIndex,
};

/// A patch that grows.
pub(super) struct Parts<'a, 'b> {
    input: &'b CompileInput<'a>,
    before: &'b Before<'a>,
    services: BTreeMap<u32, Service>,
    services_len: usize,
    backends: BTreeMap<BackendId, Option<Backend>>,
    drains: Drains<'a>,
    warming: Warming,
    disbelieved: Vec<BackendId>,
    notes: Vec<Note>,
}

impl<'a, 'b> Parts<'a, 'b> {
    pub fn of(
        input: &'b CompileInput<'a>,
        before: &'b Before<'a>,
        plan: &Plan<'_>,
        (warming, notes): (Warming, Vec<Note>),
    ) -> Parts<'a, 'b> {
        let (services, backends) = (BTreeMap::new(), BTreeMap::new());
        let disbelieved = vec![];
        let (drains, services_len) = (Drains::of(input), plan.services_len);
        Parts {
            input,
            before,
            services,
            services_len,
            backends,
            drains,
            warming,
            disbelieved,
            notes,
        }
    }

    /// What is as it was stays out of the patch.
    fn put_service(&mut self, place: ServiceIndex, service: Service) {
        if self.before.snapshot.services.get(place.index()) != Some(&service) {
            self.services.insert(place.0, service);
        }
    }

    fn put_backend(&mut self, id: BackendId, backend: Option<Backend>) {
        if self.before.backend(id) != backend.as_ref() {
            self.backends.insert(id, backend);
        }
    }

    /// The configured services, with their tables.
    pub fn add_services(&mut self, plan: &Plan<'_>) -> Result<(), Vec<Refusal>> {
        for planned in &plan.services {
            let service = self.service(planned)?;
            self.put_service(planned.place, service);
        }
        Ok(())
    }

    fn service(&mut self, planned: &Planned<'_>) -> Result<Service, Vec<Refusal>> {
        let spec = planned.spec;
        let old = planned.old.map(|old| &self.before.snapshot.services[old.index()]);
        let around = (self.input, self.before, &self.warming);
        let slots = tables::slots(around, planned).map_err(|error| {
            let wanted = "a prime that is not below the number of backends";
            vec![Refusal::new(planned.path(), error.to_string(), wanted)]
        })?;
        let had_slots = old.is_some_and(|old| !old.slots.is_empty());
        if slots.is_empty() && (old.is_none_or(|old| old.gone) || had_slots) {
            self.notes.push(Note::NoUsableBackend { service: spec.name.clone() });
        }
        let known = &self.before.snapshot.ledger().disbelieved;
        let disbelieved = planned.members.iter().filter(|m| m.is_disbelieved).map(|m| m.id);
        let mut all_new = disbelieved.clone().peekable();
        if all_new.peek().is_some() && all_new.all(|id| known.binary_search(&id).is_err()) {
            self.notes.push(Note::HealthNotBelieved { service: spec.name.clone() });
        }
        self.disbelieved.extend(disbelieved);
        let name = old.filter(|old| *old.name == *spec.name).map(|old| old.name.clone());
        Ok(Service {
            name: name.unwrap_or_else(|| spec.name.as_str().into()),
            vip: std::net::SocketAddr::new(spec.address, spec.port),
            protocol: spec.protocol,
            shared_address: spec.shared_address,
            mode: spec.mode,
            slots,
            last_port: spec.last_port,
            rules: spec.rules.clone(),
            mss: spec.mss,
            no_backend: spec.no_backend,
            timeouts: FlowTimeouts { affinity_ms: spec.rules.affinity_ms, ..spec.timeouts },
            on_service_gone: spec.on_service_gone,
            on_backend_gone: spec.on_backend_gone,
            gone: false,
        })
    }

    /// The configured backends.
    pub fn add_backends(&mut self, plan: &Plan<'_>, paths: &mut Paths) {
        for planned in &plan.services {
            for member in &planned.members {
                let old = self.before.backend(member.id);
                let path = paths.to(member.spec.routed_by(), planned.spec.mode);
                let backend = Backend {
                    id: member.id,
                    name: old.map_or_else(|| member.spec.name.as_str().into(), |o| o.name.clone()),
                    service: planned.place,
                    socket: member.socket,
                    via: member.spec.via,
                    mode: planned.spec.mode,
                    weight: member.spec.weight,
                    state: member.state,
                    retired_in: 0,
                    gone: self.drains.is_gone(planned.spec, member),
                    next_hop: path.next_hop,
                    snat: path.snat,
                };
                self.put_backend(member.id, Some(backend));
            }
        }
    }

    /// Adds the retired backends and the removed services that still have some, and takes out what
    /// is no longer there.
    pub fn add_kept(&mut self, plan: &Plan<'a>, kept: &Kept, paths: &mut Paths) -> Ledger {
        let mut ledger = Ledger { cut: kept.cut.clone(), ..Ledger::default() };
        for &(old, since_ms) in &kept.gone {
            let place = plan.place_now(old);
            ledger.gone_since_ms.push((place, since_ms));
            let service = self.before.snapshot.services[old.index()].clone();
            self.put_service(place, Service { gone: true, slots: [].into(), ..service });
        }
        let retired: HashMap<BackendId, u64> = kept.retired.iter().copied().collect();
        for &id in &kept.left {
            let Some(old) = self.before.backend(id) else { continue };
            let Some(&retired_in) = retired.get(&id) else {
                self.put_backend(id, None);
                continue;
            };
            // Flows of a service that was removed get what `on_service_gone` says.
            let spec = plan.spec_of(old.service, self.input);
            let time_ms = spec.and_then(|spec| spec.removed_time_ms.or(spec.drain_time_ms));
            let path = paths.to(old.routed_by(), old.mode);
            let backend = Backend {
                service: plan.place_now(old.service),
                state: BackendState::Retired,
                retired_in,
                // Nobody probes it any more: dead is dead.
                gone: self.drains.is_over(id, time_ms) || old.gone,
                next_hop: path.next_hop,
                snat: path.snat,
                ..old.clone()
            };
            self.put_backend(id, Some(backend));
        }
        self.drains.write(&mut ledger);
        self.warming.write(&mut ledger);
        self.disbelieved.sort_unstable();
        ledger.disbelieved = std::mem::take(&mut self.disbelieved);
        ledger
    }

    /// What the next compile has to know. `by_identity` is left empty when it has to be made anew.
    pub fn memory(&self, plan: &Plan<'_>, kept: &Kept) -> Memory {
        let memory = &self.before.memory;
        let mut known = memory.known.clone();
        known.resize_with(self.services_len, Arc::default);
        for &(old, _) in &kept.gone {
            known[plan.place_now(old).index()] = Arc::default();
        }
        for planned in &plan.services {
            known[planned.place.index()] = Arc::new(Known {
                spec: Some(planned.spec.clone()),
                members: planned.members.iter().map(|member| member.id).collect(),
                is_in_ledger: planned.members.iter().any(|member| {
                    let drains = member.state == BackendState::Draining;
                    drains || member.warmth < FULL || member.is_disbelieved
                }),
            });
        }
        let mut ids = memory.ids.clone();
        self.backends.iter().for_each(|(id, backend)| ids.set(*id, backend.is_some()));
        let mut retired: Vec<BackendId> = kept.retired.iter().map(|&(id, _)| id).collect();
        retired.sort_unstable();
        let is_same = *memory.topology == *self.input.topology;
        let len = self.before.snapshot.services.len();
        let is_in_place = plan.is_in_place() && self.services_len == len;
        Memory {
            desired: self.input.desired.clone(),
            places: plan.places().into(),
            topology: match is_same {
                true => memory.topology.clone(),
                false => Arc::new(self.input.topology.clone()),
            },
            health: self.input.health.clone(),
            known,
            by_identity: match is_in_place {
                true => memory.by_identity.clone(),
                false => Arc::default(),
            },
            retired,
            ids,
        }
    }

    pub fn into_patch(self, around: Around, backends_len: usize) -> (Patch, Vec<Note>) {
        let services = self.services.into_iter();
        let patch = Patch {
            services: services.map(|(place, service)| (ServiceIndex(place), service)).collect(),
            services_len: self.services_len,
            backends: self.backends.into_iter().collect(),
            backends_len,
            around,
        };
        (patch, self.notes)
    }
}
