//! Changes in place: link header, time to live, addresses and ports. Checksums follow by what
//! changed.
//!
//! Every function takes what [`parse`](super::parse()) gave for this very frame. With another
//! frame's it may write nonsense, but never outside the frame.

use super::checksum::Change;
use super::packet::{Content, IPV4_LEN, IPV6_LEN, IpPacket, TcpFlags};
use super::{Address, FlowKey, FrameView, Link, Protocol, Quote, Tags, checksum, link};

/// Offsets in an IPv4 header (RFC 791 section 3.1).
mod ipv4 {
    pub const TYPE_OF_SERVICE: usize = 1;
    pub const IDENTIFICATION: usize = 4;
    pub const TTL: usize = 8;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
}

/// Offsets in an IPv6 header (RFC 8200 section 3).
mod ipv6 {
    pub const HOP_LIMIT: usize = 7;
    pub const SOURCE: usize = 8;
    pub const DESTINATION: usize = 24;
}

/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;
/// Offset of the checksum in an ICMP header.
const ICMP_CHECKSUM: usize = 2;

/// Gives the frame the link header for its next station: `macs` are destination and source. With
/// other tags than it came with, the frame begins elsewhere. `false`, and nothing done, when there is no room in front for more tags.
#[inline(always)]
pub fn set_link(view: &mut FrameView<'_>, came_with: &Link, macs: &[u8; 12], tags: Tags) -> bool {
    const ETHERTYPE_LEN: usize = 2;
    let len = tags.header_len();
    // The EtherType stays, and so goes with the packet.
    let (old, new) = (came_with.end().saturating_sub(ETHERTYPE_LEN), len - ETHERTYPE_LEN);
    if old != new && !view.move_start(old, new) {
        return false;
    }
    link::emit(view.bytes_mut(), macs, tags)
}

/// As [`set_link`], where the frame has as many tags as it is given.
#[inline(always)]
pub fn replace_link(frame: &mut [u8], macs: &[u8; 12], tags: Tags) {
    // Such a frame is long enough.
    let _ = link::emit(frame, macs, tags);
}

/// Takes one from the time to live (RFC 1812 section 5.3.1) or hop limit (RFC 8200 section 3). Zero
/// stays zero: whether there is one left to take is the caller's question.
#[inline]
pub fn decrement_hop_limit(frame: &mut [u8], packet: &IpPacket) {
    let Some(header) = frame.get_mut(packet.start()..) else { return };
    let hop_limit = packet.hop_limit.saturating_sub(1);
    if !packet.key.source.is_v4() {
        return put(header, ipv6::HOP_LIMIT, [hop_limit]);
    }
    let Some(header) = header.first_chunk_mut::<IPV4_LEN>() else { return };
    header[ipv4::TTL] = hop_limit;
    // Time to live is the high half of its word.
    let change = Change::NONE.word(u16::from(packet.hop_limit) << 8, u16::from(hop_limit) << 8);
    let [.., c0, c1, _, _, _, _, _, _, _, _] = header;
    [*c0, *c1] = change.applied_to(u16::from_be_bytes([*c0, *c1])).to_be_bytes();
}

/// As [`decrement_hop_limit`], of a packet that begins with these bytes and has a hop left to take.
#[inline(always)]
pub(super) fn take_hop(header: &mut [u8; IPV4_LEN]) {
    if header[0] >> 4 != 4 {
        header[ipv6::HOP_LIMIT] = header[ipv6::HOP_LIMIT].wrapping_sub(1);
        return;
    }
    header[ipv4::TTL] = header[ipv4::TTL].wrapping_sub(1);
    let [.., c0, c1, _, _, _, _, _, _, _, _] = header;
    // RFC 1624 equation 3, of a word that is 0x0100 less: what comes out as all ones is zero there.
    let sum = u32::from(u16::from_be_bytes([*c0, *c1])) + 0x0100;
    [*c0, *c1] = ((sum + ((sum + 1) >> 16)) as u16).to_be_bytes();
}

/// An address and a port a packet is given.
pub type Endpoint = (Address, u16);

