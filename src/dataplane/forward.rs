//! From a client to a backend: find the flow or begin one, and send the packet on.

use super::ahead::first_snat;
use super::classify::is_no_client;
use super::deliver::Delivery;
use super::egress::Stuck;
use super::engine::{Looked, Turn};
use super::entry::Flow;
use super::entry_flags::{BOTH_WAYS, SEEN_BACKEND};
use super::flow_state::first_step;
use super::flow_table::{FlowPlace, KeyHashes};
use super::flows::{End, Passing};
use super::gone::is_refused;
use super::snat::{GivenPort, NoPort, PortWish, user_of};
use super::snat_block::Rest;
use super::{DropReason, Engine, FlowState, Side, Verdict};
use crate::forwarding::{
    Backend, BackendId, BackendState, Mode, NoBackendPolicy, Service, ServiceGonePolicy,
    ServiceIndex,
};
use crate::wire::{Address, FlowKey, FrameView, IpPacket, TcpFlags};

/// Why a packet is not sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Silently.
    Drop(DropReason),
    /// And its sender is told: TCP by a reset, UDP by ICMP port unreachable.
    Tell,
    /// And its sender is told by ICMP port unreachable, whatever it is.
    TellUnreachable,
    /// It cannot leave, and its sender may be told why.
    Stuck(Stuck),
}

impl From<Stuck> for Refusal {
    fn from(stuck: Stuck) -> Refusal {
        Refusal::Stuck(stuck)
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal::Drop(reason)
    }
}

impl Engine {
    /// A packet from a client to a service.
    #[inline]
    pub(super) fn forward(
        &mut self,
        turn: &Turn<'_>,
        service: ServiceIndex,
        ip: &IpPacket,
        looked: Looked,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        // The snapshot is the one it was classified by, so the service is there.
        let Some(service) = turn.snapshot.services.get(service.index()) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let sent = match self.known_flow(turn, service, ip, looked) {
            Ok(Some(place)) => self.forward_known(turn, place, ip, looked.hash, frame),
            Ok(None) => self.forward_new(turn, service, ip, looked, frame),
            Err(refusal) => Err(refusal),
        };
        sent.unwrap_or_else(|refusal| self.refuse(turn, ip, refusal, frame))
    }

