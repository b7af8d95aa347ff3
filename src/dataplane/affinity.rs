//! Session affinity: a client's new flows go where its last ones went.
//!
//! Which backend a client has stands in the flow table as an entry of its own, with ports that no
//! packet has: so it is bounded, ends, is handed over and exported as flows are. Each worker knows of
//! the clients whose flows it has; where it knows of none, all agree by Maglev, since a service with
//! affinity chooses by the client's address alone.

use super::Engine;
use super::engine::Turn;
use super::entry::Flow;
use super::flow_state::FlowState;
use crate::forwarding::{Backend, BackendId, BackendState, Service};
use crate::wire::{FlowKey, IpPacket};

/// In the place of the protocol: for experiments, and so none of a packet that is balanced (RFC
/// 3692).
const PROTOCOL: u32 = 253;

/// The key of a client's entry.
fn key_of(service: &Service, client: &FlowKey) -> FlowKey {
    FlowKey {
        source_port: u16::from(service.protocol.number()),
        destination_port: service.vip.port(),
        protocol: PROTOCOL,
        ..*client
    }
}

impl Engine {
    /// The backend of a client's new flow; `chosen` is Maglev's, where it was asked already.
    #[inline]
    pub(super) fn choose<'a>(
        &mut self,
        turn: &Turn<'a>,
        service: &Service,
        ip: &IpPacket,
        chosen: BackendId,
    ) -> Option<&'a Backend> {
        if service.rules.affinity_ms == 0 {
            let chosen = turn.snapshot.backend(chosen);
            return chosen.or_else(|| turn.snapshot.select(service, &ip.key));
        }
        self.select_by_affinity(turn, service, ip)
    }

    #[cold]
    fn select_by_affinity<'a>(
        &mut self,
        turn: &Turn<'a>,
        service: &Service,
        ip: &IpPacket,
    ) -> Option<&'a Backend> {
        let now_ms = turn.now_ms();
        let key = key_of(service, &ip.key);
        let hash = self.flows.hash.of(&key);
        let known = self.flows.find_forward(hash, &key, None, now_ms, &service.timeouts);
        if let Some(place) = known {
            if let Some(backend) = self.usable_backend(turn, place) {
                return Some(backend);
            }
            self.flows.end_affinity(place);
        }
        let backend = turn.snapshot.select(service, &ip.key)?;
        let target = turn.snapshot.target(backend.id)?;
        let mut entry = Flow::new(&key, turn.station());
        (entry.state, entry.backend) = (FlowState::Affinity as u8, backend.id.0);
        entry.last_seen_ms = now_ms;
        entry.set_fingerprint(target.fingerprint);
        // Where there is no room, Maglev says the same as long as backends stay.
        self.flows.open_affinity(entry);
        Some(backend)
    }

    /// The entry's backend, if it may have new flows; then the entry lives on.
    fn usable_backend<'a>(
        &mut self,
        turn: &Turn<'a>,
        place: super::flow_table::FlowPlace,
    ) -> Option<&'a Backend> {
        let entry = self.flows.table.get(place)?;
        self.flows.target_of(turn.snapshot, entry)?;
        let backend = turn.snapshot.backend(BackendId(entry.backend))?;
        let is_usable = backend.state == BackendState::Active;
        if let Some(entry) = self.flows.table.get_mut(place).filter(|_| is_usable) {
            entry.last_seen_ms = turn.now_ms();
        }
        is_usable.then_some(backend)
    }
}
