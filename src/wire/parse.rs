//! Bytes -> headers, or a typed reason.
//!
//! Goes down layer by layer with etherparse's header slices, and decides itself what they leave
//! open: the IPv4 header checksum, UDP's length, fragments, and what is no business of ours.
//! No allocation; every result is `Copy`.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::err::{ipv4, tcp};
use etherparse::{
    ArpHardwareId, ArpPacketSlice, EtherType, Ethernet2HeaderSlice, Ipv4HeaderSlice,
    TcpHeaderSlice, UdpHeaderSlice,
};

use super::packet::{
    ARP_LEN, Arp, Body, ETHERNET_LEN, ICMP_LEN, IPV4_LEN, Ipv4Part, Packet, TCP_LEN, TcpFlags,
    TcpPart, Transport, UDP_LEN,
};
use super::parse_error::{Fault, Layer, ParseError};
use super::{FlowKey, MacAddress, Protocol, checksum};

const ICMP: u8 = 1;
const ICMP_ECHO_REQUEST: u8 = 8;

/// The three things a frame can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseOutcome {
    /// Its headers hold together.
    Parsed(Packet),
    /// Neither IPv4 nor ARP for it.
    NotOurs,
    /// Its headers contradict each other or the frame's length.
    Malformed(ParseError),
}

/// Reads a frame's headers.
///
/// Checked: all lengths against each other and the frame, and the IPv4 header checksum. Bytes after
/// the IPv4 total length are padding (Ethernet's least payload is 46 bytes). TCP, UDP and ICMP
/// checksums are not checked: they are updated by what changed, and so wrong ones stay wrong.
#[inline]
pub fn parse(frame: &[u8]) -> ParseOutcome {
    match parse_frame(frame) {
        Ok(Some(packet)) => ParseOutcome::Parsed(packet),
        Ok(None) => ParseOutcome::NotOurs,
        Err(error) => ParseOutcome::Malformed(error),
    }
}

#[inline]
fn parse_frame(frame: &[u8]) -> Result<Option<Packet>, ParseError> {
    let too_short =
        || ParseError::new(Layer::Ethernet, Fault::FrameEnds, 0, ETHERNET_LEN, frame.len());
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| too_short())?;
    let payload = frame.get(ETHERNET_LEN..).unwrap_or_default();
    let body = match ethernet.ether_type() {
        EtherType::IPV4 => Some(parse_ipv4(payload)?),
        EtherType::ARP => parse_arp(payload)?.map(Body::Arp),
        _ => None,
    };
    Ok(body.map(|body| Packet {
        source_mac: MacAddress(ethernet.source()),
        destination_mac: MacAddress(ethernet.destination()),
        body,
    }))
}

#[inline]
fn parse_ipv4(packet: &[u8]) -> Result<Body, ParseError> {
    let wrong =
        |fault, wanted, found| ParseError::new(Layer::Ipv4, fault, ETHERNET_LEN, wanted, found);
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(ipv4_error)?;
    let (header_len, total_len) = (header.slice().len(), usize::from(header.total_len()));
    if total_len < header_len {
        return Err(wrong(Fault::LengthTooShort, header_len, total_len));
    }
    let Some(payload) = packet.get(header_len..total_len) else {
        return Err(wrong(Fault::FrameEnds, total_len, packet.len()));
    };
    let sum = checksum::sum(header.slice());
    if !checksum::adds_up(sum) {
        // Taking the field out of the sum is adding its complement.
        let found = header.header_checksum();
        let wanted = !checksum::fold(sum + u64::from(!found));
        return Err(wrong(Fault::Checksum, usize::from(wanted), usize::from(found)));
    }
    let ip = Ipv4Part {
        source: header.source_addr(),
        destination: header.destination_addr(),
        ttl: header.ttl(),
        protocol: header.protocol().0,
        header_len,
        total_len,
    };
    if header.is_fragmenting_payload() {
        return Ok(Body::Fragment(ip));
    }
    match Protocol::from_number(ip.protocol) {
        Some(Protocol::Tcp) => parse_tcp(ip, payload).map(Body::Transport),
        Some(Protocol::Udp) => parse_udp(ip, payload).map(Body::Transport),
        None if ip.protocol == ICMP => parse_icmp(ip, payload),
        None => Ok(Body::OtherProtocol(ip)),
    }
}

