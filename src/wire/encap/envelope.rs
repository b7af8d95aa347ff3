//! An envelope made once for a backend, of which little is left to be written for each packet.
//!
//! Says the same as [`encapsulate`](super::encapsulate), which a test holds it against, in a third of
//! the instructions: lengths are constants, and what all packets have in common is written, and
//! added up, before the first one comes.

use super::{
    Dscp, FIRST_DYNAMIC_PORT, GRE_KEY_PRESENT, GueVersion, Tunnel, TunnelSources, UDP, ip_in_ip,
    udp_sum,
};
use crate::wire::header::{DONT_FRAGMENT, TUNNEL_HOP_LIMIT};
use crate::wire::link::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::wire::packet::{IPV4_LEN, IPV6_LEN, IpPacket};
use crate::wire::rewrite::take_hop;
use crate::wire::{Address, Family, FrameView, Tags, checksum, class_and_fragmenting};

/// What differs between the packets of a backend, but for what stands in them.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// The flow's: gives the source, flow label and UDP's source port.
    pub hash: u64,
    /// See [`Outer::identification`](super::Outer::identification).
    pub identification: u16,
}

/// The envelope for the packets of one family to one backend, by an untagged link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct Envelope {
    destination: Address,
    /// Sum of the outer IPv4 header's words that are the same for all packets.
    ip_sum: u64,
    /// Of UDP with a checksum: sum of what is the same in its pseudo header and behind it.
    udp_sum: u64,
    /// The words between the outer header and the packet, as far as they are the same.
    shim: [u32; 3],
    link: [u8; ETHERNET_LEN],
    /// Of the outer traffic class: the bits that are copied, and what stands in the others.
    class_mask: u8,
    class: u8,
    protocol: u8,
    shape: Shape,
    has_checksum: bool,
    overhead: u8,
}

/// The lengths of an envelope: outer header, and what stands between it and the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Shape {
    /// Made for no packet: no backend's, or one that is reached by a VLAN.
    None,
    V4,
    V4Gre,
    V4Key,
    V4Gue,
    V4Udp,
    V6,
    V6Gre,
    V6Key,
    V6Gue,
    V6Udp,
}

impl Shape {
    fn of(outer: Family, tunnel: Tunnel) -> Shape {
        match (outer, tunnel) {
            (Family::Ipv4, Tunnel::Ipip) => Shape::V4,
            (Family::Ipv4, Tunnel::Gre { key: None }) => Shape::V4Gre,
            (Family::Ipv4, Tunnel::Gre { key: Some(_) }) => Shape::V4Key,
            (Family::Ipv4, Tunnel::Gue { version: GueVersion::V0, .. }) => Shape::V4Gue,
            (Family::Ipv4, Tunnel::Gue { version: GueVersion::V1, .. }) => Shape::V4Udp,
            (Family::Ipv6, Tunnel::Ipip) => Shape::V6,
            (Family::Ipv6, Tunnel::Gre { key: None }) => Shape::V6Gre,
            (Family::Ipv6, Tunnel::Gre { key: Some(_) }) => Shape::V6Key,
            (Family::Ipv6, Tunnel::Gue { version: GueVersion::V0, .. }) => Shape::V6Gue,
            (Family::Ipv6, Tunnel::Gue { version: GueVersion::V1, .. }) => Shape::V6Udp,
        }
    }
}

impl Envelope {
    /// No backend's.
    pub const NONE: Envelope = Envelope {
        destination: Address::UNSPECIFIED,
        ip_sum: 0,
        udp_sum: 0,
        shim: [0; 3],
        link: [0; ETHERNET_LEN],
        class_mask: 0,
        class: 0,
        protocol: 0,
        shape: Shape::None,
        has_checksum: false,
        overhead: 0,
    };