/// Gives the packet another source, destination, or both, of its own family; the answer is its new
/// key.
///
/// IPv4 and transport checksums take in what changed (RFC 1624), in one go. A UDP checksum of zero
/// means none was made, and stays; one that comes out as zero is written as all ones (RFC 768). Of a
/// packet without ports, such as a fragment that is not the first, only the addresses are changed.
#[inline]
pub fn translate(
    frame: &mut [u8],
    packet: &IpPacket,
    source: Option<Endpoint>,
    destination: Option<Endpoint>,
) -> FlowKey {
    let old = packet.key;
    let (source, source_port) = source.unwrap_or((old.source, old.source_port));
    let (destination, destination_port) =
        destination.unwrap_or((old.destination, old.destination_port));
    let mut new = FlowKey { source, destination, ..old };
    // An address that stays adds ~m + m = all ones, which is zero here: no need to ask.
    let addresses = Change::NONE.address(old.source, source).address(old.destination, destination);
    put_addresses(frame, packet, &new, addresses);
    let has_ports = match packet.content {
        Content::Tcp(_) | Content::Udp => true,
        // SCTP's checksum would have to be made anew over all of it: none is translated.
        Content::Fragment(fragment) => fragment.has_ports,
        _ => false,
    };
    if has_ports {
        (new.source_port, new.destination_port) = (source_port, destination_port);
        let all = addresses
            .word(old.source_port, source_port)
            .word(old.destination_port, destination_port);
        put_ports(frame, packet, &new, all);
    }
    new
}

/// [`decrement_hop_limit`] and [`translate`], for a packet whose hop limit is not zero.
#[inline]
pub fn route(frame: &mut [u8], packet: &IpPacket, source: Endpoint, destination: Endpoint) {
    if packet.is_transport() {
        route_whole(frame, packet, source, destination);
    } else {
        decrement_hop_limit(frame, packet);
        translate(frame, packet, Some(source), Some(destination));
    }
}

/// As [`route`], in one go, for a whole TCP segment or UDP datagram.
#[inline(always)]
pub fn route_whole(frame: &mut [u8], packet: &IpPacket, source: Endpoint, destination: Endpoint) {
    let old = &packet.key;
    let hop_limit = packet.hop_limit.wrapping_sub(1);
    let addresses = if old.source.is_v4() {
        let addresses = Change::NONE
            .double_word(old.source.low_bits(), source.0.low_bits())
            .double_word(old.destination.low_bits(), destination.0.low_bits());
        let Some(header) = place::<IPV4_LEN>(frame, packet.start()) else { return };
        let [_, _, _, _, _, _, _, _, ttl, _, c0, c1, addresses_at @ ..] = header;
        *ttl = hop_limit;
        // Time to live is the high half of its word.
        let change = addresses.word(0x100, 0);
        [*c0, *c1] = change.applied_to(u16::from_be_bytes([*c0, *c1])).to_be_bytes();
        let both = u64::from(source.0.low_bits()) << 32 | u64::from(destination.0.low_bits());
        *addresses_at = both.to_be_bytes();
        addresses
    } else {
        let Some(header) = place::<IPV6_LEN>(frame, packet.start()) else { return };
        header[ipv6::HOP_LIMIT] = hop_limit;
        put(header, ipv6::SOURCE, source.0.octets());
        put(header, ipv6::DESTINATION, destination.0.octets());
        Change::NONE.address(old.source, source.0).address(old.destination, destination.0)
    };
    let change =
        addresses.word(old.source_port, source.1).word(old.destination_port, destination.1);
    let start = packet.payload_start();
    put(frame, start, (u32::from(source.1) << 16 | u32::from(destination.1)).to_be_bytes());
    match old.is_tcp() {
        true => update(frame, start + TCP_CHECKSUM, change),
        false => update_udp(frame, start + UDP_CHECKSUM, change),
    }
}

/// Sends the packet to another address with this DSCP (RFC 2474 section 3), a hop further. ICMP errors keep
/// what they quote. Ports and ECN stay.
pub fn mark(frame: &mut [u8], packet: &IpPacket, destination: Address, dscp: u8) {
    decrement_hop_limit(frame, packet);
    translate(frame, packet, None, Some((destination, packet.key.destination_port)));
    set_dscp(frame, packet, dscp);
}

/// Gives the packet this DSCP; the ECN bits stay (RFC 3168 section 5).
pub fn set_dscp(frame: &mut [u8], packet: &IpPacket, dscp: u8) {
    let (old, start) = (packet.traffic_class, packet.start());
    let new = dscp << 2 | old & 3;
    if packet.key.source.is_v4() {
        put(frame, start + ipv4::TYPE_OF_SERVICE, [new]);
        let change = Change::NONE.word(u16::from(old), u16::from(new));
        return update(frame, start + ipv4::CHECKSUM, change);
    }
    // Between the version and the flow label.
    if let Some([first, second]) = place(frame, start) {
        *first = *first & 0xf0 | new >> 4;
        *second = *second & 0xf | new << 4;
    }
}

#[inline]
fn put_addresses(frame: &mut [u8], packet: &IpPacket, new: &FlowKey, change: Change) {
    let start = packet.start();
    if new.source.is_v4() {
        put(frame, start + ipv4::SOURCE, new.source.low_bits().to_be_bytes());
        put(frame, start + ipv4::DESTINATION, new.destination.low_bits().to_be_bytes());
        update(frame, start + ipv4::CHECKSUM, change);
    } else {
        put(frame, start + ipv6::SOURCE, new.source.octets());
        put(frame, start + ipv6::DESTINATION, new.destination.octets());
    }
}

