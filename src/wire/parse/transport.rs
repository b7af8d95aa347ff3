//! What an IP packet carries: TCP, UDP, SCTP, ICMP, a part of one of them, or something else.

use etherparse::err::tcp;
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::Part;
use crate::wire::Address;
use crate::wire::packet::{Content, Fragment, ICMP_LEN, IpPacket, TCP_LEN, TcpFlags, UDP_LEN};
use crate::wire::parse_error::{Fault, Layer, ParseError};
use crate::wire::sctp::{self, SCTP_LEN};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMPV6: u8 = 58;

/// A neighbour solicitation without options (RFC 4861 section 4.3).
const SOLICITATION_LEN: usize = 24;

/// Reads the payload's own header: ports and content.
#[inline]
pub(super) fn parse(payload: &[u8], ip: &mut IpPacket) -> Result<(), ParseError> {
    match ip.key.protocol_number() {
        TCP => {
            let flags = parse_tcp(payload, ip)?;
            ip.content = Content::Tcp(flags);
        }
        UDP => {
            parse_udp(payload, ip)?;
            ip.content = Content::Udp;
        }
        SCTP => {
            let segment = parse_sctp(payload, ip)?;
            ip.content = Content::Sctp(segment);
        }
        ICMP if ip.key.source.is_v4() => return parse_icmp(payload, Layer::Icmp, ip),
        ICMPV6 if !ip.key.source.is_v4() => return parse_icmp(payload, Layer::Icmpv6, ip),
        _ => {
            set_ports(ip, 0, 0);
            ip.content = Content::Other;
        }
    }
    Ok(())
}

#[inline]
fn set_ports(ip: &mut IpPacket, source: u16, destination: u16) {
    (ip.key.source_port, ip.key.destination_port) = (source, destination);
}

#[inline]
fn parse_tcp(segment: &[u8], ip: &mut IpPacket) -> Result<TcpFlags, ParseError> {
    let header = TcpHeaderSlice::from_slice(segment).map_err(|error| tcp_error(ip, error))?;
    set_ports(ip, header.source_port(), header.destination_port());
    Ok(TcpFlags(header.slice().get(13).copied().unwrap_or_default()))
}

#[cold]
fn tcp_error(ip: &IpPacket, error: tcp::HeaderSliceError) -> ParseError {
    use tcp::{HeaderError, HeaderSliceError};
    let (fault, wanted, found) = match error {
        HeaderSliceError::Len(error) => (Fault::PacketEnds, error.required_len, error.len),
        HeaderSliceError::Content(HeaderError::DataOffsetTooSmall { data_offset }) => {
            (Fault::HeaderTooShort, TCP_LEN, usize::from(data_offset) * 4)
        }
    };
    ParseError::new(Layer::Tcp, fault, ip.payload_start(), wanted, found)
}

#[inline]
fn parse_udp(datagram: &[u8], ip: &mut IpPacket) -> Result<(), ParseError> {
    let at = ip.payload_start();
    let wrong = |fault, wanted, found| ParseError::new(Layer::Udp, fault, at, wanted, found);
    let header = UdpHeaderSlice::from_slice(datagram)
        .map_err(|_| wrong(Fault::PacketEnds, UDP_LEN, datagram.len()))?;
    // Length 0 stands for a jumbogram (RFC 2675), which no frame of ours can hold.
    let len = usize::from(header.length());
    if len < UDP_LEN {
        return Err(wrong(Fault::LengthTooShort, UDP_LEN, len));
    }
    if len > datagram.len() {
        return Err(wrong(Fault::PacketEnds, len, datagram.len()));
    }
    set_ports(ip, header.source_port(), header.destination_port());
    Ok(())
}

/// RFC 9260 section 3.1. The checksum is the ends' own affair.
fn parse_sctp(packet: &[u8], ip: &mut IpPacket) -> Result<TcpFlags, ParseError> {
    let Some(&[s0, s1, d0, d1, ..]) = packet.first_chunk::<SCTP_LEN>() else {
        let (at, found) = (ip.payload_start(), packet.len());
        return Err(ParseError::new(Layer::Sctp, Fault::PacketEnds, at, SCTP_LEN, found));
    };
    set_ports(ip, u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    Ok(sctp::as_segment(packet))
}

/// RFC 792, RFC 4443.
fn parse_icmp(message: &[u8], layer: Layer, ip: &mut IpPacket) -> Result<(), ParseError> {
    let at = ip.payload_start();
    let too_short = |wanted| ParseError::new(layer, Fault::PacketEnds, at, wanted, message.len());
    let Some(&[kind, code, ..]) = message.first_chunk::<ICMP_LEN>() else {
        return Err(too_short(ICMP_LEN));
    };
    set_ports(ip, 0, 0);
    ip.content = match (layer, kind, code) {
        (Layer::Icmp, 8, 0) | (Layer::Icmpv6, 128, 0) => Content::EchoRequest,
        (Layer::Icmp, 3 | 11 | 12, _) | (Layer::Icmpv6, 1..=4, _) => Content::IcmpError,
        (Layer::Icmpv6, 135, 0) => {
            let target = message
                .first_chunk::<SOLICITATION_LEN>()
                .and_then(|solicitation| solicitation.last_chunk::<16>());
            let Some(&target) = target else { return Err(too_short(SOLICITATION_LEN)) };
            let target = Address::v6(target);
            // It would stand for an IPv4 address, which nobody asks for in this way.
            if target.is_v4() {
                return Err(ParseError::new(layer, Fault::MappedAddress, at, 0, 1));
            }
            Content::NeighbourSolicitation(target)
        }
        _ => Content::Icmp,
    };
    Ok(())
}

/// A first fragment has the whole transport header (RFC 8200 section 4.5, RFC 1858 section 3); one
/// that has not is a way past filters, and is told by [`Fragment::has_ports`].
#[cold]
pub(super) fn parse_fragment(part: Part, payload: &[u8], ip: &mut IpPacket) {
    let mut fragment = Fragment {
        identification: part.identification,
        offset: part.offset,
        len: ip.end.saturating_sub(part.at),
        more: part.more,
        has_ports: false,
        tcp: TcpFlags::default(),
    };
    set_ports(ip, 0, 0);
    if part.offset == 0 {
        match ip.key.protocol_number() {
            TCP => {
                if let Ok(flags) = parse_tcp(payload, ip) {
                    (fragment.tcp, fragment.has_ports) = (flags, true);
                }
            }
            UDP => {
                // Its length is the whole datagram's, and more than this fragment.
                if let Ok(header) = UdpHeaderSlice::from_slice(payload) {
                    set_ports(ip, header.source_port(), header.destination_port());
                    fragment.has_ports = true;
                }
            }
            SCTP => {
                if let Ok(segment) = parse_sctp(payload, ip) {
                    (fragment.tcp, fragment.has_ports) = (segment, true);
                }
            }
            _ => {}
        }
    }
    ip.content = Content::Fragment(fragment);
}
