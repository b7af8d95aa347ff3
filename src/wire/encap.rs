//! Tunnels: an outer IP header, and what stands between it and the packet.
//!
//! The packet goes to a backend as it is, but for the hop it costs, in an envelope that only the
//! backend's kernel (or `guideway decap`) opens. Every function takes what
//! [`parse`](super::parse()) gave for this very frame.

mod envelope;
mod source;

use std::fmt;

use super::header::{DONT_FRAGMENT, IpHeader, TUNNEL_HOP_LIMIT};
use super::link::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::packet::{Content, IPV4_LEN, IPV6_LEN, IpPacket, UDP_LEN};
use super::{Address, Family, FrameView, Tags, checksum};

pub use envelope::{Envelope, Seal};
pub use source::{TunnelSource, TunnelSources};

const IPV4_IN_IP: u8 = 4;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

/// GRE: the key field is there (RFC 2890 section 2).
const GRE_KEY_PRESENT: u16 = 0x2000;
/// Bytes of a GRE header without optional fields (RFC 2784 section 2.1).
const GRE_LEN: usize = 4;
/// Bytes of a GUE header, version 0, without optional fields (draft-ietf-intarea-gue section 3.1).
const GUE_LEN: usize = 4;
/// Longest header behind an outer one: UDP and GUE.
const LONGEST_SHIM: usize = UDP_LEN + GUE_LEN;
/// First of the ports that nobody is given (RFC 6335 section 6): a GUE source port is one of them.
const FIRST_DYNAMIC_PORT: u16 = 0xc000;

/// What an envelope is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Tunnel {
    /// IP in IP: nothing between the headers (RFC 2003, RFC 4213, RFC 2473).
    Ipip,
    /// GRE (RFC 2784).
    Gre {
        /// The key, where the other end wants one (RFC 2890).
        key: Option<u32>,
    },
    /// Generic UDP encapsulation: routers and NICs spread flows by its source port.
    Gue {
        /// Destination port.
        port: u16,
        /// Which form.
        version: GueVersion,
        /// A UDP checksum over IPv4 too; over IPv6 there is one always (RFC 8200 section 8.1).
        checksum: bool,
    },
}

/// The two forms of GUE (draft-ietf-intarea-gue section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum GueVersion {
    /// A header of 4 bytes says what is inside.
    V0,
    /// The IP header stands right behind UDP's, and says so by its own version.
    V1,
}

impl Tunnel {
    /// GUE as it is when nothing more is said: IANA's port, version 0, with a checksum.
    pub const GUE: Tunnel = Tunnel::Gue { port: 6080, version: GueVersion::V0, checksum: true };

    /// Bytes that the envelope adds to a packet, with outer addresses of this family.
    #[inline]
    pub const fn overhead_bytes(self, outer: Family) -> usize {
        outer_len(outer) + self.shim_len()
    }

    /// Bytes between the outer header and the packet.
    #[inline]
    const fn shim_len(self) -> usize {
        match self {
            Tunnel::Ipip => 0,
            Tunnel::Gre { key: None } => GRE_LEN,
            Tunnel::Gre { key: Some(_) } => GRE_LEN + 4,
            Tunnel::Gue { version: GueVersion::V0, .. } => UDP_LEN + GUE_LEN,
            Tunnel::Gue { version: GueVersion::V1, .. } => UDP_LEN,
        }
    }

    /// Protocol of the outer header.
    #[inline]
    const fn protocol(self, inner: Family) -> u8 {
        match self {
            Tunnel::Ipip => ip_in_ip(inner),
            Tunnel::Gre { .. } => GRE,
            Tunnel::Gue { .. } => UDP,
        }
    }

    /// The word it has in configuration and status.
    pub const fn name(self) -> &'static str {
        match self {
            Tunnel::Ipip => "ipip",
            Tunnel::Gre { .. } => "gre",
            Tunnel::Gue { .. } => "gue",
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match *self {
            Tunnel::Ipip | Tunnel::Gre { key: None } => Ok(()),
            Tunnel::Gre { key: Some(key) } => write!(f, " key {key}"),
            Tunnel::Gue { port, version, checksum } => {
                let version = if version == GueVersion::V0 { "" } else { " version 1" };
                let checksum = if checksum { "" } else { " without checksum" };
                write!(f, " port {port}{version}{checksum}")
            }
        }
    }
}

