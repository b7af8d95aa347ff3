//! A worker's flows with all that hangs on them: SNAT ports, counts by backend, events, expiry.
//!
//! Every beginning and end of a flow goes through [`Flows::open`] and [`Flows::end`], so that none
//! of them can forget a part.

use super::entry::{Flow, Station};
use super::entry_flags::{PORT_RELEASED, WAS_ESTABLISHED};
use super::flow_events::FlowEvents;
use super::flow_hash::FlowHash;
use super::flow_meter::FlowMeters;
use super::flow_state::{Side, changes_state, step};
use super::flow_table::{FlowPlace, FlowTable, KeyHashes};
use super::service_flows::ServiceFlows;
use super::snat::{SnatPool, user_of};
use super::snat_block::BlockKey;
use super::traffic::Traffic;
use super::{
    Counters, ENTRY_VERSION, EngineConfig, FlowEntry, FlowEvent, FlowEventKind, FlowState,
};
use crate::arch;
use crate::forwarding::{BackendId, FlowTimeouts, Snapshot, Target};
use crate::wire::{Address, FlowKey, TcpFlags};

/// Why a flow ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// No packet for longer than its state allows.
    Idle,
    /// Its client begins a new one by the same addresses and ports, or its port is needed.
    Replaced,
    /// Its backend, service or SNAT address is no longer in the snapshot.
    Cut,
    /// An operator wants it.
    Asked,
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
    pub(super) station: Option<Station>,
}

#[derive(Debug)]
pub(super) struct Flows {
    pub(super) table: FlowTable,
    pub(super) pool: SnatPool,
    pub(super) hash: FlowHash,
    /// Live flows by backend.
    pub(super) live: Box<[u32]>,
    /// Live flows by service, where there is a limit.
    pub(super) of_services: ServiceFlows,
    /// Packets and bytes by backend.
    pub(super) traffic: Box<[Traffic]>,
    pub(super) events: FlowEvents,
    /// What each flow moved, where somebody wants records.
    pub(super) meters: FlowMeters,
    /// The engine's: flows begin and end here, and count it.
    pub(super) counters: Counters,
}

impl Flows {
    pub(super) fn new(config: &EngineConfig) -> Flows {
        let hash = FlowHash::new(config.flow_hash_key);
        Flows {
            table: FlowTable::new(config.max_flows),
            pool: SnatPool::new(config.max_snat_blocks, config.snat_hold_down_ms, hash),
            hash,
            live: vec![0; config.max_backends].into_boxed_slice(),
            of_services: ServiceFlows::new(
                config.max_backends,
                config.worker,
                config.shards.workers(),
            ),
            traffic: arch::vec_in_large_pages(Traffic::default(), config.max_backends),
            events: FlowEvents::new(config.flow_events),
            meters: FlowMeters::new(config.max_flows, config.flow_meters),
            counters: Counters::default(),
        }
    }

    /// The flow of a client's packet, which is probably at `guess`. One that is too old ends here,
    /// whether or not the sweep has come past it.
    #[inline]
    pub(super) fn find_forward(
        &mut self,
        hash: u64,
        key: &FlowKey,
        guess: Option<FlowPlace>,
        now_ms: u32,
        timeouts: &FlowTimeouts,
    ) -> Option<FlowPlace> {
        let place = match guess {
            Some(guess) if self.table.is_at(guess, key) => guess,
            _ => self.table.find_forward(hash, key)?,
        };
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
    ) -> Option<FlowPlace> {
        let place = self.place_of_return(hash, key)?;
        let timeouts = timeouts_of(snapshot, self.table.get(place)?);
        self.unless_idle(place, now_ms, &timeouts)
    }

    #[inline]
    fn place_of_return(&self, hash: u64, key: &FlowKey) -> Option<FlowPlace> {
        self.table.find_return(hash, |flow| {
            self.block_of(flow).is_some_and(|(block, high)| block.is_return_key(high, key))
        })
    }

