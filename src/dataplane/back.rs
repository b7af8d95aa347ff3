//! From a backend to a client, under NAT.

use super::egress::{Egress, client_hop};
use super::engine::Turn;
use super::flows::{End, Passing, has_its_backend};
use super::{DropReason, Engine, FlowEntry, Side, Verdict};
use crate::wire::{FrameView, Transport, rewrite};

impl Engine {
    /// A packet from a backend to a SNAT address and port.
    pub(super) fn back(
        &mut self,
        turn: &Turn<'_>,
        transport: &Transport,
        hash: u64,
        frame: &mut FrameView<'_>,
    ) -> Verdict {
        match self.pass_back(turn, transport, hash, frame.len()) {
            Ok((entry, egress)) => {
                let bytes = frame.bytes_mut();
                rewrite::decrement_ttl(bytes, &transport.ip);
                let (vip, client) = (entry.key.destination_socket(), entry.key.source_socket());
                rewrite::translate(bytes, transport, Some(vip), Some(client));
                egress.set_macs(bytes);
                Verdict::Forward(egress.port)
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn pass_back(
        &mut self,
        turn: &Turn<'_>,
        transport: &Transport,
        hash: u64,
        frame_len: usize,
    ) -> Result<(FlowEntry, Egress), DropReason> {
        let (snapshot, now_ms) = (turn.snapshot, turn.now_ms());
        let found = self.flows.find_return(hash, &transport.key, now_ms, snapshot);
        let (place, entry) = found.ok_or(DropReason::NoSnatBinding)?;
        if !has_its_backend(snapshot, &entry) {
            // The client learns of it by its next packet.
            self.flows.end(place, End::Cut, now_ms);
            return Err(DropReason::NoSnatBinding);
        }
        let egress = Egress::find(snapshot, client_hop(snapshot, &entry), &transport.ip, true)?;
        let passing = Passing {
            from: Side::Backend,
            segment: transport.tcp.map(|tcp| tcp.flags).unwrap_or_default(),
            frame_len,
            now_ms,
            station: None,
        };
        self.flows.pass(place, &passing);
        Ok((entry, egress))
    }
}
