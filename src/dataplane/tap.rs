//! Which frames an operator wants to see: a filter over the frame as it came, as it leaves, and its
//! verdict.

use std::time::Duration;

use super::classify::Class;
use super::engine::{Arrival, Prepared};
use super::verdict::{DropReason, ReplyKind, Verdict};
use crate::forwarding::ServiceIndex;
use crate::wire::{Address, PortId, ends_of};

/// Where a frame is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TapPoint {
    /// As it was received.
    In,
    /// As it leaves: sent on, or turned into an answer.
    Out,
}

/// A copy of a frame.
#[derive(Debug)]
pub struct TapCopy {
    /// Since 1970.
    pub time: Duration,
    /// Where it was copied.
    pub point: TapPoint,
    /// The port it came in or leaves by.
    pub port: PortId,
    /// None of a fragment that is held for the first one of its datagram.
    pub verdict: Option<Verdict>,
    /// How it got to the worker.
    pub arrival: Arrival,
    /// The service of a client's packet.
    pub service: Option<ServiceIndex>,
    /// Bytes that the frame had.
    pub len: usize,
    /// The first of them.
    pub bytes: Vec<u8>,
}

/// What has to hold for a frame to be copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapFilter {
    /// Copy frames as they were received.
    pub takes_in: bool,
    /// Copy those that are dropped, as they were received.
    pub takes_drops: bool,
    /// Copy frames as they leave.
    pub takes_out: bool,
    /// Only frames with an end in this network, by its first address and host bits, before they are
    /// rewritten or after: both directions of a client's packets, in each mode.
    pub ends: Option<(Address, u128)>,
    /// Only frames with these verdicts.
    pub verdicts: VerdictSet,
    /// One frame of so many; 1 for all.
    pub one_in: u32,
    /// Bytes that are copied of a frame.
    pub snap_bytes: usize,
}

impl TapFilter {
    /// Is a frame copied that came as `before`, is `after` now, and has this verdict? A frame without
    /// one is a fragment that is held.
    pub fn wants(&self, before: &[u8], after: &[u8], verdict: Option<Verdict>) -> bool {
        let is_wanted = verdict.is_none_or(|verdict| self.verdicts.has(verdict));
        is_wanted && self.ends.is_none_or(|ends| has_end(ends, before) || has_end(ends, after))
    }
}

fn has_end(network: (Address, u128), frame: &[u8]) -> bool {
    let ends = ends_of(frame);
    ends.is_some_and(|(source, destination)| source.is_in(network) || destination.is_in(network))
}

impl Prepared {
    /// The service that a client's packet is for, or a DNAT backend's answer is of.
    pub fn service(&self) -> Option<ServiceIndex> {
        match self.class() {
            Class::Forward(service) | Class::Return(service) => Some(service),
            _ => None,
        }
    }
}

/// Some of the verdicts there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerdictSet {
    forward: bool,
    not_ours: bool,
    /// A bit for each kind of reply.
    replies: u64,
    /// A bit for each reason to drop.
    drops: u64,
}

const _: () = assert!(DropReason::COUNT <= 64 && ReplyKind::COUNT <= 64);

impl VerdictSet {
    /// All of them.
    pub const ALL: VerdictSet =
        VerdictSet { forward: true, not_ours: true, replies: u64::MAX, drops: u64::MAX };
    /// None of them.
    pub const NONE: VerdictSet =
        VerdictSet { forward: false, not_ours: false, replies: 0, drops: 0 };
    /// Each drop.
    pub const DROPS: VerdictSet = VerdictSet { drops: u64::MAX, ..VerdictSet::NONE };

    /// Those with this name: `forward`, `not_ours`, `reply` or `drop` for all of a sort, or that of one
    /// reply or reason.
    pub fn named(name: &str) -> Option<VerdictSet> {
        let reply = ReplyKind::ALL.iter().find(|kind| kind.name() == name);
        let drop = DropReason::ALL.iter().find(|reason| reason.name() == name);
        match (name, reply, drop) {
            ("forward", ..) => Some(VerdictSet { forward: true, ..VerdictSet::NONE }),
            ("not_ours", ..) => Some(VerdictSet { not_ours: true, ..VerdictSet::NONE }),
            ("reply", ..) => Some(VerdictSet { replies: u64::MAX, ..VerdictSet::NONE }),
            ("drop", ..) => Some(VerdictSet::DROPS),
            (_, Some(&kind), _) => {
                Some(VerdictSet { replies: bit(kind as u8), ..VerdictSet::NONE })
            }
            (.., Some(&reason)) => {
                Some(VerdictSet { drops: bit(reason as u8), ..VerdictSet::NONE })
            }
            _ => None,
        }
    }

