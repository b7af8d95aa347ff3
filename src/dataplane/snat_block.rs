//! The SNAT ports of one shard towards one backend endpoint by one SNAT address: from them the port
//! that has been free longest is taken.
//!
//! All ports of a shard have the shard as low byte, so a port is known by its high byte here.
//!
//! Ports that were never used come first, in a [`SnatOrder`]; how far the block has come in it is one
//! number. Ports that were given back stand in a list, in the order in which that was. A port that is
//! neither is in use. So a block is small however many ports it has: what is remembered of single
//! ports ([`Notes`]) is only of those that rest.
//!
//! Where ports are taken out of turn (after a hand-over or a panic) or the range changes, those in use
//! are noted too, and the order is gone through from its beginning once more: `is_mixed`.

use super::snat_notes::{Note, NoteList, Notes};
use super::snat_order::SnatOrder;
use crate::forwarding::Target;
use crate::wire::{Address, FlowKey};

/// What a flow has to know of its block: the backend's side of its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockKey {
    pub(super) backend: Address,
    pub(super) snat: Address,
    /// 0: whichever port of the VIP the flow is to. Such a backend has one block for all its ports.
    pub(super) backend_port: u16,
    pub(super) protocol: u8,
    pub(super) shard: u8,
}

impl BlockKey {
    /// As it is for a flow to this port of the VIP.
    #[inline(always)]
    pub(super) fn of_flow_to(self, vip_port: u16) -> BlockKey {
        let backend_port = if self.backend_port == 0 { vip_port } else { self.backend_port };
        BlockKey { backend_port, ..self }
    }