    /// The end of a packet that is not sent on.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        refusal: Refusal,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match refusal {
            Refusal::Drop(reason) => Verdict::Drop(reason),
            Refusal::Tell => self.answer_refused(turn, ip, frame),
            Refusal::TellUnreachable => self.answer_unreachable(turn, ip, frame),
            Refusal::Stuck(stuck) => self.answer_stuck(turn, ip, stuck, frame),
        }
    }

    /// The packet's flow, if it has one that goes on. One that cannot ends here.
    #[inline]
    fn known_flow(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
        ip: &IpPacket,
        looked: Looked,
    ) -> Result<Option<FlowPlace>, Refusal> {
        let now_ms = turn.now_ms();
        let Looked { hash, guess, .. } = looked;
        let found = self.flows.find_forward(hash, &ip.key, guess, now_ms, &service.timeouts);
        let Some(place) = found else { return Ok(None) };
        let Some(flow) = self.flows.table.get(place) else { return Ok(None) };
        let opens = ip.segment().is_some_and(is_opening);
        if service.gone {
            self.flows.end(place, End::Cut, now_ms);
            return Ok(None);
        }
        // A datagram, or a new connection, finds another backend. For a connection there is none
        // that knows it, so the client is told instead of left to time out.
        let begins = opens || !ip.key.is_of_connection();
        match self.flows.target_of(turn.snapshot, flow) {
            None => {
                self.flows.end(place, End::Cut, now_ms);
                return if begins { Ok(None) } else { Err(Refusal::Tell) };
            }
            Some(target) if target.is_gone() && begins => {
                self.flows.counters.events.flows_backend_gone += 1;
                self.flows.end(place, End::Cut, now_ms);
                return Ok(None);
            }
            Some(target) if is_refused(target, flow, ip) => {
                return Err(self.refuse_gone(turn, place, service.on_backend_gone));
            }
            Some(_) => {}
        }
        if opens && may_begin_anew(turn, flow) {
            self.flows.end(place, End::Replaced, now_ms);
            return Ok(None);
        }
        Ok(Some(place))
    }

    /// The next packet of a flow, to its backend whatever that has become since.
    #[inline]
    fn forward_known(
        &mut self,
        turn: &Turn<'_>,
        place: FlowPlace,
        ip: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Result<Verdict, Refusal> {
        let flow = self.flows.table.get(place).ok_or(DropReason::NoNextHop)?;
        let binding = flow.binding();
        let backend = BackendId(flow.backend);
        let target = turn.snapshot.target(backend).ok_or(DropReason::NoNextHop)?;
        let way = self.way_to(turn, (backend, target), ip)?;
        let passing = Passing {
            from: Side::Client,
            segment: ip.segment().unwrap_or_default(),
            frame_len: frame.len(),
            now_ms: turn.now_ms(),
            station: Some(turn.station()),
        };
        self.flows.pass(place, &passing);
        let delivery = Delivery { backend, target, way, binding, hash };
        Ok(self.send_to_backend(turn, &delivery, ip, frame))
    }

    /// The first packet of a flow. Nothing is taken before all else is known to be fine.
    fn forward_new(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
        ip: &IpPacket,
        looked: Looked,
        frame: &mut FrameView<'_>,
    ) -> Result<Verdict, Refusal> {
        let hash = looked.hash;
        if is_no_client(turn.snapshot, &ip.key) {
            return Err(DropReason::BadAddress.into());
        }
        if service.gone {
            return Err(match service.on_service_gone {
                ServiceGonePolicy::Reset => Refusal::Tell,
                ServiceGonePolicy::Drop => DropReason::ServiceGone.into(),
            });
        }
        if !service.rules.allows(ip.key.source) {
            return Err(DropReason::ClientNotAllowed.into());
        }
        let nat = service.mode == Mode::Nat;
        let entries = service.rules.entries || service.mode.is_translated();
        if nat {
            check_begins(ip)?;
        }
        let goes_without = entries && self.goes_without(turn, service)?;
        // The first fragment begins a flow. Where that finds no room, none is needed.
        let finds_room = entries && !goes_without && !self.flows.table.is_full();
        if ip.is_later_fragment() && finds_room {
            return Err(DropReason::FragmentNoFlow.into());
        }
        let chosen = self.choose(turn, service, ip, looked.choice);
        let backend = chosen.ok_or(match service.no_backend {
            NoBackendPolicy::Reset => Refusal::Tell,
            NoBackendPolicy::Unreachable => Refusal::TellUnreachable,
            NoBackendPolicy::Drop => DropReason::NoBackend.into(),
        })?;
        let target = turn.snapshot.target(backend.id).ok_or(DropReason::NoNextHop)?;
        let way = self.way_to(turn, (backend.id, target), ip)?;
        let mut flow = new_flow(turn, backend, ip);
        flow.set_fingerprint(target.fingerprint);
        if !entries {
            // Maglev alone chooses, for each packet anew.
        } else if goes_without || !service.mode.is_translated() && !self.may_open(turn) {
            // Maglev gives the next packet the same backend while the backends stay.
            self.flows.counters.events.forwarded_stateless += 1;
        } else if self.flows.table.is_full() {
            return Err(DropReason::FlowTableFull.into());
        } else {
            let back = match nat {
                true => Some(self.bind(turn, backend, hash, &ip.key, &mut flow)?),
                false => None,
            };
            if let Some(place) = self.flows.open(flow, KeyHashes { forward: hash, back }) {
                self.flows.meters.count(place, Side::Client, frame.len());
            }
        }
        self.flows.count_packet(flow.backend, Side::Client, frame.len());
        let binding = flow.binding();
        let delivery = Delivery { backend: backend.id, target, way, binding, hash };
        Ok(self.send_to_backend(turn, &delivery, ip, frame))
    }

    /// Is there room for one more flow, and time to make it? Where an entry is not needed, a flood of
    /// first packets must not fill the table with flows that never were.
    #[inline]
    fn may_open(&mut self, turn: &Turn<'_>) -> bool {
        !self.flows.table.is_full() && self.new_flows.take(turn.now)
    }

    /// Gives a new flow its SNAT address and port. An address is begun with by the flow's hash. Only
    /// when no address has a port that has rested, one that has not is taken: the one this client
    /// had last, else any. The answer is the hash of its return key.
    fn bind(
        &mut self,
        turn: &Turn<'_>,
        backend: &Backend,
        hash: u64,
        key: &FlowKey,
        flow: &mut Flow,
    ) -> Result<u64, DropReason> {
        let first = first_snat(hash, backend).ok_or(DropReason::NoSnatAddress)?;
        let shard = self.shards.shard_of(key, hash);
        let (before, after) = backend.snat.split_at(first);
        let mut without = DropReason::SnatPortsExhausted;
        let mut rest = Rest::Over;
        loop {
            for place in after.iter().chain(before) {
                let Some(snat) = turn.snapshot.snat.get(usize::from(*place)) else { continue };
                let towards = FlowKey {
                    source: backend.socket.ip().into(),
                    destination: Address::from(snat.address),
                    source_port: backend.socket.port(),
                    destination_port: 0,
                    protocol: key.protocol,
                };
                let wish =
                    PortWish { towards, shard, ports: &snat.ports, user: user_of(hash), rest };
                match self.flows.pool.acquire(&wish, turn.now_ms()) {
                    Ok(given) => {
                        let back = self.bind_to(turn, &wish, given, key.destination_port, flow);
                        if let Some(back) = back {
                            return Ok(back);
                        }
                    }
                    Err(NoPort::Ports) => {}
                    Err(NoPort::Blocks) => without = DropReason::SnatBlocksExhausted,
                }
            }
            rest = match rest {
                Rest::Over => Rest::OfUser,
                Rest::OfUser => Rest::Any,
                Rest::Any => return Err(without),
            };
        }
    }

    /// The port that was found is the flow's; the hash of its return key is the answer. None where a
    /// flow of another block has it: a backend may be one of all ports of a service, and of one port of
    /// another.
    fn bind_to(
        &mut self,
        turn: &Turn<'_>,
        wish: &PortWish<'_>,
        given: GivenPort,
        vip_port: u16,
        flow: &mut Flow,
    ) -> Option<u64> {
        let block = self.flows.pool.key(given.block)?;
        let return_key = block.of_flow_to(vip_port).return_key(given.high);
        let back = self.flows.hash.of(&return_key);
        if !self.flows.end_late(back, &return_key, turn.now_ms()) {
            self.flows.pool.release(given.block, given.high, wish.user, turn.now_ms());
            self.flows.pool.leave(given.block);
            return None;
        }
        flow.bind(given.block, given.high);
        let events = &mut self.flows.counters.events;
        match wish.rest {
            Rest::OfUser => events.snat_ports_of_same_client += 1,
            _ => events.snat_hold_down_shortened += u64::from(!given.rested),
        }
        Some(back)
    }
}

