//! The packets that nearly all are, in one go: of a known flow in the middle of its life, to a
//! backend or client that is there, and short enough.
//!
//! Says only yes, with the port it leaves by, or nothing, having changed nothing: then the packet goes
//! the thorough way (`classify.rs`, `forward.rs`, `back.rs`), which decides every other case. A test
//! holds the two against each other.

use super::classify::Class;
use super::egress::client_way;
use super::engine::Prepared;
use super::flows::{Flows, goes_on};
use super::plain_modes::Tunneling;
use super::{Engine, FlowState, Shard, Side};
use crate::forwarding::{BackendId, FlowTimeouts, Mode, Snapshot, Way};
use crate::wire::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FrameView, Link, PlainPacket, PortId, Tags,
    read_ipv4, read_ipv6, rewrite,
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
        let is_to_us = Link::is_from_one_to(header, snapshot.port(ingress)?.mac);
        if !is_to_us || frame.len() > usize::from(u16::MAX) {
            return None;
        }
        let ethertype = u16::from_be_bytes([header[12], header[13]]);
        // Twice, so that each family has its own code, without asking again which one it is.
        match ethertype {
            ETHERTYPE_IPV4 => self.place_plain(snapshot, read_ipv4(packet)?, prepared)?,
            ETHERTYPE_IPV6 => self.place_plain(snapshot, read_ipv6(packet)?, prepared)?,
            _ => return None,
        }
        prepared.headers.link.read_untagged(header);
        Some(())
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
        let key = packet.key;
        let hash = self.flows.hash.of(&key);
        let shard = if let Some(service) = snapshot.service_of_key(&key) {
            (prepared.way, prepared.service) = (PlainWay::Forward, service);
            prepared.class = Class::Forward(service);
            self.shards.shard_of(&prepared.headers.ip.key, hash)
        } else if snapshot.is_snat_alone(key.destination) {
            (prepared.way, prepared.class) = (PlainWay::Back, Class::Back);
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
        let sent = place.key_from(key.destination, key.destination_port);
        let hash = self.flows.hash.of(&sent);
        (prepared.way, prepared.service) = (PlainWay::Return, service);
        (prepared.class, prepared.hash) = (Class::Return(service), hash);
        self.find_owner(self.shards.shard_of(&sent, hash), hash, prepared);
        Some(())
    }

    /// A client's packet whose flow is probably where it was guessed to be.
    #[inline(always)]
    pub(super) fn forward_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Engine { flows, path_mtus, outer_identification, .. } = self;
        let Flows { table, pool, traffic, .. } = flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        let service = snapshot.services.get(prepared.service.index())?;
        let segment = ip.segment().unwrap_or_default();
        let goes_on = flow.is_of(&ip.key)
            && goes_on(flow.state, flow.flags, Side::Client, segment)
            && !is_idle(flow.state, flow.age_ms(now_ms), &service.timeouts)
            && !service.gone;
        if !goes_on {
            return None;
        }
        let target = snapshot.target_line(BackendId(flow.backend))?;
        let way = target.way.as_ref()?;
        if target.is_gone {
            return None;
        }
        if let Mode::Tunnel(tunnel, dscp) = target.mode {
            if flow.fingerprint() != Some(target.fingerprint) {
                return None;
            }
            let identification = outer_identification;
            let tunneling = Tunneling { snapshot, path_mtus, identification, traffic, now_ms };
            return tunneling.send(flow, (target, tunnel, dscp), prepared, frame);
        }
        if ip.len() > usize::from(way.mtu_bytes) || !keeps_length(way, &prepared.headers.link) {
            return None;
        }
        let ends = match flow.binding() {
            Some((block, high)) => {
                let block = pool.key(block)?;
                let is_its = block.backend.differs(target.address)
                    | u64::from(block.backend_port ^ target.port);
                if is_its != 0 || ip.hop_limit <= 1 {
                    return None;
                }
                let port = u16::from_be_bytes([high, block.shard]);
                Some(((block.snat, port), (block.backend, block.backend_port)))
            }
            None if flow.fingerprint() != Some(target.fingerprint) => return None,
            None if target.mode == Mode::L2dsr => None,
            None if target.mode == Mode::Dnat && ip.hop_limit > 1 => {
                Some(((ip.key.source, ip.key.source_port), (target.address, target.port)))
            }
            None => return None,
        };
        flow.last_seen_ms = now_ms;
        flow.set_client(prepared.station());
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Client, frame.len());
        }
        let bytes = frame.bytes_mut();
        if let Some((source, destination)) = ends {
            rewrite::route_whole(bytes, ip, source, destination);
        }
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }

    /// A backend's packet under NAT whose flow is probably where it was guessed to be.
    #[inline(always)]
    pub(super) fn back_plain(
        &mut self,
        snapshot: &Snapshot,
        now_ms: u32,
        prepared: &Prepared,
        frame: &mut FrameView<'_>,
    ) -> Option<PortId> {
        let Flows { table, pool, traffic, .. } = &mut self.flows;
        let ip = &prepared.headers.ip;
        let flow = table.slot_mut(prepared.guess)?;
        let (block, high) = flow.binding()?;
        let block = pool.key(block)?;
        let segment = ip.segment().unwrap_or_default();
        let target = snapshot.target(BackendId(flow.backend))?;
        let service = snapshot.services.get(target.service as usize)?;
        let goes_on = block.is_return_key(high, &ip.key)
            && goes_on(flow.state, flow.flags, Side::Backend, segment)
            && !is_idle(flow.state, flow.age_ms(now_ms), &service.timeouts)
            && block.backend == target.address
            && block.backend_port == target.port;
        if !goes_on || target.is_gone || ip.hop_limit <= 1 {
            return None;
        }
        let way = client_way(snapshot, flow)?;
        if ip.len() > usize::from(way.mtu_bytes) || !keeps_length(&way, &prepared.headers.link) {
            return None;
        }
        flow.last_seen_ms = now_ms;
        if let Some(traffic) = traffic.get_mut(flow.backend as usize) {
            traffic.count(Side::Backend, frame.len());
        }
        let key = flow.key();
        let (vip, client) =
            ((key.destination, key.destination_port), (key.source, key.source_port));
        let bytes = frame.bytes_mut();
        rewrite::route_whole(bytes, ip, vip, client);
        rewrite::replace_link(bytes, &way.macs, way.tags);
        Some(way.port)
    }
}

/// Of a flow that [`goes_on`]: the two states it may be in.
#[inline(always)]
pub(super) fn is_idle(state: u8, age_ms: u32, timeouts: &FlowTimeouts) -> bool {
    let timeout_ms = match state == FlowState::Udp as u8 {
        true => timeouts.udp_ms,
        false => timeouts.tcp_established_ms,
    };
    age_ms > timeout_ms
}

/// Does the frame leave with as many tags as it came with?
#[inline(always)]
pub(super) fn keeps_length(way: &Way, came_with: &Link) -> bool {
    let are_none = way.tags == Tags::NONE && came_with.end() == ETHERNET_LEN;
    are_none || way.tags.header_len() == came_with.end()
}
