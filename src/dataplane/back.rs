//! From a backend to a client, under NAT.

use super::egress::{Stuck, check_way, client_way, send_by};
use super::engine::Turn;
use super::flow_table::FlowPlace;
use super::flows::{End, Passing};
use super::{DropReason, Engine, Side, Verdict};
use crate::forwarding::Way;
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
        let (key, way) = match self.way_back(turn, ip, hash) {
            Ok((place, key, way)) => {
                self.flows.pass(
                    place,
                    &Passing {
                        from: Side::Backend,
                        segment: ip.tcp().unwrap_or_default(),
                        frame_len: frame.len(),
                        now_ms: turn.now_ms(),
                        station: None,
                    },
                );
                (key, way)
            }
            Err(stuck) => return self.answer_stuck(turn, ip, stuck, frame),
        };
        let bytes = frame.bytes_mut();
        rewrite::decrement_hop_limit(bytes, ip);
        let (vip, client) =
            ((key.destination, key.destination_port), (key.source, key.source_port));
        rewrite::translate(bytes, ip, Some(vip), Some(client));
        match send_by(&way, turn.link, frame) {
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
    ) -> Result<(FlowPlace, FlowKey, Way), Stuck> {
        let (snapshot, now_ms) = (turn.snapshot, turn.now_ms());
        let found = self.flows.find_return(hash, &ip.key, now_ms, snapshot);
        let place = found.ok_or(DropReason::NoSnatBinding)?;
        let flow = self.flows.table.get(place).ok_or(DropReason::NoSnatBinding)?;
        if self.flows.target_of(snapshot, flow).is_none() {
            // The client learns of it by its next packet.
            self.flows.end(place, End::Cut, now_ms);
            return Err(DropReason::NoSnatBinding.into());
        }
        let way = client_way(snapshot, flow);
        check_way(way.as_ref(), ip, true)?;
        Ok((place, flow.key(), way.ok_or(DropReason::NoNextHop)?))
    }
}
