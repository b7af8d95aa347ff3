//! What a flow's packets have shown of its connection.
//!
//! Only flags are looked at, not sequence numbers: under DSR half of the connection is out of sight,
//! and packets may arrive in any order. So no step is final but the last, and that one lingers.

use super::FlowEntry;
use super::entry_flags::{BOTH_WAYS, FIN_BACKEND, FIN_CLIENT, SEEN_BACKEND, WAS_ESTABLISHED};
use crate::forwarding::FlowTimeouts;
use crate::wire::TcpFlags;

/// State of a flow in use. As numbers they stand in [`FlowEntry::state`]; 0 is not in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlowState {
    /// TCP: a SYN, and not yet an answer that only a real client can have got.
    Opening = 1,
    /// TCP: the handshake is done.
    Established = 2,
    /// TCP: FIN from at least one side.
    Closing = 3,
    /// TCP: FIN from both sides and an acknowledgment after. Late packets are still passed on.
    Closed = 4,
    /// TCP: a reset was seen. It may be a forged one that its receiver ignores (RFC 5961), so
    /// another segment brings the flow back (RFC 6146 section 3.5.2.2, state TRANS), and without one
    /// it ends sooner (RFC 7857 section 2.2).
    Reset = 5,
    /// UDP.
    Udp = 6,
    /// No flow: which backend a client's new flows go to.
    Affinity = 7,
}

/// How long a closed flow passes late packets on, where `tcp_closing` is not shorter: some
/// retransmissions of a lost last acknowledgment, with Linux' least time-out of 200 ms doubling.
const LINGER_MS: u32 = 10_000;

/// May a segment with these flags change the state of a flow in the middle of its life?
#[inline(always)]
pub(super) fn changes_state(segment: TcpFlags) -> bool {
    segment.intersects(TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST))
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client.
    Client,
    /// The backend; seen under NAT only.
    Backend,
}

impl FlowState {
    /// The state of an entry; none when it is not in use, or of no state we know.
    pub fn of(entry: &FlowEntry) -> Option<FlowState> {
        FlowState::from_number(entry.state)
    }

    /// The state with this number.
    #[inline]
    pub fn from_number(number: u8) -> Option<FlowState> {
        use FlowState::{Affinity, Closed, Closing, Established, Opening, Reset, Udp};
        match number {
            1 => Some(Opening),
            2 => Some(Established),
            3 => Some(Closing),
            4 => Some(Closed),
            5 => Some(Reset),
            6 => Some(Udp),
            7 => Some(Affinity),
            _ => None,
        }
    }

    /// The word that people read.
    pub const fn name(self) -> &'static str {
        match self {
            FlowState::Opening => "opening",
            FlowState::Established => "established",
            FlowState::Closing => "closing",
            FlowState::Closed => "closed",
            FlowState::Reset => "reset",
            FlowState::Udp => "udp",
            FlowState::Affinity => "affinity",
        }
    }

    /// Idle time after which a flow in this state ends.
    #[inline]
    pub fn timeout_ms(self, timeouts: &FlowTimeouts) -> u32 {
        match self {
            FlowState::Opening => timeouts.tcp_opening_ms,
            FlowState::Established => timeouts.tcp_established_ms,
            FlowState::Closing => timeouts.tcp_closing_ms,
            FlowState::Closed => timeouts.tcp_closing_ms.min(LINGER_MS),
            FlowState::Reset => timeouts.tcp_reset_ms,
            FlowState::Udp => timeouts.udp_ms,
            FlowState::Affinity => timeouts.affinity_ms,
        }
    }

    /// Has its connection begun to end?
    #[inline]
    pub fn has_ended(self) -> bool {
        matches!(self, FlowState::Closing | FlowState::Closed | FlowState::Reset)
    }

    /// Does a SYN of the client begin a new flow in the place of one in this state, with these
    /// [`FlowEntry::flags`]? Not where it may be the same SYN once more, nor on a connection that the
    /// client has not closed, where it may be forged: that one's backend is asked. A backend that
    /// answers and closes at once is ahead of a SYN that was sent twice and waited in another
    /// worker's queue: with a new flow the client would lose an answer that is still on its way.
    #[inline]
    pub fn gives_way_to_syn(self, flags: u16) -> bool {
        self.has_ended() && (self != FlowState::Closing || flags & FIN_CLIENT != 0)
    }
}

/// A segment's change of its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// State after it.
    pub state: FlowState,
    /// [`FlowEntry::flags`] after it.
    pub flags: u16,
}

/// A new flow after its first packet; no flags: UDP.
#[inline]
pub fn first_step(tcp: Option<TcpFlags>) -> Step {
    let (state, flags) = match tcp {
        None => (FlowState::Udp, 0),
        Some(segment) if segment.contains(TcpFlags::RST) => (FlowState::Reset, 0),
        Some(segment) if segment.contains(TcpFlags::FIN) => (FlowState::Closing, FIN_CLIENT),
        Some(segment) if segment.contains(TcpFlags::SYN) => (FlowState::Opening, 0),
        // Not its first in truth: under DSR a restart forgets flows that go on. It has to show
        // itself once more to be believed, or a flood of ACKs would hold entries for hours.
        Some(_) => (FlowState::Opening, 0),
    };
    Step { state, flags }
}

/// What a segment makes of a flow with these flags in this state.
#[inline]
pub fn step(flags: u16, state: FlowState, from: Side, segment: TcpFlags) -> Step {
    let (seen, fin) = match from {
        Side::Client => (0, FIN_CLIENT),
        Side::Backend => (SEEN_BACKEND, FIN_BACKEND),
    };
    let mut flags = flags | seen;
    if state == FlowState::Udp {
        return Step { state, flags };
    }
    let (is_syn, is_fin) = (segment.contains(TcpFlags::SYN), segment.contains(TcpFlags::FIN));
    if segment.contains(TcpFlags::RST) {
        // A closed flow's port is given back already: there is no way back from there.
        let state = if state == FlowState::Closed { state } else { FlowState::Reset };
        return Step { state, flags };
    }
    let both = FIN_CLIENT | FIN_BACKEND;
    let both_before = flags & both == both;
    if is_fin {
        flags |= fin;
    }
    let is_ack = segment.contains(TcpFlags::ACK) && !is_syn;
    // A SYN-ACK comes for a forged SYN too. What shows a client that is there is its answer to it,
    // or the backend having taken that answer; without the backend's side, any answer has to do.
    let completes = is_ack
        && match from {
            Side::Client => flags & SEEN_BACKEND != 0 || flags & BOTH_WAYS == 0,
            Side::Backend => true,
        };
    if completes && state == FlowState::Opening {
        flags |= WAS_ESTABLISHED;
    }
    let state = match state {
        FlowState::Closed => FlowState::Closed,
        _ if both_before && is_ack && !is_fin => FlowState::Closed,
        _ if flags & both != 0 => FlowState::Closing,
        FlowState::Opening | FlowState::Reset if flags & WAS_ESTABLISHED != 0 => {
            FlowState::Established
        }
        FlowState::Reset => FlowState::Opening,
        other => other,
    };
    Step { state, flags }
}

#[cfg(test)]
#[path = "flow_state_tests.rs"]
mod tests;
