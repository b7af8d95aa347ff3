//! The packets that nearly all are, in one go: of a known flow in the middle of its life, to a
//! backend or client that is there, and short enough.
//!
//! Says only yes, with a verdict, or nothing, having changed nothing: then the packet goes the
//! thorough way (`forward.rs`, `back.rs`), which decides every other case. A test holds the two
//! against each other.

use super::egress::{client_way, send_by};
use super::engine::Turn;
use super::flow_table::FlowPlace;
use super::flows::{Flows, goes_on};
use super::{DropReason, Engine, FlowState, Side, Verdict};
use crate::forwarding::{BackendId, FlowTimeouts, Mode, ServiceIndex, Way};
use crate::wire::{FrameView, IpPacket, rewrite};

impl Engine {
    /// A client's packet whose flow is probably at `guess`.
    #[inline(always)]
    pub(super) fn forward_plain(
        &mut self,
        turn: &Turn<'_>,
        service: ServiceIndex,
        ip: &IpPacket,
        guess: Option<FlowPlace>,
        frame: &mut FrameView<'_>,
    ) -> Option<Verdict> {
        let Flows { table, pool, traffic, .. } = &mut self.flows;
        let flow = table.get_mut(guess?)?;
        let service = turn.snapshot.services.get(service.index())?;
        let segment = ip.tcp().unwrap_or_default();
        let goes_on = flow.is_of(&ip.key)
            && goes_on(flow.state, flow.flags, Side::Client, segment)
            && !is_idle(flow.state, flow.age_ms(turn.now_ms()), &service.timeouts)
            && !service.gone;
        if !goes_on {
            return None;
        }
        let target = turn.snapshot.target(BackendId(flow.backend))?;
        let way = target.way.as_ref()?;
        if ip.len() > usize::from(way.mtu_bytes) {
            return None;
        }
        let ends = match flow.binding() {
            Some((block, high)) => {
                let block = pool.key(block)?;
                let is_its = block.backend == target.address && block.backend_port == target.port;
                if !is_its || ip.hop_limit <= 1 {
                    return None;
                }
                let port = u16::from_be_bytes([high, block.shard]);
                Some(((block.snat, port), (block.backend, block.backend_port)))
            }
            None if flow.fingerprint() == Some(target.fingerprint)
                && target.mode == Mode::L2dsr =>
            {
                None
            }
            None => return None,
        };
        flow.last_seen_ms = turn.now_ms();
        flow.set_client(turn.station());
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Client, frame.len());
        }
        if let Some((source, destination)) = ends {
            let bytes = frame.bytes_mut();
            rewrite::decrement_hop_limit(bytes, ip);
            rewrite::translate(bytes, ip, Some(source), Some(destination));
        }
        Some(send(way, turn, frame))
    }

    /// A backend's packet under NAT whose flow is probably at `guess`.
    #[inline(always)]
    pub(super) fn back_plain(
        &mut self,
        turn: &Turn<'_>,
        ip: &IpPacket,
        guess: Option<FlowPlace>,
        frame: &mut FrameView<'_>,
    ) -> Option<Verdict> {
        let Flows { table, pool, traffic, .. } = &mut self.flows;
        let flow = table.get_mut(guess?)?;
        let (block, high) = flow.binding()?;
        let block = pool.key(block)?;
        let segment = ip.tcp().unwrap_or_default();
        let target = turn.snapshot.target(BackendId(flow.backend))?;
        let service = turn.snapshot.services.get(target.service as usize)?;
        let goes_on = block.is_return_key(high, &ip.key)
            && goes_on(flow.state, flow.flags, Side::Backend, segment)
            && !is_idle(flow.state, flow.age_ms(turn.now_ms()), &service.timeouts)
            && block.backend == target.address
            && block.backend_port == target.port;
        if !goes_on || ip.hop_limit <= 1 {
            return None;
        }
        let way = client_way(turn.snapshot, flow)?;
        if ip.len() > usize::from(way.mtu_bytes) {
            return None;
        }
        flow.last_seen_ms = turn.now_ms();
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Backend, frame.len());
        }
        let key = flow.key();
        let (vip, client) =
            ((key.destination, key.destination_port), (key.source, key.source_port));
        let bytes = frame.bytes_mut();
        rewrite::decrement_hop_limit(bytes, ip);
        rewrite::translate(bytes, ip, Some(vip), Some(client));
        Some(send(&way, turn, frame))
    }
}

/// Of a flow that [`goes_on`]: the two states it may be in.
#[inline(always)]
fn is_idle(state: u8, age_ms: u32, timeouts: &FlowTimeouts) -> bool {
    let timeout_ms = match state == FlowState::Udp as u8 {
        true => timeouts.udp_ms,
        false => timeouts.tcp_established_ms,
    };
    age_ms > timeout_ms
}

#[inline(always)]
fn send(way: &Way, turn: &Turn<'_>, frame: &mut FrameView<'_>) -> Verdict {
    match send_by(way, turn.link, frame) {
        true => Verdict::Forward(way.port),
        false => Verdict::Drop(DropReason::NoHeadroom),
    }
}
