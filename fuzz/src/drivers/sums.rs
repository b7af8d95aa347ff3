//! Internet checksums, the slow and obvious way (RFC 1071): as remainders modulo 0xffff, where what
//! is right comes out as zero.

use crate::wire::IpPacket;

/// The remainder of the sum of these parts; each but the last has an even length.
pub fn remainder(parts: &[&[u8]]) -> u32 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    words.fold(0, |sum, pair| (sum + word(pair)) % 0xffff)
}

/// The checksum that makes parts right whose own is still zero.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    0xffff - remainder(parts) as u16
}

/// The pseudo header of a transport (RFC 9293 section 3.1, RFC 8200 section 8.1) or of ICMPv6, from
/// the IP header that begins `packet`. ICMP of IPv4 has none.
pub fn pseudo_header(packet: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    let is_v4 = packet[0] >> 4 == 4;
    let addresses = if is_v4 { &packet[12..20] } else { &packet[8..40] };
    if is_v4 && protocol == 1 {
        return Vec::new();
    }
    [addresses, &(len as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

/// How far the checksum of a whole TCP, UDP or ICMP message is from being right; none of a UDP
/// datagram that has none.
pub fn of_payload(frame: &[u8], ip: &IpPacket) -> Option<u32> {
    let payload = &frame[ip.payload_start()..usize::from(ip.end)];
    let protocol = ip.key.protocol as u8;
    let has_none = protocol == 17 && payload[6..8] == [0, 0];
    let pseudo = pseudo_header(&frame[ip.start()..], protocol, payload.len());
    (!has_none).then(|| remainder(&[&pseudo, payload]))
}
