//! The last question before a packet is changed: can it leave?

use super::{DropReason, FlowEntry};
use crate::forwarding::{NextHop, Snapshot};
use crate::wire::{Ipv4Part, MacAddress, PortId, rewrite};

/// How a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Egress {
    pub(super) port: PortId,
    source: MacAddress,
    destination: MacAddress,
}

impl Egress {
    /// The way to `hop`, if the packet can go it. What is `routed` costs a hop (RFC 1812 section
    /// 5.3.1); what is bridged does not.
    #[inline]
    pub(super) fn find(
        snapshot: &Snapshot,
        hop: Option<NextHop>,
        ip: &Ipv4Part,
        routed: bool,
    ) -> Result<Egress, DropReason> {
        let hop = hop.ok_or(DropReason::NoNextHop)?;
        let port = snapshot.port(hop.port).filter(|port| port.up).ok_or(DropReason::NoNextHop)?;
        if routed && ip.ttl <= 1 {
            return Err(DropReason::TtlExceeded);
        }
        if ip.total_len > usize::from(port.mtu_bytes) {
            return Err(DropReason::ExceedsMtu);
        }
        Ok(Egress { port: hop.port, source: port.mac, destination: hop.mac })
    }

    #[inline]
    pub(super) fn set_macs(&self, frame: &mut [u8]) {
        rewrite::set_macs(frame, self.destination, self.source);
    }
}

/// The way back to a flow's client: the station its last frame came from, which needs no route and
/// is right behind any number of routers; the route, once that station or its port is gone.
#[inline]
pub(super) fn client_hop(snapshot: &Snapshot, entry: &FlowEntry) -> Option<NextHop> {
    let (port, mac) = entry.client_station();
    let station = NextHop { port, mac };
    let is_there =
        snapshot.port(port).is_some_and(|port| port.up) && !snapshot.routes.is_gone(station);
    if is_there { Some(station) } else { snapshot.routes.next_hop(*entry.key.source_socket().ip()) }
}