    /// For packets of the family `inner` to this backend, by a link with these MACs (destination and
    /// source) and tags.
    pub fn new(
        (tunnel, dscp): (Tunnel, Dscp),
        destination: Address,
        inner: Family,
        (macs, tags): (&[u8; 12], Tags),
    ) -> Envelope {
        if tags != Tags::NONE {
            return Envelope::NONE;
        }
        let ethertype = |family| match family {
            Family::Ipv4 => ETHERTYPE_IPV4,
            Family::Ipv6 => ETHERTYPE_IPV6,
        };
        let mut link = [0; ETHERNET_LEN];
        link[..12].copy_from_slice(macs);
        link[12..].copy_from_slice(&ethertype(destination.family()).to_be_bytes());
        let (class_mask, class) = match dscp {
            Dscp::Copied => (0xff, 0),
            Dscp::Fixed(dscp) => (3, dscp << 2),
        };
        let (shim, has_checksum) = match tunnel {
            Tunnel::Ipip => ([0; 3], false),
            Tunnel::Gre { key } => {
                let flags = if key.is_some() { GRE_KEY_PRESENT } else { 0 };
                let word = u32::from(flags) << 16 | u32::from(ethertype(inner));
                ([word, key.unwrap_or(0), 0], false)
            }
            Tunnel::Gue { port, version, checksum } => {
                let ports = u32::from(FIRST_DYNAMIC_PORT) << 16 | u32::from(port);
                let is_v0 = version == GueVersion::V0;
                let gue = if is_v0 { u32::from(ip_in_ip(inner)) << 16 } else { 0 };
                ([ports, 0, gue], checksum || !destination.is_v4())
            }
        };
        let protocol = tunnel.protocol(inner);
        let hop = u64::from(u16::from_be_bytes([TUNNEL_HOP_LIMIT, protocol]));
        // Of the pseudo header what is known by now: with no source and no length.
        let pseudo = checksum::pseudo_header_sum(Address::UNSPECIFIED, destination, UDP, 0);
        Envelope {
            destination,
            ip_sum: 0x4500 + hop + u64::from(destination.low_bits()),
            udp_sum: pseudo + u64::from(shim[2]),
            shim,
            link,
            class_mask,
            class,
            protocol,
            shape: Shape::of(destination.family(), tunnel),
            has_checksum,
            overhead: tunnel.overhead_bytes(destination.family()) as u8,
        }
    }

    /// Bytes that the packet gains.
    #[inline(always)]
    pub fn overhead_bytes(&self) -> usize {
        usize::from(self.overhead)
    }

    /// Takes one from the packet's hop limit, which is more than one, and puts it into the envelope.
    /// `false`, and nothing done, when it does not fit, there is no source, or this is no backend's.
    ///
    /// Each shape has code of its own, so that lengths are constants, and is called, so that none
    /// keeps registers that only others need.
    #[inline]
    pub fn put_around(
        &self,
        view: &mut FrameView<'_>,
        packet: &IpPacket,
        sources: &TunnelSources,
        seal: Seal,
    ) -> bool {
        match self.shape {
            Shape::None => false,
            Shape::V4 => self.around::<IPV4_LEN, 0, 34>(view, packet, sources, seal),
            Shape::V4Gre => self.around::<IPV4_LEN, 4, 38>(view, packet, sources, seal),
            Shape::V4Key => self.around::<IPV4_LEN, 8, 42>(view, packet, sources, seal),
            Shape::V4Gue => self.around_udp::<IPV4_LEN, 12, 46>(view, packet, sources, seal),
            Shape::V4Udp => self.around_udp::<IPV4_LEN, 8, 42>(view, packet, sources, seal),
            Shape::V6 => self.around::<IPV6_LEN, 0, 54>(view, packet, sources, seal),
            Shape::V6Gre => self.around::<IPV6_LEN, 4, 58>(view, packet, sources, seal),
            Shape::V6Key => self.around::<IPV6_LEN, 8, 62>(view, packet, sources, seal),
            Shape::V6Gue => self.around_udp::<IPV6_LEN, 12, 66>(view, packet, sources, seal),
            Shape::V6Udp => self.around_udp::<IPV6_LEN, 8, 62>(view, packet, sources, seal),
        }
    }

    #[inline(never)]
    fn around<const OUTER: usize, const SHIM: usize, const HEAD: usize>(
        &self,
        view: &mut FrameView<'_>,
        packet: &IpPacket,
        sources: &TunnelSources,
        seal: Seal,
    ) -> bool {
        self.open::<OUTER, SHIM, HEAD>(view, packet, sources, seal).is_some_and(|opened| {
            put_words(opened.shim, &self.shim);
            true
        })
    }

    #[inline(never)]
    fn around_udp<const OUTER: usize, const SHIM: usize, const HEAD: usize>(
        &self,
        view: &mut FrameView<'_>,
        packet: &IpPacket,
        sources: &TunnelSources,
        seal: Seal,
    ) -> bool {
        self.open::<OUTER, SHIM, HEAD>(view, packet, sources, seal).is_some_and(|opened| {
            let words = self.udp(SHIM, &opened, packet, (seal.hash >> 32) as u32);
            put_words(opened.shim, &words);
            true
        })
    }

