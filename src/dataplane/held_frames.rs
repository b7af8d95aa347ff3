//! Fragments that came before their datagram's first one: their bytes, until it is known.
//!
//! A fixed number of slots of a fixed length, each either free, in the chain of a datagram that waits,
//! or in the one chain of those that may go on.

use super::Ports;
use crate::wire::PortId;

const NONE: u32 = u32::MAX;

/// Slots in their order of arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    pub(super) const EMPTY: Chain = Chain { first: NONE, last: NONE };
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    next: u32,
    len: u16,
    port: PortId,
    /// Of those that may go on.
    ports: Ports,
}

#[derive(Debug)]
pub(super) struct HeldFrames {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    slot_bytes: usize,
    free: Chain,
    ready: Chain,
    /// Frames in chains of either kind.
    held: usize,
}

impl HeldFrames {
    pub(super) fn new(count: usize, slot_bytes: usize) -> HeldFrames {
        let slot = Slot { next: NONE, len: 0, port: PortId(0), ports: Ports::NONE };
        let mut frames = HeldFrames {
            slots: vec![slot; count].into_boxed_slice(),
            bytes: vec![0; count * slot_bytes].into_boxed_slice(),
            slot_bytes,
            free: Chain::EMPTY,
            ready: Chain::EMPTY,
            held: 0,
        };
        frames.clear();
        frames
    }

    /// How many frames are held, whether or not they may go on by now.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// May any go on?
    pub(super) fn is_ready(&self) -> bool {
        self.ready.first != NONE
    }

    /// Frees every slot.
    pub(super) fn clear(&mut self) {
        (self.free, self.ready, self.held) = (Chain::EMPTY, Chain::EMPTY, 0);
        for at in 0..self.slots.len() {
            append(&mut self.slots, &mut self.free, at as u32);
        }
    }

    /// Copies a frame to the end of a datagram's chain; `false` when there is no slot for it.
    pub(super) fn hold(&mut self, chain: &mut Chain, port: PortId, frame: &[u8]) -> bool {
        if frame.len() > self.slot_bytes {
            return false;
        }
        let Some(at) = take(&self.slots, &mut self.free) else { return false };
        let start = at as usize * self.slot_bytes;
        let place = self.bytes.get_mut(start..start + frame.len());
        if let (Some(slot), Some(place)) = (self.slots.get_mut(at as usize), place) {
            (slot.len, slot.port) = (frame.len() as u16, port);
            place.copy_from_slice(frame);
        }
        append(&mut self.slots, chain, at);
        self.held += 1;
        true
    }

    /// The first fragment is known: those of this chain may go on.
    pub(super) fn release(&mut self, chain: &mut Chain, ports: Ports) {
        while let Some(at) = take(&self.slots, chain) {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                slot.ports = ports;
            }
            append(&mut self.slots, &mut self.ready, at);
        }
    }

    /// Gives the slots of a chain back; says how many they were.
    pub(super) fn discard(&mut self, chain: &mut Chain) -> usize {
        let mut discarded = 0;
        while let Some(at) = take(&self.slots, chain) {
            append(&mut self.slots, &mut self.free, at);
            discarded += 1;
        }
        self.held -= discarded;
        discarded
    }

    /// Shows the next frame that may go on to `show`; `false` when there is none.
    pub(super) fn take_ready(&mut self, show: impl FnOnce(PortId, Ports, &[u8])) -> bool {
        let Some(at) = take(&self.slots, &mut self.ready) else { return false };
        self.held -= 1;
        let start = at as usize * self.slot_bytes;
        if let Some(&Slot { len, port, ports, .. }) = self.slots.get(at as usize) {
            show(port, ports, self.bytes.get(start..start + usize::from(len)).unwrap_or_default());
        }
        append(&mut self.slots, &mut self.free, at);
        true
    }
}

fn take(slots: &[Slot], chain: &mut Chain) -> Option<u32> {
    let first = chain.first;
    chain.first = slots.get(first as usize)?.next;
    if chain.first == NONE {
        chain.last = NONE;
    }
    Some(first)
}

fn append(slots: &mut [Slot], chain: &mut Chain, at: u32) {
    let Some(slot) = slots.get_mut(at as usize) else { return };
    slot.next = NONE;
    match slots.get_mut(chain.last as usize) {
        Some(last) => last.next = at,
        None => chain.first = at,
    }
    chain.last = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(frames: &mut HeldFrames) -> Vec<(PortId, Ports, Vec<u8>)> {
        let mut all = vec![];
        while frames.take_ready(|port, ports, bytes| all.push((port, ports, bytes.to_vec()))) {}
        all
    }

    #[test]
    fn chains_keep_their_order_and_slots_come_back() {
        let mut frames = HeldFrames::new(3, 64);
        let ports = Ports { source: 1, destination: 2, ..Ports::NONE };
        for round in 0..4u8 {
            let (mut a, mut b) = (Chain::EMPTY, Chain::EMPTY);
            assert!(frames.hold(&mut a, PortId(1), &[round; 60]));
            assert!(frames.hold(&mut b, PortId(2), &[round; 30]));
            assert!(frames.hold(&mut a, PortId(3), &[9; 64]));
            assert!(!frames.hold(&mut a, PortId(3), &[9; 64]), "no slot");
            assert!(!frames.is_ready() && ready(&mut frames).is_empty() && frames.len() == 3);
            frames.release(&mut a, ports);
            assert!(frames.is_ready());
            assert_eq!(frames.discard(&mut b), 1);
            assert_eq!(frames.discard(&mut b), 0);
            let wanted = [(PortId(1), vec![round; 60]), (PortId(3), vec![9; 64])];
            assert_eq!(ready(&mut frames), wanted.map(|(port, bytes)| (port, ports, bytes)));
            assert_eq!(frames.len(), 0);
        }
        let mut chain = Chain::EMPTY;
        assert!(!frames.hold(&mut chain, PortId(1), &[0; 65]), "longer than a slot");
    }

    #[test]
    fn without_slots_nothing_is_held() {
        let mut frames = HeldFrames::new(0, 64);
        let mut chain = Chain::EMPTY;
        assert!(!frames.hold(&mut chain, PortId(1), &[0; 60]) && frames.len() == 0);
    }
}
