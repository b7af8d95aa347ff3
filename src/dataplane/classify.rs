//! First steps of a frame: is it ours, and what kind of work is it?

use super::{DropReason, Verdict};
use crate::forwarding::{AddressRole, ServiceIndex, Snapshot};
use crate::wire::{
    Address, Arp, Content, Fault, FlowKey, Headers, IpPacket, Kind, MacAddress, ParseError, PortId,
    Protocol, parse_arp, parse_into, parse_quote, parse_tunnel_quote, rewrite,
};

/// What has to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// Nothing more.
    Settled(Verdict),
    /// From a client to this service.
    Forward(ServiceIndex),
    /// From a backend to a SNAT address.
    Back,
    /// From a backend of this DNAT service to a client.
    Return(ServiceIndex),
    /// An ARP request for an address of ours.
    Arp,
    /// A neighbour solicitation for an address of ours.
    Solicitation,
    /// A ping to a VIP.
    Echo,
    /// An ICMP error about a packet of this service's flow that was sent to its client.
    ErrorForward(ServiceIndex),
    /// An ICMP error about a packet that was sent to a backend from a SNAT address.
    ErrorBack,
    /// An ICMP error about a packet that was sent to a backend of this DNAT service, for its client.
    ErrorReturn(ServiceIndex),
    /// An ICMP error about a tunnel's packet that we have sent.
    TunnelError,
    /// A fragment of a datagram to an address of ours, whose flow is not known yet.
    Fragment,
}

const fn dropped(reason: DropReason) -> Class {
    Class::Settled(Verdict::Drop(reason))
}

const NOT_OURS: Class = Class::Settled(Verdict::NotOurs);

/// Reads a frame that came in by `ingress`, and says what is to be done with it.
#[inline]
pub(super) fn classify(
    snapshot: &Snapshot,
    ingress: PortId,
    frame: &[u8],
    headers: &mut Headers,
) -> Class {
    let Some(port) = snapshot.port(ingress) else { return NOT_OURS };
    // Asked of the bytes, since even a broken frame for somebody else is somebody else's.
    let destination = frame.first_chunk().map(|&mac| MacAddress(mac));
    if destination.is_some_and(|mac| mac != port.mac && !mac.is_group()) {
        return NOT_OURS;
    }
    match parse_into(frame, headers) {
        Ok(Kind::Ip) => match classify_plain(snapshot, headers) {
            Some(class) => class,
            None => classify_packet(snapshot, headers, frame),
        },
        Ok(Kind::Arp) => match parse_arp(frame, &headers.link) {
            Ok(Some(arp)) => classify_arp(snapshot, &arp),
            Ok(None) => NOT_OURS,
            Err(error) => dropped(reason_of(&error)),
        },
        Ok(Kind::Other) => NOT_OURS,
        Err(error) => dropped(reason_of(&error)),
    }
}

#[cold]
fn reason_of(error: &ParseError) -> DropReason {
    match error.fault {
        Fault::Checksum => DropReason::BadIpv4Checksum,
        Fault::SourceRoute => DropReason::SourceRouted,
        Fault::MappedAddress => DropReason::BadAddress,
        Fault::ChainTooLong => DropReason::TooManyExtensionHeaders,
        _ => DropReason::Malformed,
    }
}

/// What nearly all packets are, asked first: from one station to us alone, TCP or UDP, of a service
/// or for a SNAT address.
#[inline]
fn classify_plain(snapshot: &Snapshot, headers: &Headers) -> Option<Class> {
    let is_to_one = !headers.link.destination.is_group() && headers.link.source.is_station();
    if !is_to_one || !headers.ip.is_transport() {
        return None;
    }
    if let Some((service, _)) = snapshot.find_service(&headers.ip.key) {
        return Some(Class::Forward(service));
    }
    if is_snat(snapshot, &headers.ip.key) {
        return Some(Class::Back);
    }
    let service = snapshot.find_dnat(&headers.ip.key)?;
    snapshot.address_role(headers.ip.destination()).is_none().then_some(Class::Return(service))
}

#[inline(never)]
fn classify_packet(snapshot: &Snapshot, headers: &Headers, frame: &[u8]) -> Class {
    let class = classify_ip(snapshot, &headers.ip, frame);
    // A solicitation is sent to a group of hosts.
    if matches!(class, Class::Solicitation) {
        return class;
    }
    // IP to one host in a frame to many is not to be taken (RFC 1122 section 3.3.6), and a station
    // that is no station could not be answered.
    let to_one = !headers.link.destination.is_group() && headers.link.source.is_station();
    let is_ours = !matches!(class, Class::Settled(Verdict::NotOurs));
    if is_ours && !to_one { dropped(DropReason::BadAddress) } else { class }
}

