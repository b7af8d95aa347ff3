//! Desired state + health + topology + previous snapshot -> the next snapshot.
//!
//! Pure and deterministic. Tables depend on desired state, health and cluster key alone; the
//! previous snapshot gives ids and places, what has to be kept for live flows, and all that can be
//! shared. It takes along what it was compiled from, and services of which all of that is as it was
//! are not looked at: what comes of it is the same as if they were, which the tests hold it to.
//!
//! What tells one service from another over time is VIP, port and protocol: it is what flows hold on
//! to. A service that only gets another name keeps its backends and flows. One that gets another
//! VIP, port or protocol is a new service, and the old one is gone: its flows end by its
//! `on_service_gone`. A backend is the same one while its service, its name, its socket and its mode
//! are: a service that gets another mode, or a backend that gets another port, has that for new
//! flows, and what was before is retired with the old ones.

mod before;
mod gone;
mod ids;
mod parts;
mod paths;
mod plan;
mod policy;
mod retire;
mod tables;
#[cfg(test)]
mod tests;
mod warm;
mod without;

pub use without::slots_without;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::validate::validate_after;
use super::{DesiredState, HealthView, LimitsSpec, Refusal, Topology};
use crate::forwarding::{
    Around, BackendId, ClusterKey, Ledger, Origin, Patch, Port, Snapshot, Spare, TunnelSource,
    TunnelSources,
};
use crate::wire::{Address, Family};

use before::{Before, Memory, by_identity};
use parts::Parts;
use paths::Paths;
use plan::Plan;

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
    /// So few of a service's backends are healthy that health is not believed any more.
    HealthNotBelieved {
        /// Its name.
        service: String,
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
            Note::HealthNotBelieved { service } => write!(
                f,
                "of service {service} fewer backends are healthy than min_healthy wants: all are \
                 used, as if they were"
            ),
            Note::NoUsableBackend { service } => {
                write!(f, "service {service} has no usable backend")
            }
        }
    }
}

/// What comes of a compile, before the snapshot is built.
#[derive(Clone, Debug)]
pub struct Next {
    patch: Patch,
    ledger: Ledger,
    memory: Memory,
    /// What the operator should know.
    pub notes: Vec<Note>,
    /// Is it another one than the previous, for workers or for the next compile? If not, it need not
    /// be built.
    pub is_new: bool,
}

impl Next {
    /// The snapshot. `spare` are the arrays of one that nobody runs any more: they save time, and
    /// change nothing of what comes of it.
    pub fn build(self, previous: &Snapshot, spare: Option<Spare>) -> Snapshot {
        let Next { patch, ledger, mut memory, .. } = self;
        let is_moved = memory.by_identity.is_empty();
        let snapshot = previous.next(patch, ledger, spare);
        if is_moved {
            memory.by_identity = Arc::new(by_identity(&snapshot));
        }
        snapshot.with_origin(Origin::new(memory))
    }
}

/// Backends of a snapshot that are only here for their flows.
pub fn retired_backends(snapshot: &Snapshot) -> Vec<BackendId> {
    if let Some(memory) = snapshot.origin().get::<Memory>() {
        return memory.retired.clone();
    }
    let retired = snapshot.backends.iter().flatten().filter(|backend| backend.is_retired());
    retired.map(|backend| backend.id).collect()
}

/// Makes the next snapshot, or says why there is none; then nothing changes.
pub fn compile(input: &CompileInput<'_>) -> Result<Compiled, Vec<Refusal>> {
    let next = compile_next(input)?;
    let notes = next.notes.clone();
    Ok(Compiled { snapshot: next.build(input.previous, None), notes })
}

/// The same without building it. Takes as long as there is something that may have changed: what the
/// previous snapshot was compiled from says which services have not.
pub fn compile_next(input: &CompileInput<'_>) -> Result<Next, Vec<Refusal>> {
    let before = Before::of(input);
    let is_ours = |address: IpAddr| input.previous.address_role(address.into()).is_some();
    let refusals = validate_after(input.desired, &before.memory.desired, is_ours);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let mut paths = Paths::new(input.topology, &input.desired.snat)?;
    let mut plan = Plan::new(input, &before);
    let kept = retire::keep(input, &before, &plan);
    plan.give_places(input, &before, &kept);
    plan.give_ids(input, &before, &kept).map_err(|refusal| vec![refusal])?;

    let warming = plan.warm(input, &before);
    let mut parts = Parts::of(input, &before, &plan, (warming, kept.notes.clone()));
    parts.add_services(&plan)?;
    parts.add_backends(&plan, &mut paths);
    let ledger = parts.add_kept(&plan, &kept, &mut paths);
    let memory = parts.memory(&plan, &kept);
    let Paths { routes, snat, .. } = paths;
    let own_addresses = input.topology.own_addresses.iter().map(|own| own.address.into());
    let around = Around {
        snat,
        tunnel_sources: tunnel_sources(input.desired),
        ports: ports(input.topology, input.previous),
        own_addresses: own_addresses.collect(),
        routes,
        cluster_key: input.cluster_key,
    };
    let (patch, notes) = parts.into_patch(around, memory.ids.end());
    let is_new = input.previous.is_changed_by(&patch) || ledger != *input.previous.ledger();
    Ok(Next { patch, ledger, memory, notes, is_new })
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
