//! What has happened to each flow, and what may therefore happen to its client.
//!
//! Written down from outside: backends from the workers' flow events, and what became of backends
//! from the snapshots as they are published and from the plan. It knows no packets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use guideway::forwarding::{BackendGonePolicy, Snapshot};
use guideway::wire::{FlowKey, Protocol};

use super::desired::name;
use super::pool::Pool;
use super::site::number_of;

/// How a flow may end besides whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    pub reset: bool,
    pub silence: bool,
}

/// A flow as clients know it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub key: FlowKey,
    pub pool: Pool,
    pub protocol: Protocol,
    pub on_gone: BackendGonePolicy,
}

/// From when to when; still, while the end is none.
type Times = Vec<(u64, Option<u64>)>;

#[derive(Default)]
pub struct History {
    /// Backends that each flow has had, by their machines' numbers, in order.
    had: BTreeMap<Sortable, Vec<u16>>,
    /// When the backends of a service were gone.
    gone: BTreeMap<(String, u16), Times>,
    /// Machines that fell silent, and when.
    dead: BTreeMap<u16, u64>,
}

/// A flow's key in an order.
pub type Sortable = (guideway::wire::Address, guideway::wire::Address, u16, u16, u32);

pub fn sortable(key: FlowKey) -> Sortable {
    (key.source, key.destination, key.source_port, key.destination_port, key.protocol)
}

impl History {
    /// A flow's packets go to this machine from now on.
    pub fn goes_to(&mut self, key: FlowKey, number: u16) {
        let had = self.had.entry(sortable(key)).or_default();
        if had.last() != Some(&number) {
            had.push(number);
        }
    }

    pub fn died(&mut self, number: u16, now_ms: u64) {
        self.dead.insert(number, now_ms);
    }

    /// A snapshot was published.
    pub fn published(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let gone = snapshot.backends.iter().flatten().filter(|backend| backend.gone);
        let now: BTreeSet<(String, u16)> = gone
            .filter_map(|backend| {
                let service = snapshot.service_of(backend)?;
                Some((service.name.to_string(), number_of(&backend.name)))
            })
            .collect();
        for (backend, times) in &mut self.gone {
            if let Some((_, end @ None)) = times.last_mut()
                && !now.contains(backend)
            {
                *end = Some(now_ms);
            }
        }
        for backend in now {
            let times = self.gone.entry(backend).or_default();
            if times.last().is_none_or(|(_, end)| end.is_some()) {
                times.push((now_ms, None));
            }
        }
    }

    pub fn had(&self, key: FlowKey) -> &[u16] {
        self.had.get(&sortable(key)).map_or(&[], Vec::as_slice)
    }

    /// What may have happened to a flow in its life.
    pub fn allowed(&self, flow: &Asked, life: RangeInclusive<u64>) -> Allowed {
        let is_tcp = flow.protocol == Protocol::Tcp;
        let mut allowed = Allowed::default();
        for &number in self.had(flow.key) {
            let gone = self.gone_in(flow, number, &life);
            let is_dead = self.dead.get(&number).is_some_and(|&at| at <= *life.end());
            let is_drop = flow.on_gone == BackendGonePolicy::Drop;
            allowed.reset |= gone.ever && is_tcp && !is_drop;
            // A dead machine is silent until it is known to be dead; and then a datagram finds
            // another one.
            allowed.silence |= is_dead && !gone.at_last;
            allowed.silence |= gone.ever && is_tcp && is_drop;
        }
        allowed
    }

    fn gone_in(&self, flow: &Asked, number: u16, life: &RangeInclusive<u64>) -> Gone {
        let times = self.gone.get(&(name(flow.pool, flow.protocol), number));
        let times = times.into_iter().flatten();
        let mut found = Gone { ever: false, at_last: false };
        for &(from, to) in times {
            let is_in = from <= *life.end() && to.is_none_or(|to| to >= *life.start());
            found.ever |= is_in;
            found.at_last |= is_in && to.is_none_or(|to| to >= *life.end());
        }
        found
    }
}

struct Gone {
    ever: bool,
    at_last: bool,
}
