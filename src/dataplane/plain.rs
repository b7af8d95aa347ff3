//! The packets that nearly all are, in one go: of a known flow in the middle of its life, to a
//! backend or client that is there, and short enough.
//!
//! Says only yes, with the port it leaves by, or nothing, having changed nothing: then the packet goes
//! the thorough way (`classify.rs`, `forward.rs`, `back.rs`), which decides every other case. A test
//! holds the two against each other.

use super::engine::Prepared;
use super::entry::Flow;
use super::flow_state::changes_state;
use super::flows::Flows;
use super::plain_modes::{enclose, enclose_tagged};
use super::snat::SnatPool;
use super::traffic::Traffic;
use super::{Engine, Shard, Side};
use crate::forwarding::{BackendId, Mode, Shortcut, Snapshot, Target, Way};
use crate::wire::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FrameView, IpPacket, Link, MacAddress,
    PlainPacket, PortId, Tags, read_ipv4, read_ipv6, rewrite,
};

/// Which plain way a packet may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum PlainWay {
    /// Not one.
    None,
    /// From a client to a service.
    Forward,
    /// From a backend to a SNAT address.
    Back,
    /// From a DNAT backend to a client.
    Return,
}

impl Engine {
    /// Reads and classifies an untagged TCP or UDP packet, from one station to us alone, of a service
    /// or for an address that is for SNAT alone.
    #[inline(always)]
    pub(super) fn prepare_plain(
        &self,
        snapshot: &Snapshot,
        ingress: PortId,
        frame: &[u8],
        prepared: &mut Prepared,
    ) -> Option<()> {
        let (header, packet) = frame.split_first_chunk::<ETHERNET_LEN>()?;
        if frame.len() > usize::from(u16::MAX) {
            return None;
        }
        let ethertype = Link::from_one_to(header, snapshot.port_line(ingress)?.mac)?;
        // Twice, so that each family has its own code, without asking again which one it is.
        match ethertype {
            ETHERTYPE_IPV4 => self.place_plain(snapshot, read_ipv4(packet)?, prepared),
            ETHERTYPE_IPV6 => self.place_plain(snapshot, read_ipv6(packet)?, prepared),
            _ => None,
        }
    }

    #[inline(always)]
    fn place_plain(
        &self,
        snapshot: &Snapshot,
        packet: PlainPacket,
        prepared: &mut Prepared,
    ) -> Option<()> {
        // Into memory at once, and for whoever wants it as a whole; the rest has it in registers.
        packet.put(ETHERNET_LEN as u16, &mut prepared.headers.ip);
        prepared.headers.link.len = ETHERNET_LEN as u8;
        (prepared.is_read, prepared.is_changing) = (false, changes_state(packet.flags));
        let key = packet.key;
        let hash = self.flows.hash.of(&key);
        let shard = if let Some(service) = snapshot.service_of_key(&key) {
            (prepared.way, prepared.service) = (PlainWay::Forward, service);
            self.shards.shard_of(&prepared.headers.ip.key, hash)
        } else if snapshot.is_snat_alone(key.destination) {
            prepared.way = PlainWay::Back;
            Shard::of_snat_port(key.destination_port)
        } else {
            return self.place_return(snapshot, prepared);
        };
        prepared.hash = hash;
        self.find_owner(shard, hash, prepared);
        Some(())
    }

    /// It goes the way of the client's packets: to whoever has their flow, found by their key.
    #[inline(never)]
    fn place_return(&self, snapshot: &Snapshot, prepared: &mut Prepared) -> Option<()> {
        let key = &prepared.headers.ip.key;
        let service = snapshot.find_dnat(key)?;
        // What is to an address of ours is none of a client's.
        if snapshot.address_role(key.destination).is_some() {
            return None;
        }
        let place = snapshot.services.get(service.index())?;
        let sent = place.key_of_answer(key);
        let hash = self.flows.hash.of(&sent);
        (prepared.way, prepared.service) = (PlainWay::Return, service);
        prepared.hash = hash;
        self.find_owner(self.shards.shard_of(&sent, hash), hash, prepared);
        Some(())
    }