    /// Those of either.
    pub fn or(self, other: VerdictSet) -> VerdictSet {
        VerdictSet {
            forward: self.forward | other.forward,
            not_ours: self.not_ours | other.not_ours,
            replies: self.replies | other.replies,
            drops: self.drops | other.drops,
        }
    }

    /// Those of both.
    pub fn and(self, other: VerdictSet) -> VerdictSet {
        VerdictSet {
            forward: self.forward & other.forward,
            not_ours: self.not_ours & other.not_ours,
            replies: self.replies & other.replies,
            drops: self.drops & other.drops,
        }
    }

    /// Is it one of them?
    pub fn has(self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Forward(_) => self.forward,
            Verdict::Reply(_, kind) => self.replies & bit(kind as u8) != 0,
            Verdict::Drop(reason) => self.drops & bit(reason as u8) != 0,
            Verdict::NotOurs => self.not_ours,
        }
    }
}

fn bit(number: u8) -> u64 {
    1u64.checked_shl(number.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples;

    #[test]
    fn verdicts_are_told_apart_by_name() {
        let port = PortId(0);
        let reset = Verdict::Reply(port, ReplyKind::Reset);
        let full = Verdict::Drop(DropReason::FlowTableFull);
        let rows = [
            ("forward", Verdict::Forward(port), true),
            ("forward", reset, false),
            ("reply", reset, true),
            ("tcp_reset", reset, true),
            ("arp", reset, false),
            ("drop", full, true),
            ("flow_table_full", full, true),
            ("malformed", full, false),
            ("not_ours", Verdict::NotOurs, true),
            ("drop", Verdict::NotOurs, false),
        ];
        for (name, verdict, wanted) in rows {
            assert_eq!(VerdictSet::named(name).unwrap().has(verdict), wanted, "{name} {verdict:?}");
            assert!(VerdictSet::ALL.has(verdict) && !VerdictSet::NONE.has(verdict));
        }
        assert_eq!(VerdictSet::named("dropped"), None);
        for name in DropReason::ALL.iter().map(|r| r.name()) {
            let one = VerdictSet::named(name).unwrap();
            let with = DropReason::ALL.iter().filter(|&&reason| one.has(Verdict::Drop(reason)));
            assert_eq!(with.count(), 1, "{name}");
        }
    }

    #[test]
    fn an_end_may_be_on_either_side_before_or_after() {
        let network = |text: &str, host_bits| {
            let address: std::net::IpAddr = text.parse().unwrap();
            Some((Address::from(address), host_bits))
        };
        let mut filter = TapFilter {
            takes_in: true,
            takes_drops: false,
            takes_out: true,
            ends: None,
            verdicts: VerdictSet::ALL,
            one_in: 1,
            snap_bytes: 2048,
        };
        let tcp = samples::bytes(samples::TCP_SYN);
        let (source, destination) = ends_of(&tcp).unwrap();
        let other = [0; 60];
        for end in [source, destination] {
            filter.ends = network(&end.ip().to_string(), 0);
            assert!(
                filter.wants(&tcp, &other, None) && filter.wants(&other, &tcp, None),
                "{end:?}"
            );
            assert!(!filter.wants(&other, &other, None));
        }
        filter.ends = network("203.0.113.0", 0xff);
        assert!(!filter.wants(&tcp, &tcp, None));
        filter.ends = None;
        filter.verdicts = VerdictSet::DROPS;
        assert!(!filter.wants(&tcp, &tcp, Some(Verdict::NotOurs)));
        assert!(filter.wants(&tcp, &tcp, Some(Verdict::Drop(DropReason::Malformed))));
    }
}
