//! IPv6 (RFC 8200) with its extension headers.

use etherparse::Ipv6HeaderSlice;
use etherparse::err::ipv6;

use super::{Part, transport};
use crate::wire::Address;
use crate::wire::packet::{IPV6_LEN, IpPacket};
use crate::wire::parse_error::{Fault, Layer, ParseError};

/// Most extension headers walked over. RFC 8200 section 4.1 has use for six; a longer chain only
/// costs its receiver time.
const MOST_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Length of a fragment header, and the unit of the others'.
const UNIT: usize = 8;

/// Reads the packet that begins at `at` into `ip`.
#[inline(never)]
pub(super) fn parse(frame: &[u8], at: usize, ip: &mut IpPacket) -> Result<(), ParseError> {
    let wrong = |fault, wanted, found| ParseError::new(Layer::Ipv6, fault, at, wanted, found);
    let packet = frame.get(at..).unwrap_or_default();
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|error| header_error(at, error))?;
    let total_len = IPV6_LEN + usize::from(header.payload_length());
    let Some(payload) = packet.get(IPV6_LEN..total_len) else {
        return Err(wrong(Fault::FrameEnds, total_len, packet.len()));
    };
    ip.key.source = Address::v6(header.source());
    ip.key.destination = Address::v6(header.destination());
    ip.key.protocol = u32::from(header.next_header().0);
    // IPv4-mapped addresses stand for IPv4 ones in keys, and for nothing on a wire (RFC 6890).
    if ip.key.source.is_v4() || ip.key.destination.is_v4() {
        return Err(wrong(Fault::MappedAddress, 0, 1));
    }
    ip.start = at as u16;
    ip.payload = (at + IPV6_LEN) as u16;
    ip.end = (at + total_len) as u16;
    ip.hop_limit = header.hop_limit();
    ip.traffic_class = header.traffic_class();
    ip.dont_fragment = true;
    if is_extension(header.next_header().0) {
        return walk(payload, ip);
    }
    transport::parse(payload, ip)
}

#[cold]
fn header_error(at: usize, error: ipv6::HeaderSliceError) -> ParseError {
    use ipv6::{HeaderError, HeaderSliceError};
    let (fault, wanted, found) = match error {
        HeaderSliceError::Len(error) => (Fault::FrameEnds, error.required_len, error.len),
        HeaderSliceError::Content(HeaderError::UnexpectedVersion { version_number }) => {
            (Fault::Version, 6, usize::from(version_number))
        }
    };
    ParseError::new(Layer::Ipv6, fault, at, wanted, found)
}

#[inline]
fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Goes over the extension headers to the upper-layer one, or to what a later fragment carries, and
/// reads that.
#[cold]
fn walk(mut rest: &[u8], ip: &mut IpPacket) -> Result<(), ParseError> {
    let mut fragment = None;
    for _ in 0..MOST_EXTENSIONS {
        let next_header = ip.key.protocol_number();
        if !is_extension(next_header) {
            return upper_layer(fragment, rest, ip);
        }
        let at = ip.payload_start();
        let wrong = |fault, wanted, found| ParseError::new(Layer::Ipv6, fault, at, wanted, found);
        let Some(&[next, len, a, b, identification @ ..]) = rest.first_chunk::<UNIT>() else {
            return Err(wrong(Fault::PacketEnds, UNIT, rest.len()));
        };
        // Section 4.4: segments left other than 0 has a further destination, and a transport
        // checksum over that one. Type 0 is not to be followed at all (RFC 5095).
        if next_header == ROUTING && b != 0 {
            return Err(wrong(Fault::SourceRoute, 0, usize::from(b)));
        }
        let len = match next_header {
            FRAGMENT => UNIT,
            _ => (usize::from(len) + 1) * UNIT,
        };
        if next_header == FRAGMENT {
            let place = u16::from_be_bytes([a, b]);
            let part = Part {
                identification: u32::from_be_bytes(identification),
                offset: place & 0xfff8,
                more: place & 1 == 1,
                at: (at + UNIT) as u16,
            };
            // An atomic fragment is a whole packet (RFC 6946), or as much of one as is around it.
            if part.offset > 0 || part.more {
                fragment = Some(part);
            }
        }
        let Some(behind) = rest.get(len..) else {
            return Err(wrong(Fault::PacketEnds, len, rest.len()));
        };
        rest = behind;
        ip.payload += len as u16;
        ip.key.protocol = u32::from(next);
        // What a later fragment carries begins anywhere in the datagram: nothing to be read there.
        if fragment.is_some_and(|part: Part| part.offset > 0) {
            return upper_layer(fragment, rest, ip);
        }
    }
    if !is_extension(ip.key.protocol_number()) {
        return upper_layer(fragment, rest, ip);
    }
    let (at, most) = (ip.payload_start(), MOST_EXTENSIONS);
    Err(ParseError::new(Layer::Ipv6, Fault::ChainTooLong, at, most, most + 1))
}

fn upper_layer(
    fragment: Option<Part>,
    payload: &[u8],
    ip: &mut IpPacket,
) -> Result<(), ParseError> {
    match fragment {
        Some(part) => {
            transport::parse_fragment(part, payload, ip);
            Ok(())
        }
        None => transport::parse(payload, ip),
    }
}
