//! A worker's flows with all that hangs on them: SNAT ports, counts by backend, events, expiry.
//!
//! Every beginning and end of a flow goes through [`Flows::open`] and [`Flows::end`], so that none
//! of them can forget a part.

use super::entry_flags::{PORT_RELEASED, WAS_ESTABLISHED};
use super::flow_events::FlowEvents;
use super::flow_hash::FlowHash;
use super::flow_state::{Side, step};
use super::flow_table::{FlowPlace, FlowTable};
use super::snat::SnatPool;
use super::{Counters, EngineConfig, FlowEntry, FlowEvent, FlowEventKind, FlowState};
use crate::forwarding::{BackendId, FlowTimeouts, Snapshot};
use crate::wire::{FlowKey, MacAddress, PortId, TcpFlags};

/// Why a flow ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// No packet for longer than its state allows.
    Idle,
    /// Its client begins a new one by the same addresses and ports, or its port is needed.
    Replaced,
    /// Its backend, service or SNAT address is no longer in the snapshot.
    Cut,
}

/// A packet as its flow sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    pub(super) from: Side,
    /// Nothing for UDP.
    pub(super) segment: TcpFlags,
    pub(super) frame_len: usize,
    pub(super) now_ms: u32,
    /// Where a client's frame came from.
    pub(super) station: Option<(PortId, MacAddress)>,
}

#[derive(Debug)]
pub(super) struct Flows {
    pub(super) table: FlowTable,
    pub(super) pool: SnatPool,
    pub(super) hash: FlowHash,
    pub(super) live: Box<[u32]>,
    pub(super) events: FlowEvents,
    /// The engine's: flows begin and end here, and count it.
    pub(super) counters: Counters,
}

impl Flows {
    pub(super) fn new(config: &EngineConfig) -> Flows {
        let hash = FlowHash::new(config.flow_hash_key);
        Flows {
            table: FlowTable::new(config.max_flows, hash),
            pool: SnatPool::new(config.max_snat_blocks, config.snat_hold_down_ms, hash),
            hash,
            live: vec![0; config.max_backends].into_boxed_slice(),
            events: FlowEvents::new(config.flow_events),
            counters: Counters::default(),
        }
    }

    /// The flow of a client's packet. One that is too old ends here, whether or not the sweep has
    /// come past it.
    #[inline]
    pub(super) fn find_forward(
        &mut self,
        hash: u64,
        key: &FlowKey,
        now_ms: u32,
        timeouts: &FlowTimeouts,
    ) -> Option<(FlowPlace, FlowEntry)> {
        let place = self.table.find_forward(hash, key)?;
        self.unless_idle(place, now_ms, timeouts)
    }

    /// The flow of a backend's packet.
    #[inline]
    pub(super) fn find_return(
        &mut self,
        hash: u64,
        key: &FlowKey,
        now_ms: u32,
        snapshot: &Snapshot,
    ) -> Option<(FlowPlace, FlowEntry)> {
        let place = self.table.find_return(hash, key)?;
        let timeouts = timeouts_of(snapshot, self.table.get(place)?);
        self.unless_idle(place, now_ms, &timeouts)
    }

    #[inline]
    fn unless_idle(
        &mut self,
        place: FlowPlace,
        now_ms: u32,
        timeouts: &FlowTimeouts,
    ) -> Option<(FlowPlace, FlowEntry)> {
        let entry = *self.table.get(place)?;
        if is_idle(&entry, now_ms, timeouts) {
            self.end(place, End::Idle, now_ms);
            return None;
        }
        Some((place, entry))
    }

    /// Adds a flow whose SNAT port, if it has one, is already taken; none when there is no room.
    pub(super) fn open(&mut self, entry: FlowEntry) -> Option<FlowPlace> {
        let place = self.table.insert(entry)?;
        self.count_live(&entry, |live| live.saturating_add(1));
        self.counters.events.flows_created += 1;
        self.tell(FlowEventKind::Created, &entry);
        Some(place)
    }

    /// A packet of the flow went by: time, state, counts, and where the client is.
    #[inline]
    pub(super) fn pass(&mut self, place: FlowPlace, passing: &Passing) {
        let Some(entry) = self.table.get_mut(place) else { return };
        entry.last_seen_ms = passing.now_ms;
        entry.packets = entry.packets.saturating_add(1);
        entry.bytes = entry.bytes.saturating_add(passing.frame_len as u64);
        if let Some((PortId(port), MacAddress(mac))) = passing.station {
            (entry.client_port, entry.client_mac) = (port, mac);
        }
        let Some(state) = FlowState::of(entry) else { return };
        let next = step(entry, state, passing.from, passing.segment);
        let was = (entry.state, entry.flags);
        (entry.state, entry.flags) = (next.state as u8, next.flags);
        if was != (entry.state, entry.flags) {
            self.changed(place, was.1);
        }
    }

