//! The packet that an ICMP error quotes (RFC 792, RFC 4443 section 2.4): the beginning of one that
//! was sent earlier, with its sender as source.
//!
//! A quote may end anywhere after the eight bytes behind its IP header, so nothing here goes by the
//! lengths it claims. It is what a stranger says that somebody else has said: its only use is to
//! find a flow.

use super::packet::{IPV4_LEN, IPV6_LEN, IpPacket};
use super::parse_error::{Fault, Layer, ParseError};
use super::{Address, FlowKey, Protocol};

/// Bytes of an ICMP error before its quote.
pub const ERROR_HEADER_LEN: usize = 8;
/// Bytes of the transport header that every error quotes (RFC 792): the ports are among them.
const LEAST_TRANSPORT: usize = 8;
/// Most IPv6 extension headers walked over.
const MOST_EXTENSIONS: usize = 8;

/// What a quote says, and where it stands in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// 5-tuple of the quoted packet.
    pub key: FlowKey,
    /// Where its IP header begins in the frame.
    pub start: u16,
    /// Where its transport header begins in the frame.
    pub transport: u16,
}

/// Reads the quote of an ICMP error that [`parse`](super::parse()) has read.
///
/// # Errors
/// The quote is too short, of another family, of no balanced transport, or of a later fragment.
pub fn parse_quote(frame: &[u8], error: &IpPacket) -> Result<Quote, ParseError> {
    let start = error.payload_start() + ERROR_HEADER_LEN;
    let quoted = frame.get(start..usize::from(error.end)).unwrap_or_default();
    if error.key.source.is_v4() { ipv4(quoted, start) } else { ipv6(quoted, start) }
}

/// Reads a quoted packet that begins here; `start` is its place in the frame.
pub(super) fn parse_at(quoted: &[u8], start: usize) -> Result<Quote, ParseError> {
    match quoted.first().map(|first| first >> 4) {
        Some(4) => ipv4(quoted, start),
        _ => ipv6(quoted, start),
    }
}

fn ipv4(quoted: &[u8], start: usize) -> Result<Quote, ParseError> {
    let wrong = |fault, wanted, found| ParseError::new(Layer::Quote, fault, start, wanted, found);
    let too_short = || wrong(Fault::PacketEnds, IPV4_LEN + LEAST_TRANSPORT, quoted.len());
    let header = quoted.first_chunk::<IPV4_LEN>().ok_or_else(too_short)?;
    let [first, _, _, _, _, _, part0, part1, _, protocol, _, _, addresses @ ..] = *header;
    if first >> 4 != 4 {
        return Err(wrong(Fault::Version, 4, usize::from(first >> 4)));
    }
    let header_len = usize::from(first & 15) * 4;
    if header_len < IPV4_LEN {
        return Err(wrong(Fault::HeaderTooShort, IPV4_LEN, header_len));
    }
    if u16::from_be_bytes([part0, part1]) & 0x1fff != 0 {
        return Err(wrong(Fault::LaterFragment, 0, 1));
    }
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    let source = Address::v4(u32::from_be_bytes([s0, s1, s2, s3]));
    let destination = Address::v4(u32::from_be_bytes([d0, d1, d2, d3]));
    finish(quoted, start, header_len, (source, destination, protocol))
}

fn ipv6(quoted: &[u8], start: usize) -> Result<Quote, ParseError> {
    const FRAGMENT: u8 = 44;
    let wrong = |fault, wanted, found| ParseError::new(Layer::Quote, fault, start, wanted, found);
    let too_short = |wanted| wrong(Fault::PacketEnds, wanted, quoted.len());
    let header = quoted.first_chunk::<IPV6_LEN>().ok_or_else(|| too_short(IPV6_LEN))?;
    if header[0] >> 4 != 6 {
        return Err(wrong(Fault::Version, 6, usize::from(header[0] >> 4)));
    }
    let address = |at: usize| header[at..].first_chunk().map(|&octets| Address::v6(octets));
    let (source, destination) = (address(8), address(24));
    let (Some(source), Some(destination)) = (source, destination) else {
        return Err(too_short(IPV6_LEN));
    };
    if source.is_v4() || destination.is_v4() {
        return Err(wrong(Fault::MappedAddress, 0, 1));
    }
    let (mut protocol, mut at) = (header[6], IPV6_LEN);
    for _ in 0..MOST_EXTENSIONS {
        if !matches!(protocol, 0 | 43 | FRAGMENT | 60) {
            break;
        }
        let extension = quoted.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let Some(&[next, len, part0, part1, ..]) = extension else {
            return Err(too_short(at + 8));
        };
        if protocol == FRAGMENT && u16::from_be_bytes([part0, part1]) & 0xfff8 != 0 {
            return Err(wrong(Fault::LaterFragment, 0, 1));
        }
        at += if protocol == FRAGMENT { 8 } else { (usize::from(len) + 1) * 8 };
        protocol = next;
    }
    finish(quoted, start, at, (source, destination, protocol))
}

fn finish(
    quoted: &[u8],
    start: usize,
    header_len: usize,
    (source, destination, protocol): (Address, Address, u8),
) -> Result<Quote, ParseError> {
    let wrong = |fault, wanted, found| ParseError::new(Layer::Quote, fault, start, wanted, found);
    if Protocol::from_number(protocol).is_none() {
        return Err(wrong(Fault::Protocol, 6, usize::from(protocol)));
    }
    let transport = quoted.get(header_len..).and_then(|rest| rest.first_chunk::<LEAST_TRANSPORT>());
    let Some(&[s0, s1, d0, d1, ..]) = transport else {
        return Err(wrong(Fault::PacketEnds, header_len + LEAST_TRANSPORT, quoted.len()));
    };
    let key = FlowKey {
        source,
        destination,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        protocol: u32::from(protocol),
    };
    Ok(Quote { key, start: start as u16, transport: (start + header_len) as u16 })
}

#[cfg(test)]
#[path = "quote_tests.rs"]
mod tests;
