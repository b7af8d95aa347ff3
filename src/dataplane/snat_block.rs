//! The SNAT ports of one shard towards one backend endpoint by one SNAT address: a queue, in which
//! the port that has been free longest is first.
//!
//! All ports of a shard have the shard as low byte, so a port is known by its high byte here.

use super::flow_hash::FlowHash;
use crate::wire::{Address, FlowKey};

/// Which block: the backend's side of a flow, and the shard.
///
/// By endpoint, not by backend id: two backends of two services may be one socket, and then must not
/// be given one SNAT port twice. And a backend that comes back under a new id finds its ports
/// resting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockKey {
    pub(super) backend: Address,
    pub(super) snat: Address,
    pub(super) backend_port: u16,
    pub(super) protocol: u8,
    pub(super) shard: u8,
}

impl BlockKey {
    /// The block of a flow by its return key (backend -> SNAT address and port).
    #[inline]
    pub(super) fn of(return_key: &FlowKey) -> BlockKey {
        BlockKey {
            backend: return_key.source,
            snat: return_key.destination,
            backend_port: return_key.source_port,
            protocol: return_key.protocol_number(),
            shard: return_key.destination_port as u8,
        }
    }

    /// Is it the return key of the flow with the port whose high byte this is?
    #[inline(always)]
    pub(super) fn is_return_key(&self, high: u8, key: &FlowKey) -> bool {
        let is_other = (self.backend.differs(key.source) | self.snat.differs(key.destination))
            | u64::from(self.backend_port ^ key.source_port)
            | u64::from(u16::from_be_bytes([high, self.shard]) ^ key.destination_port)
            | u64::from(u32::from(self.protocol) ^ key.protocol);
        is_other == 0
    }

    /// The return key of the flow with the port whose high byte this is.
    #[inline]
    pub(super) fn return_key(&self, high: u8) -> FlowKey {
        FlowKey {
            source: self.backend,
            destination: self.snat,
            source_port: self.backend_port,
            destination_port: u16::from_be_bytes([high, self.shard]),
            protocol: u32::from(self.protocol),
        }
    }

    #[inline]
    pub(super) fn hash(&self, hash: &FlowHash) -> u64 {
        let ports = u64::from(self.backend_port) << 16
            | u64::from(self.protocol) << 8
            | u64::from(self.shard);
        hash.mix(hash.of_addresses(self.backend, self.snat), ports)
    }
}

/// Which free port will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    /// The one free longest, if its hold-down is over.
    Over,
    /// The one that this very client address and port had last, rested or not: its new connection
    /// follows the old one by sequence numbers and timestamps, so that a backend in TIME_WAIT takes
    /// it as if there were no NAT between (RFC 9293 section 3.6.1, RFC 6191 section 2).
    OfUser,
    /// The one free longest, whatever comes of it.
    Any,
}

/// First and last high byte of the ports in use.
pub(super) type Highs = (u8, u8);

/// A port that was free, and whether it had rested for the hold-down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Acquired {
    pub(super) high: u8,
    pub(super) rested: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SnatBlock {
    pub(super) key: BlockKey,
    /// Next block of the same chain of the pool.
    pub(super) next: u32,
    /// Ports that the queue deals in; none until the first is asked for.
    highs: Option<Highs>,
    /// Where the queue begins in `queue`, which goes round at its end.
    head: u8,
    free: u16,
    /// Flows that stand by this block, those that only pass late packets on too.
    pub(super) flows: u32,
    /// No port was ever in use: all have been free equally long.
    untouched: bool,
    last_release_ms: u32,
    /// One bit a port, whether or not it is among `highs`.
    in_use: [u64; 4],
    queue: [u8; 256],
    /// When each was given back last.
    released_ms: [u32; 256],
    /// Who had each last: some bits of the hash of its flow's key.
    users: [u16; 256],
}

impl SnatBlock {
    /// All ports free, and as long as the hold-down asks.
    pub(super) fn new(key: BlockKey, rested_since_ms: u32) -> SnatBlock {
        SnatBlock {
            key,
            next: u32::MAX,
            highs: None,
            head: 0,
            free: 0,
            flows: 0,
            untouched: true,
            last_release_ms: rested_since_ms,
            in_use: [0; 4],
            queue: [0; 256],
            released_ms: [rested_since_ms; 256],
            users: [0; 256],
        }
    }

    /// Takes a free port for `user`; none when there is none as `rest` asks.
    pub(super) fn acquire(
        &mut self,
        now_ms: u32,
        hold_down_ms: u32,
        user: u16,
        rest: Rest,
    ) -> Option<Acquired> {
        if self.free == 0 {
            return None;
        }
        let at = match rest {
            Rest::Over | Rest::Any => 0,
            Rest::OfUser => self.place_of_user(user)?,
        };
        let high = self.queue[usize::from(self.head.wrapping_add(at))];
        let rested = now_ms.wrapping_sub(self.released_ms[usize::from(high)]) >= hold_down_ms;
        if rest == Rest::Over && !rested {
            return None;
        }
        self.take_from_queue(at);
        self.users[usize::from(high)] = user;
        self.set_in_use(high, true);
        Some(Acquired { high, rested })
    }