    /// After a change of state: gives a closed flow's port back, and tells of an established one.
    #[cold]
    fn changed(&mut self, place: FlowPlace, flags_before: u16) {
        let Some(entry) = self.table.get_mut(place) else { return };
        let closed = FlowState::of(entry) == Some(FlowState::Closed);
        let give_back = closed && entry.is_nat() && !entry.has(PORT_RELEASED);
        if give_back {
            entry.flags |= PORT_RELEASED;
        }
        let entry = *entry;
        if give_back {
            self.pool.release(&entry.return_key(), entry.last_seen_ms);
        }
        if entry.has(WAS_ESTABLISHED) && flags_before & WAS_ESTABLISHED == 0 {
            self.tell(FlowEventKind::Established, &entry);
        }
    }

    /// Ends a flow and all that hangs on it.
    pub(super) fn end(&mut self, place: FlowPlace, why: End, now_ms: u32) {
        let Some(entry) = self.table.remove(place) else { return };
        if entry.is_nat() && !entry.has(PORT_RELEASED) {
            self.pool.release(&entry.return_key(), now_ms);
        }
        self.count_live(&entry, |live| live.saturating_sub(1));
        let had_closed = FlowState::of(&entry).is_some_and(FlowState::gives_way_to_syn);
        match why {
            End::Cut => self.counters.events.flows_cut += 1,
            End::Idle if !had_closed => self.counters.events.flows_expired += 1,
            End::Idle | End::Replaced => self.counters.events.flows_closed += 1,
        }
        self.tell(FlowEventKind::Ended, &entry);
    }

    /// Ends the closed flow that still passes late packets on by a port, since a new flow is given
    /// that port.
    pub(super) fn end_late(&mut self, return_key: &FlowKey, now_ms: u32) {
        let Some(place) = self.table.find_return(self.hash.of(return_key), return_key) else {
            return;
        };
        if let Some(entry) = self.table.get_mut(place) {
            debug_assert!(entry.has(PORT_RELEASED), "a port was given away twice: {return_key}");
            // The port is the new flow's now: this one's end must not give it back.
            entry.flags |= PORT_RELEASED;
        }
        self.end(place, End::Replaced, now_ms);
    }

    /// Takes the oldest event.
    pub(super) fn take_event(&mut self) -> Option<FlowEvent> {
        self.events.pop()
    }

    /// Counts a flow in or out at its backend. Ids beyond the counts are a mistake of the
    /// configuration, not to be paid for by a panic.
    pub(super) fn count_live(&mut self, entry: &FlowEntry, change: impl Fn(u32) -> u32) {
        if let Some(live) = self.live.get_mut(BackendId(entry.backend).index()) {
            *live = change(*live);
        }
    }

    fn tell(&mut self, kind: FlowEventKind, entry: &FlowEntry) {
        if !self.events.push(kind, entry) {
            self.counters.events.flow_events_lost += 1;
        }
    }
}

/// Has the flow been without a packet for longer than its state allows?
#[inline]
pub(super) fn is_idle(entry: &FlowEntry, now_ms: u32, timeouts: &FlowTimeouts) -> bool {
    FlowState::of(entry).is_none_or(|state| entry.age_ms(now_ms) > state.timeout_ms(timeouts))
}

/// Idle times of a flow's service; the usual ones when it is not in the snapshot.
#[inline]
pub(super) fn timeouts_of(snapshot: &Snapshot, entry: &FlowEntry) -> FlowTimeouts {
    let backend = snapshot.backend(BackendId(entry.backend));
    let service = backend.and_then(|backend| snapshot.service_of(backend));
    service.map(|service| service.timeouts).unwrap_or_default()
}

/// Is the flow's backend in the snapshot, as it was when the flow began? A state in which it gets no
/// new flows does not matter.
#[inline]
pub(super) fn has_its_backend(snapshot: &Snapshot, entry: &FlowEntry) -> bool {
    let backend = snapshot.backend(BackendId(entry.backend));
    backend.is_some_and(|backend| backend.socket == entry.backend_socket())
}
