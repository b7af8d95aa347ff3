//! The last question before a packet is changed: can it leave?

use super::DropReason;
use super::entry::Flow;
use crate::forwarding::{NextHop, Snapshot, Target, Way};
use crate::wire::{FrameView, IpPacket, Link, rewrite};

/// Why a packet cannot leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stuck {
    pub(super) reason: DropReason,
    /// Longest packet that could.
    pub(super) mtu_bytes: u16,
}

impl From<DropReason> for Stuck {
    fn from(reason: DropReason) -> Stuck {
        Stuck { reason, mtu_bytes: 0 }
    }
}

/// The way to a backend, if the packet can go it in the backend's mode.
#[inline]
pub(super) fn check_target<'a>(target: &'a Target, ip: &IpPacket) -> Result<&'a Way, Stuck> {
    let mode = target.mode;
    let overhead = mode.overhead_bytes(target.address.family());
    check_way(target.way.as_ref(), ip, mode.is_hop(), overhead)
}

/// The way to a client, if the packet can go it.
#[inline]
pub(super) fn check_client_way<'a>(way: Option<&'a Way>, ip: &IpPacket) -> Result<&'a Way, Stuck> {
    check_way(way, ip, true, 0)
}

/// Who `is_hop` takes one off the packet's hop limit (RFC 1812 section 5.3.1, RFC 8200 section 3); a
/// bridge does not. The packet gains `overhead_bytes` before it leaves.
#[inline]
fn check_way<'a>(
    way: Option<&'a Way>,
    ip: &IpPacket,
    is_hop: bool,
    overhead_bytes: usize,
) -> Result<&'a Way, Stuck> {
    let way = way.ok_or(DropReason::NoNextHop)?;
    if is_hop && ip.hop_limit <= 1 {
        return Err(DropReason::TtlExceeded.into());
    }
    if ip.len() + overhead_bytes > usize::from(way.mtu_bytes) {
        let mtu_bytes = way.mtu_bytes.saturating_sub(overhead_bytes as u16);
        return Err(Stuck { reason: DropReason::ExceedsMtu, mtu_bytes });
    }
    Ok(way)
}

/// Gives the frame the link header for its way; `false` when there is no room for its tags.
#[inline]
pub(super) fn send_by(way: &Way, came_with: &Link, frame: &mut FrameView<'_>) -> bool {
    rewrite::set_link(frame, came_with, &way.macs, way.tags)
}

/// The way back to a flow's client: by the station its last frame came from, which needs no route
/// and is right behind any number of routers; by the route, once that station or its port is gone.
#[inline]
pub(super) fn client_way(snapshot: &Snapshot, flow: &Flow) -> Option<Way> {
    let client = flow.client();
    let station = NextHop { port: client.port, tags: client.tags, mac: client.mac };
    let way = Way::by(station, &snapshot.ports);
    if way.is_some() && !snapshot.routes.is_gone(station) {
        return way;
    }
    let hop = snapshot.routes.next_hop(flow.key().source.ip())?;
    Way::by(hop, &snapshot.ports)
}
