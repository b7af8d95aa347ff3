//! An envelope made once for a backend, of which little is left to be written for each packet.
//!
//! Says the same as [`encapsulate`](super::encapsulate), which a test holds it against, in a third of
//! the instructions: lengths are constants, and what all packets have in common is written, and
//! added up, before the first one comes.

use super::{
    Dscp, FIRST_DYNAMIC_PORT, GRE_KEY_PRESENT, GueVersion, Tunnel, UDP, ip_in_ip, udp_sum,
};
use crate::wire::header::{DONT_FRAGMENT, TUNNEL_HOP_LIMIT};
use crate::wire::link::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::wire::packet::{IPV4_LEN, IPV6_LEN, IpPacket};
use crate::wire::rewrite::take_hop;
use crate::wire::{Address, Family, FrameView, checksum, class_and_fragmenting};

/// What differs between the packets of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// The outer source, of the family of the backend.
    pub source: Address,
    /// See [`Outer::entropy`](super::Outer::entropy).
    pub entropy: u32,
    /// See [`Outer::identification`](super::Outer::identification).
    pub identification: u16,
    /// The packet's own traffic class, and whether it must not be fragmented.
    pub class: u8,
    /// See `class`.
    pub dont_fragment: bool,
}

impl Seal {
    /// With what the packet in this frame says, of which no more than [`PlainPacket::put`] was kept.
    ///
    /// [`PlainPacket::put`]: crate::wire::PlainPacket::put
    #[inline(always)]
    pub fn of_plain(self, packet: &[u8]) -> Seal {
        let (class, dont_fragment) = class_and_fragmenting(packet);
        Seal { class, dont_fragment, ..self }
    }
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
    head_len: u8,
}

