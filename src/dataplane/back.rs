//! From a backend to a client, under NAT and DNAT.

use super::egress::{check_client_way, client_way, send_by};
use super::engine::Turn;
use super::flow_table::FlowPlace;
use super::flows::{End, Passing};
use super::forward::Refusal;
use super::gone::is_refused;
use super::mss::is_syn;
use super::{DropReason, Engine, Side, Verdict};
use crate::forwarding::{BackendId, Mode, Service, Target, Way};
use crate::wire::{FlowKey, FrameView, IpPacket, rewrite};

impl Engine {
    /// A packet from a backend to a SNAT address and port.
    #[inline]
    pub(super) fn back(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.way_back(turn, ip, hash) {
            Ok((place, key, way)) => self.send_to_client(turn, ip, (place, &key), &way, frame),
            Err(refusal) => self.refuse(turn, ip, refusal, frame),
        }
    }

    /// A packet from a DNAT backend to a client.
    pub(super) fn back_dnat(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.way_back_dnat(turn, ip) {
            Ok((place, key, way)) => self.send_to_client(turn, ip, (place, &key), &way, frame),
            Err(refusal) => self.refuse(turn, ip, refusal, frame),
        }
    }

    #[inline]
    fn send_to_client(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        (place, key): (FlowPlace, &FlowKey),
        way: &Way,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let passing = Passing {
            from: Side::Backend,
            segment: ip.segment().unwrap_or_default(),
            frame_len: frame.len(),
            now_ms: turn.now_ms(),
            station: None,
        };
        self.flows.pass(place, &passing);
        if is_syn(ip) {
            let backend = self.flows.table.get(place).map(|flow| BackendId(flow.backend));
            let target = backend.and_then(|id| Some((id, turn.snapshot.target(id)?)));
            if let Some(target) = target {
                self.clamp_mss(turn, target, way.mtu_bytes, ip, frame);
            }
        }
        let (vip, client) =
            ((key.destination, key.destination_port), (key.source, key.source_port));
        rewrite::route(frame.bytes_mut(), ip, vip, client);
        match send_by(way, turn.link, frame) {
            true => Verdict::Forward(way.port),
            false => Verdict::Drop(DropReason::NoHeadroom),
        }
    }

    /// The packet's flow with its key, and the way to its client.
    #[inline]
    fn way_back(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        hash: u64,
    ) -> Result<(FlowPlace, FlowKey, Way), Refusal> {
        let (snapshot, now_ms) = (turn.snapshot, turn.now_ms());
        let found = self.flows.find_return(hash, &ip.key, now_ms, snapshot);
        let place = found.ok_or(DropReason::NoSnatBinding)?;
        let flow = self.flows.table.get(place).ok_or(DropReason::NoSnatBinding)?;
        let Some(target) = self.flows.target_of(snapshot, flow) else {
            // The client learns of it by its next packet.
            self.flows.end(place, End::Cut, now_ms);
            return Err(DropReason::NoSnatBinding.into());
        };
        if is_refused(target, flow, ip) {
            return Err(self.refuse_backend(turn, place, target));
        }
        let way = client_way(snapshot, flow);
        check_client_way(way.as_ref(), ip)?;
        Ok((place, flow.key(), way.ok_or(DropReason::NoNextHop)?))
    }

    /// A backend that is gone and still sends: it is told, so that it stops.
    #[cold]
    fn refuse_backend(&mut self, turn: &Turn<'_>, place: FlowPlace, target: &Target) -> Refusal {
        let service = turn.snapshot.services.get(target.service as usize);
        let policy = service.map(|service| service.on_backend_gone).unwrap_or_default();
        self.refuse_gone(turn, place, policy)
    }

    /// As [`Engine::way_back`], under DNAT.
    fn way_back_dnat(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
    ) -> Result<(FlowPlace, FlowKey, Way), Refusal> {
        let found = self.flow_of_dnat(turn, &ip.key);
        let place = found.ok_or(DropReason::NoDnatFlow)?;
        let flow = self.flows.table.get(place).ok_or(DropReason::NoDnatFlow)?;
        let target = self.flows.target_of(turn.snapshot, flow).ok_or(DropReason::NoDnatFlow)?;
        if is_refused(target, flow, ip) {
            return Err(self.refuse_backend(turn, place, target));
        }
        let way = client_way(turn.snapshot, flow);
        check_client_way(way.as_ref(), ip)?;
        Ok((place, flow.key(), way.ok_or(DropReason::NoNextHop)?))
    }

    /// The flow of packets with this key from a DNAT backend. The backend's socket tells the VIP, and
    /// with it the key that the client sends by.
    pub(super) fn flow_of_dnat(&mut self, turn: &Turn<'_>, key: &FlowKey) -> Option<FlowPlace> {
        let snapshot = turn.snapshot;
        let protocol = key.protocol_number();
        for index in snapshot.dnat().find_all(key.source, key.source_port, protocol) {
            let Some(service) = snapshot.services.get(index.index()) else { continue };
            let sent = service.key_of_answer(key);
            // A flow that began when the service had one port was sent to that.
            let before = service.key_from(key.destination, key.destination_port);
            for sent in [Some(sent), Some(before).filter(|before| *before != sent)] {
                let place = sent.and_then(|sent| self.flow_answered(turn, service, &sent, key));
                if place.is_some() {
                    return place;
                }
            }
        }
        None
    }

    /// The flow of these packets, if the answer is from its backend.
    fn flow_answered(
        &mut self,
        turn: &Turn<'_>,
        service: &Service,
        sent: &FlowKey,
        answer: &FlowKey,
    ) -> Option<FlowPlace> {
        let (hash, timeouts) = (self.flows.hash.of(sent), &service.timeouts);
        let place = self.flows.find_forward(hash, sent, None, turn.now_ms(), timeouts)?;
        let target = self.flows.target_of(turn.snapshot, self.flows.table.get(place)?)?;
        let socket = (target.address, target.port_for(sent.destination_port));
        let is_its = target.mode == Mode::Dnat && socket == (answer.source, answer.source_port);
        is_its.then_some(place)
    }
}
