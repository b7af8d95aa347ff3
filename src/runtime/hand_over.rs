//! Packets for flows another worker owns: copied into a bounded ring between each two workers.
//!
//! Parcels are allocated once and go back and forth, so nothing is allocated per packet, and no
//! frame leaves the memory of the worker that received it.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::dataplane::Arrival;
use crate::wire::PortId;

/// Of an empty parcel.
const NOWHERE: Arrival = Arrival::TakenOver(PortId(0));

/// A copy of a frame on its way to the flow's owner.
#[derive(Debug)]
pub struct Parcel {
    arrival: Arrival,
    len: usize,
    bytes: Box<[u8]>,
}

impl Parcel {
    /// How the frame arrives at its owner.
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The sending end towards one worker.
#[derive(Debug)]
struct Outgoing {
    full: Producer<Parcel>,
    empty: Consumer<Parcel>,
    sent_since_wake: bool,
}

/// The receiving end from one worker.
#[derive(Debug)]
struct Incoming {
    full: Consumer<Parcel>,
    empty: Producer<Parcel>,
}

/// One worker's ends of the rings to and from every other worker.
#[derive(Debug)]
pub struct HandOver {
    /// By worker; none at its own place.
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<Incoming>,
    next: usize,
}

impl HandOver {
    /// The rings between `workers`, each holding `capacity` frames of at most `frame_bytes`.
    pub fn mesh(workers: usize, capacity: usize, frame_bytes: usize) -> Vec<HandOver> {
        let mut ends: Vec<HandOver> = (0..workers)
            .map(|_| HandOver { outgoing: vec![], incoming: vec![], next: 0 })
            .collect();
        for from in 0..workers {
            for to in 0..workers {
                if from == to {
                    ends[from].outgoing.push(None);
                    continue;
                }
                let (full_in, full_out) = RingBuffer::new(capacity);
                let (mut empty_in, empty_out) = RingBuffer::new(capacity);
                for _ in 0..capacity {
                    let bytes = vec![0u8; frame_bytes].into_boxed_slice();
                    // The ring has room for just these.
                    let _ = empty_in.push(Parcel { arrival: NOWHERE, len: 0, bytes });
                }
                let outgoing = Outgoing { full: full_in, empty: empty_out, sent_since_wake: false };
                ends[from].outgoing.push(Some(outgoing));
                ends[to].incoming.push(Incoming { full: full_out, empty: empty_in });
            }
        }
        ends
    }

    /// Copies a frame into the ring to `worker`, where it is to arrive so; `false` when the ring is
    /// full or the frame does not fit a parcel.
    pub fn send(&mut self, worker: u8, arrival: Arrival, frame: &[u8]) -> bool {
        let Some(Some(ring)) = self.outgoing.get_mut(usize::from(worker)) else { return false };
        if ring.empty.peek().is_ok_and(|parcel| frame.len() <= parcel.bytes.len())
            && let Ok(mut parcel) = ring.empty.pop()
        {
            parcel.arrival = arrival;
            parcel.len = frame.len();
            parcel.bytes[..frame.len()].copy_from_slice(frame);
            ring.sent_since_wake = true;
            // As many places as parcels: there is always room for one that was popped.
            return ring.full.push(parcel).is_ok();
        }
        false
    }

    /// Calls `wake` for each worker that was sent something since the last call. Once a batch.
    pub fn wake_receivers(&mut self, mut wake: impl FnMut(usize)) {
        for (worker, ring) in self.outgoing.iter_mut().enumerate() {
            if let Some(ring) = ring
                && std::mem::take(&mut ring.sent_since_wake)
            {
                wake(worker);
            }
        }
    }

    /// Shows the next waiting parcel to `take`, workers taking turns; `false` when none waits.
    pub fn receive(&mut self, take: impl FnOnce(&Parcel)) -> bool {
        for _ in 0..self.incoming.len() {
            self.next = (self.next + 1) % self.incoming.len();
            let ring = &mut self.incoming[self.next];
            if let Ok(parcel) = ring.full.pop() {
                let taken = Taken { parcel: Some(parcel), empty: &mut ring.empty };
                if let Some(parcel) = &taken.parcel {
                    take(parcel);
                }
                return true;
            }
        }
        false
    }

    /// Frames that wait to be received.
    pub fn waiting(&self) -> usize {
        self.incoming.iter().map(|ring| ring.full.slots()).sum()
    }
}

/// A parcel that goes back to its sender, also when whoever looks at it panics.
struct Taken<'a> {
    parcel: Option<Parcel>,
    empty: &'a mut Producer<Parcel>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(parcel) = self.parcel.take() {
            // As many places as parcels.
            let _ = self.empty.push(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_a_parcel_does_not_lose_it() {
        let mut ends = HandOver::mesh(2, 1, 128);
        for _ in 0..3 {
            assert!(ends[0].send(1, NOWHERE, &[0; 60]));
            let look = || ends[1].receive(|_| panic!("what is this?"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
        }
    }

    #[test]
    fn frames_arrive_whole_in_order_and_the_ring_is_bounded() {
        let mut ends = HandOver::mesh(3, 4, 128);
        let frame = |n: u8| vec![n; 60 + usize::from(n)];
        for n in 0..4 {
            assert!(ends[0].send(2, Arrival::TakenOver(PortId(n)), &frame(n)));
        }
        assert!(!ends[0].send(2, NOWHERE, &frame(9)), "full");
        assert!(!ends[0].send(0, NOWHERE, &frame(9)), "not to itself");
        assert!(!ends[0].send(1, NOWHERE, &[0; 129]), "longer than a parcel");
        let mut woken = vec![];
        ends[0].wake_receivers(|worker| woken.push(worker));
        ends[0].wake_receivers(|worker| woken.push(worker));
        assert_eq!(woken, [2]);
        assert_eq!(ends[2].waiting(), 4);
        for n in 0..4 {
            assert!(ends[2].receive(|parcel| {
                let arrival = Arrival::TakenOver(PortId(n));
                assert_eq!((parcel.arrival(), parcel.bytes()), (arrival, &frame(n)[..]));
            }));
        }
        assert!(!ends[2].receive(|_| panic!("empty")));
        assert!(ends[0].send(2, NOWHERE, &frame(1)), "places come back");
    }

    #[test]
    fn one_worker_has_no_rings() {
        let mut ends = HandOver::mesh(1, 4, 128);
        assert!(!ends[0].send(0, NOWHERE, &[0; 60]) && !ends[0].receive(|_| ()));
        assert_eq!(ends[0].waiting(), 0);
    }
}
