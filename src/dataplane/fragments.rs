//! Fragments go the way of their datagram's first one, without being put together (RFC 4787
//! REQ-14).
//!
//! Only the first fragment has ports. The table remembers them, so that the others find the same
//! flow; those that come before it are held. One datagram with something wrong about it is given up
//! as a whole, as a receiver would do (RFC 5722, RFC 8200 section 4.5). All is bounded: datagrams,
//! held frames, and the time both are kept.

use super::engine::Ticks;
use super::fragment_pieces::Misfit;
use super::fragment_table::{DatagramKey, FragmentTable, Place, Standing};
use super::held_frames::HeldFrames;
use super::{Counters, DropReason};
use crate::wire::{Family, Fragment, IpPacket, PortId, Protocol};

/// Most datagrams forgotten in one tick: more than a turn of the worker can begin.
const MOST_A_TICK: usize = 256;
/// Length of an IPv6 header and a fragment header: not part of the datagram's payload length.
const IPV6_AND_FRAGMENT_LEN: usize = 48;
/// Longest datagram of either family, as its length field counts it.
const LONGEST: usize = 65_535;

/// How much of fragmented datagrams a worker keeps. Fixed for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentLimits {
    /// Most datagrams at a time; 0: no fragment is sent on.
    pub datagrams: usize,
    /// Most frames held at a time.
    pub held: usize,
    /// Longest frame that can be held.
    pub frame_bytes: usize,
    /// From a datagram's first sight until it is forgotten, in milliseconds.
    pub hold_ms: u32,
}

impl Default for FragmentLimits {
    /// As in a configuration that says nothing of it.
    fn default() -> Self {
        FragmentLimits { datagrams: 1024, held: 256, frame_bytes: 2048, hold_ms: 2000 }
    }
}

/// What a datagram's first fragment tells about the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// IANA number: in IPv6 the later fragments need not say it.
    pub protocol: u8,
    /// What they all are sent with from a SNAT address, where the identifications of many clients
    /// would meet.
    pub identification: u32,
}

impl Ports {
    pub(super) const NONE: Ports =
        Ports { source: 0, destination: 0, protocol: 0, identification: 0 };
}

/// A fragment as it came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) ip: &'a IpPacket,
    pub(super) part: &'a Fragment,
    /// Of its [`DatagramKey`].
    pub(super) hash: u64,
    pub(super) ingress: PortId,
    pub(super) now_ms: u32,
    pub(super) frame: &'a [u8],
}

/// What is to become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It goes on, by these ports.
    Follow(Ports),
    /// It was copied and waits.
    Hold,
    Refuse(DropReason),
}

#[derive(Debug)]
pub(super) struct Fragments {
    table: FragmentTable,
    held: HeldFrames,
    hold_ms: u32,
    identifications: Identifications,
}

impl Fragments {
    /// Of worker `worker` of so many.
    pub(super) fn new(limits: &FragmentLimits, worker: u8, workers: usize) -> Fragments {
        Fragments {
            identifications: Identifications::new(worker, workers),
            table: FragmentTable::new(limits.datagrams),
            held: HeldFrames::new(limits.held, limits.frame_bytes),
            hold_ms: limits.hold_ms,
        }
    }

    pub(super) fn held(&self) -> &HeldFrames {
        &self.held
    }

