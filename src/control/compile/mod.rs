//! Desired state + health + topology + previous snapshot -> the next snapshot.
//!
//! Pure and deterministic. Tables depend on desired state, health and cluster key alone; the
//! previous snapshot gives ids, what has to be kept for live flows, and tables that can be shared.
//!
//! What tells one service from another over time is VIP, port and protocol: it is what flows hold on
//! to. A service that only gets another name keeps its backends and flows. One that gets another
//! VIP, port or protocol is a new service, and the old one is gone: its flows end by its
//! `on_service_gone`. A backend is the same one while its service, its name, its socket and its mode
//! are: a service that gets another mode, or a backend that gets another port, has that for new
//! flows, and what was before is retired with the old ones.

mod before;
mod gone;
mod paths;
mod plan;
mod retire;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;

use super::{DesiredState, HealthView, LimitsSpec, Refusal, Topology, validate};
use crate::forwarding::{
    Backend, BackendId, BackendState, ClusterKey, FlowTimeouts, Ledger, Port, Service,
    ServiceIndex, Snapshot, SnapshotParts, TunnelSource, TunnelSources,
};
use crate::wire::{Address, Family};

use before::Before;
use gone::Drains;
use paths::Paths;
use plan::Plan;
use retire::Kept;

/// Live flows of each backend, all workers together.
///
/// The counts must have been read after `generation` was acknowledged by every worker: a backend
/// that was retired in it is then known to get no new flow that is not counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LiveFlows {
    /// Every worker forwards by this generation or a later one.
    pub generation: u64,
    /// By [`BackendId`]; what is not there is 0.
    pub counts: Vec<u32>,
}

impl LiveFlows {
    /// Live flows of a backend.
    pub fn of(&self, id: BackendId) -> u32 {
        self.counts.get(id.index()).copied().unwrap_or(0)
    }

    /// No worker can have a flow of a backend that gets none since `generation`.
    fn none_since(&self, generation: u64, id: BackendId) -> bool {
        self.generation >= generation && self.of(id) == 0
    }
}

/// Everything a snapshot is made from.
#[derive(Clone, Copy, Debug)]
pub struct CompileInput<'a> {
    /// What the operator wants.
    pub desired: &'a DesiredState,
    /// What health checks found.
    pub health: &'a HealthView,
    /// Links, routes and neighbours.
    pub topology: &'a Topology,
    /// Flows that hold backends.
    pub live: &'a LiveFlows,
    /// The snapshot that was published last.
    pub previous: &'a Snapshot,
    /// How much there may be.
    pub limits: &'a LimitsSpec,
    /// Secret of the tables.
    pub cluster_key: ClusterKey,
    /// Any steady clock, in milliseconds.
    pub now_ms: u64,
}

/// A snapshot and what is worth a line in the log.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Its generation is the previous one's plus one. Not worth publishing when it is
    /// [`Snapshot::same_as`] the previous one.
    pub snapshot: Snapshot,
    /// What the operator should know.
    pub notes: Vec<Note>,
}

/// Something that happened to flows or services on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A retired backend had to leave before its flows ended.
    RetiredCut {
        /// Its service.
        service: String,
        /// Its name.
        backend: String,
        /// Flows that lose it.
        flows: u32,
        /// Which limit said so.
        limit: &'static str,
    },
    /// A service has lost its last usable backend, or began without one.
    NoUsableBackend {
        /// Its name.
        service: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::RetiredCut { service, backend, flows, limit } => write!(
                f,
                "retired backend {backend} of service {service} was cut with {flows} live flows: \
                 {limit}"
            ),
            Note::NoUsableBackend { service } => {
                write!(f, "service {service} has no usable backend")
            }
        }
    }
}

/// Makes the next snapshot, or says why there is none; then nothing changes.
pub fn compile(input: &CompileInput<'_>) -> Result<Compiled, Vec<Refusal>> {
    let refusals = validate(input.desired);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let before = Before::of(input.previous);
    let mut paths = Paths::new(input.topology, &input.desired.snat)?;
    let mut plan = Plan::new(input.desired, input.health, &before);
    let kept = retire::keep(input, &before, &plan);
    plan.give_ids(input, &kept).map_err(|refusal| vec![refusal])?;

    let mut notes = kept.notes.clone();
    let mut services = services(input, &before, &plan, &mut notes)?;
    let mut drains = Drains::of(input);
    let mut backends = configured_backends(&before, &plan, &mut paths, &mut drains);
    let on_way = OnWay { paths: &mut paths, drains: &mut drains };
    let mut ledger = add_kept(input, &plan, &kept, on_way, (&mut services, &mut backends));
    drains.write(&mut ledger);
    let Paths { routes, snat, .. } = paths;
    let own_addresses = input.topology.own_addresses.iter().map(|own| own.address.into());
    let snapshot = Snapshot::new(SnapshotParts {
        generation: input.previous.generation + 1,
        services,
        backends,
        snat,
        tunnel_sources: tunnel_sources(input.desired),
        ports: ports(input.topology, input.previous),
        own_addresses: own_addresses.collect(),
        routes,
        cluster_key: input.cluster_key,
    });
    Ok(Compiled { snapshot: snapshot.with_ledger(ledger), notes })
}

