//! A packet's last steps to its backend: changes of its bytes, after all that could refuse it.

use super::egress::send_by;
use super::engine::Turn;
use super::mss::is_syn;
use super::{DropReason, Engine, Verdict};
use crate::forwarding::{BackendId, Mode, Target, Way};
use crate::wire::encap::{self, Dscp, Outer, Tunnel};
use crate::wire::{FrameView, IpPacket, rewrite};

/// Where a packet of a flow goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery<'a> {
    pub(super) backend: BackendId,
    pub(super) target: &'a Target,
    pub(super) way: &'a Way,
    /// Under NAT: the block of the flow's SNAT port, and the port's high byte.
    pub(super) binding: Option<(u32, u8)>,
    /// Of the flow's key: what differs between flows outside of a tunnel comes from it.
    pub(super) hash: u64,
}

impl Engine {
    /// To the flow's backend, in its mode.
    #[inline]
    pub(super) fn send_to_backend(
        &mut self,
        turn: &Turn<'_>,
        delivery: &Delivery<'_>,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let target = delivery.target;
        if is_syn(ip) {
            let ingress = turn.snapshot.port(turn.ingress);
            let client_mtu = ingress.map_or(u16::MAX, |port| port.mtu_bytes);
            self.clamp_mss(turn, (delivery.backend, target), client_mtu, ip, frame);
        }
        let destination = (target.address, target.port_for(ip.key.destination_port));
        let block =
            delivery.binding.and_then(|(block, high)| Some((self.flows.pool.key(block)?, high)));
        if let Some((block, high)) = block {
            let source = (block.snat, u16::from_be_bytes([high, block.shard]));
            rewrite::route(frame.bytes_mut(), ip, source, destination);
            rewrite::set_identification(frame.bytes_mut(), ip);
        } else if target.mode == Mode::Dnat {
            let source = (ip.key.source, ip.key.source_port);
            rewrite::route(frame.bytes_mut(), ip, source, destination);
        } else if let Mode::Dscp(value) = target.mode {
            rewrite::mark(frame.bytes_mut(), ip, target.address, value);
        }
        self.leave_to_backend(turn, delivery, ip, frame)
    }

    /// The same for a packet whose addresses are already as they have to be.
    ///
    /// Under L2 DSR only the link header changes. The hop limit stays: for the client and the
    /// backend we are a bridge on the link, not a hop. In a tunnel the packet is forwarded, and so
    /// costs a hop (RFC 2003 section 3.1, RFC 2473 section 3.1).
    #[inline]
    pub(super) fn leave_to_backend(
        &mut self,
        turn: &Turn<'_>,
        delivery: &Delivery<'_>,
        ip: &IpPacket,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        let way = delivery.way;
        let sent = match delivery.target.mode {
            Mode::Tunnel(tunnel, dscp) => {
                let Some(outer) = self.outer(turn, delivery, dscp) else {
                    return Verdict::Drop(DropReason::NoTunnelSource);
                };
                rewrite::decrement_hop_limit(frame.bytes_mut(), ip);
                self.count_room(tunnel, way, &outer, ip, frame);
                encap::encapsulate(frame, ip, (&way.macs, way.tags), tunnel, &outer)
            }
            Mode::Nat | Mode::Dnat | Mode::Dscp(_) | Mode::L2dsr => send_by(way, turn.link, frame),
        };
        if sent { Verdict::Forward(way.port) } else { Verdict::Drop(DropReason::NoHeadroom) }
    }

    #[inline]
    fn outer(&mut self, turn: &Turn<'_>, delivery: &Delivery<'_>, dscp: Dscp) -> Option<Outer> {
        let destination = delivery.target.address;
        let source = turn.snapshot.tunnel_sources.of(destination.family())?;
        self.outer_identification = self.outer_identification.wrapping_add(1);
        Some(Outer {
            source: source.of_flow(delivery.hash),
            destination,
            dscp,
            entropy: (delivery.hash >> 32) as u32,
            identification: self.outer_identification,
        })
    }

    /// A frame without enough room in front is moved back in its chunk, which takes time.
    #[inline]
    fn count_room(
        &mut self,
        tunnel: Tunnel,
        way: &Way,
        outer: &Outer,
        ip: &IpPacket,
        frame: &FrameView<'_>,
    ) {
        let head = way.tags.header_len() + tunnel.overhead_bytes(outer.destination.family());
        let is_short = head > ip.start() + frame.headroom_bytes();
        self.flows.counters.events.moved_for_room += u64::from(is_short);
    }
}
