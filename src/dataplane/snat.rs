//! SNAT ports: which (SNAT address, port) a new flow is given towards a backend.
//!
//! One SNAT port serves as many flows as there are backend endpoints. What must never happen is one
//! (endpoint, SNAT address, port) for two flows, or again before the endpoint has forgotten the last
//! one (TIME_WAIT). So ports are kept in blocks, one for each endpoint, SNAT address and shard; from
//! each the port free longest is taken. Blocks are made as they are needed, up to a limit.
//!
//! A flow knows its block by the number of the pair (endpoint and SNAT address) and the shard: so its
//! packets need the pair, of which there are few, and not the block.

use std::ops::RangeInclusive;

use super::Shard;
use super::flow_hash::FlowHash;
use super::snat_block::{BlockKey, Highs, Rest, Shelf, SnatBlock};
use super::snat_notes::Notes;
use super::snat_order::SnatOrder;
use super::snat_pairs::{MOST_PAIRS, PairKey, SnatPairs};
use crate::arch;
use crate::wire::FlowKey;

/// Ends a chain.
const NONE: u32 = u32::MAX;
/// Blocks looked at for one to use again, when there are as many as may be.
const RECLAIM_SEARCH: usize = 64;

/// What a port is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortWish<'a> {
    /// Backend -> SNAT address, with any port.
    pub(super) towards: FlowKey,
    pub(super) shard: Shard,
    pub(super) ports: &'a RangeInclusive<u16>,
    /// Who wants it, see [`user_of`].
    pub(super) user: u16,
    pub(super) rest: Rest,
}

/// A port for a new flow, and whether its hold-down was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GivenPort {
    /// The block it is of: [`SnatPool::key`] has its addresses.
    pub(super) block: u32,
    /// Its high byte; the low one is the shard.
    pub(super) high: u8,
    pub(super) rested: bool,
}

/// Why there is no port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPort {
    /// All that there are towards this endpoint are in use, or resting, or none is of the shard.
    Ports,
    /// All blocks have something to remember.
    Blocks,
}

/// Who uses a port: bits of the hash of the flow's key that neither the shard nor the choice of the
/// SNAT address has used up.
#[inline]
pub(super) fn user_of(hash: u64) -> u16 {
    (hash >> 24) as u16
}

#[derive(Debug)]
pub(super) struct SnatPool {
    pairs: SnatPairs,
    /// Room for all is set aside; memory is touched as blocks are made.
    blocks: Vec<SnatBlock>,
    max_blocks: usize,
    /// First block of each chain of those with like hashes. A power of two long, and twice as long
    /// as it has to be: a second block in a chain is a line of memory more to wait for.
    heads: Box<[u32]>,
    /// Where the next search for an idle block begins.
    hand: usize,
    shelf: Shelf,
    hash: FlowHash,
}

impl SnatPool {
    pub(super) fn new(max_blocks: usize, hold_down_ms: u32, hash: FlowHash) -> SnatPool {
        // Never fewer pairs than blocks: so one can be made for each block.
        let max_blocks = max_blocks.min(MOST_PAIRS);
        SnatPool {
            pairs: SnatPairs::new(max_blocks, hash),
            blocks: arch::room_in_large_pages(max_blocks),
            max_blocks,
            heads: vec![NONE; (max_blocks * 2).next_power_of_two()].into_boxed_slice(),
            hand: 0,
            shelf: Shelf {
                notes: Notes::new(max_blocks),
                order: SnatOrder::new(&hash),
                hold_down_ms,
            },
            hash,
        }
    }

    /// A port for a new flow, as the wish says.
    pub(super) fn acquire(
        &mut self,
        wish: &PortWish<'_>,
        now_ms: u32,
    ) -> Result<GivenPort, NoPort> {
        let highs = highs_of(wish.ports, wish.shard).ok_or(NoPort::Ports)?;
        let key = PairKey::of(&wish.towards);
        let number = self.find_or_make(&key, wish.shard.0, now_ms).ok_or(NoPort::Blocks)?;
        let block = self.blocks.get_mut(number as usize).ok_or(NoPort::Blocks)?;
        let place = block.place;
        let pair = self.pairs.get_mut(place >> 8).ok_or(NoPort::Blocks)?;
        let seed = seed_of(&self.hash, pair.hash, wish.shard.0);
        let acquired = block
            .acquire(&mut self.shelf, seed, highs, now_ms, wish.user, wish.rest)
            .ok_or(NoPort::Ports)?;
        pair.flows += 1;
        Ok(GivenPort { block: place, high: acquired.high, rested: acquired.rested })
    }

