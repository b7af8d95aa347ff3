//! The plain way (`plain.rs`) of packets to backends by a tunnel, and of those from DNAT backends.

use super::Side;
use super::engine::{Engine, Prepared};
use super::entry::Flow;
use super::flows::Flows;
use super::path_mtu::PathMtus;
use super::plain::{ClientWay, PlainWay};
use super::traffic::Traffic;
use crate::forwarding::{BackendId, Mode, Shortcut, Snapshot, Target};
use crate::wire::encap::{self, Outer, Seal};
use crate::wire::{ETHERNET_LEN, FrameView, IpPacket, PortId, Tags, rewrite};

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
        let (way, ip) = (target.short_way(), &prepared.headers.ip);
        let envelope = self.snapshot.envelope(BackendId(flow.backend))?;
        let most = way.mtu_bytes.min(self.path_mtus.of(flow.backend, self.now_ms));
        let head = envelope.overhead_bytes() + usize::from(way.header_len);
        let fits = target.shortcut == Shortcut::Tunnel
            && ip.len() + envelope.overhead_bytes() <= usize::from(most)
            && ip.hop_limit > 1
            && head <= ip.start() + frame.headroom_bytes();
        if !fits || !flow.is_untranslated_to(target.fingerprint) {
            return None;
        }
        let source = self.snapshot.tunnel_sources.of(target.address.family())?;
        *self.identification = self.identification.wrapping_add(1);
        let seal = Seal {
            source: source.of_flow(prepared.hash),
            entropy: (prepared.hash >> 32) as u32,
            identification: *self.identification,
            class: ip.traffic_class,
            dont_fragment: ip.dont_fragment,
        };
        let bytes = frame.bytes();
        let seal = match prepared.is_read {
            true => seal,
            false => seal.of_plain(bytes.get(ETHERNET_LEN..)?),
        };
        let station = prepared.station(bytes);
        touch(flow, self.traffic, Side::Client, Some(station), (self.now_ms, bytes.len()));
        let sent = match way.tags {
            Tags::NONE => envelope.put_around(frame, ip, &seal),
            _ => put_around_by_tags(target, seal, prepared, frame),
        };
        // There is room, so that there is no other end.
        debug_assert!(sent, "room of {head} was asked for");
        Some(way.port)
    }
}

/// Where the frame leaves by a VLAN: its envelope is not one that was made before.
#[inline(never)]
fn put_around_by_tags(
    target: &Target,
    seal: Seal,
    prepared: &Prepared,
    frame: &mut FrameView<'_>,
) -> bool {
    let Mode::Tunnel(tunnel, dscp) = target.mode else { return false };
    let way = target.short_way();
    rewrite::decrement_hop_limit(frame.bytes_mut(), &prepared.headers.ip);
    let ip = IpPacket {
        traffic_class: seal.class,
        dont_fragment: seal.dont_fragment,
        ..prepared.headers.ip
    };
    let Seal { source, entropy, identification, .. } = seal;
    let outer = Outer { source, destination: target.address, dscp, entropy, identification };
    encap::encapsulate(frame, &ip, (&way.macs, way.tags), tunnel, &outer)
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
        let Flows { table, traffic, .. } = &mut self.flows;
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
        touch(flow, traffic, Side::Backend, None, (now_ms, frame.len()));
        let bytes = frame.bytes_mut();
        let vip = (sent.destination, sent.destination_port);
        rewrite::route_whole(bytes, ip, vip, (sent.source, sent.source_port));
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }
}