    /// The flow's backend, if the snapshot has it as it was when the flow began. A state in which it
    /// gets no new flows does not matter.
    #[inline]
    pub(super) fn target_of<'a>(&self, snapshot: &'a Snapshot, flow: &Flow) -> Option<&'a Target> {
        let target = snapshot.target(BackendId(flow.backend))?;
        // An id stays with its backend while flows hold it; asked all the same.
        let is_it = match flow.binding() {
            Some((block, _)) => self.pool.key(block).is_some_and(|block| block.is_to(target)),
            None => flow.is_untranslated_to(target.fingerprint),
        };
        is_it.then_some(target)
    }

    /// Under NAT, its block as it is for this flow, and its port's high byte.
    #[inline]
    fn block_of(&self, flow: &Flow) -> Option<(BlockKey, u8)> {
        let (block, high) = flow.binding()?;
        Some((self.pool.key(block)?.of_flow_to(flow.destination_port()), high))
    }

    /// Under NAT, the key of the backend's packets: backend -> SNAT address and port.
    #[inline]
    pub(super) fn return_key(&self, flow: &Flow) -> Option<FlowKey> {
        self.block_of(flow).map(|(block, high)| block.return_key(high))
    }

    fn hashes_of(&self, flow: &Flow) -> KeyHashes {
        KeyHashes {
            forward: self.hash.of(&flow.key()),
            back: self.return_key(flow).map(|key| self.hash.of(&key)),
        }
    }

    #[inline]
    fn unless_idle(
        &mut self,
        place: FlowPlace,
        now_ms: u32,
        timeouts: &FlowTimeouts,
    ) -> Option<FlowPlace> {
        if is_idle(self.table.get(place)?, now_ms, timeouts) {
            self.end(place, End::Idle, now_ms);
            return None;
        }
        Some(place)
    }

    /// Adds a flow whose SNAT port, if it has one, is already taken; none when there is no room.
    #[inline]
    pub(super) fn open(&mut self, flow: Flow, hashes: KeyHashes) -> Option<FlowPlace> {
        debug_assert_eq!(hashes, self.hashes_of(&flow));
        let place = self.table.insert(flow, hashes)?;
        self.count_live(&flow, |live| live.saturating_add(1));
        self.counters.events.flows_created += 1;
        self.meters.begin(place, flow.last_seen_ms);
        self.tell(FlowEventKind::Created, &flow, None);
        Some(place)
    }

    /// Adds a client's affinity, if there is room: no flow, and not counted as one.
    pub(super) fn open_affinity(&mut self, entry: Flow) {
        let hashes = self.hashes_of(&entry);
        if self.table.insert(entry, hashes).is_some() {
            self.counters.events.affinities_created += 1;
        }
    }

    /// Takes a client's affinity out.
    pub(super) fn end_affinity(&mut self, place: FlowPlace) {
        let Some(entry) = self.table.get(place).copied() else { return };
        let hashes = self.hashes_of(&entry);
        self.table.remove(place, hashes);
    }

    /// Adds a flow that was made elsewhere, as [`Flows::open`] does, and tells nobody.
    pub(super) fn restore(&mut self, flow: Flow) -> bool {
        let place = self.table.insert(flow, self.hashes_of(&flow));
        if let Some(place) = place {
            self.meters.begin(place, flow.last_seen_ms);
            self.count_live(&flow, |live| live.saturating_add(1));
        }
        place.is_some()
    }

    /// A packet of the flow went by: time, state, counts, and where the client is.
    #[inline]
    pub(super) fn pass(&mut self, place: FlowPlace, passing: &Passing) {
        let Some(flow) = self.table.get_mut(place) else { return };
        flow.last_seen_ms = passing.now_ms;
        if let Some(station) = passing.station {
            flow.set_client(station);
        }
        let goes_on = flow.is_quiet_for(passing.from) && !changes_state(passing.segment);
        let backend = flow.backend;
        self.count_packet(backend, passing.from, passing.frame_len);
        self.meters.count(place, passing.from, passing.frame_len);
        if !goes_on {
            self.step(place, passing);
        }
    }

    /// A packet that may change its flow's state.
    fn step(&mut self, place: FlowPlace, passing: &Passing) {
        let Some(flow) = self.table.get_mut(place) else { return };
        let Some(state) = FlowState::from_number(flow.state) else { return };
        let was = (flow.state, flow.flags);
        let next = step(flow.flags, state, passing.from, passing.segment);
        (flow.state, flow.flags) = (next.state as u8, next.flags);
        if was != (flow.state, flow.flags) {
            self.changed(place, was.1);
        }
    }

    #[inline]
    pub(super) fn count_packet(&mut self, backend: u32, from: Side, frame_len: usize) {
        if let Some(traffic) = self.traffic.get_mut(backend as usize) {
            traffic.count(from, frame_len);
        }
    }

    /// After a change of state: gives a closed flow's port back, and tells of an established one.
    #[cold]
    fn changed(&mut self, place: FlowPlace, flags_before: u16) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if FlowState::from_number(flow.state) == Some(FlowState::Closed) {
            let now_ms = flow.last_seen_ms;
            give_port_back(&mut self.pool, flow, |flow| self.hash.of(&flow.key()), now_ms);
        }
        let flow = *flow;
        if flow.has(WAS_ESTABLISHED) && flags_before & WAS_ESTABLISHED == 0 {
            self.tell(FlowEventKind::Established, &flow, None);
        }
    }

    /// Ends a flow and all that hangs on it.
    pub(super) fn end(&mut self, place: FlowPlace, why: End, now_ms: u32) {
        let Some(mut flow) = self.table.get(place).copied() else { return };
        if flow.is_affinity() {
            return self.end_affinity(place);
        }
        let hashes = self.hashes_of(&flow);
        self.table.remove(place, hashes);
        // Before its block may be made another's.
        self.tell(FlowEventKind::Ended, &flow, Some((place, why)));
        give_port_back(&mut self.pool, &mut flow, |_| hashes.forward, now_ms);
        if let Some((block, _)) = flow.binding() {
            self.pool.leave(block);
        }
        self.count_live(&flow, |live| live.saturating_sub(1));
        let had_closed = FlowState::from_number(flow.state).is_some_and(FlowState::has_ended);
        match why {
            End::Cut => self.counters.events.flows_cut += 1,
            End::Asked => self.counters.events.flows_ended_by_hand += 1,
            End::Idle if !had_closed => self.counters.events.flows_expired += 1,
            End::Idle | End::Replaced => self.counters.events.flows_closed += 1,
        }
    }

    /// Ends the closed flow that still passes late packets on by a port, since a new flow is given
    /// that port; `false` when the flow that has it is no closed one. `hash` is the return key's.
    #[inline]
    pub(super) fn end_late(&mut self, hash: u64, return_key: &FlowKey, now_ms: u32) -> bool {
        let Some(place) = self.place_of_return(hash, return_key) else { return true };
        // Its port was given back: this end must not do it again.
        if !self.table.get(place).is_some_and(|flow| flow.has(PORT_RELEASED)) {
            return false;
        }
        self.end(place, End::Replaced, now_ms);
        true
    }

    /// Takes the oldest event.
    pub(super) fn take_event(&mut self) -> Option<FlowEvent> {
        self.events.pop()
    }

    /// Counts a flow in or out at its backend. Ids beyond the counts are a mistake of the
    /// configuration, not to be paid for by a panic.
    pub(super) fn count_live(&mut self, flow: &Flow, change: impl Fn(u32) -> u32) {
        // A client that may come back holds no backend.
        if flow.is_affinity() {
            return;
        }
        if let Some(live) = self.live.get_mut(BackendId(flow.backend).index()) {
            *live = change(*live);
        }
        self.of_services.count(flow.backend, change);
    }

    /// Writes an event, if somebody wants events; of an end with the place the flow had, and why.
    #[inline]
    fn tell(&mut self, kind: FlowEventKind, flow: &Flow, end: Option<(FlowPlace, End)>) {
        if !self.events.is_off() {
            self.write_event(kind, flow, end);
        }
    }

    #[inline(never)]
    fn write_event(&mut self, kind: FlowEventKind, flow: &Flow, end: Option<(FlowPlace, End)>) {
        let meter = end.and_then(|(place, _)| self.meters.get(place));
        let entry = self.entry_of(flow);
        if !self.events.push(FlowEvent { kind, entry, end: end.map(|(_, why)| why), meter }) {
            self.counters.events.flow_events_lost += 1;
        }
    }

    /// A flow as it is given to others.
    pub(super) fn entry_of(&self, flow: &Flow) -> FlowEntry {
        let back = self.return_key(flow).unwrap_or_default();
        let block = flow.binding().and_then(|(block, _)| self.pool.key(block));
        let client = flow.client();
        FlowEntry {
            key: flow.key(),
            backend_address: back.source,
            snat_address: back.destination,
            backend: flow.backend,
            last_seen_ms: flow.last_seen_ms,
            backend_port: block.map_or(0, |block| block.backend_port),
            snat_port: back.destination_port,
            client_mac: client.mac,
            client_port: client.port,
            state: flow.state,
            client_tags: client.tags,
            flags: flow.flags,
            version: ENTRY_VERSION,
            backend_fingerprint: flow.fingerprint().unwrap_or(0),
        }
    }

    /// May this entry be added: does it make sense, and are its keys not in the table?
    pub(super) fn is_new_and_sound(&self, entry: &FlowEntry) -> bool {
        let is_sound = entry.version == ENTRY_VERSION
            && FlowState::of(entry).is_some()
            && (entry.snat_address != Address::UNSPECIFIED) == entry.is_nat();
        let (key, back) = (entry.key, entry.return_key());
        let is_new = || {
            self.table.find_forward(self.hash.of(&key), &key).is_none()
                && (!entry.is_nat() || self.place_of_return(self.hash.of(&back), &back).is_none())
        };
        is_sound && is_new()
    }

    /// Indexes, SNAT ports and counts made anew from the flows; gives how many made no sense.
    pub(super) fn rebuild(&mut self) -> usize {
        self.pool.rebuild();
        self.live.fill(0);
        self.of_services.forget();
        let (pool, hash) = (&mut self.pool, &self.hash);
        let given_up = self.table.rebuild(|table, flow| {
            let (key, forward) = (flow.key(), hash.of(&flow.key()));
            let is_known = FlowState::from_number(flow.state).is_some();
            if !is_known || table.find_forward(forward, &key).is_some() {
                return None;
            }
            let Some((block, high)) = flow.binding() else {
                return Some(KeyHashes { forward, back: None });
            };
            let key = pool.key(block)?.of_flow_to(flow.destination_port());
            let back = hash.of(&key.return_key(high));
            let holds_port = !flow.has(PORT_RELEASED);
            pool.retake(block, high, holds_port).then_some(KeyHashes { forward, back: Some(back) })
        });
        for at in 0..self.table.used_up_to() {
            let Some(flow) = self.table.get(FlowPlace(at)).copied() else { continue };
            self.count_live(&flow, |live| live.saturating_add(1));
        }
        given_up
    }
}

