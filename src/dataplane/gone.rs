//! Flows whose backend is gone: declared dead, or drained for as long as its service lets it
//! ([`BackendGonePolicy`]).
//!
//! A TCP flow stays in the table until its client has been told, and then for as long as one that was
//! reset, since either side may send more. A datagram, and a SYN, just find another backend.

use super::engine::Turn;
use super::entry::Flow;
use super::entry_flags::BACKEND_GONE;
use super::flow_table::FlowPlace;
use super::forward::Refusal;
use super::{DropReason, Engine, FlowState};
use crate::forwarding::{BackendGonePolicy, Target};
use crate::wire::{IpPacket, TcpFlags};

/// Is this packet of the flow refused, since the flow's backend is gone? Not one that ends the flow
/// anyway, nor a late one of a flow that has closed.
#[inline]
pub(super) fn is_refused(target: &Target, flow: &Flow, ip: &IpPacket) -> bool {
    let ends = || ip.segment().is_some_and(|flags| flags.contains(TcpFlags::RST));
    target.is_gone() && flow.state != FlowState::Closed as u8 && !ends()
}

impl Engine {
    /// Refuses a packet of a flow whose backend is gone, from whichever side it is.
    #[cold]
    pub(super) fn refuse_gone(
        &mut self,
        turn: &Turn<'_>,
        place: FlowPlace,
        policy: BackendGonePolicy,
    ) -> Refusal {
        if let Some(flow) = self.flows.table.get_mut(place) {
            let is_first = !flow.has(BACKEND_GONE);
            flow.flags |= BACKEND_GONE;
            if flow.state != FlowState::Udp as u8 {
                flow.last_seen_ms = turn.now_ms();
                // Under `drop` it stays as it was: as long as anybody sends, nothing is answered.
                if policy != BackendGonePolicy::Drop {
                    flow.state = FlowState::Reset as u8;
                }
            }
            self.flows.counters.events.flows_backend_gone += u64::from(is_first);
        }
        match policy {
            BackendGonePolicy::Reset | BackendGonePolicy::Keep => Refusal::Tell,
            BackendGonePolicy::Drop => DropReason::BackendGone.into(),
        }
    }
}
