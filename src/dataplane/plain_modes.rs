//! The plain way (`plain.rs`) of packets to backends by a tunnel, and of those from DNAT backends.

use super::Side;
use super::engine::{Engine, Prepared};
use super::flows::Flows;
use super::plain::{ClientWay, PlainWay};
use crate::forwarding::{BackendId, Mode, Shortcut, Snapshot};
use crate::wire::encap::{self, Outer, Seal};
use crate::wire::{FrameView, PortId, Tags, rewrite};

/// Puts a packet that has a hop left into the envelope for this backend, by a path that takes so many
/// bytes; `false`, and nothing done, when it does not fit, or there is no such envelope.
#[inline(never)]
pub(super) fn enclose(
    snapshot: &Snapshot,
    backend: u32,
    prepared: &Prepared,
    frame: &mut FrameView<'_>,
    (most_bytes, identification): (u16, u16),
) -> bool {
    let (packet, seal) = (&prepared.headers.ip, Seal { hash: prepared.hash, identification });
    snapshot.envelope(BackendId(backend)).is_some_and(|envelope| {
        packet.len() + envelope.overhead_bytes() <= usize::from(most_bytes)
            && envelope.put_around(frame, packet, &snapshot.tunnel_sources, seal)
    })
}

/// As [`enclose`], where the frame leaves by a VLAN: its envelope is not one that was made before.
#[cold]
#[inline(never)]
pub(super) fn enclose_tagged(
    snapshot: &Snapshot,
    backend: u32,
    prepared: &Prepared,
    frame: &mut FrameView<'_>,
    (most_bytes, identification): (u16, u16),
) -> bool {
    let Some(target) = snapshot.target_line(BackendId(backend)) else { return false };
    let (way, to) = (target.short_way(), target.address);
    let Mode::Tunnel(tunnel, dscp) = target.mode else { return false };
    let Some(source) = snapshot.tunnel_sources.of(to.family()) else { return false };
    let overhead = tunnel.overhead_bytes(to.family());
    let ip = &prepared.headers_of(frame.bytes()).ip;
    let fits = ip.len() + overhead <= usize::from(most_bytes)
        && overhead + usize::from(way.header_len) <= ip.start() + frame.headroom_bytes();
    if target.shortcut != Shortcut::Tunnel || way.tags == Tags::NONE || !fits {
        return false;
    }
    rewrite::decrement_hop_limit(frame.bytes_mut(), ip);
    let (source, entropy) = (source.of_flow(prepared.hash), (prepared.hash >> 32) as u32);
    let outer = Outer { source, destination: to, dscp, entropy, identification };
    encap::encapsulate(frame, ip, (&way.macs, way.tags), tunnel, &outer)
}

impl Engine {
    /// A DNAT backend's packet, whose flow is probably where the client's packets have theirs; of any
    /// other packet nothing.
    #[inline(never)]
    pub(super) fn return_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        if prepared.way != PlainWay::Return {
            return None;
        }
        let Flows { table, traffic, meters, .. } = &mut self.flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        let service = snapshot.services.get(prepared.service.index())?;
        let sent = service.key_of_answer(&ip.key);
        let target = snapshot.target_line(BackendId(flow.backend))?;
        let is_its = flow.is_of(&sent)
            && flow.is_untranslated_to(target.fingerprint)
            && target.mode == Mode::Dnat
            && target.shortcut != Shortcut::None
            && (target.address, target.port_for(sent.destination_port))
                == (ip.key.source, ip.key.source_port);
        let goes_on = is_its
            && flow.is_quiet_for(Side::Backend)
            && !prepared.is_changing
            && target.is_young(flow.is_udp(), flow.age_ms(now_ms))
            && target.service == prepared.service.0;
        if !goes_on {
            return None;
        }
        let way = ClientWay::of(snapshot, flow, prepared)?;
        flow.last_seen_ms = now_ms;
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Backend, frame.len());
        }
        meters.count(prepared.guess, Side::Backend, frame.len());
        let bytes = frame.bytes_mut();
        let vip = (sent.destination, sent.destination_port);
        rewrite::route_whole(bytes, ip, vip, (sent.source, sent.source_port));
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }
}
