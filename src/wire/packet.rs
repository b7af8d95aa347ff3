//! What a parsed frame says: plain values, copied out of the bytes.

use std::fmt;
use std::net::Ipv4Addr;

use super::{FlowKey, MacAddress};

/// Length of an Ethernet header without tags; IPv4 and ARP begin here.
pub const ETHERNET_LEN: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
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
    /// Who sent the frame.
    pub source_mac: MacAddress,
    /// Whom the frame is for: a station or a group.
    pub destination_mac: MacAddress,
    /// What is in it.
    pub body: Body,
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// A whole TCP segment or UDP datagram.
    Transport(Transport),
    /// An ICMP echo request (type 8, code 0).
    EchoRequest(Ipv4Part),
    /// Any other ICMP message.
    Icmp(Ipv4Part),
    /// A fragment, first or later, of any protocol.
    Fragment(Ipv4Part),
    /// A whole IPv4 packet of another protocol.
    OtherProtocol(Ipv4Part),
    /// ARP for Ethernet and IPv4.
    Arp(Arp),
}

/// The IPv4 header, which begins at [`ETHERNET_LEN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Part {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live, as received.
    pub ttl: u8,
    /// IANA protocol number.
    pub protocol: u8,
    /// Header length with options, in bytes: 20 to 60.
    pub header_len: usize,
    /// Length of header and payload, in bytes; the frame may be longer (padding).
    pub total_len: usize,
}

impl Ipv4Part {
    /// Where the payload begins in the frame.
    #[inline]
    pub fn payload_start(&self) -> usize {
        ETHERNET_LEN + self.header_len
    }

    /// Length of the payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.total_len.saturating_sub(self.header_len)
    }
}

/// A TCP segment or UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// Its IPv4 header.
    pub ip: Ipv4Part,
    /// The 5-tuple.
    pub key: FlowKey,
    /// The rest of the TCP header; none for UDP.
    pub tcp: Option<TcpPart>,
}

/// What TCP says besides the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpPart {
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; means something with ACK only.
    pub acknowledgment: u32,
    /// Bytes of data.
    pub payload_len: usize,
}

impl TcpPart {
    /// Sequence numbers the segment takes: its data, and one each for SYN and FIN
    /// (RFC 9293 section 3.4, SEG.LEN).
    #[inline]
    pub fn sequence_len(&self) -> u32 {
        let controls = u32::from(self.flags.contains(TcpFlags::SYN))
            + u32::from(self.flags.contains(TcpFlags::FIN));
        // A segment is at most 65,535 bytes.
        controls + self.payload_len as u32
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

    #[test]
    fn syn_and_fin_take_a_sequence_number_each() {
        let part =
            |flags, payload_len| TcpPart { flags, sequence: 0, acknowledgment: 0, payload_len };
        let both = TcpFlags::SYN.with(TcpFlags::FIN);
        let rows =
            [(TcpFlags::ACK, 0, 0), (TcpFlags::SYN, 0, 1), (TcpFlags::FIN, 10, 11), (both, 5, 7)];
        for (flags, data, wanted) in rows {
            assert_eq!(part(flags, data).sequence_len(), wanted, "{flags} with {data}");
        }
    }
}
