//! The 5-tuple that names a flow.

use std::fmt;
use std::net::SocketAddr;

use super::{Address, Family};

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
    /// RFC 9260
    Sctp = 132,
}

impl Protocol {
    /// The protocol for an IANA number, if it is one that is balanced.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// The name for an IANA number; of one that is not balanced, the number.
    pub fn name_of(number: u8) -> String {
        Protocol::from_number(number).map_or_else(|| number.to_string(), |known| known.to_string())
    }

    /// The IANA number, as it stands in the IP header.
    #[inline]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// A 5-tuple as a packet carries it. 40 bytes, plain data, fit for the flow table.
///
/// Ports are in host byte order and 0 where the packet has none, so that comparing and printing need
/// no thought.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address, of the same family.
    pub destination: Address,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// IANA protocol number in the low byte, the rest zero.
    pub protocol: u32,
}

impl FlowKey {
    /// The key of a packet from `source` to `destination`.
    pub fn new(
        protocol: Protocol,
        source: impl Into<SocketAddr>,
        destination: impl Into<SocketAddr>,
    ) -> FlowKey {
        let (source, destination) = (source.into(), destination.into());
        FlowKey {
            source: source.ip().into(),
            destination: destination.ip().into(),
            source_port: source.port(),
            destination_port: destination.port(),
            protocol: u32::from(protocol.number()),
        }
    }

    /// The key of packets the other way.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// Its IP family.
    #[inline]
    pub const fn family(&self) -> Family {
        self.destination.family()
    }

    /// Source address and port.
    pub fn source_socket(self) -> SocketAddr {
        self.source.socket(self.source_port)
    }

    /// Destination address and port.
    pub fn destination_socket(self) -> SocketAddr {
        self.destination.socket(self.destination_port)
    }

    /// The IANA number.
    #[inline]
    pub const fn protocol_number(&self) -> u8 {
        self.protocol as u8
    }

    /// Is it TCP?
    #[inline]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp as u32
    }

    /// Is it of a protocol that has connections, so that one in the middle means nothing to another
    /// backend?
    #[inline]
    pub const fn is_of_connection(&self) -> bool {
        self.is_tcp() || self.protocol == Protocol::Sctp as u32
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Protocol::from_number(self.protocol_number()) {
            Some(protocol) => write!(f, "{protocol}")?,
            None => write!(f, "protocol {}", self.protocol)?,
        }
        write!(f, " {} -> {}", self.source_socket(), self.destination_socket())
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_40_plain_bytes() {
        // Hashed and compared as they lie in memory: no gap may be in between.
        assert_eq!(std::mem::size_of::<FlowKey>(), 2 * 16 + 2 * 2 + 4);
        assert_eq!(std::mem::align_of::<FlowKey>(), 8);
    }

    #[test]
    fn of_both_families() {
        let rows = [
            (Protocol::Tcp, "192.0.2.1:40000", "10.1.0.100:80", Family::Ipv4),
            (Protocol::Udp, "[2001:db8::1]:5353", "[2001:db8::100]:53", Family::Ipv6),
        ];
        for (protocol, from, to, family) in rows {
            let (source, destination): (SocketAddr, SocketAddr) =
                (from.parse().unwrap(), to.parse().unwrap());
            let key = FlowKey::new(protocol, source, destination);
            assert_eq!((key.source_socket(), key.destination_socket()), (source, destination));
            assert_eq!((key.family(), key.is_tcp()), (family, protocol == Protocol::Tcp));
            assert_eq!(Protocol::from_number(key.protocol_number()), Some(protocol));
            assert_eq!(key.to_string(), format!("{protocol} {from} -> {to}"));
            assert_eq!(key.reversed(), FlowKey::new(protocol, destination, source));
            assert_eq!(key.reversed().reversed(), key);
        }
        let key = FlowKey { protocol: 47, ..FlowKey::default() };
        assert_eq!(key.to_string(), "protocol 47 [::]:0 -> [::]:0");
    }
}