    /// How far from the queue's head the port stands that `user` had last; of several, the last.
    #[cold]
    fn place_of_user(&self, user: u16) -> Option<u8> {
        let is_it = |&at: &u8| {
            let high = self.queue[usize::from(self.head.wrapping_add(at))];
            self.users[usize::from(high)] == user
        };
        // A queue of 256 has places 0 to 255.
        let last = self.free.checked_sub(1)?.min(255) as u8;
        (0..=last).rev().find(is_it)
    }

    /// Closes the gap by moving those before it one place on: none, where the head is taken.
    fn take_from_queue(&mut self, at: u8) {
        for place in (0..at).rev() {
            let from = self.head.wrapping_add(place);
            self.queue[usize::from(from.wrapping_add(1))] = self.queue[usize::from(from)];
        }
        self.head = self.head.wrapping_add(1);
        self.free -= 1;
    }

    /// Gives a port back: it is now the last of the queue.
    pub(super) fn release(&mut self, high: u8, now_ms: u32) {
        if !self.is_in_use(high) {
            return;
        }
        self.set_in_use(high, false);
        self.released_ms[usize::from(high)] = now_ms;
        self.last_release_ms = now_ms;
        if self.highs.is_some_and(|(first, last)| (first..=last).contains(&high)) {
            self.queue[usize::from(self.head.wrapping_add(self.free as u8))] = high;
            self.free += 1;
        }
    }

    /// Takes this very port, for a flow made elsewhere; `false` when it is in use.
    pub(super) fn take(&mut self, high: u8) -> bool {
        let taken = !self.is_in_use(high);
        self.set_in_use(high, true);
        // The queue is made anew before a port is next asked for.
        self.highs = None;
        self.free = 0;
        taken
    }

    /// Makes the queue deal in these ports: those not in use, longest free first.
    ///
    /// Ports that were free equally long, as all are at first, come in an order that only the
    /// secret tells (RFC 6056 section 3.3.3: who knows one port cannot tell the next).
    #[inline]
    pub(super) fn set_highs(&mut self, highs: Highs, now_ms: u32, hash: &FlowHash) {
        if self.highs != Some(highs) {
            self.sort_queue(highs, now_ms, hash);
        }
    }

    #[cold]
    fn sort_queue(&mut self, (first, last): Highs, now_ms: u32, hash: &FlowHash) {
        let free = self.shuffle_queue((first, last), hash);
        if !self.untouched {
            // By age; among equals the chance of the shuffle stays.
            let mut by_age = [(0u32, 0u16, 0u8); 256];
            for (place, &high) in self.queue[..free].iter().enumerate() {
                let age = now_ms.wrapping_sub(self.released_ms[usize::from(high)]);
                by_age[place] = (u32::MAX - age, place as u16, high);
            }
            by_age[..free].sort_unstable();
            for (place, (_, _, high)) in self.queue.iter_mut().zip(&by_age[..free]) {
                *place = *high;
            }
        }
        (self.highs, self.head, self.free) = (Some((first, last)), 0, free as u16);
    }

    /// Writes the ports not in use into the queue in an order of chance (Fisher and Yates' way,
    /// inside out); gives how many.
    fn shuffle_queue(&mut self, (first, last): Highs, hash: &FlowHash) -> usize {
        let mut chance = self.key.hash(hash);
        let mut free = 0;
        for high in first..=last {
            if self.is_in_use(high) {
                continue;
            }
            // SplitMix64's step and, for want of need, one round of its mixing.
            chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let other = (((mixed >> 32) * (free as u64 + 1)) >> 32) as usize;
            self.queue[free] = self.queue[other];
            self.queue[other] = high;
            free += 1;
        }
        free
    }

    /// No port in use, no flow that stands by it, and none that would be missed.
    pub(super) fn is_idle(&self, now_ms: u32, hold_down_ms: u32) -> bool {
        self.flows == 0
            && self.in_use == [0; 4]
            && now_ms.wrapping_sub(self.last_release_ms) >= hold_down_ms
    }

    /// Forgets which ports are in use, and keeps when each was given back.
    pub(super) fn forget_use(&mut self) {
        (self.in_use, self.highs, self.head, self.free, self.flows) = ([0; 4], None, 0, 0, 0);
    }

    fn is_in_use(&self, high: u8) -> bool {
        self.in_use[usize::from(high >> 6)] >> (high & 63) & 1 == 1
    }

    fn set_in_use(&mut self, high: u8, in_use: bool) {
        self.untouched = false;
        let (word, bit) = (&mut self.in_use[usize::from(high >> 6)], 1 << (high & 63));
        *word = if in_use { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
#[path = "snat_block_tests.rs"]
mod tests;