    /// Whose ports a block has; none of a number that no flow should have.
    #[inline]
    pub(super) fn key(&self, block: u32) -> Option<BlockKey> {
        let key = &self.pairs.get(block >> 8)?.key;
        Some(BlockKey {
            backend: key.backend,
            snat: key.snat,
            backend_port: key.backend_port,
            protocol: key.protocol,
            shard: block as u8,
        })
    }

    /// How many pairs of endpoint and SNAT address there are or were.
    #[inline]
    pub(super) fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    /// Brings what [`SnatPool::key`] reads into the cache.
    #[inline]
    pub(super) fn prefetch(&self, block: u32) {
        if let Some(pair) = self.pairs.get(block >> 8) {
            arch::prefetch(pair);
        }
    }

    /// The block of this pair and shard, as flows know it; none when the pair is not known.
    pub(super) fn place_of(&self, key: &PairKey, shard: Shard) -> Option<u32> {
        Some(self.pairs.find(key)? << 8 | u32::from(shard.0))
    }

    /// First stage of a look at a block: the line where its chain begins.
    #[inline]
    pub(super) fn prefetch_chain(&self, block: u32) {
        arch::prefetch(&self.heads[self.chain_of(block)]);
    }

    /// Second stage: the line of the first block of its chain.
    #[inline]
    pub(super) fn prefetch_block(&self, block: u32) {
        if let Some(first) = self.blocks.get(self.heads[self.chain_of(block)] as usize) {
            arch::prefetch(first);
        }
    }

    /// Third stage: the return key that the next flow of a block will have, if that is easily told.
    pub(super) fn peek(&self, place: u32, ports: &RangeInclusive<u16>) -> Option<FlowKey> {
        let highs = highs_of(ports, Shard(place as u8))?;
        let seed = seed_of(&self.hash, self.pairs.get(place >> 8)?.hash, place as u8);
        let block = self.find(place).and_then(|number| self.blocks.get(number as usize));
        let high = match block {
            Some(block) => block.peek(&self.shelf, seed, highs)?,
            None => SnatBlock::new(place).peek(&self.shelf, seed, highs)?,
        };
        Some(self.key(place)?.return_key(high))
    }

    /// Gives back the port that a flow has, with its user; the flow stays.
    pub(super) fn release(&mut self, block: u32, high: u8, user: u16, now_ms: u32) {
        let block = self.find(block).and_then(|number| self.blocks.get_mut(number as usize));
        if let Some(block) = block {
            block.release(&mut self.shelf.notes, high, user, now_ms);
        }
    }

    /// A flow that stood by this block is no more.
    pub(super) fn leave(&mut self, block: u32) {
        if let Some(pair) = self.pairs.get_mut(block >> 8) {
            pair.flows = pair.flows.saturating_sub(1);
        }
    }

    /// Takes the port of a flow that was made elsewhere, and gives its block; none when it is in use
    /// already or no block can be had. The key is the flow's return key as far as its block has it.
    pub(super) fn take(&mut self, return_key: &FlowKey, now_ms: u32) -> Option<u32> {
        let [high, shard] = return_key.destination_port.to_be_bytes();
        let number = self.find_or_make(&PairKey::of(return_key), shard, now_ms)?;
        let place = self.blocks.get(number as usize)?.place;
        self.retake(place, high, true).then_some(place)
    }

    /// Counts a flow that stands by this block, and takes its port when `holds_port`; `false` when
    /// another one has it.
    pub(super) fn retake(&mut self, block: u32, high: u8, holds_port: bool) -> bool {
        let Some(number) = self.find(block) else { return false };
        let Some(pair) = self.pairs.get_mut(block >> 8) else { return false };
        let seed = seed_of(&self.hash, pair.hash, block as u8);
        let Some(block) = self.blocks.get_mut(number as usize) else { return false };
        let taken = !holds_port || block.take(&mut self.shelf, seed, high);
        pair.flows += u32::from(taken);
        taken
    }

    /// Makes the chains anew and takes all ports as free, resting since they were given back: what
    /// is in use has to be [taken](SnatPool::retake) again. For after a panic.
    pub(super) fn rebuild(&mut self) {
        self.heads.fill(NONE);
        for number in 0..self.blocks.len() as u32 {
            let Some(block) = self.blocks.get_mut(number as usize) else { continue };
            block.forget_use(&mut self.shelf.notes);
            let place = block.place;
            // Of two blocks of one place, the second is found no more, and reclaimed one day.
            if self.find(place).is_none() {
                self.link(number);
            }
        }
        let mut blocks = vec![0; self.pairs.len()];
        for block in &self.blocks {
            if let Some(blocks) = blocks.get_mut(block.place as usize >> 8) {
                *blocks += 1;
            }
        }
        self.pairs.rebuild(&blocks);
    }

