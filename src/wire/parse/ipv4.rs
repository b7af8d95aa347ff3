//! IPv4 (RFC 791).

use etherparse::Ipv4HeaderSlice;
use etherparse::err::ipv4;

use super::{Part, transport};
use crate::wire::packet::{IPV4_LEN, IpPacket};
use crate::wire::parse_error::{Fault, Layer, ParseError};
use crate::wire::{Address, checksum};

/// Reads the packet that begins at `at` into `ip`.
#[inline(never)]
pub(super) fn parse(frame: &[u8], at: usize, ip: &mut IpPacket) -> Result<(), ParseError> {
    let wrong = |fault, wanted, found| ParseError::new(Layer::Ipv4, fault, at, wanted, found);
    let packet = frame.get(at..).unwrap_or_default();
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|error| header_error(at, error))?;
    let (header_len, total_len) = (header.slice().len(), usize::from(header.total_len()));
    if total_len < header_len {
        return Err(wrong(Fault::LengthTooShort, header_len, total_len));
    }
    let Some(payload) = packet.get(header_len..total_len) else {
        return Err(wrong(Fault::FrameEnds, total_len, packet.len()));
    };
    let is_plain = header_len == IPV4_LEN;
    let adds_up = match header.slice().first_chunk() {
        Some(header) if is_plain => checksum::ipv4_header_adds_up(header),
        _ => checksum::adds_up(checksum::sum(header.slice())),
    };
    if !adds_up {
        return Err(checksum_error(at, &header));
    }
    if !is_plain && has_source_route(header.options()) {
        return Err(wrong(Fault::SourceRoute, 0, 1));
    }
    ip.key.source = Address::v4(u32::from_be_bytes(header.source()));
    ip.key.destination = Address::v4(u32::from_be_bytes(header.destination()));
    ip.key.protocol = u32::from(header.protocol().0);
    ip.start = at as u16;
    ip.payload = (at + header_len) as u16;
    ip.end = (at + total_len) as u16;
    ip.hop_limit = header.ttl();
    ip.traffic_class = header.slice().get(1).copied().unwrap_or_default();
    ip.dont_fragment = header.dont_fragment();
    if header.is_fragmenting_payload() {
        let part = Part {
            identification: u32::from(header.identification()),
            offset: header.fragments_offset().value() * 8,
            more: header.more_fragments(),
            at: ip.payload,
        };
        transport::parse_fragment(part, payload, ip);
        return Ok(());
    }
    transport::parse(payload, ip)
}

#[cold]
fn checksum_error(at: usize, header: &Ipv4HeaderSlice<'_>) -> ParseError {
    // Taking the field out of the sum is adding its complement.
    let found = header.header_checksum();
    let wanted = !checksum::fold(checksum::sum(header.slice()) + u64::from(!found));
    let (wanted, found) = (usize::from(wanted), usize::from(found));
    ParseError::new(Layer::Ipv4, Fault::Checksum, at, wanted, found)
}

#[cold]
fn header_error(at: usize, error: ipv4::HeaderSliceError) -> ParseError {
    use ipv4::{HeaderError, HeaderSliceError};
    let (fault, wanted, found) = match error {
        HeaderSliceError::Len(error) => (Fault::FrameEnds, error.required_len, error.len),
        HeaderSliceError::Content(HeaderError::UnexpectedVersion { version_number }) => {
            (Fault::Version, 4, usize::from(version_number))
        }
        HeaderSliceError::Content(HeaderError::HeaderLengthSmallerThanHeader { ihl }) => {
            (Fault::HeaderTooShort, IPV4_LEN, usize::from(ihl) * 4)
        }
    };
    ParseError::new(Layer::Ipv4, fault, at, wanted, found)
}

/// Loose or strict source route among the options (RFC 791 section 3.1). Its destination is a
/// station on the way and not the receiver, and its sender may be made up: RFC 7126 section 4.3 has
/// it dropped.
#[cold]
fn has_source_route(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    loop {
        match *options {
            [] | [END, ..] => return false,
            [NO_OPERATION, ref rest @ ..] => options = rest,
            [LOOSE | STRICT, ..] => return true,
            // A length below 2 would go on for ever: nothing behind it can be read.
            [_, len, ..] if len >= 2 => options = options.get(usize::from(len)..).unwrap_or(&[]),
            _ => return false,
        }
    }
}
