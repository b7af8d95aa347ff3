//! What a parsed frame says: plain values, copied out of the bytes.

use std::fmt;
use std::net::Ipv4Addr;

use super::{Address, Family, FlowKey, Link, MacAddress};

/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header without extension headers.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options.
pub const TCP_LEN: usize = 20;
/// Length of a UDP header.
pub const UDP_LEN: usize = 8;
/// Length of an ICMP header.
pub const ICMP_LEN: usize = 8;
/// Length of an ARP message for Ethernet and IPv4 (RFC 826).
pub const ARP_LEN: usize = 28;

/// A frame whose headers hold together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The link header.
    pub link: Link,
    /// What is behind it.
    pub body: Body,
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// An IPv4 or IPv6 packet.
    Ip(IpPacket),
    /// ARP for Ethernet and IPv4.
    Arp(Arp),
}

/// An IP packet: what its headers say, and where they are in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket {
    /// Addresses, protocol, and the ports where the packet has them.
    pub key: FlowKey,
    /// Where the IP header begins in the frame.
    pub start: u16,
    /// Where the payload begins in the frame, behind options and extension headers.
    pub payload: u16,
    /// Where the packet ends in the frame; what is behind it is padding.
    pub end: u16,
    /// Time to live or hop limit, as received.
    pub hop_limit: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// IPv4: must not be fragmented on the way. Of IPv6 always so.
    pub dont_fragment: bool,
    /// What the payload is.
    pub content: Content,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A whole TCP segment.
    Tcp(TcpFlags),
    /// A whole UDP datagram.
    Udp,
    /// A whole SCTP packet, and what it would be in TCP.
    Sctp(TcpFlags),
    /// An ICMP or ICMPv6 echo request.
    EchoRequest,
    /// An ICMP error (unreachable, time exceeded, parameter problem) or ICMPv6 error message: it
    /// quotes a packet.
    IcmpError,
    /// An ICMPv6 neighbour solicitation for this address (RFC 4861 section 4.3).
    NeighbourSolicitation(Address),
    /// Any other ICMP or ICMPv6 message.
    Icmp,
    /// A fragment, first or later, of any protocol.
    Fragment(Fragment),
    /// A whole packet of another protocol.
    Other,
}

/// A fragment's place in its datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// Bytes of the datagram before this fragment's.
    pub offset: u16,
    /// Bytes of the datagram in this fragment. In IPv6 extension headers behind the fragment header
    /// are among them.
    pub len: u16,
    /// It is not the last one.
    pub more: bool,
    /// The first fragment, with a whole transport header: the key has the ports.
    pub has_ports: bool,
    /// Of TCP, or as in [`Content::Sctp`], when [`Self::has_ports`].
    pub tcp: TcpFlags,
}

impl IpPacket {
    /// Nothing was read yet.
    pub const NONE: IpPacket = IpPacket {
        key: FlowKey {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
        },
        start: 0,
        payload: 0,
        end: 0,
        hop_limit: 0,
        traffic_class: 0,
        dont_fragment: false,
        content: Content::Other,
    };

    /// Its family.
    #[inline]
    pub fn family(&self) -> Family {
        self.key.family()
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Address {
        self.key.source
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Address {
        self.key.destination
    }

    /// Length of all headers and the payload, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.end.saturating_sub(self.start))
    }

    /// No packet is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the IP header begins in the frame.
    #[inline]
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Where the payload begins in the frame.
    #[inline]
    pub fn payload_start(&self) -> usize {
        usize::from(self.payload)
    }

    /// Length of the payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(self.end.saturating_sub(self.payload))
    }

    /// TCP's control bits; none of another protocol, or of a fragment that is not the first.
    #[inline]
    pub fn tcp(&self) -> Option<TcpFlags> {
        match self.content {
            Content::Tcp(flags) => Some(flags),
            Content::Fragment(part) if part.has_ports && self.key.is_tcp() => Some(part.tcp),
            _ => None,
        }
    }

    /// What it says of its connection's state: TCP's control bits, or what stands for them in SCTP;
    /// none of UDP, or of a fragment that is not the first.
    #[inline]
    pub fn segment(&self) -> Option<TcpFlags> {
        match self.content {
            Content::Tcp(flags) | Content::Sctp(flags) => Some(flags),
            Content::Fragment(part) if part.has_ports && self.key.is_of_connection() => {
                Some(part.tcp)
            }
            _ => None,
        }
    }

    /// Is it a part of a packet, and not the one with the ports?
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        matches!(self.content, Content::Fragment(part) if !part.has_ports)
    }

    /// Is it a transport that is balanced, whole?
    #[inline]
    pub fn is_transport(&self) -> bool {
        matches!(self.content, Content::Tcp(_) | Content::Udp | Content::Sctp(_))
    }
}

/// The control bits of a TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgment number counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: TcpFlags = TcpFlags(0x80);

    const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

    /// Are all bits of `wanted` set?
    #[inline]
    pub const fn contains(self, wanted: TcpFlags) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Is any bit of `wanted` set?
    #[inline]
    pub const fn intersects(self, wanted: TcpFlags) -> bool {
        self.0 & wanted.0 != 0
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn with(self, more: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | more.0)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in Self::NAMES.iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An ARP message for Ethernet and IPv4 (RFC 826).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// 1 asks, 2 answers; others exist.
    pub operation: u16,
    /// Sender's MAC.
    pub sender_mac: MacAddress,
    /// Sender's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender_address: Ipv4Addr,
    /// Target's MAC; means nothing in a request.
    pub target_mac: MacAddress,
    /// Target's address: the one that is asked for.
    pub target_address: Ipv4Addr,
}

impl Arp {
    /// Operation: who has the target address?
    pub const REQUEST: u16 = 1;
    /// Operation: the sender has the sender address.
    pub const REPLY: u16 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_by_name() {
        let rows = [
            (TcpFlags::default(), "none"),
            (TcpFlags::SYN, "SYN"),
            (TcpFlags::SYN.with(TcpFlags::ACK), "SYN|ACK"),
            (TcpFlags(0xff), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR"),
        ];
        for (flags, text) in rows {
            assert_eq!(flags.to_string(), text);
        }
    }
}
