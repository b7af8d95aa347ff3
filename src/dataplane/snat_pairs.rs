//! Pairs of a backend endpoint and a SNAT address: what all ports of the address towards that endpoint
//! have in common.
//!
//! By endpoint, not by backend id: two backends of two services may be one socket, and then must not
//! be given one SNAT port twice. And a backend that comes back under a new id finds its ports
//! resting.
//!
//! There are few of them, so packets of many flows find theirs in the cache.

use super::flow_hash::FlowHash;
use crate::arch;
use crate::wire::{Address, FlowKey};

/// Ends a chain.
const NONE: u32 = u32::MAX;
/// Most pairs: with a shard beside it, a pair's number has to leave a bit of 32 free.
pub(super) const MOST_PAIRS: usize = 1 << 23;

/// Which pair: the backend's side of a flow but for the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PairKey {
    pub(super) backend: Address,
    pub(super) snat: Address,
    pub(super) backend_port: u16,
    pub(super) protocol: u8,
}

impl PairKey {
    /// The pair of a flow by its return key (backend -> SNAT address and port).
    #[inline]
    pub(super) fn of(return_key: &FlowKey) -> PairKey {
        PairKey {
            backend: return_key.source,
            snat: return_key.destination,
            backend_port: return_key.source_port,
            protocol: return_key.protocol_number(),
        }
    }

    #[inline]
    fn hash(&self, hash: &FlowHash) -> u64 {
        let rest = u64::from(self.backend_port) << 8 | u64::from(self.protocol);
        hash.mix(hash.of_addresses(self.backend, self.snat), rest)
    }
}

/// One pair, in a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Pair {
    pub(super) key: PairKey,
    /// Next pair of the same chain, or of the list of free places.
    next: u32,
    /// Blocks of ports it has; none: the place is free.
    pub(super) blocks: u32,
    /// Flows that stand by it, those that only pass late packets on too.
    pub(super) flows: u32,
    /// Of its key.
    pub(super) hash: u64,
}

const _: () = assert!(std::mem::size_of::<Pair>() == 64);

#[derive(Debug)]
pub(super) struct SnatPairs {
    /// Room for all is set aside; memory is touched as pairs are made.
    pairs: Vec<Pair>,
    most: usize,
    /// Head of the list of free places.
    free: u32,
    /// First pair of each chain of those with like hashes. A power of two long.
    heads: Box<[u32]>,
    hash: FlowHash,
}

impl SnatPairs {
    /// Room for so many. Chains are short as long as pairs have a dozen blocks or more, as they have
    /// with up to 16 workers; and where they begin is in the cache.
    pub(super) fn new(most: usize, hash: FlowHash) -> SnatPairs {
        debug_assert!(most <= MOST_PAIRS);
        SnatPairs {
            pairs: arch::room_in_large_pages(most),
            most,
            free: NONE,
            heads: vec![NONE; (most / 16).next_power_of_two()].into_boxed_slice(),
            hash,
        }
    }

    /// How many there are or were.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Pair> {
        self.pairs.get(number as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Pair> {
        self.pairs.get_mut(number as usize)
    }

    /// The number of the pair with this key.
    #[inline]
    pub(super) fn find(&self, key: &PairKey) -> Option<u32> {
        self.find_by_hash(key, key.hash(&self.hash))
    }

    #[inline]
    fn find_by_hash(&self, key: &PairKey, hash: u64) -> Option<u32> {
        let mut at = self.heads[self.chain_of(hash)];
        while let Some(pair) = self.pairs.get(at as usize) {
            if pair.hash == hash && pair.key == *key {
                return Some(at);
            }
            at = pair.next;
        }
        None
    }

    /// As [`SnatPairs::find`]; a pair that is not there is made, without blocks.
    pub(super) fn find_or_make(&mut self, key: &PairKey) -> Option<u32> {
        let hash = key.hash(&self.hash);
        if let Some(found) = self.find_by_hash(key, hash) {
            return Some(found);
        }
        let pair = Pair { key: *key, next: NONE, blocks: 0, flows: 0, hash };
        let number = self.place(pair)?;
        self.link(number);
        Some(number)
    }

    fn place(&mut self, pair: Pair) -> Option<u32> {
        let number = self.free;
        if let Some(place) = self.pairs.get_mut(number as usize) {
            self.free = place.next;
            *place = pair;
            return Some(number);
        }
        let number = self.pairs.len();
        (number < self.most).then(|| {
            self.pairs.push(pair);
            number as u32
        })
    }

    /// Frees a pair whose last block is gone, and by which no flow stands.
    pub(super) fn release(&mut self, number: u32) {
        self.unlink(number);
        if let Some(pair) = self.pairs.get_mut(number as usize) {
            pair.next = self.free;
            self.free = number;
        }
    }

    /// Makes chains and counts of flows anew: flows have to be counted again. `blocks` has how many
    /// each pair has.
    pub(super) fn rebuild(&mut self, blocks: &[u32]) {
        self.heads.fill(NONE);
        self.free = NONE;
        for (number, &blocks) in blocks.iter().enumerate().rev() {
            let Some(pair) = self.pairs.get_mut(number) else { continue };
            let number = number as u32;
            (pair.blocks, pair.flows) = (blocks, 0);
            if blocks > 0 {
                self.link(number);
            } else {
                pair.next = self.free;
                self.free = number;
            }
        }
    }

    #[inline]
    fn chain_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.heads.len() - 1)
    }

    fn link(&mut self, number: u32) {
        let Some(pair) = self.pairs.get(number as usize) else { return };
        let chain = self.chain_of(pair.hash);
        let next = std::mem::replace(&mut self.heads[chain], number);
        self.pairs[number as usize].next = next;
    }

    fn unlink(&mut self, number: u32) {
        let Some(&Pair { hash, next, .. }) = self.pairs.get(number as usize) else { return };
        let chain = self.chain_of(hash);
        if self.heads[chain] == number {
            self.heads[chain] = next;
            return;
        }
        let mut at = self.heads[chain];
        while let Some(before) = self.pairs.get_mut(at as usize) {
            if before.next == number {
                before.next = next;
                return;
            }
            at = before.next;
        }
    }
}
