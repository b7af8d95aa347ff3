//! IP headers that we write: without options and extension headers.

use super::packet::{IPV4_LEN, IPV6_LEN};
use super::{Address, Family, checksum};

/// Ours are first-hand packets: the default of RFC 1700.
pub(super) const HOP_LIMIT: u8 = 64;
/// Of an outer header: a tunnel is one hop for what is inside, and begins anew (RFC 2003 section 3.1).
pub(super) const TUNNEL_HOP_LIMIT: u8 = 64;

/// Don't fragment. Packets that carry it need no identification (RFC 6864 section 4).
pub(super) const DONT_FRAGMENT: u16 = 0x4000;

/// The fields of a header that differ from packet to packet.
pub(super) struct IpHeader {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
    /// IPv4 only, with the flags.
    pub(super) identification: u16,
    pub(super) fragmenting: u16,
    /// IPv6 only, 20 bits.
    pub(super) flow_label: u32,
    pub(super) protocol: u8,
    pub(super) payload_len: usize,
}

impl IpHeader {
    /// Writes the header into the first bytes of `place`; `false`, and nothing done, when it or the
    /// packet is too large.
    #[inline]
    pub(super) fn emit(&self, place: &mut [u8]) -> bool {
        match self.destination.family() {
            Family::Ipv4 => place.first_chunk_mut().is_some_and(|place| self.emit_ipv4(place)),
            Family::Ipv6 => place.first_chunk_mut().is_some_and(|place| self.emit_ipv6(place)),
        }
    }

    /// RFC 791 section 3.1.
    #[inline]
    pub(super) fn emit_ipv4(&self, header: &mut [u8; IPV4_LEN]) -> bool {
        let Ok(total_len) = u16::try_from(IPV4_LEN + self.payload_len) else { return false };
        let word = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        let first = word(0x4500 | u16::from(self.traffic_class), total_len);
        let second = word(self.identification, self.fragmenting);
        let third = word(u16::from_be_bytes([self.hop_limit, self.protocol]), 0);
        let (source, destination) = (self.source.low_bits(), self.destination.low_bits());
        let words = [first, second, third, source, destination];
        let sum = words.iter().map(|&word| u64::from(word)).sum();
        let third = third | u32::from(!checksum::fold(sum));
        let (places, _) = header.as_chunks_mut::<4>();
        for (place, word) in places.iter_mut().zip([first, second, third, source, destination]) {
            *place = word.to_be_bytes();
        }
        true
    }

    /// RFC 8200 section 3.
    #[inline]
    pub(super) fn emit_ipv6(&self, header: &mut [u8; IPV6_LEN]) -> bool {
        let Ok(payload_len) = u16::try_from(self.payload_len) else { return false };
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
        header[0..4].copy_from_slice(&first.to_be_bytes());
        header[4..6].copy_from_slice(&payload_len.to_be_bytes());
        header[6] = self.protocol;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.source.octets());
        header[24..40].copy_from_slice(&self.destination.octets());
        true
    }

    /// The checksum of a payload that includes the pseudo header and whose own field is zero.
    pub(super) fn payload_checksum(&self, payload: &[u8]) -> u16 {
        let pseudo = checksum::pseudo_header_sum(
            self.source,
            self.destination,
            self.protocol,
            payload.len(),
        );
        !checksum::fold(pseudo + checksum::sum(payload))
    }
}