    pub(super) fn held_mut(&mut self) -> &mut HeldFrames {
        &mut self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// One more fragment. Frames that were held and are given up here get their verdicts in
    /// `counters`.
    pub(super) fn admit(&mut self, came: &Came<'_>, counters: &mut Counters) -> Admission {
        let Some(place) = self.place_of(came, counters) else {
            return Admission::Refuse(DropReason::FragmentTableFull);
        };
        let Some(datagram) = self.table.get_mut(place) else {
            return Admission::Refuse(DropReason::FragmentTableFull);
        };
        if let Standing::GivenUp(reason) = datagram.standing {
            return Admission::Refuse(reason);
        }
        let fits = check_alone(came).and_then(|()| {
            datagram.pieces.add(came.part).map_err(|misfit| match misfit {
                Misfit::Repeated => DropReason::FragmentRepeated,
                Misfit::Overlapping => DropReason::FragmentOverlap,
                Misfit::Endless => DropReason::FragmentEndless,
            })
        });
        match fits {
            Ok(()) => {}
            // The other one goes on, or has gone: nothing is lost with this one.
            Err(reason @ DropReason::FragmentRepeated) => return Admission::Refuse(reason),
            Err(reason) => return self.give_up(place, reason, counters),
        }
        if came.part.offset == 0 {
            let key = &came.ip.key;
            let ports = Ports {
                source: key.source_port,
                destination: key.destination_port,
                protocol: key.protocol_number(),
                identification: self.identifications.next(key.family()),
            };
            datagram.standing = Standing::Follows(ports);
            self.held.release(&mut datagram.held, ports);
        }
        if let Standing::Follows(ports) = datagram.standing {
            // Its identification may be another datagram's soon (RFC 6864).
            if datagram.pieces.is_complete() {
                self.table.remove(place);
            }
            return Admission::Follow(ports);
        }
        if self.held.hold(&mut datagram.held, came.ingress, came.frame) {
            return Admission::Hold;
        }
        self.give_up(place, DropReason::FragmentHoldFull, counters)
    }

    /// The datagram's place, a new one if it has none. When there is no room, the oldest goes: a
    /// flood of datagrams that never end must not keep out those that do.
    fn place_of(&mut self, came: &Came<'_>, counters: &mut Counters) -> Option<Place> {
        let key = DatagramKey::of(came.ip, came.part);
        if let Some(place) = self.table.find(came.hash, &key) {
            if !self.is_over(place, came.now_ms) {
                return Some(place);
            }
            self.forget(place, DropReason::FragmentTimeout, counters);
        }
        if let Some(place) = self.table.insert(came.hash, key, came.now_ms) {
            return Some(place);
        }
        let oldest = self.table.oldest()?;
        counters.events.fragments_forgotten += 1;
        self.forget(oldest, DropReason::FragmentTableFull, counters);
        self.table.insert(came.hash, key, came.now_ms)
    }

    fn is_over(&mut self, place: Place, now_ms: u32) -> bool {
        let hold_ms = self.hold_ms;
        self.table
            .get_mut(place)
            .is_some_and(|datagram| now_ms.wrapping_sub(datagram.first_seen_ms) > hold_ms)
    }

    /// No fragment of the datagram goes on any more, whatever comes.
    fn give_up(&mut self, place: Place, reason: DropReason, counters: &mut Counters) -> Admission {
        if let Some(datagram) = self.table.get_mut(place) {
            datagram.standing = Standing::GivenUp(reason);
            let discarded = self.held.discard(&mut datagram.held);
            counters.count_dropped(reason, discarded);
        }
        Admission::Refuse(reason)
    }

    fn forget(&mut self, place: Place, reason: DropReason, counters: &mut Counters) {
        self.give_up(place, reason, counters);
        self.table.remove(place);
    }

    /// Bounded house-keeping: datagrams whose time is over.
    pub(super) fn tick(&mut self, now: Ticks, counters: &mut Counters) {
        for _ in 0..MOST_A_TICK {
            let Some(oldest) = self.table.oldest() else { return };
            if !self.is_over(oldest, now.0 as u32) {
                return;
            }
            self.forget(oldest, DropReason::FragmentTimeout, counters);
        }
    }

    /// After a panic nothing here is trusted.
    pub(super) fn recover(&mut self, counters: &mut Counters) {
        counters.count_dropped(DropReason::WorkerRestarted, self.held.len());
        self.held.clear();
        self.table.clear();
    }
}

/// One after the other, and none that another worker gives. They need not be hard to guess: towards
/// backends nobody but us sends from a SNAT address.
#[derive(Debug)]
struct Identifications {
    next: u64,
    workers: u64,
}

impl Identifications {
    fn new(worker: u8, workers: usize) -> Identifications {
        Identifications { next: u64::from(worker), workers: workers.max(1) as u64 }
    }

    fn next(&mut self, family: Family) -> u32 {
        let all: u64 = match family {
            Family::Ipv4 => 1 << 16,
            Family::Ipv6 => 1 << 32,
        };
        let next = self.next;
        self.next = next.wrapping_add(self.workers);
        // A multiple of the number of workers, so that each keeps its own over a wrap.
        (next % (all - all % self.workers)) as u32
    }
}

/// What can be wrong with a fragment whatever the others are.
fn check_alone(came: &Came<'_>) -> Result<(), DropReason> {
    let (ip, part) = (came.ip, came.part);
    // A first one without its whole transport header is a way past filters (RFC 1858 section 3, RFC
    // 8200 section 4.5), and in what is not the last one every byte counts eight.
    if part.len == 0 || (part.more && !part.len.is_multiple_of(8)) {
        return Err(DropReason::FragmentTiny);
    }
    if part.offset == 0 && !part.has_ports {
        return Err(match Protocol::from_number(ip.key.protocol_number()) {
            Some(_) => DropReason::FragmentTiny,
            None => DropReason::Fragment,
        });
    }
    // Headers count, but for those that IPv6's payload length leaves out.
    let behind = usize::from(part.offset) + usize::from(part.len);
    let headers = ip.len().saturating_sub(usize::from(part.len));
    let headers = match ip.key.source.is_v4() {
        true => headers,
        false => headers.saturating_sub(IPV6_AND_FRAGMENT_LEN),
    };
    match headers + behind > LONGEST {
        true => Err(DropReason::FragmentEndless),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_workers_give_one_identification() {
        for (family, workers) in
            [1, 3, 255].iter().flat_map(|&n| [(Family::Ipv4, n), (Family::Ipv6, n)])
        {
            let mut given: Vec<_> =
                (0..workers).map(|w| Identifications::new(w as u8, workers)).collect();
            // Just before the end of those of IPv4.
            given
                .iter_mut()
                .for_each(|given| given.next += 65_000 / workers as u64 * workers as u64);
            let all: BTreeSet<u32> =
                given.iter_mut().flat_map(|given| [0; 100].map(|_| given.next(family))).collect();
            assert_eq!(all.len(), 100 * workers, "{family:?} {workers}");
            assert!(family == Family::Ipv6 || all.iter().all(|&id| id < 65_536));
        }
    }
}
