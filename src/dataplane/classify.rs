//! First steps of a frame: is it ours, and what kind of work is it?

use std::net::Ipv4Addr;

use super::{DropReason, Verdict};
use crate::forwarding::{AddressRole, ServiceIndex, Snapshot};
use crate::wire::{
    Arp, Body, FlowKey, Ipv4Part, MacAddress, Packet, ParseOutcome, PortId, Transport, parse,
};

/// What has to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// Nothing more.
    Settled(Verdict),
    /// From a client to this service.
    Forward(ServiceIndex, Transport),
    /// From a backend to a SNAT address.
    Back(Transport),
    /// An ARP request for an address of ours.
    Arp(Arp),
    /// A ping to a VIP.
    Echo(Ipv4Part),
}

const fn dropped(reason: DropReason) -> Class {
    Class::Settled(Verdict::Drop(reason))
}

const NOT_OURS: Class = Class::Settled(Verdict::NotOurs);

/// Classifies a frame that came in by `ingress`; also gives the MAC it came from.
#[inline]
pub(super) fn classify(snapshot: &Snapshot, ingress: PortId, frame: &[u8]) -> (Class, MacAddress) {
    let not_ours = (NOT_OURS, MacAddress::ZERO);
    let Some(port) = snapshot.port(ingress) else { return not_ours };
    // Asked of the bytes, since even a broken frame for somebody else is somebody else's.
    let destination = frame.first_chunk().map(|&mac| MacAddress(mac));
    if destination.is_some_and(|mac| mac != port.mac && !mac.is_group()) {
        return not_ours;
    }
    match parse(frame) {
        ParseOutcome::Parsed(packet) => (classify_packet(snapshot, &packet), packet.source_mac),
        ParseOutcome::NotOurs => not_ours,
        ParseOutcome::Malformed(error) if error.is_checksum() => {
            (dropped(DropReason::BadIpv4Checksum), MacAddress::ZERO)
        }
        ParseOutcome::Malformed(_) => (dropped(DropReason::Malformed), MacAddress::ZERO),
    }
}

#[inline]
fn classify_packet(snapshot: &Snapshot, packet: &Packet) -> Class {
    let class = match &packet.body {
        Body::Transport(transport) => classify_transport(snapshot, transport),
        Body::Arp(arp) => return classify_arp(snapshot, arp),
        Body::EchoRequest(ip) => classify_echo(snapshot, ip),
        Body::Icmp(ip) => match snapshot.address_role(ip.destination) {
            Some(_) => dropped(DropReason::IcmpNotHandled),
            None => NOT_OURS,
        },
        Body::Fragment(ip) => match snapshot.address_role(ip.destination) {
            Some(_) => dropped(DropReason::Fragment),
            None => NOT_OURS,
        },
        Body::OtherProtocol(ip) => match snapshot.address_role(ip.destination) {
            // On an address shared with the machine the kernel has the rest.
            Some(AddressRole::Vip | AddressRole::Snat) => dropped(DropReason::UnknownProtocol),
            Some(AddressRole::Shared) | None => NOT_OURS,
        },
    };
    // IPv4 to one host in a frame to many is not to be taken (RFC 1122 section 3.3.6), and a station
    // that is no station could not be answered.
    let to_one = !packet.destination_mac.is_group() && packet.source_mac.is_station();
    let is_ours = !matches!(class, Class::Settled(Verdict::NotOurs));
    if is_ours && !to_one { dropped(DropReason::BadAddress) } else { class }
}

#[inline]
fn classify_transport(snapshot: &Snapshot, transport: &Transport) -> Class {
    let key = &transport.key;
    if let Some((service, _)) = snapshot.find_service(key) {
        return Class::Forward(service, *transport);
    }
    if is_snat(snapshot, key) {
        return Class::Back(*transport);
    }
    match snapshot.address_role(transport.ip.destination) {
        Some(AddressRole::Vip) => dropped(DropReason::NoService),
        Some(AddressRole::Snat) => dropped(DropReason::NoSnatBinding),
        Some(AddressRole::Shared) | None => NOT_OURS,
    }
}

/// Does a packet with this key come from a backend, to a SNAT address of ours?
///
/// On an address that is for SNAT alone any port may be a flow's: the range may have been larger
/// when the flow began.
#[inline]
pub(super) fn is_snat(snapshot: &Snapshot, key: &FlowKey) -> bool {
    let address = Ipv4Addr::from_bits(key.destination);
    // In this order, since pools are walked over, and most addresses are for SNAT alone.
    snapshot.address_role(address) == Some(AddressRole::Snat)
        || snapshot.find_snat(address, key.destination_port).is_some()
}

fn classify_echo(snapshot: &Snapshot, ip: &Ipv4Part) -> Class {
    match snapshot.address_role(ip.destination) {
        Some(AddressRole::Vip) if is_no_sender(snapshot, ip.source, ip.destination) => {
            dropped(DropReason::BadAddress)
        }
        Some(AddressRole::Vip) => Class::Echo(*ip),
        Some(AddressRole::Snat) => dropped(DropReason::IcmpNotHandled),
        Some(AddressRole::Shared) | None => NOT_OURS,
    }
}

/// Requests and probes (RFC 5227 section 2.1.1: sender 0.0.0.0) for our own addresses are answered.
/// One that says its sender has that address is another host's claim to it, not a question.
fn classify_arp(snapshot: &Snapshot, arp: &Arp) -> Class {
    match snapshot.address_role(arp.target_address) {
        Some(AddressRole::Vip | AddressRole::Snat) => {}
        Some(AddressRole::Shared) | None => return NOT_OURS,
    }
    if arp.operation != Arp::REQUEST {
        return dropped(DropReason::ArpNotRequest);
    }
    let is_probe = arp.sender_address == Ipv4Addr::UNSPECIFIED;
    let no_sender = is_no_sender(snapshot, arp.sender_address, arp.target_address);
    if !arp.sender_mac.is_station() || (no_sender && !is_probe) {
        return dropped(DropReason::BadAddress);
    }
    Class::Arp(*arp)
}

/// Can no honest packet to `destination` come from this address? It is not one host's (RFC 1122
/// section 3.2.1.3), or ours, or the same.
pub(super) fn is_no_sender(snapshot: &Snapshot, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    let [first, ..] = source.octets();
    let is_ours = || {
        let role = snapshot.address_role(source);
        matches!(role, Some(AddressRole::Vip | AddressRole::Snat))
    };
    matches!(first, 0 | 127 | 224..) || source == destination || is_ours()
}

/// As [`is_no_sender`], for a packet that would begin a flow. The machine may be a client of a VIP
/// by an address that it shares with us, but not by a port of it that is ours.
pub(super) fn is_no_client(snapshot: &Snapshot, key: &FlowKey) -> bool {
    let (source, destination) =
        (Ipv4Addr::from_bits(key.source), Ipv4Addr::from_bits(key.destination));
    is_no_sender(snapshot, source, destination)
        || snapshot.find_snat(source, key.source_port).is_some()
        || snapshot.find_service(&key.reversed()).is_some()
}