#[cold]
fn ipv4_error(error: ipv4::HeaderSliceError) -> ParseError {
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
    ParseError::new(Layer::Ipv4, fault, ETHERNET_LEN, wanted, found)
}

#[inline]
fn parse_tcp(ip: Ipv4Part, segment: &[u8]) -> Result<Transport, ParseError> {
    let header = TcpHeaderSlice::from_slice(segment).map_err(|error| tcp_error(&ip, error))?;
    let key = flow_key(&ip, Protocol::Tcp, header.source_port(), header.destination_port());
    let tcp = TcpPart {
        flags: TcpFlags(header.slice().get(13).copied().unwrap_or_default()),
        sequence: header.sequence_number(),
        acknowledgment: header.acknowledgment_number(),
        payload_len: segment.len() - header.slice().len(),
    };
    Ok(Transport { ip, key, tcp: Some(tcp) })
}

#[cold]
fn tcp_error(ip: &Ipv4Part, error: tcp::HeaderSliceError) -> ParseError {
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
fn parse_udp(ip: Ipv4Part, datagram: &[u8]) -> Result<Transport, ParseError> {
    let wrong = |fault, wanted, found| {
        ParseError::new(Layer::Udp, fault, ip.payload_start(), wanted, found)
    };
    let header = UdpHeaderSlice::from_slice(datagram)
        .map_err(|_| wrong(Fault::PacketEnds, UDP_LEN, datagram.len()))?;
    // Length 0 stands for a jumbogram in IPv6 only (RFC 2675); RFC 768 has 8 as the least.
    let len = usize::from(header.length());
    if len < UDP_LEN {
        return Err(wrong(Fault::LengthTooShort, UDP_LEN, len));
    }
    if len > datagram.len() {
        return Err(wrong(Fault::PacketEnds, len, datagram.len()));
    }
    let key = flow_key(&ip, Protocol::Udp, header.source_port(), header.destination_port());
    Ok(Transport { ip, key, tcp: None })
}

#[inline]
fn flow_key(ip: &Ipv4Part, protocol: Protocol, source: u16, destination: u16) -> FlowKey {
    FlowKey::new(
        protocol,
        SocketAddrV4::new(ip.source, source),
        SocketAddrV4::new(ip.destination, destination),
    )
}

fn parse_icmp(ip: Ipv4Part, message: &[u8]) -> Result<Body, ParseError> {
    let Some([kind, code, ..]) = message.first_chunk::<ICMP_LEN>() else {
        let (at, found) = (ip.payload_start(), message.len());
        return Err(ParseError::new(Layer::Icmp, Fault::PacketEnds, at, ICMP_LEN, found));
    };
    let is_echo_request = (*kind, *code) == (ICMP_ECHO_REQUEST, 0);
    Ok(if is_echo_request { Body::EchoRequest(ip) } else { Body::Icmp(ip) })
}

/// ARP for other hardware or protocols is none of ours, as RFC 826 has receivers ask first.
fn parse_arp(message: &[u8]) -> Result<Option<Arp>, ParseError> {
    let wrong =
        |fault, wanted, found| ParseError::new(Layer::Arp, fault, ETHERNET_LEN, wanted, found);
    let arp = ArpPacketSlice::from_slice(message)
        .map_err(|error| wrong(Fault::FrameEnds, error.required_len.max(ARP_LEN), error.len))?;
    if arp.hw_addr_type() != ArpHardwareId::ETHERNET || arp.proto_addr_type() != EtherType::IPV4 {
        return Ok(None);
    }
    let mac = |octets: &[u8]| octets.try_into().map(MacAddress).ok();
    let address = |octets: &[u8]| <[u8; 4]>::try_from(octets).map(Ipv4Addr::from).ok();
    let read = || {
        Some(Arp {
            operation: arp.operation().0,
            sender_mac: mac(arp.sender_hw_addr())?,
            sender_address: address(arp.sender_protocol_addr())?,
            target_mac: mac(arp.target_hw_addr())?,
            target_address: address(arp.target_protocol_addr())?,
        })
    };
    read().map(Some).ok_or_else(|| {
        let found = u16::from_be_bytes([arp.hw_addr_size(), arp.proto_addr_size()]);
        wrong(Fault::AddressLengths, 0x0604, usize::from(found))
    })
}

#[cfg(test)]
mod tests;
