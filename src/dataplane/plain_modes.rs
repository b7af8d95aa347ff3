//! The plain way (`plain.rs`) of packets to backends by a tunnel, and of those from DNAT backends.

use super::Side;
use super::engine::{Engine, Prepared};
use super::entry::Flow;
use super::entry_flags::SEEN_BACKEND;
use super::flows::Flows;
use super::path_mtu::PathMtus;
use super::plain::ClientWay;
use super::traffic::Traffic;
use crate::forwarding::{BackendId, Mode, Shortcut, Snapshot, Target};
use crate::wire::encap::{self, Outer};
use crate::wire::{FrameView, PortId, Tags, rewrite};

/// What a tunnel's packet needs of the engine.
pub(super) struct Tunneling<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) path_mtus: &'a PathMtus,
    /// Of the last outer IPv4 header.
    pub(super) identification: &'a mut u16,
    pub(super) traffic: &'a mut [Traffic],
    pub(super) now_ms: u32,
}

impl Tunneling<'_> {
    /// To the backend of a flow that is known to go on, whose target this is.
    #[inline(never)]
    pub(super) fn send(
        self,
        flow: &mut Flow,
        target: &Target,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Mode::Tunnel(tunnel, dscp) = target.mode else { return None };
        if !flow.is_untranslated_to(target.fingerprint) {
            return None;
        }
        let headers = prepared.headers_of(frame.bytes());
        let (ip, way) = (&headers.ip, target.short_way());
        let family = target.address.family();
        let overhead = tunnel.overhead_bytes(family);
        let most = way.mtu_bytes.min(self.path_mtus.of(flow.backend, self.now_ms));
        let head = way.tags.header_len() + overhead;
        let fits = ip.len() + overhead <= usize::from(most)
            && ip.hop_limit > 1
            && head <= ip.start() + frame.headroom_bytes();
        if !fits {
            return None;
        }
        let source = self.snapshot.tunnel_sources.of(family)?.of_flow(prepared.hash);
        *self.identification = self.identification.wrapping_add(1);
        let outer = Outer {
            source,
            destination: target.address,
            dscp,
            entropy: (prepared.hash >> 32) as u32,
            identification: *self.identification,
        };
        let port = way.port;
        let station = prepared.station(frame.bytes());
        touch(flow, self.traffic, Side::Client, Some(station), (self.now_ms, frame.len()));
        rewrite::decrement_hop_limit(frame.bytes_mut(), ip);
        // There is room, so that there is no other end.
        let sent = encap::encapsulate(frame, ip, (&way.macs, way.tags), tunnel, &outer);
        debug_assert!(sent, "room of {head} was asked for");
        Some(port)
    }
}

#[inline(always)]
fn touch(
    flow: &mut Flow,
    traffic: &mut [Traffic],
    from: Side,
    client: Option<(u64, Tags)>,
    (now_ms, frame_len): (u32, usize),
) {
    flow.last_seen_ms = now_ms;
    if let Some((word, tags)) = client {
        flow.set_client_word(word, tags);
    }
    if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
        traffic.count(from, frame_len);
    }
}

impl Engine {
    /// A DNAT backend's packet, whose flow is probably where the client's packets have theirs.
    #[inline(never)]
    pub(super) fn return_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Flows { table, traffic, .. } = &mut self.flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        let service = snapshot.services.get(prepared.service.index())?;
        let sent = service.key_from(ip.key.destination, ip.key.destination_port);
        let target = snapshot.target_line(BackendId(flow.backend))?;
        let is_its = flow.is_of(&sent)
            && flow.is_untranslated_to(target.fingerprint)
            && target.mode == Mode::Dnat
            && target.shortcut != Shortcut::None
            && (target.address, target.port) == (ip.key.source, ip.key.source_port);
        let goes_on = is_its
            && flow.is_quiet()
            && flow.has(SEEN_BACKEND)
            && !prepared.is_changing
            && target.is_young(flow.is_udp(), flow.age_ms(now_ms))
            && target.service == prepared.service.0;
        if !goes_on {
            return None;
        }
        let way = ClientWay::of(snapshot, flow, prepared)?;
        touch(flow, traffic, Side::Backend, None, (now_ms, frame.len()));
        let bytes = frame.bytes_mut();
        let vip = (sent.destination, sent.destination_port);
        rewrite::route_whole(bytes, ip, vip, (sent.source, sent.source_port));
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }
}