/// Does the client's SYN begin a new flow in the place of this one? Once the client has ended it,
/// or as long as nobody has answered and its backend is known not to be there: that SYN is a
/// retransmission, but of no connection yet.
fn may_begin_anew(turn: &Turn<'_>, flow: &Flow) -> bool {
    let is_down = || {
        let backend = turn.snapshot.backend(BackendId(flow.backend));
        backend.is_some_and(|backend| backend.state == BackendState::Unhealthy)
    };
    match FlowState::from_number(flow.state) {
        Some(FlowState::Opening) => !flow.has(SEEN_BACKEND) && is_down(),
        state => state.is_some_and(|state| state.gives_way_to_syn(flow.flags)),
    }
}

/// A SYN and nothing that contradicts it.
pub(super) fn is_opening(flags: TcpFlags) -> bool {
    flags.contains(TcpFlags::SYN)
        && !flags.intersects(TcpFlags::ACK.with(TcpFlags::RST).with(TcpFlags::FIN))
}

/// May a translated flow begin with this packet? A segment of a connection that is not known is
/// answered with a reset (RFC 9293 section 3.10.7.1), for no backend can go on with it. Every
/// segment but the first has ACK; without it and without SYN it is of no connection.
fn check_begins(ip: &IpPacket) -> Result<(), Refusal> {
    match ip.segment() {
        _ if ip.is_later_fragment() => Err(DropReason::FragmentNoFlow.into()),
        Some(flags) if is_opening(flags) => Ok(()),
        Some(flags) if flags.intersects(TcpFlags::ACK.with(TcpFlags::RST)) => Err(Refusal::Tell),
        Some(_) => Err(DropReason::NotOpening.into()),
        None => Ok(()),
    }
}

fn new_flow(turn: &Turn<'_>, backend: &Backend, ip: &IpPacket) -> Flow {
    let first = first_step(ip.segment());
    let both_ways = if backend.mode.is_translated() { BOTH_WAYS } else { 0 };
    let mut flow = Flow::new(&ip.key, turn.station());
    (flow.state, flow.flags) = (first.state as u8, first.flags | both_ways);
    (flow.backend, flow.last_seen_ms) = (backend.id.0, turn.now_ms());
    flow
}