#[inline]
fn put_ports(frame: &mut [u8], packet: &IpPacket, new: &FlowKey, change: Change) {
    let start = packet.payload_start();
    put(frame, start, new.source_port.to_be_bytes());
    put(frame, start + 2, new.destination_port.to_be_bytes());
    match Protocol::from_number(new.protocol_number()) {
        Some(Protocol::Tcp) => update(frame, start + TCP_CHECKSUM, change),
        Some(Protocol::Udp) => update_udp(frame, start + UDP_CHECKSUM, change),
        Some(Protocol::Sctp) | None => {}
    }
}

/// Writes a fragment's identification: the one that `packet` says, whatever it came with.
pub fn set_identification(frame: &mut [u8], packet: &IpPacket) {
    let Content::Fragment(part) = packet.content else { return };
    if packet.key.source.is_v4() {
        let place = packet.start() + ipv4::IDENTIFICATION;
        let Some(field) = frame.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) else {
            return;
        };
        let (old, new) = (u16::from_be_bytes(*field), part.identification as u16);
        *field = new.to_be_bytes();
        update(frame, packet.start() + ipv4::CHECKSUM, Change::NONE.word(old, new));
    } else {
        // The last four bytes of the fragment header, which the fragment's bytes follow.
        let behind = usize::from(packet.end.saturating_sub(part.len));
        put(frame, behind.saturating_sub(4), part.identification.to_be_bytes());
    }
}

/// Gives an ICMP error other outer addresses, and the packet it quotes other ends (RFC 5508 section
/// 4.2): `outer` and `inner` are source and destination.
///
/// The quoted headers' checksums take in what changed, as far as they are quoted; the ICMP checksum
/// is made anew, so it has to have been right before ([`icmp_adds_up`]).
pub fn translate_error(
    frame: &mut [u8],
    error: &IpPacket,
    quote: &Quote,
    outer: (Address, Address),
    inner: (Endpoint, Endpoint),
) {
    let ((source, source_port), (destination, destination_port)) = inner;
    let quoted = IpPacket {
        key: quote.key,
        start: quote.start,
        payload: quote.transport,
        end: error.end,
        content: if quote.key.is_tcp() { Content::Tcp(TcpFlags::default()) } else { Content::Udp },
        ..*error
    };
    // No further than the message goes: behind it may be padding.
    let end = usize::from(error.end).min(frame.len());
    if let Some(message) = frame.get_mut(..end) {
        let (from, to) = ((source, source_port), (destination, destination_port));
        translate(message, &quoted, Some(from), Some(to));
    }
    let addresses =
        Change::NONE.address(error.source(), outer.0).address(error.destination(), outer.1);
    let key = FlowKey { source: outer.0, destination: outer.1, ..error.key };
    put_addresses(frame, error, &key, addresses);
    let place = error.payload_start() + ICMP_CHECKSUM;
    put(frame, place, [0, 0]);
    let sum = icmp_sum(frame, error, &key);
    put(frame, place, (!checksum::fold(sum)).to_be_bytes());
}

/// Does the checksum of an ICMP or ICMPv6 message add up?
pub fn icmp_adds_up(frame: &[u8], message: &IpPacket) -> bool {
    checksum::adds_up(icmp_sum(frame, message, &message.key))
}

fn icmp_sum(frame: &[u8], message: &IpPacket, key: &FlowKey) -> u64 {
    let bytes = frame.get(message.payload_start()..usize::from(message.end)).unwrap_or_default();
    let pseudo = if key.source.is_v4() { 0 } else { checksum::pseudo_header_of(key, bytes.len()) };
    pseudo + checksum::sum(bytes)
}

#[inline]
fn put<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = place(frame, at) {
        *place = bytes;
    }
}

#[inline(always)]
fn update(frame: &mut [u8], at: usize, change: Change) {
    if let Some(checksum) = place(frame, at) {
        *checksum = change.applied_to(u16::from_be_bytes(*checksum)).to_be_bytes();
    }
}

#[inline]
fn update_udp(frame: &mut [u8], at: usize, change: Change) {
    if let Some(checksum) = place(frame, at).filter(|checksum| **checksum != [0, 0]) {
        *checksum = match change.applied_to(u16::from_be_bytes(*checksum)) {
            0 => [0xff, 0xff],
            sum => sum.to_be_bytes(),
        };
    }
}

#[inline]
fn place<const N: usize>(frame: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    frame.get_mut(at..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests;