/// The DSCP of an outer header (RFC 2983).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Dscp {
    /// The packet's own: the uniform model.
    Copied,
    /// This one, of 6 bits, whatever the packet says: the pipe model.
    Fixed(u8),
}

impl Dscp {
    /// The outer traffic class. ECN is copied (RFC 6040 section 4.1, normal mode).
    #[inline]
    const fn traffic_class(self, inner: u8) -> u8 {
        match self {
            Dscp::Copied => inner,
            Dscp::Fixed(dscp) => dscp << 2 | inner & 3,
        }
    }
}

/// The outer addresses, and what tells flows apart outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer {
    /// Ours.
    pub source: Address,
    /// The backend's.
    pub destination: Address,
    /// DSCP.
    pub dscp: Dscp,
    /// The same for all packets of a flow: flow label and source port come from it.
    pub entropy: u32,
    /// Identification of an IPv4 packet that may be fragmented on its way.
    pub identification: u16,
}

/// Puts the packet into an envelope and gives the frame its link header. `false`, and the frame not
/// to be sent, when the chunk is too small.
///
/// An outer IPv4 header forbids fragmenting where the inner one does (RFC 2003 section 3.1), and
/// always around IPv6, which is not fragmented on its way. The frame's padding stays behind.
#[inline]
pub fn encapsulate(
    view: &mut FrameView<'_>,
    packet: &IpPacket,
    link: (&[u8; 12], Tags),
    tunnel: Tunnel,
    outer: &Outer,
) -> bool {
    let header = IpHeader {
        source: outer.source,
        destination: outer.destination,
        traffic_class: outer.dscp.traffic_class(packet.traffic_class),
        hop_limit: TUNNEL_HOP_LIMIT,
        identification: if packet.dont_fragment { 0 } else { outer.identification },
        fragmenting: if packet.dont_fragment { DONT_FRAGMENT } else { 0 },
        flow_label: outer.entropy & 0xf_ffff,
        protocol: tunnel.protocol(packet.family()),
        payload_len: tunnel.shim_len() + packet.len(),
    };
    // Each family with its own code: then lengths are constants.
    if outer.destination.is_v4() {
        let emit = |place: &mut [u8; IPV4_LEN]| header.emit_ipv4(place);
        around(view, packet, (link, ETHERTYPE_IPV4), emit, (tunnel, &header, outer.entropy))
    } else {
        let emit = |place: &mut [u8; IPV6_LEN]| header.emit_ipv6(place);
        around(view, packet, (link, ETHERTYPE_IPV6), emit, (tunnel, &header, outer.entropy))
    }
}

#[inline(always)]
fn around<const OUTER_LEN: usize>(
    view: &mut FrameView<'_>,
    packet: &IpPacket,
    ((macs, tags), ethertype): ((&[u8; 12], Tags), u16),
    emit: impl FnOnce(&mut [u8; OUTER_LEN]) -> bool,
    (tunnel, header, entropy): (Tunnel, &IpHeader, u32),
) -> bool {
    let head = tags.header_len() + OUTER_LEN + tunnel.shim_len();
    if !view.replace_head(packet.start(), head, packet.len()) {
        return false;
    }
    let frame = view.bytes_mut();
    let Some(behind) = link::emit_whole(frame, macs, tags, ethertype) else { return false };
    let Some((place, segment)) = behind.split_first_chunk_mut::<OUTER_LEN>() else { return false };
    if tunnel != Tunnel::Ipip {
        put_shim(segment, packet, tunnel, header, entropy);
    }
    emit(place)
}

