//! SNAT ports: which (SNAT address, port) a new flow is given towards a backend.
//!
//! One SNAT port serves as many flows as there are backend endpoints. What must never happen is one
//! (endpoint, SNAT address, port) for two flows, or again before the endpoint has forgotten the last
//! one (TIME_WAIT). So ports are kept in blocks, one for each endpoint, SNAT address and shard; from
//! each the port free longest is taken. Blocks are made as they are needed, up to a limit.

use std::ops::RangeInclusive;

use super::Shard;
use super::flow_hash::FlowHash;
use super::snat_block::{BlockKey, Highs, Rest, SnatBlock};
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
    /// Who wants it: some bits of the hash of the flow's key.
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

#[derive(Debug)]
pub(super) struct SnatPool {
    /// Room for all is set aside; memory is touched as blocks are made.
    blocks: Vec<SnatBlock>,
    max_blocks: usize,
    /// First block of each chain of those with like hashes. A power of two long.
    heads: Box<[u32]>,
    /// Where the next search for an idle block begins.
    hand: usize,
    hold_down_ms: u32,
    hash: FlowHash,
}

impl SnatPool {
    pub(super) fn new(max_blocks: usize, hold_down_ms: u32, hash: FlowHash) -> SnatPool {
        let max_blocks = max_blocks.min(NONE as usize - 1);
        SnatPool {
            blocks: Vec::with_capacity(max_blocks),
            max_blocks,
            heads: vec![NONE; max_blocks.next_power_of_two()].into_boxed_slice(),
            hand: 0,
            hold_down_ms,
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
        let key = BlockKey { shard: wish.shard.0, ..BlockKey::of(&wish.towards) };
        let number = self.find_or_make(key, now_ms).ok_or(NoPort::Blocks)?;
        let block = self.blocks.get_mut(number as usize).ok_or(NoPort::Blocks)?;
        block.set_highs(highs, now_ms, &self.hash);
        let acquired =
            block.acquire(now_ms, self.hold_down_ms, wish.user, wish.rest).ok_or(NoPort::Ports)?;
        block.flows += 1;
        Ok(GivenPort { block: number, high: acquired.high, rested: acquired.rested })
    }

    /// Whose ports a block has; none of a number that no flow should have.
    #[inline]
    pub(super) fn key(&self, block: u32) -> Option<&BlockKey> {
        self.blocks.get(block as usize).map(|block| &block.key)
    }

    /// Brings a block's first line into the cache.
    #[inline]
    pub(super) fn prefetch(&self, block: u32) {
        if let Some(block) = self.blocks.get(block as usize) {
            arch::prefetch(block);
        }
    }

    /// Gives back the port of a flow; the flow stays.
    pub(super) fn release(&mut self, block: u32, high: u8, now_ms: u32) {
        if let Some(block) = self.blocks.get_mut(block as usize) {
            block.release(high, now_ms);
        }
    }

    /// A flow that stood by this block is no more.
    pub(super) fn leave(&mut self, block: u32) {
        if let Some(block) = self.blocks.get_mut(block as usize) {
            block.flows = block.flows.saturating_sub(1);
        }
    }

    /// Takes the port of a flow that was made elsewhere, and gives its block; none when it is in use
    /// already or no block can be had.
    pub(super) fn take(&mut self, return_key: &FlowKey, now_ms: u32) -> Option<u32> {
        let [high, _] = return_key.destination_port.to_be_bytes();
        let number = self.find_or_make(BlockKey::of(return_key), now_ms)?;
        let block = self.blocks.get_mut(number as usize)?;
        block.take(high).then(|| {
            block.flows += 1;
            number
        })
    }

    /// After [`SnatPool::rebuild`]: counts a flow that stands by this block, and takes its port when
    /// `holds_port`; `false` when another one has it.
    pub(super) fn retake(&mut self, block: u32, high: u8, holds_port: bool) -> bool {
        let Some(block) = self.blocks.get_mut(block as usize) else { return false };
        let taken = !holds_port || block.take(high);
        block.flows += u32::from(taken);
        taken
    }

    /// Makes the chains anew and takes all ports as free, resting since they were given back: what
    /// is in use has to be [taken](SnatPool::retake) again. For after a panic.
    pub(super) fn rebuild(&mut self) {
        self.heads.fill(NONE);
        for number in 0..self.blocks.len() as u32 {
            let key = self.blocks[number as usize].key;
            self.blocks[number as usize].forget_use();
            // Of two blocks with one key, the second is found no more, and reclaimed one day.
            if self.find(&key).is_none() {
                self.link(number);
            }
        }
    }

    fn chain_of(&self, key: &BlockKey) -> usize {
        key.hash(&self.hash) as usize >> 8 & (self.heads.len() - 1)
    }

    fn find(&self, key: &BlockKey) -> Option<u32> {
        let mut at = self.heads[self.chain_of(key)];
        while let Some(block) = self.blocks.get(at as usize) {
            if block.key == *key {
                return Some(at);
            }
            at = block.next;
        }
        None
    }

    fn find_or_make(&mut self, key: BlockKey, now_ms: u32) -> Option<u32> {
        if let Some(found) = self.find(&key) {
            return Some(found);
        }
        let block = SnatBlock::new(key, now_ms.wrapping_sub(self.hold_down_ms));
        let number = if self.blocks.len() < self.max_blocks {
            self.blocks.push(block);
            self.blocks.len() - 1
        } else {
            let idle = self.find_idle(now_ms)?;
            self.unlink(idle as u32);
            self.blocks[idle] = block;
            idle
        };
        self.link(number as u32);
        Some(number as u32)
    }

    /// A block that has nothing to remember.
    fn find_idle(&mut self, now_ms: u32) -> Option<usize> {
        for _ in 0..RECLAIM_SEARCH.min(self.blocks.len()) {
            let at = self.hand;
            self.hand = if at + 1 < self.blocks.len() { at + 1 } else { 0 };
            if self.blocks[at].is_idle(now_ms, self.hold_down_ms) {
                return Some(at);
            }
        }
        None
    }

    fn link(&mut self, number: u32) {
        let chain = self.chain_of(&self.blocks[number as usize].key);
        self.blocks[number as usize].next = self.heads[chain];
        self.heads[chain] = number;
    }

    fn unlink(&mut self, number: u32) {
        let block = self.blocks[number as usize];
        let chain = self.chain_of(&block.key);
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
