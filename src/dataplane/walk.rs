//! Walks over a worker's flows, on an operator's behalf: to show them, or to end them.
//!
//! In bounded parts, one between two batches, so that packets do not wait. What changes between the
//! parts may be missed, and is never seen twice.

use super::engine::{Engine, Ticks};
use super::entry::{Flow, FlowEntry};
use super::flow_meter::FlowMeter;
use super::flow_table::FlowPlace;
use super::flows::End;
use crate::wire::{Address, FlowKey};

/// Places looked at in one part: some 10 microseconds.
const PLACES_A_PART: u32 = 2048;
/// Most flows in one answer.
const MOST_FOUND: usize = 1024;

/// Which flows; everything that is said has to hold.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FlowFilter {
    /// The flow of this key alone: client -> VIP.
    pub key: Option<FlowKey>,
    /// Clients of this network: its address, and ones where host bits are.
    pub clients: Option<(Address, u128)>,
    /// Flows to these backends, by [`crate::forwarding::BackendId`], sorted.
    pub backends: Option<Vec<u32>>,
}

impl FlowFilter {
    fn matches(&self, flow: &Flow) -> bool {
        let client = flow.key().source;
        !flow.is_affinity()
            && self.clients.is_none_or(|network| client.is_in(network))
            && self.backends.as_ref().is_none_or(|ids| ids.binary_search(&flow.backend).is_ok())
    }
}

/// A walk under way. Whoever wants it makes it, with all the memory it needs, and gets it back.
#[derive(Debug)]
pub struct FlowWalk {
    filter: FlowFilter,
    ends: bool,
    at: u32,
    done: bool,
    /// What was found since the walk was given back last.
    pub found: Vec<(FlowEntry, Option<FlowMeter>)>,
    /// Flows that were ended.
    pub ended: u64,
    /// When it was looked.
    pub now: Ticks,
}

impl FlowWalk {
    /// To copy the flows that match.
    pub fn to_show(filter: FlowFilter) -> FlowWalk {
        let found = Vec::with_capacity(MOST_FOUND);
        FlowWalk { filter, ends: false, at: 0, done: false, found, ended: 0, now: Ticks(0) }
    }

    /// To end the flows that match.
    pub fn to_end(filter: FlowFilter) -> FlowWalk {
        FlowWalk { ends: true, ..FlowWalk::to_show(filter) }
    }

    /// Has it been everywhere?
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Engine {
    /// One part of a walk; says whether it is to be given back: done, or full.
    pub fn walk(&mut self, now: Ticks, walk: &mut FlowWalk) -> bool {
        walk.now = now;
        if let Some(key) = walk.filter.key {
            let place = self.flows.table.find_forward(self.flows.hash.of(&key), &key);
            self.visit(walk, place);
            walk.done = true;
            return true;
        }
        let end = self.flows.table.used_up_to();
        let until = end.min(walk.at.saturating_add(PLACES_A_PART));
        while walk.at < until && walk.found.len() < MOST_FOUND {
            let place = FlowPlace(walk.at);
            walk.at += 1;
            self.visit(walk, Some(place));
        }
        walk.done = walk.at >= end;
        walk.done || walk.found.len() >= MOST_FOUND
    }

    fn visit(&mut self, walk: &mut FlowWalk, place: Option<FlowPlace>) {
        let Some(place) = place else { return };
        let Some(flow) = self.flows.table.get(place).filter(|flow| walk.filter.matches(flow))
        else {
            return;
        };
        if walk.ends {
            self.flows.end(place, End::Asked, walk.now.0 as u32);
            walk.ended += 1;
        } else if walk.found.len() < walk.found.capacity() {
            walk.found.push((self.flows.entry_of(flow), self.flows.meters.get(place)));
        }
    }
}
