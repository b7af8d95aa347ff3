//! ICMP errors about packets that we have sent on, to whoever sent them first (RFC 5508 section 4.2).
//!
//! The quoted packet finds the flow. Under NAT the error is translated, outside and in the quote, so
//! that its receiver sees a packet of its own quoted. Nobody is ever answered with an error here.

use super::deliver::Delivery;
use super::egress::{check_client_way, client_way, send_by};
use super::engine::Turn;
use super::flow_table::FlowPlace;
use super::{DropReason, Engine, Verdict};
use crate::forwarding::{BackendId, Mode, ServiceIndex, Way};
use crate::wire::rewrite::Endpoint;
use crate::wire::{FlowKey, FrameView, IpPacket, Quote, parse_quote, rewrite};

impl Engine {
    /// About a packet to a client: for the backend of its flow.
    #[cold]
    pub(super) fn error_forward(
        &mut self,
        turn: &Turn<'_>,
        service: ServiceIndex,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.prepare_error_forward(turn, service, error, hash, frame) {
            Ok(delivery) => self.leave_to_backend(turn, &delivery, error, frame),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Translates the error where its flow is translated, and says where it goes.
    fn prepare_error_forward<'a>(
        &mut self,
        turn: &Turn<'a>,
        service: ServiceIndex,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Result<Delivery<'a>, DropReason> {
        let quote = parse_quote(frame.bytes(), error).map_err(|_| DropReason::BadQuote)?;
        let key = quote.key.reversed();
        let service =
            turn.snapshot.services.get(service.index()).ok_or(DropReason::NoFlowForError)?;
        let found = self.flows.find_forward(hash, &key, None, turn.now_ms(), &service.timeouts);
        let flow = found.and_then(|place| self.flows.table.get(place)).copied();
        let backend = match &flow {
            Some(flow) => BackendId(flow.backend),
            // Where no entry is needed, the next packet of the client would go there too.
            None if service.mode.is_direct_return() && !service.gone => {
                turn.snapshot.select(service, &key).ok_or(DropReason::NoFlowForError)?.id
            }
            None => return Err(DropReason::NoFlowForError),
        };
        let target = turn.snapshot.target(backend).ok_or(DropReason::NoFlowForError)?;
        let way = self.way_to(turn, (backend, target), error).map_err(|stuck| stuck.reason)?;
        if !self.may_pass_error(turn) {
            return Err(DropReason::ReplyRateLimited);
        }
        // As the backend sent it: from itself to the SNAT address or the client. The sender of the
        // error stays.
        let sent = match flow.and_then(|flow| self.flows.return_key(&flow)) {
            Some(back) => Some(back),
            None if target.mode == Mode::Dnat => {
                let source_port = target.port_for(quote.key.source_port);
                Some(FlowKey { source: target.address, source_port, ..quote.key })
            }
            None => None,
        };
        if let Mode::Dscp(value) = target.mode {
            // The backend has sent it from the VIP: it takes the error as it takes the client's packets.
            let inner = ends_of(&quote.key);
            let bytes = frame.bytes_mut();
            rewrite::decrement_hop_limit(bytes, error);
            let outer = (error.source(), target.address);
            rewrite::translate_error(bytes, error, &quote, outer, inner);
            rewrite::set_dscp(bytes, error, value);
        } else if let Some(sent) = sent {
            let outer = (error.source(), sent.source);
            let bytes = frame.bytes_mut();
            rewrite::decrement_hop_limit(bytes, error);
            rewrite::translate_error(bytes, error, &quote, outer, ends_of(&sent));
        }
        Ok(Delivery { backend, target, way, binding: None, hash })
    }

    /// About a packet to a backend: for the client of its flow.
    #[cold]
    pub(super) fn error_back(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.pass_error_back(turn, error, hash, frame) {
            Ok(way) => send(&way, turn, frame),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn pass_error_back(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Result<Way, DropReason> {
        let quote = parse_quote(frame.bytes(), error).map_err(|_| DropReason::BadQuote)?;
        let key = quote.key.reversed();
        let found = self.flows.find_return(hash, &key, turn.now_ms(), turn.snapshot);
        self.pass_error_to_client(turn, error, &quote, found, frame)
    }

    /// About a packet to a DNAT backend: for the client that it still has as its source.
    #[cold]
    pub(super) fn error_return(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let Ok(quote) = parse_quote(frame.bytes(), error) else {
            return Verdict::Drop(DropReason::BadQuote);
        };
        let found = self.flow_of_dnat(turn, &quote.key.reversed());
        match self.pass_error_to_client(turn, error, &quote, found, frame) {
            Ok(way) => send(&way, turn, frame),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn pass_error_to_client(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        quote: &Quote,
        found: Option<FlowPlace>,
        frame: &mut FrameView<'_>,
    ) -> Result<Way, DropReason> {
        let flow = found.and_then(|place| self.flows.table.get(place)).copied();
        let flow = flow.ok_or(DropReason::NoFlowForError)?;
        let way = client_way(turn.snapshot, &flow);
        check_client_way(way.as_ref(), error).map_err(|stuck| stuck.reason)?;
        if !self.may_pass_error(turn) {
            return Err(DropReason::ReplyRateLimited);
        }
        // As the client sent it. For the client the VIP is the last station it knows of, so the
        // error is the VIP's: what is behind it is none of the client's business.
        let sent = flow.key();
        let outer = (sent.destination, sent.source);
        let bytes = frame.bytes_mut();
        rewrite::decrement_hop_limit(bytes, error);
        rewrite::translate_error(bytes, error, quote, outer, ends_of(&sent));
        way.ok_or(DropReason::NoNextHop)
    }
}

fn ends_of(key: &FlowKey) -> (Endpoint, Endpoint) {
    ((key.source, key.source_port), (key.destination, key.destination_port))
}

fn send(way: &Way, turn: &Turn<'_>, frame: &mut FrameView<'_>) -> Verdict {
    match send_by(way, turn.link, frame) {
        true => Verdict::Forward(way.port),
        false => Verdict::Drop(DropReason::NoHeadroom),
    }
}