    /// All but the shim.
    #[inline(always)]
    fn open<'a, const OUTER: usize, const SHIM: usize, const HEAD: usize>(
        &self,
        view: &'a mut FrameView<'_>,
        packet: &IpPacket,
        sources: &TunnelSources,
        seal: Seal,
    ) -> Option<Opened<'a>> {
        const { assert!(HEAD == ETHERNET_LEN + OUTER + SHIM) };
        let payload_len = SHIM + packet.len();
        if OUTER + payload_len > usize::from(u16::MAX) {
            return None;
        }
        let source = match OUTER {
            IPV4_LEN => Source::V4(sources.v4.as_ref()?.of_flow_v4(seal.hash)),
            _ => Source::V6(sources.v6.as_ref()?.of_flow(seal.hash)),
        };
        let (head, inner) = view.open_head::<HEAD>(packet.start(), packet.len())?;
        let first = inner.first_chunk_mut::<IPV4_LEN>()?;
        let (class, dont_fragment) = class_and_fragmenting(first);
        let class = u32::from(class & self.class_mask | self.class);
        take_hop(first);
        let (link, rest) = head.split_first_chunk_mut::<ETHERNET_LEN>()?;
        let (outer, shim) = rest.split_first_chunk_mut::<OUTER>()?;
        *link = self.link;
        match source {
            Source::V4(source) => {
                let second = match dont_fragment {
                    true => u32::from(DONT_FRAGMENT),
                    false => u32::from(seal.identification) << 16,
                };
                self.put_ipv4(outer, payload_len, (class, second), source)
            }
            Source::V6(source) => {
                self.put_ipv6(outer, payload_len, (class, (seal.hash >> 32) as u32), source)
            }
        }
        Some(Opened { source, shim, inner })
    }

    /// RFC 791 section 3.1.
    #[inline(always)]
    fn put_ipv4(
        &self,
        header: &mut [u8],
        payload_len: usize,
        (class, second): (u32, u32),
        source: u32,
    ) {
        let first = class << 16 | (IPV4_LEN + payload_len) as u32;
        let differing = u64::from(first) + u64::from(second) + u64::from(source);
        let sum = !checksum::fold(self.ip_sum + differing);
        let third = u32::from(TUNNEL_HOP_LIMIT) << 24 | u32::from(self.protocol) << 16;
        let third = third | u32::from(sum);
        put_words(
            header,
            &[0x4500_0000 | first, second, third, source, self.destination.low_bits()],
        );
    }

    /// RFC 8200 section 3.
    #[inline(always)]
    fn put_ipv6(
        &self,
        header: &mut [u8],
        payload_len: usize,
        (class, entropy): (u32, u32),
        source: Address,
    ) {
        let first = 6 << 28 | class << 20 | entropy & 0xf_ffff;
        let next = u32::from(self.protocol) << 8 | u32::from(TUNNEL_HOP_LIMIT);
        put_words(header, &[first, (payload_len as u32) << 16 | next]);
        if let Some(ends) = header.get_mut(8..).and_then(|rest| rest.first_chunk_mut::<32>()) {
            let (place, destination) = ends.split_at_mut(16);
            place.copy_from_slice(&source.octets());
            destination.copy_from_slice(&self.destination.octets());
        }
    }

    /// UDP's header and GUE's (RFC 768, draft-ietf-intarea-gue section 3.1).
    #[inline(always)]
    fn udp(
        &self,
        shim_len: usize,
        opened: &Opened<'_>,
        packet: &IpPacket,
        entropy: u32,
    ) -> [u32; 3] {
        // RFC 8085 section 5.1.1: entropy in the source port.
        let ports = self.shim[0] | (entropy & 0xffff) << 16;
        let len = (shim_len + opened.inner.len()) as u32;
        let mut len_and_sum = len << 16;
        if self.has_checksum {
            let source = match opened.source {
                Source::V4(source) => u64::from(source),
                Source::V6(source) => {
                    checksum::pseudo_header_sum(source, Address::UNSPECIFIED, 0, 0)
                }
            };
            // The length stands in the pseudo header, too.
            let differing = source + u64::from(ports) + 2 * u64::from(len);
            len_and_sum |= u32::from(udp_sum(self.udp_sum + differing, opened.inner, packet));
        }
        [ports, len_and_sum, self.shim[2]]
    }
}

/// An envelope with a packet in it.
struct Opened<'a> {
    source: Source,
    shim: &'a mut [u8],
    inner: &'a [u8],
}

/// An outer source.
#[derive(Clone, Copy)]
enum Source {
    V4(u32),
    V6(Address),
}

/// Writes as many of the words as there is room for.
#[inline(always)]
fn put_words(place: &mut [u8], words: &[u32]) {
    let (places, _) = place.as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}
