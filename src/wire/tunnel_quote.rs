//! What an ICMP error quotes of a tunnel's packet: the outer header, and as much as there is of the
//! packet inside (RFC 2003 section 4, RFC 2473 section 8).

use super::packet::{IPV4_LEN, IPV6_LEN, IpPacket, UDP_LEN};
use super::quote::{self, ERROR_HEADER_LEN, Quote};
use super::{Address, Family};

const IPV4_IN_IP: u8 = 4;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

/// A quoted packet of ours in its envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelQuote {
    /// Outer source: ours, if we sent it.
    pub source: Address,
    /// Outer destination: the backend.
    pub destination: Address,
    /// The packet inside, where enough of it is quoted to find its flow.
    pub inner: Option<Quote>,
    /// The next hop's MTU that the error tells, if it is one that tells it (RFC 1191, RFC 8201).
    pub mtu_bytes: Option<u16>,
}

/// Reads an ICMP error that [`parse`](super::parse()) has read; none when what it quotes is no
/// tunnel's packet.
pub fn parse_tunnel_quote(frame: &[u8], error: &IpPacket) -> Option<TunnelQuote> {
    let end = usize::from(error.end);
    let message = frame.get(error.payload_start()..end)?;
    let &[kind, code, _, _, rest @ ..] = message.first_chunk::<ERROR_HEADER_LEN>()?;
    let start = error.payload_start() + ERROR_HEADER_LEN;
    let quoted = message.get(ERROR_HEADER_LEN..)?;
    let (source, destination, protocol, header_len) = outer(quoted, error.family())?;
    let behind = quoted.get(header_len..)?;
    let inner = shim_len(protocol, behind).and_then(|shim_len| {
        let at = header_len + shim_len;
        quote::parse_at(quoted.get(at..)?, start + at).ok()
    });
    if !matches!(protocol, IPV4_IN_IP | IPV6_IN_IP | GRE | UDP) {
        return None;
    }
    let told = u32::from_be_bytes(rest);
    let mtu_bytes = match (error.family(), kind, code) {
        // RFC 1191 section 4: the low half; routers that do not know of it write zero.
        (Family::Ipv4, 3, 4) => Some(told as u16).filter(|&mtu| mtu > 0),
        (Family::Ipv6, 2, _) => Some(u16::try_from(told).unwrap_or(u16::MAX)),
        _ => None,
    };
    Some(TunnelQuote { source, destination, inner, mtu_bytes })
}

/// Addresses, protocol and length of an outer header; ours have no options nor extension headers.
fn outer(quoted: &[u8], family: Family) -> Option<(Address, Address, u8, usize)> {
    match family {
        Family::Ipv4 => {
            let header = quoted.first_chunk::<IPV4_LEN>()?;
            let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
            let is_ours = header[0] == 0x45 && header[6] & 0x1f == 0 && header[7] == 0;
            let source = Address::v4(u32::from_be_bytes([s0, s1, s2, s3]));
            let destination = Address::v4(u32::from_be_bytes([d0, d1, d2, d3]));
            is_ours.then_some((source, destination, header[9], IPV4_LEN))
        }
        Family::Ipv6 => {
            let header = quoted.first_chunk::<IPV6_LEN>()?;
            let source = Address::v6(*header[8..].first_chunk()?);
            let destination = Address::v6(*header[24..].first_chunk()?);
            (header[0] >> 4 == 6).then_some((source, destination, header[6], IPV6_LEN))
        }
    }
}

/// Bytes between the outer header and the packet inside.
fn shim_len(protocol: u8, behind: &[u8]) -> Option<usize> {
    match protocol {
        IPV4_IN_IP | IPV6_IN_IP => Some(0),
        // RFC 2784, and RFC 2890's key.
        GRE => Some(if behind.first()? & 0x20 != 0 { 8 } else { 4 }),
        // GUE tells its version by the first bits, as IP does.
        UDP => Some(if behind.get(UDP_LEN)? >> 6 == 0 { UDP_LEN + 4 } else { UDP_LEN }),
        _ => None,
    }
}