    #[inline]
    fn chain_of(&self, place: u32) -> usize {
        (place.wrapping_mul(0x9e37_79b1) >> 7) as usize & (self.heads.len() - 1)
    }

    /// The number of the block of this pair and shard.
    #[inline]
    fn find(&self, place: u32) -> Option<u32> {
        let mut at = self.heads[self.chain_of(place)];
        while let Some(block) = self.blocks.get(at as usize) {
            if block.place == place {
                return Some(at);
            }
            at = block.next;
        }
        None
    }

    #[inline]
    fn find_or_make(&mut self, key: &PairKey, shard: u8, now_ms: u32) -> Option<u32> {
        if let Some(pair) = self.pairs.find(key)
            && let Some(found) = self.find(pair << 8 | u32::from(shard))
        {
            return Some(found);
        }
        self.make(key, shard, now_ms)
    }

    fn make(&mut self, key: &PairKey, shard: u8, now_ms: u32) -> Option<u32> {
        // First, since the pair may be the reclaimed block's.
        let number = match self.blocks.len() < self.max_blocks {
            true => self.blocks.len(),
            false => self.reclaim(now_ms)?,
        };
        let pair = self.pairs.find_or_make(key)?;
        let block = SnatBlock::new(pair << 8 | u32::from(shard));
        match self.blocks.get_mut(number) {
            Some(reclaimed) => *reclaimed = block,
            None => self.blocks.push(block),
        }
        self.pairs.get_mut(pair)?.blocks += 1;
        self.link(number as u32);
        Some(number as u32)
    }

    /// A block that has nothing to remember, free for another use.
    fn reclaim(&mut self, now_ms: u32) -> Option<usize> {
        let number = self.find_idle(now_ms)?;
        self.unlink(number as u32);
        let block = self.blocks.get_mut(number)?;
        block.forget(&mut self.shelf.notes);
        let pair = block.place >> 8;
        let blocks = &mut self.pairs.get_mut(pair)?.blocks;
        *blocks = blocks.saturating_sub(1);
        if *blocks == 0 {
            self.pairs.release(pair);
        }
        Some(number)
    }

    /// The last block of a pair goes only when no flow stands by the pair: so there are never more
    /// pairs than blocks.
    fn find_idle(&mut self, now_ms: u32) -> Option<usize> {
        for _ in 0..RECLAIM_SEARCH.min(self.blocks.len()) {
            let at = self.hand;
            self.hand = if at + 1 < self.blocks.len() { at + 1 } else { 0 };
            let block = &self.blocks[at];
            let pair = self.pairs.get(block.place >> 8);
            let may_go = pair.is_none_or(|pair| pair.flows == 0 || pair.blocks > 1);
            if may_go && block.is_idle(&self.shelf, now_ms) {
                return Some(at);
            }
        }
        None
    }

    fn link(&mut self, number: u32) {
        let Some(place) = self.blocks.get(number as usize).map(|block| block.place) else { return };
        let chain = self.chain_of(place);
        let next = std::mem::replace(&mut self.heads[chain], number);
        self.blocks[number as usize].next = next;
    }

    fn unlink(&mut self, number: u32) {
        let Some(&block) = self.blocks.get(number as usize) else { return };
        let chain = self.chain_of(block.place);
        if self.heads[chain] == number {
            self.heads[chain] = block.next;
            return;
        }
        let mut at = self.heads[chain];
        while let Some(before) = self.blocks.get_mut(at as usize) {
            if before.next == number {
                before.next = block.next;
                return;
            }
            at = before.next;
        }
    }
}

/// What tells a block's order of ports.
#[inline]
fn seed_of(hash: &FlowHash, pair: u64, shard: u8) -> u32 {
    (hash.mix(pair, u64::from(shard)) >> 32) as u32
}

/// High bytes of the ports of `range` whose low byte is the shard; none when there is none. Port 0
/// is never one (RFC 6335 section 6: reserved).
fn highs_of(range: &RangeInclusive<u16>, shard: Shard) -> Option<Highs> {
    let (start, end, low) = (*range.start().max(&1), *range.end(), u16::from(shard.0));
    let first = start.saturating_sub(low).div_ceil(256);
    let last = end.checked_sub(low)? / 256;
    (first <= last).then_some((first as u8, last as u8))
}

#[cfg(test)]
#[path = "snat_tests.rs"]
mod tests;
