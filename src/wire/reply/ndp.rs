//! Neighbour advertisements (RFC 4861 section 4.4).

use super::{ICMPV6, IpHeader, macs, turn_round};
use crate::wire::packet::{Content, IPV6_LEN, IpPacket};
use crate::wire::{Address, ETHERNET_LEN, FrameView, MacAddress};

/// An advertisement with a target link-layer address option.
const MESSAGE_LEN: usize = 32;
/// NDP is not to be forwarded: its receivers ask for this (RFC 4861 section 7.1.2).
const HOP_LIMIT: u8 = 255;
/// The answer to a question.
const SOLICITED: u8 = 0x40;
/// Replaces what is known already.
const OVERRIDE: u8 = 0x20;

/// All nodes on the link, ff02::1 (RFC 4291 section 2.7.1).
const ALL_NODES: Address = Address::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// Their Ethernet group (RFC 2464 section 7).
const ALL_NODES_MAC: MacAddress = MacAddress([0x33, 0x33, 0, 0, 0, 1]);

/// Turns a neighbour solicitation into the advertisement that `our_mac` has the address asked for.
///
/// A solicitation from the unspecified address is a host's that wants the address for itself
/// (duplicate address detection, RFC 4862 section 5.4.3): the answer goes to all nodes, unsolicited,
/// and so defends the address. A solicitation that came over a router (hop limit below 255), or not
/// from one host for one host's address, is not answered.
#[must_use]
pub fn neighbour_advertisement(
    view: &mut FrameView<'_>,
    asked: &IpPacket,
    our_mac: MacAddress,
) -> bool {
    let Content::NeighbourSolicitation(target) = asked.content else { return false };
    let is_probe = asked.source() == Address::UNSPECIFIED;
    let is_of_one = (is_probe || asked.source().is_one_host())
        && macs(view.bytes()).is_some_and(|[_, source]| source.is_station());
    if asked.hop_limit != HOP_LIMIT || !is_of_one || !target.is_one_host() {
        return false;
    }
    let header = IpHeader {
        source: target,
        destination: if is_probe { ALL_NODES } else { asked.source() },
        hop_limit: HOP_LIMIT,
        ..IpHeader::back(asked, ICMPV6, MESSAGE_LEN)
    };
    let flags = if is_probe { OVERRIDE } else { SOLICITED | OVERRIDE };
    let start = asked.start() + IPV6_LEN;
    if !view.set_len(view.len().max(start + MESSAGE_LEN)) {
        return false;
    }
    let frame = view.bytes_mut();
    let Some(place) = frame.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) else {
        return false;
    };
    *place = message(&header, target, our_mac, flags);
    if !turn_round(view, asked, &header) {
        return false;
    }
    set_macs(view, is_probe.then_some(ALL_NODES_MAC), our_mac)
}

/// After the turn the source is the group that was asked, and of a probe's answer the destination
/// is a group.
fn set_macs(view: &mut FrameView<'_>, to: Option<MacAddress>, from: MacAddress) -> bool {
    let Some(macs) = view.bytes_mut().first_chunk_mut::<12>() else { return false };
    if let Some(to) = to {
        macs[..6].copy_from_slice(&to.0);
    }
    macs[6..].copy_from_slice(&from.0);
    true
}

/// The frame that tells a link that `mac` has `address` now (RFC 4861 section 7.2.6).
pub fn unsolicited_advertisement(
    mac: MacAddress,
    address: Address,
) -> [u8; ETHERNET_LEN + IPV6_LEN + MESSAGE_LEN] {
    let header = IpHeader {
        source: address,
        destination: ALL_NODES,
        traffic_class: 0,
        hop_limit: HOP_LIMIT,
        identification: 0,
        fragmenting: 0,
        flow_label: 0,
        protocol: ICMPV6,
        payload_len: MESSAGE_LEN,
    };
    let mut frame = [0; ETHERNET_LEN + IPV6_LEN + MESSAGE_LEN];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC.0);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    header.emit(&mut frame[ETHERNET_LEN..]);
    let message = message(&header, address, mac, OVERRIDE);
    frame[ETHERNET_LEN + IPV6_LEN..].copy_from_slice(&message);
    frame
}

/// Type, code, checksum, flags, target, and the option with its MAC.
fn message(header: &IpHeader, target: Address, mac: MacAddress, flags: u8) -> [u8; MESSAGE_LEN] {
    const ADVERTISEMENT: u8 = 136;
    const TARGET_LINK_LAYER: u8 = 2;
    let mut message = [0; MESSAGE_LEN];
    message[0] = ADVERTISEMENT;
    message[4] = flags;
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[TARGET_LINK_LAYER, 1]);
    message[26..32].copy_from_slice(&mac.0);
    let sum = header.payload_checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}
