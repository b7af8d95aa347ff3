//! The packets that nearly all are, read in one go: IPv4 without options or IPv6 without extension
//! headers, whole, TCP or UDP, and nothing wrong with them.
//!
//! Says only yes or no. What is not plain is read layer by layer, which also knows what is wrong
//! with it; a test holds the two against each other.

use crate::wire::packet::{Content, IPV4_LEN, IPV6_LEN, IpPacket, TCP_LEN, TcpFlags, UDP_LEN};
use crate::wire::{Address, checksum};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Reads a plain IPv4 packet that begins at `at`; `false` when it is not plain.
#[inline(always)]
pub(super) fn ipv4(frame: &[u8], at: usize, ip: &mut IpPacket) -> bool {
    let Some((header, behind)) =
        frame.get(at..).and_then(|packet| packet.split_first_chunk::<IPV4_LEN>())
    else {
        return false;
    };
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // More fragments, or not the first one.
    let is_part = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if header[0] != 0x45 || is_part || !checksum::ipv4_header_adds_up(header) {
        return false;
    }
    let Some(payload) = total_len.checked_sub(IPV4_LEN).and_then(|len| behind.get(..len)) else {
        return false;
    };
    if !transport(header[9], payload, ip) {
        return false;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    ip.key.source = Address::v4(u32::from_be_bytes([s0, s1, s2, s3]));
    ip.key.destination = Address::v4(u32::from_be_bytes([d0, d1, d2, d3]));
    ip.start = at as u16;
    ip.payload = (at + IPV4_LEN) as u16;
    ip.end = (at + total_len) as u16;
    (ip.traffic_class, ip.hop_limit) = (header[1], header[8]);
    ip.dont_fragment = header[6] & 0x40 != 0;
    true
}

/// Reads a plain IPv6 packet that begins at `at`; `false` when it is not plain.
#[inline(always)]
pub(super) fn ipv6(frame: &[u8], at: usize, ip: &mut IpPacket) -> bool {
    let Some((header, behind)) =
        frame.get(at..).and_then(|packet| packet.split_first_chunk::<IPV6_LEN>())
    else {
        return false;
    };
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(payload) = behind.get(..payload_len) else { return false };
    if header[0] >> 4 != 6 || !transport(header[6], payload, ip) {
        return false;
    }
    let (Some(&source), Some(&destination)) =
        (header[8..].first_chunk::<16>(), header[24..].first_chunk::<16>())
    else {
        return false;
    };
    ip.key.source = Address::v6(source);
    ip.key.destination = Address::v6(destination);
    if ip.key.source.is_v4() || ip.key.destination.is_v4() {
        return false;
    }
    ip.start = at as u16;
    ip.payload = (at + IPV6_LEN) as u16;
    ip.end = (at + IPV6_LEN + payload_len) as u16;
    ip.traffic_class = header[0] << 4 | header[1] >> 4;
    ip.hop_limit = header[7];
    ip.dont_fragment = true;
    true
}

#[inline(always)]
fn transport(protocol: u8, payload: &[u8], ip: &mut IpPacket) -> bool {
    let Some(&[s0, s1, d0, d1, len0, len1, _, _]) = payload.first_chunk::<UDP_LEN>() else {
        return false;
    };
    match protocol {
        TCP => {
            let Some(header) = payload.first_chunk::<TCP_LEN>() else { return false };
            let header_len = usize::from(header[12] >> 4) * 4;
            if header_len < TCP_LEN || header_len > payload.len() {
                return false;
            }
            ip.content = Content::Tcp(TcpFlags(header[13]));
        }
        UDP => {
            let len = usize::from(u16::from_be_bytes([len0, len1]));
            if len < UDP_LEN || len > payload.len() {
                return false;
            }
            ip.content = Content::Udp;
        }
        _ => return false,
    }
    ip.key.source_port = u16::from_be_bytes([s0, s1]);
    ip.key.destination_port = u16::from_be_bytes([d0, d1]);
    ip.key.protocol = u32::from(protocol);
    true
}