/// The lengths of an envelope: outer header, and what stands between it and the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Shape {
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
        shape: Shape::V4,
        has_checksum: false,
        head_len: 0,
    };

    /// For packets of the family `inner` to this backend; `macs` are destination and source.
    pub fn new(
        (tunnel, dscp): (Tunnel, Dscp),
        destination: Address,
        inner: Family,
        macs: &[u8; 12],
    ) -> Envelope {
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
            head_len: (ETHERNET_LEN + tunnel.overhead_bytes(destination.family())) as u8,
        }
    }

    /// Bytes of all headers before the packet.
    #[inline(always)]
    pub fn head_len(&self) -> usize {
        usize::from(self.head_len)
    }

    /// Bytes that the packet gains.
    #[inline(always)]
    pub fn overhead_bytes(&self) -> usize {
        self.head_len().saturating_sub(ETHERNET_LEN)
    }

    /// Takes one from the packet's hop limit and puts it into the envelope. `false`, and the frame not
    /// to be sent, when the chunk is too small.
    #[inline(always)]
    pub fn put_around(&self, view: &mut FrameView<'_>, packet: &IpPacket, seal: &Seal) -> bool {
        match self.shape {
            Shape::V4 => self.around::<IPV4_LEN, 0, false>(view, packet, seal),
            Shape::V4Gre => self.around::<IPV4_LEN, 4, false>(view, packet, seal),
            Shape::V4Key => self.around::<IPV4_LEN, 8, false>(view, packet, seal),
            Shape::V4Gue => self.around::<IPV4_LEN, 12, true>(view, packet, seal),
            Shape::V4Udp => self.around::<IPV4_LEN, 8, true>(view, packet, seal),
            Shape::V6 => self.around::<IPV6_LEN, 0, false>(view, packet, seal),
            Shape::V6Gre => self.around::<IPV6_LEN, 4, false>(view, packet, seal),
            Shape::V6Key => self.around::<IPV6_LEN, 8, false>(view, packet, seal),
            Shape::V6Gue => self.around::<IPV6_LEN, 12, true>(view, packet, seal),
            Shape::V6Udp => self.around::<IPV6_LEN, 8, true>(view, packet, seal),
        }
    }

    #[inline(always)]
    fn around<const OUTER: usize, const SHIM: usize, const IS_UDP: bool>(
        &self,
        view: &mut FrameView<'_>,
        packet: &IpPacket,
        seal: &Seal,
    ) -> bool {
        let (len, payload_len) = (packet.len(), SHIM + packet.len());
        if OUTER + payload_len > usize::from(u16::MAX)
            || !view.replace_head(packet.start(), ETHERNET_LEN + OUTER + SHIM, len)
        {
            return false;
        }
        let Some((link, rest)) = view.bytes_mut().split_first_chunk_mut() else { return false };
        let Some((outer, rest)) = rest.split_first_chunk_mut::<OUTER>() else { return false };
        let Some((shim, inner)) = rest.split_first_chunk_mut::<SHIM>() else { return false };
        take_hop(inner, packet);
        *link = self.link;
        if IS_UDP {
            let words = self.udp(payload_len, inner, packet, seal);
            put_words(shim, &words);
        } else {
            put_words(shim, &self.shim);
        }
        match OUTER {
            IPV4_LEN => self.put_ipv4(outer, payload_len, seal),
            _ => self.put_ipv6(outer, payload_len, seal),
        }
        true
    }

    /// RFC 791 section 3.1.
    #[inline(always)]
    fn put_ipv4(&self, header: &mut [u8], payload_len: usize, seal: &Seal) {
        let class = seal.class & self.class_mask | self.class;
        let len = (IPV4_LEN + payload_len) as u32;
        let second = match seal.dont_fragment {
            true => u32::from(DONT_FRAGMENT),
            false => u32::from(seal.identification) << 16,
        };
        let source = seal.source.low_bits();
        let differing = u64::from(class) + u64::from(len) + u64::from(second) + u64::from(source);
        let sum = !checksum::fold(self.ip_sum + differing);
        let first = 0x4500_0000 | u32::from(class) << 16 | len;
        let third = u32::from(TUNNEL_HOP_LIMIT) << 24 | u32::from(self.protocol) << 16;
        let third = third | u32::from(sum);
        put_words(header, &[first, second, third, source, self.destination.low_bits()]);
    }

    /// RFC 8200 section 3.
    #[inline(always)]
    fn put_ipv6(&self, header: &mut [u8], payload_len: usize, seal: &Seal) {
        let class = seal.class & self.class_mask | self.class;
        let first = 6 << 28 | u32::from(class) << 20 | seal.entropy & 0xf_ffff;
        let next = u32::from(self.protocol) << 8 | u32::from(TUNNEL_HOP_LIMIT);
        put_words(header, &[first, (payload_len as u32) << 16 | next]);
        if let Some(ends) = header.get_mut(8..).and_then(|rest| rest.first_chunk_mut::<32>()) {
            let (source, destination) = ends.split_at_mut(16);
            source.copy_from_slice(&seal.source.octets());
            destination.copy_from_slice(&self.destination.octets());
        }
    }

    /// UDP's header and GUE's (RFC 768, draft-ietf-intarea-gue section 3.1).
    #[inline(always)]
    fn udp(&self, len: usize, inner: &[u8], packet: &IpPacket, seal: &Seal) -> [u32; 3] {
        // RFC 8085 section 5.1.1: entropy in the source port.
        let ports = self.shim[0] | (seal.entropy & 0xffff) << 16;
        let len = len as u32;
        let mut len_and_sum = len << 16;
        if self.has_checksum {
            let source = checksum::pseudo_header_sum(seal.source, Address::UNSPECIFIED, 0, 0);
            // The length stands in the pseudo header, too.
            let differing = source + u64::from(ports) + 2 * u64::from(len);
            len_and_sum |= u32::from(udp_sum(self.udp_sum + differing, inner, packet));
        }
        [ports, len_and_sum, self.shim[2]]
    }
}

/// Writes as many of the words as there is room for.
#[inline(always)]
fn put_words(place: &mut [u8], words: &[u32]) {
    let (places, _) = place.as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}