/// Gives a flow's SNAT port back, if it has one still. The flag says so once and for all: the one place
/// where a flow's port is given back, so that none is given back twice.
pub(super) fn give_port_back(
    pool: &mut SnatPool,
    flow: &mut Flow,
    hash: impl FnOnce(&Flow) -> u64,
    now_ms: u32,
) {
    let Some((block, high)) = flow.binding().filter(|_| !flow.has(PORT_RELEASED)) else { return };
    flow.flags |= PORT_RELEASED;
    pool.release(block, high, user_of(hash(flow)), now_ms);
}

/// Has the flow been without a packet for longer than its state allows?
#[inline]
pub(super) fn is_idle(flow: &Flow, now_ms: u32, timeouts: &FlowTimeouts) -> bool {
    FlowState::from_number(flow.state)
        .is_none_or(|state| flow.age_ms(now_ms) > state.timeout_ms(timeouts))
}

/// Idle times of a flow's service; the usual ones when it is not in the snapshot.
#[inline]
pub(super) fn timeouts_of(snapshot: &Snapshot, flow: &Flow) -> FlowTimeouts {
    let backend = snapshot.backend(BackendId(flow.backend));
    let service = backend.and_then(|backend| snapshot.service_of(backend));
    service.map(|service| service.timeouts).unwrap_or_default()
}
