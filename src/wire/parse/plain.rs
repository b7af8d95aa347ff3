//! The packets that nearly all are, read in one go: IPv4 without options or IPv6 without extension
//! headers, whole, TCP or UDP, and nothing wrong with them.
//!
//! Says only yes or no. What is not plain is read layer by layer, which also knows what is wrong
//! with it; a test holds the two against each other.
//!
//! What was read is given back by value and stays in registers: a wide read of what was just written
//! in narrow pieces would wait for the store buffer.

use crate::wire::packet::{Content, IPV4_LEN, IPV6_LEN, IpPacket, TCP_LEN, TcpFlags, UDP_LEN};
use crate::wire::{Address, FlowKey, checksum};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a plain packet says. Places are counted from its first byte.
#[derive(Clone, Copy, Debug)]
pub struct PlainPacket {
    /// Addresses, ports, protocol.
    pub key: FlowKey,
    /// Length by its own header.
    len: u16,
    header_len: u16,
    hop_limit: u8,
    /// Of TCP; of UDP none.
    pub flags: TcpFlags,
}

impl PlainPacket {
    /// Writes it down, as of a packet that begins at `at` in its frame. What few packets need is not
    /// written: [`put_rest`] does that.
    #[inline(always)]
    pub fn put(&self, at: u16, ip: &mut IpPacket) {
        ip.key = self.key;
        ip.start = at;
        ip.payload = at + self.header_len;
        ip.end = at.wrapping_add(self.len);
        ip.hop_limit = self.hop_limit;
        ip.content = match self.key.is_tcp() {
            true => Content::Tcp(self.flags),
            false => Content::Udp,
        };
    }
}

/// Writes what [`PlainPacket::put`] leaves out, of the packet that it was read from.
#[inline(always)]
pub fn put_rest(packet: &[u8], ip: &mut IpPacket) {
    (ip.traffic_class, ip.dont_fragment) = class_and_fragmenting(packet);
}

/// Traffic class of a packet, and whether it must not be fragmented.
#[inline(always)]
pub fn class_and_fragmenting(packet: &[u8]) -> (u8, bool) {
    let &[first, second, _, _, _, _, fragmenting, _] = packet.first_chunk().unwrap_or(&[0; 8]);
    match first >> 4 {
        4 => (second, fragmenting & 0x40 != 0),
        _ => (first << 4 | second >> 4, true),
    }
}

/// Reads a plain IPv4 packet that begins at `at` into `ip`; `false` when it is not plain.
#[inline(always)]
pub(super) fn ipv4(frame: &[u8], at: usize, ip: &mut IpPacket) -> bool {
    let packet = frame.get(at..).unwrap_or_default();
    read_ipv4(packet).is_some_and(|plain| {
        plain.put(at as u16, ip);
        put_rest(packet, ip);
        true
    })
}

/// Reads a plain IPv6 packet that begins at `at` into `ip`; `false` when it is not plain.
#[inline(always)]
pub(super) fn ipv6(frame: &[u8], at: usize, ip: &mut IpPacket) -> bool {
    let packet = frame.get(at..).unwrap_or_default();
    read_ipv6(packet).is_some_and(|plain| {
        plain.put(at as u16, ip);
        put_rest(packet, ip);
        true
    })
}

/// Reads a plain IPv4 packet; none when it is not plain. What is behind it is padding.
#[inline(always)]
pub fn read_ipv4(packet: &[u8]) -> Option<PlainPacket> {
    let (header, behind) = packet.split_first_chunk::<IPV4_LEN>()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // More fragments, or not the first one.
    let is_part = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if header[0] != 0x45 || is_part || !checksum::ipv4_header_adds_up(header) {
        return None;
    }
    let payload = behind.get(..len.checked_sub(IPV4_LEN)?)?;
    let (protocol, flags) = (header[9], tcp_flags(header[9], payload)?);
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let source = Address::v4(u32::from_be_bytes([s0, s1, s2, s3]));
    let destination = Address::v4(u32::from_be_bytes([d0, d1, d2, d3]));
    Some(PlainPacket {
        key: key(source, destination, payload, protocol)?,
        len: len as u16,
        header_len: IPV4_LEN as u16,
        hop_limit: header[8],
        flags,
    })
}

/// Reads a plain IPv6 packet; none when it is not plain. What is behind it is padding.
#[inline(always)]
pub fn read_ipv6(packet: &[u8]) -> Option<PlainPacket> {
    let (header, behind) = packet.split_first_chunk::<IPV6_LEN>()?;
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = behind.get(..payload_len)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let (protocol, flags) = (header[6], tcp_flags(header[6], payload)?);
    let (&source, &destination) =
        (header[8..].first_chunk::<16>()?, header[24..].first_chunk::<16>()?);
    let (source, destination) = (Address::v6(source), Address::v6(destination));
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    Some(PlainPacket {
        key: key(source, destination, payload, protocol)?,
        len: (IPV6_LEN + payload_len) as u16,
        header_len: IPV6_LEN as u16,
        hop_limit: header[7],
        flags,
    })
}

#[inline(always)]
fn key(source: Address, destination: Address, payload: &[u8], protocol: u8) -> Option<FlowKey> {
    let &[s0, s1, d0, d1] = payload.first_chunk()?;
    Some(FlowKey {
        source,
        destination,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        protocol: u32::from(protocol),
    })
}

/// The flags of a whole TCP segment; of a whole UDP datagram, nothing. None of anything else.
#[inline(always)]
fn tcp_flags(protocol: u8, payload: &[u8]) -> Option<TcpFlags> {
    if protocol == TCP {
        let header = payload.first_chunk::<TCP_LEN>()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        let is_whole = header_len >= TCP_LEN && header_len <= payload.len();
        return is_whole.then_some(TcpFlags(header[13]));
    }
    let &[_, _, _, _, len0, len1, _, _] = payload.first_chunk::<UDP_LEN>()?;
    let len = usize::from(u16::from_be_bytes([len0, len1]));
    let is_whole = protocol == UDP && len >= UDP_LEN && len <= payload.len();
    is_whole.then_some(TcpFlags::default())
}