    /// Are its ports for packets to this backend?
    #[inline(always)]
    pub(super) fn is_to(&self, target: &Target) -> bool {
        let differs =
            self.backend.differs(target.address) | u64::from(self.backend_port ^ target.port);
        differs == 0
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

/// What all blocks share.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) notes: Notes,
    pub(super) order: SnatOrder,
    pub(super) hold_down_ms: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SnatBlock {
    /// The pair's number and the shard, as flows have it.
    pub(super) place: u32,
    /// Next block of the same chain of the pool.
    pub(super) next: u32,
    list: NoteList,
    /// Ports in use.
    used: u16,
    /// Places of the order that were gone over.
    dealt: u16,
    /// Ports that are dealt in.
    highs: Highs,
    is_mixed: bool,
}

const _: () = assert!(std::mem::size_of::<SnatBlock>() == 24);

/// No ports.
const NO_HIGHS: Highs = (1, 0);

impl SnatBlock {
    /// All ports free, and for as long as anybody remembers.
    pub(super) fn new(place: u32) -> SnatBlock {
        SnatBlock {
            place,
            next: u32::MAX,
            list: NoteList::EMPTY,
            used: 0,
            dealt: 0,
            highs: NO_HIGHS,
            is_mixed: false,
        }
    }

    /// Takes a free port of `highs` for `user`; none when there is none as `rest` asks. `seed` tells
    /// this block's order.
    #[inline]
    pub(super) fn acquire(
        &mut self,
        shelf: &mut Shelf,
        seed: u32,
        highs: Highs,
        now_ms: u32,
        user: u16,
        rest: Rest,
    ) -> Option<Acquired> {
        if self.highs != highs {
            self.set_highs(shelf, seed, highs);
        }
        let acquired = match rest {
            Rest::OfUser => self.acquire_of_user(shelf, now_ms, user),
            _ => match self.deal(shelf, seed) {
                Some(high) => Some(Acquired { high, rested: true }),
                None => self.acquire_rested(shelf, now_ms, rest == Rest::Any),
            },
        }?;
        self.used += 1;
        Some(acquired)
    }

    /// The port that [`SnatBlock::acquire`] will probably give next.
    pub(super) fn peek(&self, shelf: &Shelf, seed: u32, highs: Highs) -> Option<u8> {
        let dealt = if self.highs == highs { self.dealt } else { 0 };
        let mut rest =
            (u8::try_from(dealt).ok()?..=u8::MAX).map(|place| shelf.order.at(seed, place));
        rest.find(|&high| deals_in(highs, high))
    }

    /// The next port that was never used.
    #[inline]
    fn deal(&mut self, shelf: &mut Shelf, seed: u32) -> Option<u8> {
        let noted = if self.is_mixed { self.noted(&shelf.notes) } else { PortSet::default() };
        while let Ok(place) = u8::try_from(self.dealt) {
            self.dealt += 1;
            let high = shelf.order.at(seed, place);
            if self.deals_in(high) && !noted.has(high) {
                return Some(high);
            }
        }
        if self.is_mixed {
            self.settle(&mut shelf.notes);
        }
        None
    }

    /// The port given back first.
    fn acquire_rested(&mut self, shelf: &mut Shelf, now_ms: u32, any: bool) -> Option<Acquired> {
        let highs = self.highs;
        let is_free = |note: &Note| !note.in_use && deals_in(highs, note.high);
        let first = shelf.notes.iter(self.list).find(is_free)?;
        let rested = now_ms.wrapping_sub(first.released_ms) >= shelf.hold_down_ms;
        if !rested && !any {
            return None;
        }
        self.take_noted(&mut shelf.notes, first.high);
        Some(Acquired { high: first.high, rested })
    }

    /// The port that `user` had last; of several, the last.
    #[cold]
    fn acquire_of_user(&mut self, shelf: &mut Shelf, now_ms: u32, user: u16) -> Option<Acquired> {
        let is_its = |note: &Note| !note.in_use && note.user == user && self.deals_in(note.high);
        let last = shelf.notes.iter(self.list).filter(is_its).last()?;
        let rested = now_ms.wrapping_sub(last.released_ms) >= shelf.hold_down_ms;
        self.take_noted(&mut shelf.notes, last.high);
        Some(Acquired { high: last.high, rested })
    }

    /// A port that rests is in use from now on. Where the order may still come to it, that is noted.
    fn take_noted(&mut self, notes: &mut Notes, high: u8) {
        let note = notes.remove(&mut self.list, |note| note.high == high);
        if let Some(note) = note.filter(|_| self.is_mixed) {
            notes.push_front(&mut self.list, Note { in_use: true, ..note });
        }
    }

    /// Gives a port back that is in use, and that `user` had: it now has been free for the shortest
    /// time.
    pub(super) fn release(&mut self, notes: &mut Notes, high: u8, user: u16, now_ms: u32) {
        let has_it = |note: &Note| note.high == high;
        // A flow says by its flag that it has done so. Of a block with none in use nothing can be given back.
        debug_assert!(!notes.iter(self.list).any(|note| has_it(&note) && !note.in_use));
        if self.used == 0 {
            return;
        }
        if self.is_mixed {
            notes.remove(&mut self.list, has_it);
        }
        self.used = self.used.saturating_sub(1);
        notes.push_back(&mut self.list, Note { released_ms: now_ms, user, high, in_use: false });
    }

    /// Takes this very port, for a flow made elsewhere; `false` when it is in use.
    pub(super) fn take(&mut self, shelf: &mut Shelf, seed: u32, high: u8) -> bool {
        let noted = shelf.notes.iter(self.list).find(|note| note.high == high);
        let in_use = match noted {
            Some(note) => note.in_use,
            None => self.was_dealt(&shelf.order, seed, high),
        };
        if in_use {
            return false;
        }
        self.is_mixed = true;
        self.used += 1;
        let notes = &mut shelf.notes;
        notes.remove(&mut self.list, |note| note.high == high);
        notes.push_front(&mut self.list, Note { released_ms: 0, user: 0, high, in_use: true });
        true
    }

    fn was_dealt(&self, order: &SnatOrder, seed: u32, high: u8) -> bool {
        self.deals_in(high) && dealt(order, seed, self.dealt).any(|other| other == high)
    }

    /// Makes the block deal in these ports from now on.
    #[cold]
    fn set_highs(&mut self, shelf: &mut Shelf, seed: u32, highs: Highs) {
        if self.dealt > 0 {
            let (noted, before) = (self.noted(&shelf.notes), self.highs);
            let is_used = |&high: &u8| deals_in(before, high) && !noted.has(high);
            for high in dealt(&shelf.order, seed, self.dealt).filter(is_used) {
                let note = Note { released_ms: 0, user: 0, high, in_use: true };
                shelf.notes.push_front(&mut self.list, note);
            }
        }
        self.is_mixed = !self.list.is_empty();
        (self.highs, self.dealt) = (highs, 0);
    }

    /// All ports dealt in were used once: those without a note are in use, and need none.
    #[cold]
    fn settle(&mut self, notes: &mut Notes) {
        let highs = self.highs;
        notes.remove_all(&mut self.list, |note| note.in_use && deals_in(highs, note.high));
        self.is_mixed = notes.iter(self.list).any(|note| note.in_use);
    }

    fn noted(&self, notes: &Notes) -> PortSet {
        let mut noted = PortSet::default();
        notes.iter(self.list).for_each(|note| noted.add(note.high));
        noted
    }

    #[inline]
    fn deals_in(&self, high: u8) -> bool {
        deals_in(self.highs, high)
    }

    /// No port in use and none that would be missed.
    pub(super) fn is_idle(&self, shelf: &Shelf, now_ms: u32) -> bool {
        let has_rested = |note: Note| now_ms.wrapping_sub(note.released_ms) >= shelf.hold_down_ms;
        self.used == 0 && shelf.notes.last(self.list).is_none_or(has_rested)
    }

    /// Forgets which ports are in use, and keeps when others were given back.
    pub(super) fn forget_use(&mut self, notes: &mut Notes) {
        notes.remove_all(&mut self.list, |note| note.in_use);
        (self.used, self.dealt) = (0, 0);
        self.is_mixed = !self.list.is_empty();
    }

    /// Forgets everything, before the block becomes another's.
    pub(super) fn forget(&mut self, notes: &mut Notes) {
        notes.remove_all(&mut self.list, |_| true);
    }
}

#[inline]
fn deals_in((first, last): Highs, high: u8) -> bool {
    first <= high && high <= last
}

/// The first `count` ports of an order.
fn dealt(order: &SnatOrder, seed: u32, count: u16) -> impl Iterator<Item = u8> {
    (0..=255).take(usize::from(count)).map(move |place| order.at(seed, place))
}

/// Some ports of a block, one bit each.
#[derive(Default)]
struct PortSet([u64; 4]);

impl PortSet {
    #[inline]
    fn has(&self, high: u8) -> bool {
        self.0[usize::from(high >> 6)] >> (high & 63) & 1 == 1
    }

    #[inline]
    fn add(&mut self, high: u8) {
        self.0[usize::from(high >> 6)] |= 1 << (high & 63);
    }
}

#[cfg(test)]
#[path = "snat_block_tests.rs"]
mod tests;
