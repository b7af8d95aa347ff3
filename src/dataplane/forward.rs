//! From a client to a backend: find the flow or begin one, and send the packet on.

use super::classify::is_no_client;
use super::egress::Egress;
use super::engine::Turn;
use super::entry_flags::SEEN_BACKEND;
use super::flow_state::first_step;
use super::flow_table::FlowPlace;
use super::flows::{End, Passing, has_its_backend};
use super::snat::PortWish;
use super::snat_block::Rest;
use super::{DropReason, Engine, FlowEntry, FlowState, Side, Verdict};
use crate::forwarding::{
    Backend, BackendId, BackendState, Mode, NoBackendPolicy, Service, ServiceGonePolicy,
    ServiceIndex,
};
use crate::wire::{FlowKey, FrameView, MacAddress, PortId, TcpFlags, Transport, rewrite};

/// Why a client's packet is not sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Silently.
    Drop(DropReason),
    /// And the client is told: TCP by a reset, UDP by ICMP port unreachable.
    Tell,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal::Drop(reason)
    }
}

impl Engine {
    /// A packet from a client to a service.
    pub(super) fn forward(
        &mut self,
        turn: &Turn<'_>,
        service: ServiceIndex,
        transport: &Transport,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        // The snapshot is the one it was classified by, so the service is there.
        let Some(service) = turn.snapshot.services.get(service.index()) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let sent = match self.known_flow(turn, service, transport, hash) {
            Ok(Some((place, entry))) => {
                self.forward_known(turn, place, &entry, transport, frame.len())
            }
            Ok(None) => self.forward_new(turn, service, transport, hash, frame.len()),
            Err(refusal) => Err(refusal),
        };
        match sent {
            Ok((entry, egress)) => {
                rewrite_forward(&entry, &egress, transport, frame.bytes_mut());
                Verdict::Forward(egress.port)
            }
            Err(Refusal::Drop(reason)) => Verdict::Drop(reason),
            Err(Refusal::Tell) => self.answer_refused(turn, transport, frame),
        }
    }

    /// The packet's flow, if it has one that goes on. One that cannot ends here.
    fn known_flow(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
        transport: &Transport,
        hash: u64,
    ) -> Result<Option<(FlowPlace, FlowEntry)>, Refusal> {
        let (key, now_ms) = (&transport.key, turn.now_ms());
        let found = self.flows.find_forward(hash, key, now_ms, &service.timeouts);
        let Some((place, entry)) = found else { return Ok(None) };
        if service.gone {
            self.flows.end(place, End::Cut, now_ms);
            return Ok(None);
        }
        let opens = transport.tcp.is_some_and(|tcp| is_opening(tcp.flags));
        if !has_its_backend(turn.snapshot, &entry) {
            self.flows.end(place, End::Cut, now_ms);
            // A datagram, or a new connection, finds another backend. For a connection there is
            // none that knows it, so the client is told instead of left to time out.
            let begins = opens || transport.tcp.is_none();
            return if begins { Ok(None) } else { Err(Refusal::Tell) };
        }
        if opens && may_begin_anew(turn, &entry) {
            self.flows.end(place, End::Replaced, now_ms);
            return Ok(None);
        }
        Ok(Some((place, entry)))
    }

    /// The next packet of a flow, to its backend whatever that has become since.
    fn forward_known(
        &mut self,
        turn: &Turn<'_>,
        place: FlowPlace,
        entry: &FlowEntry,
        transport: &Transport,
        frame_len: usize,
    ) -> Result<(FlowEntry, Egress), Refusal> {
        let backend = turn.snapshot.backend(BackendId(entry.backend));
        let hop = backend.and_then(|backend| backend.next_hop);
        let egress = Egress::find(turn.snapshot, hop, &transport.ip, entry.is_nat())?;
        let passing = Passing {
            from: Side::Client,
            segment: flags_of(transport),
            frame_len,
            now_ms: turn.now_ms(),
            station: Some((turn.ingress, turn.source_mac)),
        };
        self.flows.pass(place, &passing);
        Ok((*entry, egress))
    }

    /// The first packet of a flow. Nothing is taken before all else is known to be fine.
    fn forward_new(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
        transport: &Transport,
        hash: u64,
        frame_len: usize,
    ) -> Result<(FlowEntry, Egress), Refusal> {
        let key = &transport.key;
        if is_no_client(turn.snapshot, key) {
            return Err(DropReason::BadAddress.into());
        }
        if service.gone {
            return Err(match service.on_service_gone {
                ServiceGonePolicy::Reset => Refusal::Tell,
                ServiceGonePolicy::Drop => DropReason::ServiceGone.into(),
            });
        }
        if service.mode == Mode::Nat {
            check_begins(transport)?;
        }
        let backend = turn.snapshot.select(service, key).ok_or(match service.no_backend {
            NoBackendPolicy::Reset => Refusal::Tell,
            NoBackendPolicy::Drop => DropReason::NoBackend.into(),
        })?;
        let nat = service.mode == Mode::Nat;
        let egress = Egress::find(turn.snapshot, backend.next_hop, &transport.ip, nat)?;
        let mut entry = new_entry(turn, backend, transport, frame_len);
        if self.flows.table.is_full() {
            if nat {
                return Err(DropReason::FlowTableFull.into());
            }
            // Maglev gives the next packet the same backend while the backends stay.
            self.flows.counters.events.forwarded_stateless += 1;
            return Ok((entry, egress));
        }
        if nat {
            self.bind(turn, backend, hash, &mut entry)?;
        }
        self.flows.open(entry);
        Ok((entry, egress))
    }

