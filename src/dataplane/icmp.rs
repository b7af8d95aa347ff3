//! ICMP errors about packets that we have sent on, to whoever sent them first (RFC 5508 section 4.2).
//!
//! The quoted packet finds the flow. Under NAT the error is translated, outside and in the quote, so
//! that its receiver sees a packet of its own quoted. Nobody is ever answered with an error here.

use super::egress::{check_way, client_way, send_by};
use super::engine::Turn;
use super::{DropReason, Engine, Verdict};
use crate::forwarding::{BackendId, Mode, ServiceIndex, Way};
use crate::wire::{FrameView, IpPacket, parse_quote, rewrite};

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
        match self.pass_error_forward(turn, service, error, hash, frame) {
            Ok(way) => send(way, turn, frame),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn pass_error_forward<'a>(
        &mut self,
        turn: &Turn<'a>,
        service: ServiceIndex,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Result<&'a Way, DropReason> {
        let quote = parse_quote(frame.bytes(), error).map_err(|_| DropReason::BadQuote)?;
        let key = quote.key.reversed();
        let service =
            turn.snapshot.services.get(service.index()).ok_or(DropReason::NoFlowForError)?;
        let found = self.flows.find_forward(hash, &key, None, turn.now_ms(), &service.timeouts);
        let flow = found.and_then(|place| self.flows.table.get(place)).copied();
        let (backend, is_nat) = match &flow {
            Some(flow) => (BackendId(flow.backend), flow.is_nat()),
            // Where no entry is needed, the next packet of the client would go there too.
            None if service.mode != Mode::Nat && !service.gone => {
                let backend = turn.snapshot.select(service, &key);
                (backend.ok_or(DropReason::NoFlowForError)?.id, false)
            }
            None => return Err(DropReason::NoFlowForError),
        };
        let target = turn.snapshot.target(backend).ok_or(DropReason::NoFlowForError)?;
        let way = check_way(target.way.as_ref(), error, is_nat).map_err(|stuck| stuck.reason)?;
        if !self.may_pass_error(turn) {
            return Err(DropReason::ReplyRateLimited);
        }
        if let Some(back) = flow.and_then(|flow| self.flows.return_key(&flow)) {
            // As the backend sent it: from itself to the SNAT address. The sender of the error stays.
            let outer = (error.source(), back.source);
            let inner =
                ((back.source, back.source_port), (back.destination, back.destination_port));
            let bytes = frame.bytes_mut();
            rewrite::decrement_hop_limit(bytes, error);
            rewrite::translate_error(bytes, error, &quote, outer, inner);
        }
        Ok(way)
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
        let flow = found.and_then(|place| self.flows.table.get(place)).copied();
        let flow = flow.ok_or(DropReason::NoFlowForError)?;
        let way = client_way(turn.snapshot, &flow);
        check_way(way.as_ref(), error, true).map_err(|stuck| stuck.reason)?;
        if !self.may_pass_error(turn) {
            return Err(DropReason::ReplyRateLimited);
        }
        // As the client sent it. For the client the VIP is the last station it knows of, so the
        // error is the VIP's: what is behind it is none of the client's business.
        let sent = flow.key();
        let outer = (sent.destination, sent.source);
        let inner = ((sent.source, sent.source_port), (sent.destination, sent.destination_port));
        let bytes = frame.bytes_mut();
        rewrite::decrement_hop_limit(bytes, error);
        rewrite::translate_error(bytes, error, &quote, outer, inner);
        way.ok_or(DropReason::NoNextHop)
    }
}

fn send(way: &Way, turn: &Turn<'_>, frame: &mut FrameView<'_>) -> Verdict {
    match send_by(way, turn.link, frame) {
        true => Verdict::Forward(way.port),
        false => Verdict::Drop(DropReason::NoHeadroom),
    }
}
