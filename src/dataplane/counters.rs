//! What a worker counts. Plain numbers in the engine; the runtime copies them out for others to read.

use super::{Arrival, DropReason, ReplyKind, Verdict};

macro_rules! named_counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name { $($(#[doc = $doc])* pub $field: u64,)* }

        impl $name {
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($field),)*].len();
            /// Their names, in order.
            pub const NAMES: [&'static str; Self::COUNT] = [$(stringify!($field),)*];
            /// What they count, as their documentation says, in the same order.
            pub const MEANINGS: [&'static str; Self::COUNT] =
                [$(concat!($($doc, "\n",)*).trim_ascii(),)*];

            /// Their values, in the order of [`Self::NAMES`].
            pub fn values(&self) -> [u64; Self::COUNT] {
                [$(self.$field,)*]
            }

            /// The reverse of [`Self::values`].
            pub fn from_values(values: [u64; Self::COUNT]) -> Self {
                let [$($field,)*] = values;
                $name { $($field,)* }
            }
        }
    };
}

named_counters! {
    /// Things that happen besides the verdict.
    EventCounters {
        /// New flow entries.
        flows_created,
        /// New entries that say to which backend a client's new flows go (session affinity).
        affinities_created,
        /// Entries ended by their idle time.
        flows_expired,
        /// Entries ended since their TCP connection had closed.
        flows_closed,
        /// Entries ended since their backend or service was cut from the snapshot.
        flows_cut,
        /// Entries ended since an operator asked for it (`guideway kill-flows`).
        flows_ended_by_hand,
        /// Flows whose backend was gone (dead, or its drain time was over) when they had a packet.
        flows_backend_gone,
        /// First packets of flows forwarded by Maglev alone, without an entry, since the flow table was
        /// full or new flows came faster than `limits.new_flows_per_second` (direct return).
        forwarded_stateless,
        /// Packets that would have begun a flow beyond their service's `max_flows`: refused, or (direct
        /// return) forwarded without an entry.
        max_flows_reached,
        /// Packets moved back in their memory to make room for a tunnel's header.
        moved_for_room,
        /// Backends whose path MTU was lowered by an ICMP error about their tunnel's packets.
        path_mtu_lowered,
        /// TCP SYNs whose maximum segment size was lowered.
        mss_clamped,
        /// SNAT ports taken before their hold-down had passed.
        snat_hold_down_shortened,
        /// SNAT ports taken before that, but by the client address and port that had them last.
        snat_ports_of_same_client,
        /// Packets given to the worker that owns their flow.
        handed_over,
        /// Packets taken over from other workers.
        taken_over,
        /// Fragments held until the first one of their datagram is there.
        fragments_held,
        /// Fragmented datagrams forgotten before their time, since the table was full of newer ones.
        fragments_forgotten,
        /// Flow events not written, since the event ring was full.
        flow_events_lost,
        /// Gratuitous ARP frames given to the device.
        announcements,
    }
}

/// One count for each verdict, and the events beside them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Frames received from the device (not those taken over from other workers).
    pub received: u64,
    /// Bytes of those frames.
    pub received_bytes: u64,
    /// Frames forwarded.
    pub forwarded: u64,
    /// Frames that were not ours.
    pub not_ours: u64,
    /// Answers, by kind.
    pub replied: [u64; ReplyKind::COUNT],
    /// Drops, by reason.
    pub dropped: [u64; DropReason::COUNT],
    /// Everything else.
    pub events: EventCounters,
}

impl Default for Counters {
    /// Nothing counted yet.
    fn default() -> Counters {
        Counters::from_values(&[0; Counters::COUNT])
    }
}

impl Counters {
    /// How many numbers [`Counters::values`] gives.
    pub const COUNT: usize = 4 + ReplyKind::COUNT + DropReason::COUNT + EventCounters::COUNT;

    /// Counts a verdict.
    #[inline]
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(_) => self.forwarded += 1,
            Verdict::Reply(_, kind) => self.replied[kind as usize] += 1,
            Verdict::Drop(reason) => self.dropped[reason as usize] += 1,
            Verdict::NotOurs => self.not_ours += 1,
        }
    }

    /// Counts frames that are given up together.
    pub(super) fn count_dropped(&mut self, reason: DropReason, frames: usize) {
        self.dropped[reason as usize] += frames as u64;
    }

    /// Frames this engine has begun with, from its device or from other workers.
    pub fn arrived(&self) -> u64 {
        self.received + self.events.taken_over
    }

    /// Counts a frame that the engine never saw, since the worker was restarted.
    pub fn count_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Received(_) => self.received += 1,
            Arrival::TakenOver(_) | Arrival::TakenOverFragment(..) => self.events.taken_over += 1,
            // It was counted when it came.
            Arrival::Released(..) => {}
        }
    }

    /// Frames that have a verdict.
    pub fn verdicts(&self) -> u64 {
        let replied: u64 = self.replied.iter().sum();
        let dropped: u64 = self.dropped.iter().sum();
        self.forwarded + self.not_ours + replied + dropped
    }

    /// All numbers in a fixed order, for publishing.
    pub fn values(&self) -> [u64; Self::COUNT] {
        let mut values = [0; Self::COUNT];
        let head = [self.received, self.received_bytes, self.forwarded, self.not_ours];
        let all =
            head.into_iter().chain(self.replied).chain(self.dropped).chain(self.events.values());
        values.iter_mut().zip(all).for_each(|(place, value)| *place = value);
        values
    }

    /// The reverse of [`Counters::values`].
    pub fn from_values(values: &[u64; Self::COUNT]) -> Counters {
        let mut rest = values.iter().copied();
        let mut next = || rest.next().unwrap_or(0);
        Counters {
            received: next(),
            received_bytes: next(),
            forwarded: next(),
            not_ours: next(),
            replied: std::array::from_fn(|_| next()),
            dropped: std::array::from_fn(|_| next()),
            events: EventCounters::from_values(std::array::from_fn(|_| next())),
        }
    }

    /// The sum of two workers' counts.
    pub fn plus(&self, other: &Counters) -> Counters {
        let (mine, theirs) = (self.values(), other.values());
        Counters::from_values(&std::array::from_fn(|place| mine[place].wrapping_add(theirs[place])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_and_add() {
        let values = std::array::from_fn(|place| place as u64 + 1);
        let counters = Counters::from_values(&values);
        assert_eq!(counters.values(), values);
        assert_eq!(counters.plus(&counters).values(), values.map(|value| value * 2));
        assert_eq!(EventCounters::NAMES.len(), EventCounters::COUNT);
    }

    #[test]
    fn each_verdict_is_counted_once() {
        let mut counters = Counters::default();
        let mut given = 0;
        for &reason in DropReason::ALL {
            counters.count(Verdict::Drop(reason));
            given += 1;
        }
        counters.count(Verdict::NotOurs);
        assert_eq!(counters.verdicts(), given + 1);
    }
}
