//! Which neighbours the kernel has to be asked to keep alive. Pure; time is an argument.
//!
//! Workers send past the kernel, so the kernel sees no use of a neighbour and would let it go
//! stale. An entry that is *managed* (`NTF_EXT_MANAGED`, Linux 5.16) it probes by itself, every
//! `interval_probe_time_ms` (5 s). Where that is refused, the entry is used (`NTF_USE`) from time
//! to time, which makes the kernel probe it once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
};

use super::view::{KernelView, StationKey};

/// An entry that did not become managed is asked for again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often an entry is used where the kernel does not manage it.
const POKE: Duration = Duration::from_secs(5);

/// What the kernel is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Make the entry if there is none, and keep it fresh.
    Manage(StationKey),
    /// Make the entry if there is none, and probe it once.
    Poke(StationKey),
    /// Do not keep it any longer; it ages like any other.
    Release(StationKey),
}

impl Ask {
    /// As a message (`RTM_NEWNEIGH`), and whether the entry may be created by it.
    pub fn message(self) -> (NeighbourMessage, bool) {
        let (key, managed, create) = match self {
            Ask::Manage(key) => (key, true, true),
            Ask::Poke(key) => (key, false, true),
            Ask::Release(key) => (key, false, false),
        };
        let mut message = NeighbourMessage::default();
        let (family, address) = match key.1 {
            IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
        };
        message.header.family = family;
        message.header.ifindex = key.0;
        // With it the kernel leaves state and MAC of an entry as they are.
        message.header.flags = NeighbourFlags::Use;
        message.attributes = vec![NeighbourAttribute::Destination(address)];
        if managed {
            message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        (message, create)
    }
}

/// What was asked so far.
#[derive(Debug, Default)]
pub struct Keeper {
    asked: BTreeMap<StationKey, Instant>,
    managed_refused: bool,
}

impl Keeper {
    /// What has to be asked now, and when to look again.
    pub fn plan(
        &mut self,
        wanted: &BTreeSet<StationKey>,
        view: &KernelView,
        now: Instant,
    ) -> (Vec<Ask>, Option<Instant>) {
        let mut asks = vec![];
        self.asked.retain(|&key, _| {
            let stays = wanted.contains(&key);
            if !stays {
                asks.push(Ask::Release(key));
            }
            stays
        });
        let mut next: Option<Instant> = None;
        let pause = if self.managed_refused { POKE } else { AGAIN };
        for &key in wanted {
            let station = view.station(key);
            // Asking would make an entry that was set by hand an ordinary one.
            if station.is_some_and(|station| station.fixed) {
                continue;
            }
            if station.is_some_and(|station| station.managed) {
                self.asked.entry(key).or_insert(now);
                continue;
            }
            let due = self.asked.get(&key).map(|&asked| asked + pause).filter(|&due| due > now);
            let due = due.unwrap_or_else(|| {
                self.asked.insert(key, now);
                asks.push(if self.managed_refused { Ask::Poke(key) } else { Ask::Manage(key) });
                now + pause
            });
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        (asks, next)
    }

    /// The kernel does not know managed neighbours: from now on they are used instead. Gives
    /// whether that is new.
    pub fn set_managed_refused(&mut self) -> bool {
        !std::mem::replace(&mut self.managed_refused, true)
    }

    /// Everything that was asked, to be released at the end.
    pub fn release_all(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asked).into_keys().map(Ask::Release).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{link, station, view};
    use super::*;
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::neighbour::NeighbourState;

    fn key(last: u8) -> StationKey {
        (7, IpAddr::from([10, 0, 0, last]))
    }

    fn managed(last: u8) -> RouteNetlinkMessage {
        let mut message = station(7, last, NeighbourState::Incomplete, 0);
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        RouteNetlinkMessage::NewNeighbour(message)
    }

    #[test]
    fn asked_once_then_left_alone_and_released() {
        let fixed = station(7, 9, NeighbourState::Permanent, 9);
        let mut view = view(vec![link(7, "eth1", true)], vec![fixed]);
        let (mut keeper, start) = (Keeper::default(), Instant::now());
        let wanted = BTreeSet::from([key(2), key(3), key(9)]);
        let at = |ms| start + Duration::from_millis(ms);
        let both = vec![Ask::Manage(key(2)), Ask::Manage(key(3))];
        assert_eq!(keeper.plan(&wanted, &view, start), (both, Some(at(1000))));
        view.apply(&managed(2));
        assert_eq!(keeper.plan(&wanted, &view, at(10)), (vec![], Some(at(1000))), "not so soon");
        let again = (vec![Ask::Manage(key(3))], Some(at(2000)));
        assert_eq!(keeper.plan(&wanted, &view, at(1000)), again);
        view.apply(&managed(3));
        assert_eq!(keeper.plan(&wanted, &view, at(3000)), (vec![], None));

        let gone = station(7, 3, NeighbourState::None, 0);
        view.apply(&RouteNetlinkMessage::DelNeighbour(gone));
        let again = (vec![Ask::Manage(key(3))], Some(at(5000)));
        assert_eq!(keeper.plan(&wanted, &view, at(4000)), again, "lost with its link");

        let fewer = BTreeSet::from([key(3)]);
        let released = (vec![Ask::Release(key(2))], Some(at(5000)));
        assert_eq!(keeper.plan(&fewer, &view, at(4500)), released);
        assert_eq!(keeper.release_all(), [Ask::Release(key(3))]);
    }

    #[test]
    fn poked_from_time_to_time_where_managed_is_refused() {
        let view = view(vec![link(7, "eth1", true)], vec![]);
        let (mut keeper, start) = (Keeper::default(), Instant::now());
        assert!(keeper.set_managed_refused() && !keeper.set_managed_refused());
        let wanted = BTreeSet::from([key(2)]);
        for (seconds, wanted_asks) in [(0, 1), (1, 0), (4, 0), (5, 1), (9, 0), (10, 1)] {
            let (asks, _) = keeper.plan(&wanted, &view, start + Duration::from_secs(seconds));
            assert_eq!(asks, vec![Ask::Poke(key(2)); wanted_asks], "second {seconds}");
        }
    }

    #[test]
    fn messages() {
        let ext = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        let rows = [
            (Ask::Manage(key(2)), true, true),
            (Ask::Poke(key(2)), false, true),
            (Ask::Release(key(2)), false, false),
        ];
        for (ask, wanted_managed, wanted_create) in rows {
            let (message, create) = ask.message();
            assert_eq!((message.header.ifindex, create), (7, wanted_create), "{ask:?}");
            assert_eq!(message.attributes.contains(&ext), wanted_managed, "{ask:?}");
        }
    }
}
