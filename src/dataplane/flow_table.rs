//! The flows of one worker: a slab of one cache line a flow, and an index over their keys.
//!
//! Of fixed size, made once. A NAT flow is found by two keys: client -> VIP, and backend -> SNAT
//! address and port. Keys are compared whole, so no two flows are ever mixed up. Knows nothing of
//! time-outs, and of return keys only what its caller says: hashes, and whether a flow is the one.

use super::entry::Flow;
use super::flow_index::FlowIndex;
use crate::arch;
use crate::wire::FlowKey;

/// Place of a flow in the slab; right until that flow is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FlowPlace(pub(super) u32);

impl FlowPlace {
    /// No place: nothing is found there.
    pub(super) const NONE: FlowPlace = FlowPlace(u32::MAX);
}

/// The hashes of a flow's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeyHashes {
    /// Of client -> VIP.
    pub(super) forward: u64,
    /// Of backend -> SNAT address and port, under NAT.
    pub(super) back: Option<u64>,
}

/// In a number of the index: it stands for the return key.
const RETURN: u32 = 1 << 31;
/// Ends the list of free places.
const NONE: u32 = u32::MAX;
/// Most flows: places have 31 bits, and the last ones would meet the marks above.
pub(super) const MAX_FLOWS: usize = (RETURN - 2) as usize;

#[derive(Debug)]
pub(super) struct FlowTable {
    slots: Box<[Flow]>,
    index: FlowIndex,
    /// Head of the list of free places; the next one stands in the free place's `backend`.
    free: u32,
    /// Places from here on were never used and are not on the list.
    used_up_to: u32,
    live: u32,
}

impl FlowTable {
    pub(super) fn new(max_flows: usize) -> FlowTable {
        let max_flows = max_flows.min(MAX_FLOWS);
        FlowTable {
            slots: arch::vec_in_large_pages(Flow::FREE, max_flows),
            index: FlowIndex::new(max_flows * 2),
            free: NONE,
            used_up_to: 0,
            live: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == self.slots.len()
    }

    /// Places below this may be in use: how far a walk over all flows has to go.
    pub(super) fn used_up_to(&self) -> u32 {
        self.used_up_to
    }

    /// First stage of a look-up that is to come: fetches the index's line.
    #[inline]
    pub(super) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second stage: fetches the line of the flow that it will probably be, and says its place, for
    /// [`FlowTable::is_at`].
    #[inline(always)]
    pub(super) fn prefetch_flow(&self, hash: u64) -> FlowPlace {
        let Some(place) = self.index.first(hash) else { return FlowPlace::NONE };
        let place = place & !RETURN;
        if let Some(slot) = self.slots.get(place as usize) {
            arch::prefetch(slot);
        }
        FlowPlace(place)
    }

    /// Is the flow of a client's packet at this place, where it probably was a moment ago?
    #[inline]
    pub(super) fn is_at(&self, place: FlowPlace, key: &FlowKey) -> bool {
        self.slots.get(place.0 as usize).is_some_and(|flow| flow.is_of(key))
    }

    /// The flow of a client's packet.
    #[inline]
    pub(super) fn find_forward(&self, hash: u64, key: &FlowKey) -> Option<FlowPlace> {
        let is_it = |number: u32| {
            number & RETURN == 0
                && self.slots.get(number as usize).is_some_and(|flow| flow.is_of(key))
        };
        self.index.find(hash, is_it).map(FlowPlace)
    }

    /// The flow of a backend's packet under NAT: the one of this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find_return(
        &self,
        hash: u64,
        is_it: impl Fn(&Flow) -> bool,
    ) -> Option<FlowPlace> {
        let is_it = |number: u32| {
            number & RETURN != 0 && self.slots.get((number & !RETURN) as usize).is_some_and(&is_it)
        };
        self.index.find(hash, is_it).map(|number| FlowPlace(number & !RETURN))
    }

    /// The flow in use at a place.
    #[inline]
    pub(super) fn get(&self, place: FlowPlace) -> Option<&Flow> {
        self.slots.get(place.0 as usize).filter(|flow| flow.is_in_use())
    }

    /// What is at a place, whether or not it is in use; as [`FlowTable::get_mut`].
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, place: FlowPlace) -> Option<&mut Flow> {
        self.slots.get_mut(place.0 as usize)
    }

    /// As [`FlowTable::get`]. What the keys are made of must not be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, place: FlowPlace) -> Option<&mut Flow> {
        self.slots.get_mut(place.0 as usize).filter(|flow| flow.is_in_use())
    }

    /// Adds a flow whose keys are not in the table; none when it is full.
    pub(super) fn insert(&mut self, flow: Flow, hashes: KeyHashes) -> Option<FlowPlace> {
        debug_assert!(flow.is_in_use());
        let place = self.take_place()?;
        *self.slots.get_mut(place as usize)? = flow;
        self.live += 1;
        // The index has a quarter more room than two numbers a flow.
        let found_room = self.link(place, hashes);
        debug_assert!(found_room, "index full before the slab");
        Some(FlowPlace(place))
    }

    /// Takes a flow out and gives its last state.
    pub(super) fn remove(&mut self, place: FlowPlace, hashes: KeyHashes) -> Option<Flow> {
        let flow = *self.get(place)?;
        self.index.remove(hashes.forward, place.0);
        if let Some(back) = hashes.back {
            self.index.remove(back, place.0 | RETURN);
        }
        self.put_back(place.0);
        self.live -= 1;
        Some(flow)
    }

    fn link(&mut self, place: u32, hashes: KeyHashes) -> bool {
        self.index.insert(hashes.forward, place)
            && hashes.back.is_none_or(|back| self.index.insert(back, place | RETURN))
    }

    fn take_place(&mut self) -> Option<u32> {
        let place = self.free;
        if place != NONE {
            self.free = self.slots.get(place as usize)?.backend;
            return Some(place);
        }
        let place = self.used_up_to;
        self.slots.get(place as usize)?;
        self.used_up_to += 1;
        Some(place)
    }

    fn put_back(&mut self, place: u32) {
        if let Some(slot) = self.slots.get_mut(place as usize) {
            *slot = Flow::FREE;
            slot.backend = self.free;
            self.free = place;
        }
    }

    /// Makes index and list of free places anew from the flows. `judge` says of each one in use
    /// whether it is to stay, by its hashes, given the table as it is so far; the answer is how many
    /// were given up.
    ///
    /// For after a panic: whatever was half done, the flows are plain data.
    pub(super) fn rebuild(
        &mut self,
        mut judge: impl FnMut(&FlowTable, &Flow) -> Option<KeyHashes>,
    ) -> usize {
        self.index.clear();
        (self.free, self.live) = (NONE, 0);
        let mut given_up = 0;
        for place in (0..self.used_up_to.min(self.slots.len() as u32)).rev() {
            let Some(flow) = self.slots.get(place as usize).copied() else { continue };
            let hashes = if flow.is_in_use() { judge(self, &flow) } else { None };
            if let Some(hashes) = hashes {
                self.link(place, hashes);
                self.live += 1;
            } else {
                given_up += usize::from(flow.is_in_use());
                self.put_back(place);
            }
        }
        given_up
    }
}

#[cfg(test)]
#[path = "flow_table_tests.rs"]
mod tests;
