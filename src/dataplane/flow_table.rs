//! The flows of one worker: a slab of entries, and an index over their keys.
//!
//! Of fixed size, made once. A NAT flow is found by two keys: client -> VIP, and backend -> SNAT
//! address and port. Keys are compared whole, so no two flows are ever mixed up. Knows nothing of
//! time-outs: what is too old, the caller decides.

use super::flow_hash::FlowHash;
use super::flow_index::FlowIndex;
use super::{ENTRY_VERSION, FlowEntry, FlowState};
use crate::wire::FlowKey;

/// Place of an entry in the slab; right until that flow is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FlowPlace(pub(super) u32);

/// In an index entry: it stands for the return key.
const RETURN: u32 = 1 << 31;
/// Ends the list of free places.
const NONE: u32 = u32::MAX;
/// Most flows: places have 31 bits, and the last ones would meet the marks above.
pub(super) const MAX_FLOWS: usize = (RETURN - 2) as usize;

/// Of one cache line each.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Slot(FlowEntry);

#[derive(Debug)]
pub(super) struct FlowTable {
    slots: Box<[Slot]>,
    index: FlowIndex,
    hash: FlowHash,
    /// Head of the list of free places; the next one stands in the free entry's `backend`.
    free: u32,
    /// Places from here on were never used and are not on the list.
    used_up_to: u32,
    live: u32,
}

impl FlowTable {
    pub(super) fn new(max_flows: usize, hash: FlowHash) -> FlowTable {
        let max_flows = max_flows.min(MAX_FLOWS);
        FlowTable {
            slots: vec![Slot(FlowEntry::FREE); max_flows].into_boxed_slice(),
            index: FlowIndex::new(max_flows * 2),
            hash,
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

    /// The flow of a client's packet.
    #[inline]
    pub(super) fn find_forward(&self, hash: u64, key: &FlowKey) -> Option<FlowPlace> {
        let is_it = |number: u32| {
            number & RETURN == 0 && self.slot(number).is_some_and(|entry| entry.key == *key)
        };
        self.index.find(hash, is_it).map(FlowPlace)
    }

    /// The flow of a backend's packet, under NAT.
    #[inline]
    pub(super) fn find_return(&self, hash: u64, key: &FlowKey) -> Option<FlowPlace> {
        let is_it = |number: u32| {
            let entry = self.slot(number & !RETURN);
            number & RETURN != 0 && entry.is_some_and(|entry| entry.return_key() == *key)
        };
        self.index.find(hash, is_it).map(|number| FlowPlace(number & !RETURN))
    }

    /// The entry in use at a place.
    #[inline]
    pub(super) fn get(&self, place: FlowPlace) -> Option<&FlowEntry> {
        self.slot(place.0).filter(|entry| entry.is_in_use())
    }

    /// As [`FlowTable::get`]. What the keys are made of must not be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, place: FlowPlace) -> Option<&mut FlowEntry> {
        let entry = &mut self.slots.get_mut(place.0 as usize)?.0;
        entry.is_in_use().then_some(entry)
    }

    #[inline]
    fn slot(&self, place: u32) -> Option<&FlowEntry> {
        self.slots.get(place as usize).map(|slot| &slot.0)
    }

    /// Adds a flow whose keys are not in the table; none when it is full.
    pub(super) fn insert(&mut self, entry: FlowEntry) -> Option<FlowPlace> {
        debug_assert!(entry.is_in_use());
        let place = self.take_place()?;
        self.slots.get_mut(place as usize)?.0 = entry;
        self.live += 1;
        // The index has a quarter more room than two numbers a flow.
        let found_room = self.link(place, &entry);
        debug_assert!(found_room, "index full before the slab");
        Some(FlowPlace(place))
    }

    /// Takes a flow out and gives its last state.
    pub(super) fn remove(&mut self, place: FlowPlace) -> Option<FlowEntry> {
        let entry = *self.get(place)?;
        self.index.remove(self.hash.of(&entry.key), place.0);
        if entry.is_nat() {
            self.index.remove(self.hash.of(&entry.return_key()), place.0 | RETURN);
        }
        self.put_back(place.0);
        self.live -= 1;
        Some(entry)
    }

    fn link(&mut self, place: u32, entry: &FlowEntry) -> bool {
        self.index.insert(self.hash.of(&entry.key), place)
            && (!entry.is_nat()
                || self.index.insert(self.hash.of(&entry.return_key()), place | RETURN))
    }

    fn take_place(&mut self) -> Option<u32> {
        let place = self.free;
        if place != NONE {
            self.free = self.slot(place)?.backend;
            return Some(place);
        }
        let place = self.used_up_to;
        self.slot(place)?;
        self.used_up_to += 1;
        Some(place)
    }

    fn put_back(&mut self, place: u32) {
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.0 = FlowEntry { backend: self.free, ..FlowEntry::FREE };
            self.free = place;
        }
    }

    /// Makes index and list of free places anew from the entries, and gives up those that make no
    /// sense or say the same as another; the answer is how many.
    ///
    /// For after a panic: whatever was half done, the entries are plain data.
    pub(super) fn rebuild(&mut self) -> usize {
        self.index.clear();
        (self.free, self.live) = (NONE, 0);
        let mut given_up = 0;
        for place in (0..self.used_up_to.min(self.slots.len() as u32)).rev() {
            let Some(entry) = self.slot(place).copied() else { continue };
            if entry.is_in_use() && self.is_new_and_sound(&entry) {
                self.link(place, &entry);
                self.live += 1;
            } else {
                given_up += usize::from(entry.is_in_use());
                self.put_back(place);
            }
        }
        given_up
    }

    /// May this entry be added: does it make sense, and are its keys not in the table?
    pub(super) fn is_new_and_sound(&self, entry: &FlowEntry) -> bool {
        let sound = entry.version == ENTRY_VERSION
            && FlowState::of(entry).is_some()
            && (entry.snat_address != 0) == entry.is_nat();
        let (key, return_key) = (entry.key, entry.return_key());
        let is_new = || {
            self.find_forward(self.hash.of(&key), &key).is_none()
                && (!entry.is_nat()
                    || self.find_return(self.hash.of(&return_key), &return_key).is_none())
        };
        sound && is_new()
    }
}

#[cfg(test)]
#[path = "flow_table_tests.rs"]
mod tests;
