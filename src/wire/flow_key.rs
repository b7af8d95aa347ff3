//! What tells one flow from another: the 5-tuple.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The transports that are balanced (IANA protocol numbers).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293
    Tcp = 6,
    /// RFC 768
    Udp = 17,
}

impl Protocol {
    /// The protocol for an IANA number, if it is one that is balanced.
    pub fn from_number(number: u8) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }

    /// The IANA number, as it stands in the IPv4 header.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// An IPv4 5-tuple as a packet carries it. 16 bytes, plain data, fit for the flow table.
///
/// Addresses and ports are in host byte order, so that comparing and printing need no thought.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Source address, host byte order.
    pub source: u32,
    /// Destination address, host byte order.
    pub destination: u32,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// IANA protocol number in the low byte, the rest zero.
    pub protocol: u32,
}

impl FlowKey {
    /// The key of a packet from `source` to `destination`.
    pub fn new(protocol: Protocol, source: SocketAddrV4, destination: SocketAddrV4) -> FlowKey {
        FlowKey {
            source: source.ip().to_bits(),
            destination: destination.ip().to_bits(),
            source_port: source.port(),
            destination_port: destination.port(),
            protocol: u32::from(protocol.number()),
        }
    }

    /// The key of packets the other way.
    pub fn reversed(self) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// Source address and port.
    pub fn source_socket(self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.source), self.source_port)
    }

    /// Destination address and port.
    pub fn destination_socket(self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.destination), self.destination_port)
    }

    /// Is it TCP?
    pub fn is_tcp(self) -> bool {
        self.protocol == u32::from(Protocol::Tcp.number())
    }

    /// The transport. A key is only ever made for one of them.
    pub fn protocol(self) -> Protocol {
        if self.is_tcp() { Protocol::Tcp } else { Protocol::Udp }
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.protocol(), self.source_socket(), self.destination_socket())
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