    /// Sends a prepared packet that may go a plain way, if it can go it.
    #[inline(always)]
    pub(super) fn send_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        // Two questions and a call for the rest: of four cases a table of jumps would be made.
        match prepared.way {
            PlainWay::Forward => self.forward_plain(snapshot, now_ms, prepared, frame),
            PlainWay::Back => self.back_plain(snapshot, now_ms, prepared, frame),
            _ => self.return_plain(snapshot, now_ms, prepared, frame),
        }
    }

    /// A client's packet whose flow is probably where it was guessed to be.
    #[inline(always)]
    fn forward_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Engine { flows, path_mtus, outer_identification, .. } = self;
        let Flows { table, pool, traffic, meters, .. } = flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        if !flow.is_of(&ip.key) || prepared.is_changing || !flow.is_quiet_for(Side::Client) {
            return None;
        }
        let target = snapshot.target_line(BackendId(flow.backend))?;
        let is_young = target.is_young(flow.is_udp(), flow.age_ms(now_ms));
        if !is_young || target.service != prepared.service.0 {
            return None;
        }
        let way = target.short_way();
        let ends = match target.shortcut {
            Shortcut::Link if !flow.is_untranslated_to(target.fingerprint) => return None,
            Shortcut::Link => None,
            Shortcut::Translate => Some(forward_ends(flow, target, pool, ip)?),
            // Or none at all, which is found out there.
            _ => {
                if !flow.is_untranslated_to(target.fingerprint) || ip.hop_limit <= 1 {
                    return None;
                }
                let (station, len) = (prepared.station(frame.bytes()), frame.len());
                let identification = outer_identification.wrapping_add(1);
                let most_bytes = way.mtu_bytes.min(path_mtus.of(flow.backend, now_ms));
                let outer = (most_bytes, identification);
                if !enclose(snapshot, flow.backend, prepared, frame, outer)
                    && !enclose_tagged(snapshot, flow.backend, prepared, frame, outer)
                {
                    return None;
                }
                *outer_identification = identification;
                touch(flow, traffic, now_ms, station, len);
                meters.count(prepared.guess, Side::Client, len);
                return Some(way.port);
            }
        };
        if ip.len() > usize::from(way.mtu_bytes) || prepared.headers.link.len != way.header_len {
            return None;
        }
        touch(flow, traffic, now_ms, prepared.station(frame.bytes()), frame.len());
        meters.count(prepared.guess, Side::Client, frame.len());
        let bytes = frame.bytes_mut();
        if let Some((source, destination)) = ends {
            rewrite::route_whole(bytes, ip, source, destination);
        }
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }

    /// A backend's packet under NAT whose flow is probably where it was guessed to be.
    #[inline(always)]
    fn back_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Flows { table, pool, traffic, meters, .. } = &mut self.flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        let (block, high) = flow.binding()?;
        // With several ports it is told by the thorough way which one this is.
        let block = pool.key(block)?;
        let goes_on = block.is_return_key(high, &ip.key)
            && flow.is_quiet_for(Side::Backend)
            && !prepared.is_changing;
        if !goes_on {
            return None;
        }
        let target = snapshot.target_line(BackendId(flow.backend))?;
        let is_young = target.is_young(flow.is_udp(), flow.age_ms(now_ms));
        if !block.is_to(target) || !is_young || target.shortcut == Shortcut::None {
            return None;
        }
        let way = ClientWay::of(snapshot, flow, prepared)?;
        flow.last_seen_ms = now_ms;
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Backend, frame.len());
        }
        meters.count(prepared.guess, Side::Backend, frame.len());
        let key = flow.key();
        let (vip, client) =
            ((key.destination, key.destination_port), (key.source, key.source_port));
        let bytes = frame.bytes_mut();
        rewrite::route_whole(bytes, ip, vip, client);
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }
}

/// A packet of the flow came from its client.
#[inline(always)]
fn touch(
    flow: &mut Flow,
    traffic: &mut [Traffic],
    now_ms: u32,
    (word, tags): (u64, Tags),
    frame_len: usize,
) {
    flow.last_seen_ms = now_ms;
    flow.set_client_word(word, tags);
    if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
        traffic.count(Side::Client, frame_len);
    }
}

/// Source and destination that a client's packet is given, of a flow that is translated.
#[inline(always)]
fn forward_ends(
    flow: &Flow,
    target: &Target,
    pool: &SnatPool,
    ip: &IpPacket,
) -> Option<(rewrite::Endpoint, rewrite::Endpoint)> {
    if ip.hop_limit <= 1 {
        return None;
    }
    let Some((block, high)) = flow.binding() else {
        let is_dnat = flow.is_untranslated_to(target.fingerprint) && target.mode == Mode::Dnat;
        let client = (ip.key.source, ip.key.source_port);
        let to = target.port_for(ip.key.destination_port);
        return is_dnat.then_some((client, (target.address, to)));
    };
    let block = pool.key(block)?;
    let port = u16::from_be_bytes([high, block.shard]);
    let to = target.port_for(ip.key.destination_port);
    block.is_to(target).then_some(((block.snat, port), (block.backend, to)))
}

/// How a packet leaves to its flow's client, by the station its last frame came from.
pub(super) struct ClientWay {
    pub(super) macs: [u8; 12],
    pub(super) tags: Tags,
    pub(super) port: PortId,
}

impl ClientWay {
    /// None when the packet cannot leave there as it is.
    #[inline(always)]
    pub(super) fn of(snapshot: &Snapshot, flow: &Flow, prepared: &Prepared) -> Option<ClientWay> {
        let (mac, port, tags) = (flow.client_mac(), flow.client_port(), flow.client_tags());
        let line = snapshot.port_line(port)?;
        let ip = &prepared.headers.ip;
        let fits = ip.len() <= usize::from(line.mtu_bytes)
            && tags.header_len() == prepared.headers.link.end()
            && ip.hop_limit > 1;
        if !fits || snapshot.routes.any_gone() {
            return None;
        }
        Some(ClientWay { macs: Way::macs(mac, MacAddress::from_word(line.mac)), tags, port })
    }
}
