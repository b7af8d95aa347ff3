//! What a change would do, before it is done: to services and backends, to Maglev tables, and to the
//! flows that live now.
//!
//! The next snapshot is made as for a publication, by the same `compile`; this only compares the two.

mod flows;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::diff::{around_changes, service_lines};
use super::{BackendSpec, DesiredState, LiveFlows, ServiceSpec, Shared};
use crate::forwarding::{Service, Snapshot};
use crate::wire::Protocol;

/// Everything a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What is wanted now.
    pub before: &'a DesiredState,
    /// What would be wanted.
    pub after: &'a DesiredState,
    /// What `before` was compiled to.
    pub running: &'a Snapshot,
    /// What `after` is compiled to, with `running` as the previous one.
    pub next: &'a Snapshot,
    /// Flows of the backends of `running`; none where nothing runs.
    pub live: Option<&'a LiveFlows>,
}

/// What a change would do.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Services that are added, changed or removed, and those whose flows are touched; by name.
    pub services: Vec<ServicePlan>,
    /// Services of which nothing changes.
    pub unchanged: usize,
    /// What else changes, a line each.
    pub others: Vec<String>,
    /// Live flows are counted: there is something that runs.
    pub has_flows: bool,
    /// A flow that lives now would not go on, or could not be told to.
    pub breaks_flows: bool,
}

/// What becomes of one service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: ServiceChange,
    /// Backends that it gets.
    pub backends_added: usize,
    /// Backends of which something changes.
    pub backends_changed: usize,
    /// Backends that it loses.
    pub backends_removed: usize,
    /// Slots of its table; none where it has no table before or after.
    pub slots: Option<Moved>,
    /// Its live flows.
    pub flows: FlowFates,
    /// It has no flow entries, so that flows in moved slots go to another backend.
    pub is_stateless: bool,
    /// What changes, a line each.
    pub changes: Vec<String>,
}

/// What happens to a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceChange {
    /// It is new.
    Added,
    /// Something of it is another.
    Changed,
    /// It is no longer there.
    Removed,
    /// It stays as it is, but its flows do not.
    Touched,
}

/// Shares of a Maglev table, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Moved {
    /// What goes to another backend.
    pub share: f64,
    /// What of that need not, were the table filled anew in the best way.
    pub beyond: f64,
}

/// What becomes of live flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowFates {
    /// They go on, beside new ones.
    pub keep: u64,
    /// They go on, while their backend gets no new ones.
    pub drain: u64,
    /// They end: by reset or in silence, as the service says.
    pub lose: u64,
    /// One of the SNAT addresses that they may have goes.
    pub unsure: u64,
}

/// What the change would do.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let PlanInput { before, after, running, next, live } = *input;
    let fates = live.map(|live| flows::fates(running, next, live)).unwrap_or_default();
    let (old, new) = (by_name(before), by_name(after));
    let (places, next_places) = (by_identity(running), by_identity(next));
    let mut plan = Plan { has_flows: live.is_some(), ..Plan::default() };
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    for name in names {
        let (old, new) = (old.get(name).copied(), new.get(name).copied());
        let changes = service_lines(name, old, new);
        let place = old.and_then(|old| places.get(&identity(old)).copied());
        let flows = place.and_then(|place| fates.get(place).copied()).unwrap_or_default();
        let is_touched = flows.lose + flows.drain + flows.unsure > 0;
        if changes.is_empty() && !is_touched {
            plan.unchanged += 1;
            continue;
        }
        let change = match (old, new) {
            (None, _) => ServiceChange::Added,
            (_, None) => ServiceChange::Removed,
            _ if changes.is_empty() => ServiceChange::Touched,
            _ => ServiceChange::Changed,
        };
        let [backends_added, backends_changed, backends_removed] = backends(old, new);
        let service = place.and_then(|place| running.services.get(place));
        let next_place = new.and_then(|new| next_places.get(&identity(new)).copied());
        let pair = service.zip(next_place.and_then(|place| next.services.get(place)));
        plan.services.push(ServicePlan {
            name: name.to_string(),
            change,
            backends_added,
            backends_changed,
            backends_removed,
            slots: pair.and_then(|(old, new)| is_one(old, new)),
            flows,
            is_stateless: new.is_some_and(|new| !new.rules.entries),
            changes,
        });
    }
    plan.others = around_changes(before, after);
    plan.breaks_flows = plan.services.iter().any(ServicePlan::breaks_flows);
    plan
}

impl ServicePlan {
    /// A flow of it would not go on, as far as can be known.
    pub fn breaks_flows(&self) -> bool {
        let is_moved = self.slots.is_some_and(|moved| moved.share > 0.0);
        self.flows.lose + self.flows.unsure > 0 || (self.is_stateless && is_moved)
    }
}

/// What makes a service the same one in two states.
type Identity = (SocketAddr, Protocol);

fn identity(spec: &ServiceSpec) -> Identity {
    (SocketAddr::new(spec.address, spec.port), spec.protocol)
}

fn by_identity(snapshot: &Snapshot) -> HashMap<Identity, usize> {
    let services = snapshot.services.iter().enumerate();
    services.map(|(place, service)| ((service.vip, service.protocol), place)).collect()
}

/// Slots of a service before and after; none of one that gets another address, which is another one.
fn is_one(old: &Service, new: &Service) -> Option<Moved> {
    let is_same = (old.vip, old.protocol) == (new.vip, new.protocol) && !new.gone;
    is_same.then(|| slots::moved(&old.slots, &new.slots))
}

fn by_name(state: &DesiredState) -> BTreeMap<&str, &Shared<ServiceSpec>> {
    state.services.iter().map(|spec| (spec.name.as_str(), spec)).collect()
}

/// How many backends are added, changed and removed.
fn backends(old: Option<&Shared<ServiceSpec>>, new: Option<&Shared<ServiceSpec>>) -> [usize; 3] {
    let of = |spec: Option<&'_ Shared<ServiceSpec>>| -> BTreeMap<String, BackendSpec> {
        let backends = spec.into_iter().flat_map(|spec| &spec.backends);
        backends.map(|backend| (backend.name.clone(), backend.clone())).collect()
    };
    let (old, new) = (of(old), of(new));
    let added = new.keys().filter(|name| !old.contains_key(*name)).count();
    let removed = old.keys().filter(|name| !new.contains_key(*name)).count();
    let is_changed = |(name, backend): &(&String, &BackendSpec)| {
        new.get(*name).is_some_and(|new| new != *backend)
    };
    [added, old.iter().filter(is_changed).count(), removed]
}
