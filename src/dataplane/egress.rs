//! The last question before a packet is changed: can it leave?

use super::engine::Turn;
use super::entry::Flow;
use super::{DropReason, Engine};
use crate::forwarding::{BackendId, NextHop, Snapshot, Target, Way};
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

impl Engine {
    /// The way to a backend, if the packet can go it in the backend's mode.
    #[inline]
    pub(super) fn way_to<'a>(
        &self,
        turn: &Turn<'_>,
        (backend, target): (BackendId, &'a Target),
        ip: &IpPacket,
    ) -> Result<&'a Way, Stuck> {
        let mode = target.mode;
        if mode.tunnel().is_none() {
            return check_way(target.way(), ip, mode.is_hop(), 0, u16::MAX);
        }
        let overhead = mode.overhead_bytes(target.address.family());
        let path_mtu = self.path_mtus.of(backend.0, turn.now_ms());
        check_way(target.way(), ip, true, overhead, path_mtu)
    }
}

/// The way to a client, if the packet can go it.
#[inline]
pub(super) fn check_client_way<'a>(way: Option<&'a Way>, ip: &IpPacket) -> Result<&'a Way, Stuck> {
    check_way(way, ip, true, 0, u16::MAX)
}

/// Who `is_hop` takes one off the packet's hop limit (RFC 1812 section 5.3.1, RFC 8200 section 3); a
/// bridge does not. The packet gains `overhead_bytes` before it leaves; behind the way's first link it may
/// be no longer than `path_mtu_bytes`.
#[inline]
fn check_way<'a>(
    way: Option<&'a Way>,
    ip: &IpPacket,
    is_hop: bool,
    overhead_bytes: usize,
    path_mtu_bytes: u16,
) -> Result<&'a Way, Stuck> {
    let way = way.ok_or(DropReason::NoNextHop)?;
    if is_hop && ip.hop_limit <= 1 {
        return Err(DropReason::TtlExceeded.into());
    }
    let most = way.mtu_bytes.min(path_mtu_bytes);
    if ip.len() + overhead_bytes > usize::from(most) {
        let mtu_bytes = most.saturating_sub(overhead_bytes as u16);
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