/// The configured services in the plan's order, with their tables.
fn services(
    input: &CompileInput<'_>,
    before: &Before<'_>,
    plan: &Plan<'_>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Service>, Vec<Refusal>> {
    let mut services = Vec::with_capacity(plan.services.len());
    for planned in &plan.services {
        let spec = planned.spec;
        let old = before.service(planned.identity());
        let slots = tables::slots(input, before, planned).map_err(|error| {
            let wanted = "a prime that is not below the number of backends";
            vec![Refusal::new(planned.path(), error.to_string(), wanted)]
        })?;
        let had_slots = old.is_some_and(|(_, old)| !old.slots.is_empty());
        if slots.is_empty() && (old.is_none_or(|(_, old)| old.gone) || had_slots) {
            notes.push(Note::NoUsableBackend { service: spec.name.clone() });
        }
        let name = old.filter(|(_, old)| *old.name == *spec.name).map(|(_, old)| old.name.clone());
        services.push(Service {
            name: name.unwrap_or_else(|| spec.name.as_str().into()),
            vip: planned.identity().0,
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
        });
    }
    Ok(services)
}

/// The configured backends, by id.
fn configured_backends(
    before: &Before<'_>,
    plan: &Plan<'_>,
    paths: &mut Paths,
    drains: &mut Drains<'_>,
) -> Vec<Option<Backend>> {
    let mut backends = vec![None; plan.ids_end()];
    for (index, planned) in plan.services.iter().enumerate() {
        for member in &planned.members {
            let old = before.backend(member.id);
            let path = paths.to(member.socket.ip(), planned.spec.mode);
            backends[member.id.index()] = Some(Backend {
                id: member.id,
                name: old.map_or_else(|| member.spec.name.as_str().into(), |old| old.name.clone()),
                service: ServiceIndex(index as u32),
                socket: member.socket,
                mode: planned.spec.mode,
                weight: member.spec.weight,
                state: member.state,
                retired_in: 0,
                gone: drains.is_gone(planned.spec, member),
                next_hop: path.next_hop,
                snat: path.snat,
            });
        }
    }
    backends
}

/// What is asked about each backend.
struct OnWay<'a, 'b> {
    paths: &'a mut Paths,
    drains: &'a mut Drains<'b>,
}

/// Adds the retired backends and the removed services that still have some.
fn add_kept(
    input: &CompileInput<'_>,
    plan: &Plan<'_>,
    kept: &Kept,
    OnWay { paths, drains }: OnWay<'_, '_>,
    (services, backends): (&mut Vec<Service>, &mut Vec<Option<Backend>>),
) -> Ledger {
    let mut ledger = Ledger { cut: kept.cut.clone(), ..Ledger::default() };
    let mut places = std::collections::HashMap::new();
    for &(old, since_ms) in &kept.gone {
        let index = ServiceIndex(services.len() as u32);
        places.insert(old, index);
        ledger.gone_since_ms.push((index, since_ms));
        let service = input.previous.services[old.index()].clone();
        services.push(Service { gone: true, slots: [].into(), ..service });
    }
    for &(id, retired_in) in &kept.retired {
        let Some(old) = input.previous.backend(id) else { continue };
        let identity = before::identity_of(&input.previous.services[old.service.index()]);
        let place = plan.place(identity);
        let Some(service) = place.or_else(|| places.get(&old.service).copied()) else { continue };
        // Flows of a service that was removed get what `on_service_gone` says.
        let drain_time_ms = place.and_then(|place| plan.service(place)?.drain_time_ms);
        let path = paths.to(old.socket.ip(), old.mode);
        if backends.len() <= id.index() {
            backends.resize(id.index() + 1, None);
        }
        backends[id.index()] = Some(Backend {
            service,
            state: BackendState::Retired,
            retired_in,
            // Nobody probes it any more: dead is dead.
            gone: drains.is_over(id, drain_time_ms) || old.gone,
            next_hop: path.next_hop,
            snat: path.snat,
            ..old.clone()
        });
    }
    ledger
}

fn tunnel_sources(desired: &DesiredState) -> TunnelSources {
    let of = |family: Family| {
        let specs = desired.tunnel_sources.iter();
        let mut ours = specs.filter(move |spec| Address::from(spec.network).family() == family);
        ours.next().map(|spec| TunnelSource::new(spec.network.into(), spec.prefix_len))
    };
    TunnelSources { v4: of(Family::Ipv4), v6: of(Family::Ipv6) }
}

fn ports(topology: &Topology, previous: &Snapshot) -> Vec<Port> {
    let port = |(place, link): (usize, &super::LinkState)| {
        let old = previous.ports.get(place).filter(|old| *old.name == *link.name);
        Port {
            name: old.map_or_else(|| link.name.as_str().into(), |old| old.name.clone()),
            mac: link.mac,
            mtu_bytes: link.mtu_bytes,
            up: link.up,
        }
    };
    topology.links.iter().enumerate().map(port).collect()
}