#[inline]
fn classify_ip(snapshot: &Snapshot, ip: &IpPacket, frame: &[u8]) -> Class {
    match ip.content {
        Content::Tcp(_) | Content::Udp | Content::Sctp(_) => classify_transport(snapshot, &ip.key),
        Content::EchoRequest => classify_echo(snapshot, ip),
        Content::NeighbourSolicitation(target) => classify_solicitation(snapshot, ip, target),
        Content::IcmpError => classify_error(snapshot, ip, frame),
        Content::Icmp => match snapshot.address_role(ip.destination()) {
            Some(_) => dropped(DropReason::IcmpNotHandled),
            None => NOT_OURS,
        },
        Content::Fragment(_) => classify_fragment(snapshot, ip),
        Content::Other => match snapshot.address_role(ip.destination()) {
            // On an address shared with the machine the kernel has the rest.
            Some(AddressRole::Vip | AddressRole::Snat) => dropped(DropReason::UnknownProtocol),
            Some(AddressRole::Shared) | None => NOT_OURS,
        },
    }
}

/// On an address shared with the machine the XDP program leaves later fragments to the kernel, since
/// nothing tells whose they are: there a first one alone is no use.
#[cold]
fn classify_fragment(snapshot: &Snapshot, ip: &IpPacket) -> Class {
    match snapshot.address_role(ip.destination()) {
        Some(AddressRole::Vip | AddressRole::Snat) => {}
        Some(AddressRole::Shared) => return dropped(DropReason::Fragment),
        None if is_dnat_fragment(snapshot, ip) => {}
        None => return NOT_OURS,
    }
    if is_no_sender(snapshot, ip.source(), ip.destination()) {
        return dropped(DropReason::BadAddress);
    }
    // In IPv6 only the first one tells.
    let is_balanced = Protocol::from_number(ip.key.protocol_number()).is_some();
    match ip.key.source.is_v4() && !is_balanced {
        true => dropped(DropReason::Fragment),
        false => Class::Fragment,
    }
}

/// Is it of a datagram that a DNAT backend sends to a client? A later one is, if the XDP program has
/// taken it, and its first one says so.
fn is_dnat_fragment(snapshot: &Snapshot, ip: &IpPacket) -> bool {
    match ip.content {
        Content::Fragment(part) if part.has_ports => snapshot.find_dnat(&ip.key).is_some(),
        _ => {
            snapshot.dnat().has_address(ip.key.source)
                && ip.key.destination.is_one_host()
                && !snapshot.is_own(ip.key.destination)
        }
    }
}

#[inline]
pub(super) fn classify_transport(snapshot: &Snapshot, key: &FlowKey) -> Class {
    if let Some((service, _)) = snapshot.find_service(key) {
        return Class::Forward(service);
    }
    if is_snat(snapshot, key) {
        return Class::Back;
    }
    match snapshot.address_role(key.destination) {
        Some(AddressRole::Vip) => dropped(DropReason::NoService),
        Some(AddressRole::Snat) => dropped(DropReason::NoSnatBinding),
        Some(AddressRole::Shared) => NOT_OURS,
        None => snapshot.find_dnat(key).map_or(NOT_OURS, Class::Return),
    }
}

/// Does a packet with this key come from a backend, to a SNAT address of ours?
///
/// On an address that is for SNAT alone any port may be a flow's: the range may have been larger
/// when the flow began.
#[inline]
pub(super) fn is_snat(snapshot: &Snapshot, key: &FlowKey) -> bool {
    // In this order, since pools are walked over, and most addresses are for SNAT alone.
    snapshot.address_role(key.destination) == Some(AddressRole::Snat)
        || (key.protocol_number() != Protocol::Sctp.number()
            && snapshot.find_snat(key.destination, key.destination_port).is_some())
}

fn classify_echo(snapshot: &Snapshot, ip: &IpPacket) -> Class {
    match snapshot.address_role(ip.destination()) {
        Some(AddressRole::Vip) if is_no_sender(snapshot, ip.source(), ip.destination()) => {
            dropped(DropReason::BadAddress)
        }
        Some(AddressRole::Vip) => Class::Echo,
        Some(AddressRole::Snat) => dropped(DropReason::IcmpNotHandled),
        Some(AddressRole::Shared) | None => NOT_OURS,
    }
}

/// An error is for whoever sent the packet that it quotes (RFC 5508 section 4.2): told by that
/// packet's source, which has to be the address the error is sent to.
#[cold]
fn classify_error(snapshot: &Snapshot, ip: &IpPacket, frame: &[u8]) -> Class {
    if snapshot.tunnel_sources.cover(ip.destination()) {
        return classify_tunnel_error(snapshot, ip, frame);
    }
    if snapshot.address_role(ip.destination()).is_none() {
        return classify_error_to_client(snapshot, ip, frame);
    }
    if !rewrite::icmp_adds_up(frame, ip) {
        return dropped(DropReason::BadIcmpChecksum);
    }
    // A router may have any address, but that of a group or of nobody, or ours.
    if is_no_sender(snapshot, ip.source(), ip.destination()) {
        return dropped(DropReason::BadAddress);
    }
    let Ok(quote) = parse_quote(frame, ip) else { return dropped(DropReason::BadQuote) };
    if quote.key.source != ip.destination() {
        return dropped(DropReason::BadQuote);
    }
    let towards = quote.key.reversed();
    if let Some((service, _)) = snapshot.find_service(&towards) {
        return Class::ErrorForward(service);
    }
    if is_snat(snapshot, &towards) {
        return Class::ErrorBack;
    }
    dropped(DropReason::NoFlowForError)
}