    /// Gives a new flow its SNAT address and port. An address is begun with by the flow's hash. Only
    /// when no address has a port that has rested, one that has not is taken: the one this client
    /// had last, else any.
    fn bind(
        &mut self,
        turn: &Turn<'_>,
        backend: &Backend,
        hash: u64,
        entry: &mut FlowEntry,
    ) -> Result<(), DropReason> {
        let usable = backend.snat.len();
        if usable == 0 {
            return Err(DropReason::NoSnatAddress);
        }
        let first = (hash >> 40) as usize % usable;
        for rest in [Rest::Over, Rest::OfUser, Rest::Any] {
            let in_turn = backend.snat.iter().cycle().skip(first).take(usable);
            for snat in in_turn.filter_map(|&place| turn.snapshot.snat.get(usize::from(place))) {
                let towards = FlowKey { destination: snat.address.to_bits(), ..entry.return_key() };
                let shard = self.shards.shard_of(&entry.key, hash);
                // Bits that neither the shard nor the choice of the address has used up.
                let user = (hash >> 24) as u16;
                let wish = PortWish { towards, shard, ports: &snat.ports, user, rest };
                let Some(given) = self.flows.pool.acquire(&wish, turn.now_ms()) else { continue };
                (entry.snat_address, entry.snat_port) = (snat.address.to_bits(), given.port);
                let events = &mut self.flows.counters.events;
                match rest {
                    Rest::OfUser => events.snat_ports_of_same_client += 1,
                    _ => events.snat_hold_down_shortened += u64::from(!given.rested),
                }
                self.flows.end_late(&entry.return_key(), turn.now_ms());
                return Ok(());
            }
        }
        Err(DropReason::SnatPortsExhausted)
    }
}

/// Does the client's SYN begin a new flow in the place of this one? Once its connection has ended,
/// or as long as nobody has answered and its backend is known not to be there: that SYN is a
/// retransmission, but of no connection yet.
fn may_begin_anew(turn: &Turn<'_>, entry: &FlowEntry) -> bool {
    let is_down = || {
        let backend = turn.snapshot.backend(BackendId(entry.backend));
        backend.is_some_and(|backend| backend.state == BackendState::Unhealthy)
    };
    match FlowState::of(entry) {
        Some(FlowState::Opening) => !entry.has(SEEN_BACKEND) && is_down(),
        state => state.is_some_and(FlowState::gives_way_to_syn),
    }
}

/// A SYN and nothing that contradicts it.
fn is_opening(flags: TcpFlags) -> bool {
    flags.contains(TcpFlags::SYN)
        && !flags.intersects(TcpFlags::ACK.with(TcpFlags::RST).with(TcpFlags::FIN))
}

fn flags_of(transport: &Transport) -> TcpFlags {
    transport.tcp.map(|tcp| tcp.flags).unwrap_or_default()
}

/// May a translated flow begin with this packet? A segment of a connection that is not known is
/// answered with a reset (RFC 9293 section 3.10.7.1), for no backend can go on with it. Every
/// segment but the first has ACK; without it and without SYN it is of no connection.
fn check_begins(transport: &Transport) -> Result<(), Refusal> {
    match transport.tcp {
        None => Ok(()),
        Some(tcp) if is_opening(tcp.flags) => Ok(()),
        Some(tcp) if tcp.flags.intersects(TcpFlags::ACK.with(TcpFlags::RST)) => Err(Refusal::Tell),
        Some(_) => Err(DropReason::NotOpening.into()),
    }
}

fn new_entry(
    turn: &Turn<'_>,
    backend: &Backend,
    transport: &Transport,
    frame_len: usize,
) -> FlowEntry {
    let first = first_step(transport.tcp.map(|tcp| tcp.flags));
    let (PortId(client_port), MacAddress(client_mac)) = (turn.ingress, turn.source_mac);
    FlowEntry {
        key: transport.key,
        backend: backend.id.0,
        last_seen_ms: turn.now_ms(),
        created_ms: turn.now_ms(),
        backend_address: backend.socket.ip().to_bits(),
        backend_port: backend.socket.port(),
        client_mac,
        client_port,
        state: first.state as u8,
        flags: first.flags,
        packets: 1,
        bytes: frame_len as u64,
        ..FlowEntry::FREE
    }
}

/// Steps that change bytes, after all that could refuse the packet.
fn rewrite_forward(entry: &FlowEntry, egress: &Egress, transport: &Transport, frame: &mut [u8]) {
    if entry.is_nat() {
        rewrite::decrement_ttl(frame, &transport.ip);
        let (source, destination) = (entry.snat_socket(), entry.backend_socket());
        rewrite::translate(frame, transport, Some(source), Some(destination));
    }
    // Under L2 DSR only MACs change. The TTL stays: for the client and the backend we are a bridge
    // on the link, not a hop; the packet's addresses stay as they are.
    egress.set_macs(frame);
}