/// Writes what stands between the outer header and the packet; `segment` is everything behind the
/// outer header.
#[inline]
fn put_shim(
    segment: &mut [u8],
    packet: &IpPacket,
    tunnel: Tunnel,
    header: &IpHeader,
    entropy: u32,
) {
    let inner = packet.family();
    match tunnel {
        Tunnel::Ipip => {}
        Tunnel::Gre { key } => {
            let flags = if key.is_some() { GRE_KEY_PRESENT } else { 0 };
            let protocol = if inner == Family::Ipv4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
            let word = u32::from(flags) << 16 | u32::from(protocol);
            put(segment, 0, word.to_be_bytes());
            if let Some(key) = key {
                put(segment, GRE_LEN, key.to_be_bytes());
            }
        }
        Tunnel::Gue { port, version, checksum } => {
            // RFC 8085 section 5.1.1: entropy in the source port.
            let source = FIRST_DYNAMIC_PORT | entropy as u16;
            let ports = u32::from(source) << 16 | u32::from(port);
            // Version 0, data message, no optional fields, what is inside.
            let gue = if version == GueVersion::V0 { u32::from(ip_in_ip(inner)) << 16 } else { 0 };
            let mut len_and_sum = (header.payload_len as u32) << 16;
            if checksum || !header.destination.is_v4() {
                let shim = u64::from(ports) + u64::from(len_and_sum) + u64::from(gue);
                let behind = segment.get(tunnel.shim_len()..).unwrap_or_default();
                let (from, to) = (header.source, header.destination);
                let pseudo = checksum::pseudo_header_sum(from, to, UDP, header.payload_len);
                len_and_sum |= u32::from(udp_sum(pseudo + shim, behind, packet));
            }
            put(segment, 0, ports.to_be_bytes());
            put(segment, 4, len_and_sum.to_be_bytes());
            if version == GueVersion::V0 {
                put(segment, UDP_LEN, gue.to_be_bytes());
            }
        }
    }
}

/// The checksum of a UDP datagram around a packet; `before` is the sum of all that is not the packet.
///
/// A transport segment with a right checksum adds up, together with its pseudo header, to zero. So
/// what is inside need not be read: its sum is the complement of its pseudo header's. Around a
/// wrong one the outer checksum is wrong too, and the backend drops what it would have dropped
/// anyway. Where there is no such checksum (UDP without one, fragments, ICMP) the bytes are added up.
#[inline]
fn udp_sum(before: u64, inner: &[u8], packet: &IpPacket) -> u16 {
    let inside = match inner.split_first_chunk::<IPV4_LEN>() {
        // An IPv4 header adds up to zero.
        Some((head, body)) if head[0] == 0x45 && has_checksum(body, packet) => {
            let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *head;
            let source = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
            let destination = u64::from(u32::from_be_bytes([d0, d1, d2, d3]));
            let rest = u64::from(head[9]) + body.len() as u64;
            u64::from(!checksum::fold(source + destination + rest))
        }
        _ => sum_inside(inner, packet),
    };
    // RFC 768: zero says that there is none.
    match !checksum::fold(before + inside) {
        0 => 0xffff,
        sum => sum,
    }
}

/// Sum of a packet's words, but of an IPv4 one without options that has a transport checksum.
fn sum_inside(inner: &[u8], packet: &IpPacket) -> u64 {
    let header_len = packet.payload_start().saturating_sub(packet.start());
    let (head, body) = inner.split_at_checked(header_len).unwrap_or_default();
    match (has_checksum(body, packet), head.len()) {
        // Of an IPv6 header the addresses are in the pseudo header, too, and fall out.
        (true, IPV6_LEN) if !packet.key.source.is_v4() => {
            let segment_len = body.len() as u64 + u64::from(packet.key.protocol_number());
            let words = head.first_chunk::<8>().map_or(0, |words| checksum::sum(words));
            words + u64::from(!checksum::fold(segment_len))
        }
        (true, _) => {
            let segment = !checksum::fold(checksum::pseudo_header_of(&packet.key, body.len()));
            checksum::sum(head) + u64::from(segment)
        }
        (false, _) => checksum::sum(inner),
    }
}

/// Does the packet carry a transport checksum over all of its payload?
#[inline]
fn has_checksum(body: &[u8], packet: &IpPacket) -> bool {
    match packet.content {
        Content::Tcp(_) => true,
        // A UDP datagram may be shorter than the packet (and then what follows is nobody's).
        Content::Udp => body.first_chunk::<UDP_LEN>().is_some_and(|&[.., l0, l1, s0, s1]| {
            (s0, s1) != (0, 0) && usize::from(u16::from_be_bytes([l0, l1])) == body.len()
        }),
        _ => false,
    }
}

/// Length of an outer header.
#[inline]
const fn outer_len(family: Family) -> usize {
    match family {
        Family::Ipv4 => IPV4_LEN,
        Family::Ipv6 => IPV6_LEN,
    }
}

#[inline]
const fn ip_in_ip(inner: Family) -> u8 {
    match inner {
        Family::Ipv4 => IPV4_IN_IP,
        Family::Ipv6 => IPV6_IN_IP,
    }
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// Bytes of room in front that the longest envelope of a kind needs.
pub const MOST_OVERHEAD: usize = IPV6_LEN + LONGEST_SHIM;

#[cfg(test)]
mod tests;