/// An error to nobody of ours: about a packet to a DNAT backend, which has its client's address as
/// source.
#[cold]
fn classify_error_to_client(snapshot: &Snapshot, ip: &IpPacket, frame: &[u8]) -> Class {
    if snapshot.dnat().is_empty() {
        return NOT_OURS;
    }
    if snapshot.is_own(ip.destination()) {
        return NOT_OURS;
    }
    // The XDP program has looked at it already, less closely.
    let Ok(quote) = parse_quote(frame, ip) else { return dropped(DropReason::BadQuote) };
    let Some(service) = snapshot.dnat().find(&quote.key.reversed()) else { return NOT_OURS };
    if quote.key.source != ip.destination() {
        return dropped(DropReason::BadQuote);
    }
    if !rewrite::icmp_adds_up(frame, ip) {
        return dropped(DropReason::BadIcmpChecksum);
    }
    if is_no_sender(snapshot, ip.source(), ip.destination()) {
        return dropped(DropReason::BadAddress);
    }
    Class::ErrorReturn(service)
}

/// An error to an outer source of ours, which has sent the packet that it quotes.
#[cold]
fn classify_tunnel_error(snapshot: &Snapshot, ip: &IpPacket, frame: &[u8]) -> Class {
    // The XDP program has looked at it already, less closely.
    let quote = parse_tunnel_quote(frame, ip).filter(|quote| quote.source == ip.destination());
    if quote.is_none() {
        return dropped(DropReason::BadQuote);
    }
    if !rewrite::icmp_adds_up(frame, ip) {
        return dropped(DropReason::BadIcmpChecksum);
    }
    if is_no_sender(snapshot, ip.source(), ip.destination()) {
        return dropped(DropReason::BadAddress);
    }
    Class::TunnelError
}

/// Requests and probes (RFC 5227 section 2.1.1: sender 0.0.0.0) for our own addresses are answered.
/// One that says its sender has that address is another host's claim to it, not a question.
fn classify_arp(snapshot: &Snapshot, arp: &Arp) -> Class {
    let (target, sender) = (arp.target_address.into(), arp.sender_address.into());
    match snapshot.address_role(target) {
        Some(AddressRole::Vip | AddressRole::Snat) => {}
        Some(AddressRole::Shared) | None => return NOT_OURS,
    }
    if arp.operation != Arp::REQUEST {
        return dropped(DropReason::ArpNotRequest);
    }
    let is_probe = arp.sender_address.is_unspecified();
    let no_sender = is_no_sender(snapshot, sender, target);
    if !arp.sender_mac.is_station() || (no_sender && !is_probe) {
        return dropped(DropReason::BadAddress);
    }
    Class::Arp
}

/// As [`classify_arp`], for IPv6 (RFC 4861 section 7.1.1): valid only when it has not come over a
/// router.
fn classify_solicitation(snapshot: &Snapshot, ip: &IpPacket, target: Address) -> Class {
    match snapshot.address_role(target) {
        Some(AddressRole::Vip | AddressRole::Snat) => {}
        // Whoever asks us for another's address gets no answer.
        Some(AddressRole::Shared) | None => match snapshot.address_role(ip.destination()) {
            Some(AddressRole::Vip | AddressRole::Snat) => {
                return dropped(DropReason::IcmpNotHandled);
            }
            Some(AddressRole::Shared) | None => return NOT_OURS,
        },
    }
    let is_probe = ip.source() == Address::UNSPECIFIED;
    if ip.hop_limit != 255 || (!is_probe && is_no_sender(snapshot, ip.source(), target)) {
        return dropped(DropReason::BadAddress);
    }
    Class::Solicitation
}

/// Can no honest packet to `destination` come from this address? It is not one host's, or ours, or
/// the same.
pub(super) fn is_no_sender(snapshot: &Snapshot, source: Address, destination: Address) -> bool {
    let is_ours = || {
        let role = snapshot.address_role(source);
        matches!(role, Some(AddressRole::Vip | AddressRole::Snat))
    };
    !source.is_one_host() || source == destination || is_ours()
}

/// As [`is_no_sender`], for a packet that would begin a flow. The machine may be a client of a VIP
/// by an address that it shares with us, but not by a port of it that is ours.
#[inline]
pub(super) fn is_no_client(snapshot: &Snapshot, key: &FlowKey) -> bool {
    if snapshot.address_role(key.source).is_none() {
        // Nearly always. What is not ours has no port or service of ours either.
        return !key.source.is_one_host() || key.source == key.destination;
    }
    is_no_sender(snapshot, key.source, key.destination)
        || snapshot.find_snat(key.source, key.source_port).is_some()
        || snapshot.find_service(&key.reversed()).is_some()
}
