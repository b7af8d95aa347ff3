//! The datagrams of which fragments were seen and others may come: found by key, forgotten by age.
//!
//! A slab of a fixed size. Each entry is in the chain of its bucket and in one list by age; as all
//! are kept for the same time, those that are too old stand together at its end.

use super::fragment_pieces::Pieces;
use super::held_frames::Chain;
use super::{DropReason, Ports};
use crate::wire::{Address, Fragment, IpPacket};

const NONE: u32 = u32::MAX;

/// What the fragments of one datagram share (RFC 791 section 2.3, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DatagramKey {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) identification: u32,
    /// Of IPv4 only: in IPv6 a later fragment may name another next header than the first.
    pub(super) protocol: u8,
}

impl DatagramKey {
    pub(super) fn of(ip: &IpPacket, part: &Fragment) -> DatagramKey {
        DatagramKey {
            source: ip.key.source,
            destination: ip.key.destination,
            identification: part.identification,
            protocol: if ip.key.source.is_v4() { ip.key.protocol_number() } else { 0 },
        }
    }
}

/// How far a datagram has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The first fragment was not seen: the others are held.
    Waits,
    /// It was: all go its way.
    Follows(Ports),
    /// Something was wrong with one of them: none goes on.
    GivenUp(DropReason),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    key: DatagramKey,
    bucket: u32,
    next: u32,
    older: u32,
    newer: u32,
    pub(super) first_seen_ms: u32,
    pub(super) standing: Standing,
    pub(super) held: Chain,
    pub(super) pieces: Pieces,
}

const FREE: Datagram = Datagram {
    key: DatagramKey {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        identification: 0,
        protocol: 0,
    },
    bucket: 0,
    next: NONE,
    older: NONE,
    newer: NONE,
    first_seen_ms: 0,
    standing: Standing::Waits,
    held: Chain::EMPTY,
    pieces: Pieces::NONE,
};

/// Where a datagram stands in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

#[derive(Debug)]
pub(super) struct FragmentTable {
    slab: Box<[Datagram]>,
    /// First of each bucket's chain; a power of two long.
    buckets: Box<[u32]>,
    /// First of the unused entries' chain.
    free: u32,
    oldest: u32,
    newest: u32,
}

impl FragmentTable {
    pub(super) fn new(most: usize) -> FragmentTable {
        let mut table = FragmentTable {
            slab: vec![FREE; most].into_boxed_slice(),
            buckets: vec![NONE; most.next_power_of_two() * 2].into_boxed_slice(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
        };
        table.clear();
        table
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.buckets.fill(NONE);
        (self.free, self.oldest, self.newest) = (NONE, NONE, NONE);
        for (at, datagram) in self.slab.iter_mut().enumerate().rev() {
            datagram.next = self.free;
            self.free = at as u32;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    pub(super) fn oldest(&self) -> Option<Place> {
        (self.oldest != NONE).then_some(Place(self.oldest))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, Place(at): Place) -> Option<&mut Datagram> {
        self.slab.get_mut(at as usize)
    }

    pub(super) fn find(&self, hash: u64, key: &DatagramKey) -> Option<Place> {
        let mut at = self.buckets.get(self.bucket(hash)).copied().unwrap_or(NONE);
        while let Some(datagram) = self.slab.get(at as usize) {
            if datagram.key == *key {
                return Some(Place(at));
            }
            at = datagram.next;
        }
        None
    }

    /// Adds a datagram that is not there; none when there is no room.
    pub(super) fn insert(&mut self, hash: u64, key: DatagramKey, now_ms: u32) -> Option<Place> {
        let (at, bucket) = (self.free, self.bucket(hash));
        let older = self.newest;
        let datagram = self.slab.get_mut(at as usize)?;
        self.free = datagram.next;
        let head = self.buckets.get_mut(bucket)?;
        // Its pieces are cleared and not written: they are long.
        datagram.pieces.clear();
        (datagram.key, datagram.bucket, datagram.next) = (key, bucket as u32, *head);
        (datagram.older, datagram.newer) = (older, NONE);
        (datagram.first_seen_ms, datagram.standing) = (now_ms, Standing::Waits);
        datagram.held = Chain::EMPTY;
        *head = at;
        match self.slab.get_mut(older as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        Some(Place(at))
    }

    /// Forgets a datagram. Its held frames are the caller's.
    pub(super) fn remove(&mut self, Place(at): Place) {
        let Some(datagram) = self.slab.get_mut(at as usize) else { return };
        let (bucket, next) = (datagram.bucket, datagram.next);
        let (older, newer) = (datagram.older, datagram.newer);
        datagram.next = self.free;
        self.free = at;
        match self.slab.get_mut(older as usize) {
            Some(before) => before.newer = newer,
            None => self.oldest = newer,
        }
        match self.slab.get_mut(newer as usize) {
            Some(after) => after.older = older,
            None => self.newest = older,
        }
        self.unchain(bucket, at, next);
    }

    /// Takes an entry out of its bucket's chain.
    fn unchain(&mut self, bucket: u32, at: u32, next: u32) {
        let Some(head) = self.buckets.get_mut(bucket as usize) else { return };
        if *head == at {
            *head = next;
            return;
        }
        let mut before = *head;
        while let Some(datagram) = self.slab.get_mut(before as usize) {
            if datagram.next == at {
                datagram.next = next;
                return;
            }
            before = datagram.next;
        }
    }

    /// The hash's low 8 bits are the shard, which may be the same for all of this worker's.
    fn bucket(&self, hash: u64) -> usize {
        (hash >> 8) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(identification: u32) -> DatagramKey {
        DatagramKey { identification, ..FREE.key }
    }

    /// Few buckets, so that they hold several.
    fn hash(identification: u32) -> u64 {
        u64::from(identification % 3) << 8
    }

    proptest! {
        /// Against a list in order of age.
        #[test]
        fn as_a_plain_list(steps in prop::collection::vec((0u32..12, prop::bool::ANY), 1..200)) {
            let mut table = FragmentTable::new(5);
            let mut model: Vec<(u32, u32)> = vec![];
            for (now_ms, (id, remove)) in (0..).zip(steps) {
                let found = table.find(hash(id), &key(id));
                let known = model.iter().position(|&(known, _)| known == id);
                prop_assert_eq!(found.is_some(), known.is_some());
                match (found, known) {
                    (Some(place), Some(at)) if remove => {
                        table.remove(place);
                        model.remove(at);
                    }
                    (Some(place), Some(at)) => {
                        let first_seen_ms = table.get_mut(place).unwrap().first_seen_ms;
                        prop_assert_eq!(first_seen_ms, model[at].1);
                    }
                    _ => {
                        let added = table.insert(hash(id), key(id), now_ms).is_some();
                        prop_assert_eq!(added, model.len() < 5);
                        if added {
                            model.push((id, now_ms));
                        }
                    }
                }
                let oldest = table.oldest().map(|place| table.get_mut(place).unwrap().first_seen_ms);
                prop_assert_eq!(oldest, model.first().map(|&(_, at)| at));
                prop_assert_eq!(table.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn a_table_of_nothing() {
        let mut table = FragmentTable::new(0);
        assert_eq!(table.insert(hash(1), key(1), 0), None);
        assert!(table.find(hash(1), &key(1)).is_none() && table.is_empty());
    }
}
