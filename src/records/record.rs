//! A flow that has ended, by names and moments that hold outside of this process.

use std::net::SocketAddr;

use crate::dataplane::{End, FlowEvent, FlowMeter, FlowState, Traffic};
use crate::forwarding::{BackendId, Snapshot};
use crate::wire::FlowKey;

/// What makes Unix time of the time that entries have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The [`crate::dataplane::Ticks`] of this moment.
    pub now_ticks_ms: u64,
    /// The same moment, in milliseconds since 1970.
    pub now_unix_ms: u64,
}

impl Clock {
    /// A moment of the last 49 days, of which the low 32 bits of its ticks are known.
    fn unix_ms(&self, low_ticks_ms: u32) -> u64 {
        let ago = (self.now_ticks_ms as u32).wrapping_sub(low_ticks_ms);
        self.now_unix_ms.saturating_sub(ago.into())
    }
}

/// Why a flow ended (RFC 5102 section 5.11.3, `flowEndReason`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// No packet for longer than its state allows.
    Idle = 1,
    /// Its connection was closed.
    Closed = 3,
    /// Its backend or service is gone, or an operator ended it.
    Forced = 4,
}

impl EndReason {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            EndReason::Idle => "idle",
            EndReason::Closed => "closed",
            EndReason::Forced => "forced",
        }
    }
}

/// A flow that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// Its first packet, in milliseconds since 1970.
    pub start_unix_ms: u64,
    /// Its last packet.
    pub end_unix_ms: u64,
    /// Client and VIP.
    pub key: FlowKey,
    /// Source that the backend saw, under NAT.
    pub snat: Option<SocketAddr>,
    /// Where its packets went; none when the backend is not known any more.
    pub backend: Option<SocketAddr>,
    /// Name of the service; empty when it is gone.
    pub service: String,
    /// Name of the backend; empty when it is gone.
    pub backend_name: String,
    /// Packets and bytes of frames, from the client (in) and from the backend (out).
    pub traffic: Traffic,
    /// Why it ended.
    pub reason: EndReason,
    /// The worker that had it.
    pub worker: u8,
}

impl FlowRecord {
    /// Of an event that tells of an end; none of others.
    pub fn of(event: &FlowEvent, worker: u8, snapshot: &Snapshot, clock: Clock) -> Option<Self> {
        let why = event.end?;
        let entry = &event.entry;
        let backend = snapshot.backend(BackendId(entry.backend));
        let service = backend.and_then(|backend| snapshot.service_of(backend));
        let FlowMeter { began_ms, traffic } = event.meter.unwrap_or_default();
        let was_closed = FlowState::of(entry).is_some_and(FlowState::has_ended);
        Some(FlowRecord {
            start_unix_ms: clock.unix_ms(began_ms),
            end_unix_ms: clock.unix_ms(entry.last_seen_ms),
            key: entry.key,
            snat: entry.is_nat().then(|| entry.snat_socket()),
            backend: entry.sent_to(backend),
            service: service.map(|service| service.name.to_string()).unwrap_or_default(),
            backend_name: backend.map(|backend| backend.name.to_string()).unwrap_or_default(),
            traffic,
            reason: match why {
                End::Cut | End::Asked => EndReason::Forced,
                End::Replaced => EndReason::Closed,
                End::Idle if was_closed => EndReason::Closed,
                End::Idle => EndReason::Idle,
            },
            worker,
        })
    }
}

#[cfg(test)]
pub(crate) fn sample(client: &str, vip: &str) -> FlowRecord {
    use crate::wire::Protocol;
    let socket = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let (client, vip) = (socket(client), socket(vip));
    let v4 = client.is_ipv4();
    let pick = |four: &str, six: &str| socket(if v4 { four } else { six });
    FlowRecord {
        start_unix_ms: 1_700_000_000_123,
        end_unix_ms: 1_700_000_009_456,
        key: FlowKey::new(Protocol::Tcp, (client.ip(), client.port()), (vip.ip(), vip.port())),
        snat: Some(pick("10.2.0.10:1025", "[2001:db8:2::10]:1025")),
        backend: Some(pick("10.2.0.11:8080", "[2001:db8:2::11]:8080")),
        service: "web".into(),
        backend_name: "b1".into(),
        traffic: Traffic { packets_in: 7, bytes_in: 700, packets_out: 9, bytes_out: 9000 },
        reason: EndReason::Closed,
        worker: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{FlowEntry, FlowEventKind};

    #[test]
    fn moments_over_the_end_of_32_bits() {
        let clock = Clock { now_ticks_ms: (1 << 32) + 500, now_unix_ms: 1_700_000_000_000 };
        assert_eq!(clock.unix_ms(400), 1_699_999_999_900);
        assert_eq!(clock.unix_ms(u32::MAX), 1_699_999_999_499);
    }

    #[test]
    fn of_ends_alone_and_with_their_reason() {
        let clock = Clock { now_ticks_ms: 5000, now_unix_ms: 1_000_000 };
        let entry = FlowEntry {
            last_seen_ms: 4000,
            state: FlowState::Established as u8,
            ..FlowEntry::FREE
        };
        let traffic = Traffic { packets_in: 1, ..Traffic::default() };
        let event = |end, state: FlowState| FlowEvent {
            kind: FlowEventKind::Ended,
            entry: FlowEntry { state: state as u8, ..entry },
            end,
            meter: Some(FlowMeter { began_ms: 3000, traffic }),
        };
        let snapshot = Snapshot::empty();
        let record = |end, state| FlowRecord::of(&event(end, state), 3, &snapshot, clock);
        assert_eq!(record(None, FlowState::Established), None);
        let rows = [
            (End::Idle, FlowState::Established, EndReason::Idle),
            (End::Idle, FlowState::Closed, EndReason::Closed),
            (End::Replaced, FlowState::Closed, EndReason::Closed),
            (End::Cut, FlowState::Established, EndReason::Forced),
            (End::Asked, FlowState::Closed, EndReason::Forced),
        ];
        for (end, state, reason) in rows {
            let record = record(Some(end), state).unwrap();
            assert_eq!((record.reason, record.worker), (reason, 3), "{end:?} {state:?}");
            assert_eq!((record.start_unix_ms, record.end_unix_ms), (998_000, 999_000));
            assert_eq!((record.traffic, record.backend), (traffic, None));
        }
    }
}
