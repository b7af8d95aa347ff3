//! ICMP errors about tunnels' packets, which come to us: the way to the backend is narrower than was
//! thought, and the client has to be told (RFC 2003 section 4.1, RFC 2473 section 8.2).

use super::egress::{check_client_way, client_way, send_by};
use super::engine::Turn;
use super::{DropReason, Engine, Verdict};
use crate::forwarding::{BackendId, Target, Way};
use crate::wire::reply::{self, IcmpError};
use crate::wire::{
    Content, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, FrameView, IpPacket, Link,
    Quote, Tags, TunnelQuote, parse_tunnel_quote,
};

impl Engine {
    /// An error about a packet from one of our outer sources.
    #[cold]
    pub(super) fn tunnel_error(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.answer_tunnel_error(turn, error, hash, frame) {
            Ok(way) => Verdict::Forward(way.port),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn answer_tunnel_error(
        &mut self,
        turn: &Turn<'_>,
        error: &IpPacket,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Result<Way, DropReason> {
        if !self.may_pass_error(turn) {
            return Err(DropReason::ReplyRateLimited);
        }
        let quote = parse_tunnel_quote(frame.bytes(), error).ok_or(DropReason::BadQuote)?;
        // What else goes wrong on the way shows in health checks, and is not for the client to mend.
        let mtu_bytes = quote.mtu_bytes.ok_or(DropReason::TunnelError)?;
        let Some(inner) = &quote.inner else {
            self.lower_path_mtu(turn, &quote, mtu_bytes);
            return Err(DropReason::TunnelError);
        };
        // Whoever makes an error up has to know the source that this flow, and no other, has.
        let source = turn.snapshot.tunnel_sources.of(quote.source.family());
        if source.is_none_or(|source| source.of_flow(hash) != quote.source) {
            return Err(DropReason::BadQuote);
        }
        let (target, way) = self.ends_of(turn, inner, hash)?;
        if target.address != quote.destination {
            return Err(DropReason::NoFlowForError);
        }
        // Whether or not there is a way to the client: its next packet is answered where it comes in.
        self.lower_path_mtu(turn, &quote, mtu_bytes);
        let way = way.ok_or(DropReason::NoNextHop)?;
        let overhead = target.mode.overhead_bytes(target.address.family()) as u16;
        let fits = mtu_bytes.saturating_sub(overhead);
        check_client_way(Some(&way), error).map_err(|stuck| stuck.reason)?;
        if !tell_client(frame, error, inner, fits) {
            return Err(DropReason::ReplyNotMade);
        }
        // The answer has an untagged link header, whatever the error came with.
        let came_with = Link { tags: Tags::NONE, len: ETHERNET_LEN as u8, ..*turn.link };
        if send_by(&way, &came_with, frame) { Ok(way) } else { Err(DropReason::NoHeadroom) }
    }

    /// The backend that a client's packet went to, and the way back to the client, if one is known.
    fn ends_of<'a>(
        &mut self,
        turn: &Turn<'a>,
        sent: &Quote,
        hash: u64,
    ) -> Result<(&'a Target, Option<Way>), DropReason> {
        let snapshot = turn.snapshot;
        let (_, service) = snapshot.find_service(&sent.key).ok_or(DropReason::NoFlowForError)?;
        let timeouts = &service.timeouts;
        let found = self.flows.find_forward(hash, &sent.key, None, turn.now_ms(), timeouts);
        let flow = found.and_then(|place| self.flows.table.get(place));
        let (backend, way) = match flow {
            Some(flow) => (BackendId(flow.backend), client_way(snapshot, flow)),
            // Sent by Maglev alone.
            None => {
                let backend = snapshot.select(service, &sent.key);
                let hop = snapshot.routes.next_hop(sent.key.source.ip());
                let way = hop.and_then(|hop| Way::by(hop, &snapshot.ports));
                (backend.ok_or(DropReason::NoFlowForError)?.id, way)
            }
        };
        let target = snapshot.target(backend).ok_or(DropReason::NoFlowForError)?;
        Ok((target, way))
    }

    /// For all backends at that address: it is one way.
    fn lower_path_mtu(&mut self, turn: &Turn<'_>, quote: &TunnelQuote, mtu_bytes: u16) {
        let (now_ms, family) = (turn.now_ms(), quote.destination.family());
        for id in turn.snapshot.tunnel_backends(quote.destination) {
            let is_news = self.path_mtus.lower(id.0, family, mtu_bytes, now_ms);
            self.flows.counters.events.path_mtu_lowered += u64::from(is_news);
        }
    }
}

/// Makes of the error one about the packet inside, from the VIP to the client.
fn tell_client(frame: &mut FrameView<'_>, error: &IpPacket, inner: &Quote, mtu_bytes: u16) -> bool {
    let start = usize::from(inner.start);
    let quoted_len = usize::from(error.end).saturating_sub(start);
    if !frame.move_start(start, ETHERNET_LEN) || !frame.set_len(ETHERNET_LEN + quoted_len) {
        return false;
    }
    let is_v4 = inner.key.family() == Family::Ipv4;
    let ethertype = if is_v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let Some(link) = frame.bytes_mut().first_chunk_mut::<ETHERNET_LEN>() else { return false };
    // From one station to another: which, is written at last.
    *link = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0];
    link[12..].copy_from_slice(&ethertype.to_be_bytes());
    let sent = IpPacket {
        key: inner.key,
        start: ETHERNET_LEN as u16,
        payload: inner.transport - inner.start + ETHERNET_LEN as u16,
        end: (ETHERNET_LEN + quoted_len) as u16,
        content: Content::Udp,
        ..*error
    };
    reply::icmp_error(frame, &sent, IcmpError::TooBig { mtu_bytes })
}
