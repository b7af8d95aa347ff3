//! Why a frame does not parse.

use std::fmt;

/// The header at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// VLAN tag (IEEE 802.1Q).
    Vlan,
    /// ARP (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
    /// ICMP (RFC 792).
    Icmp,
    /// ICMPv6 (RFC 4443).
    Icmpv6,
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// SCTP (RFC 9260).
    Sctp,
    /// The packet that an ICMP error quotes.
    Quote,
}

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The frame has fewer bytes than the header or its length field asks for.
    FrameEnds,
    /// The packet's own length leaves fewer bytes than the header or its length field asks for.
    PacketEnds,
    /// The header says another IP version than its EtherType.
    Version,
    /// The header's own length field is below the fixed part.
    HeaderTooShort,
    /// A length field of header and payload is below the header's length.
    LengthTooShort,
    /// The checksum does not add up.
    Checksum,
    /// ARP for Ethernet and IPv4 with other address lengths than 6 and 4.
    AddressLengths,
    /// A source route: the packet's destination is a station on its way.
    SourceRoute,
    /// An IPv6 packet with an IPv4-mapped address.
    MappedAddress,
    /// More IPv6 extension headers than are walked over.
    ChainTooLong,
    /// A fragment that is not the first: it has no ports.
    LaterFragment,
    /// A protocol that is not balanced.
    Protocol,
}

/// A frame is refused: where, and what was expected there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The header at fault.
    pub layer: Layer,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where that header begins in the frame.
    pub offset: u16,
    /// What was wanted: bytes, a version, a checksum; at least this where it is a length.
    pub wanted: u16,
    /// What stood there instead.
    pub found: u16,
}

impl ParseError {
    #[cold]
    pub(super) fn new(
        layer: Layer,
        fault: Fault,
        offset: usize,
        wanted: usize,
        found: usize,
    ) -> ParseError {
        // Numbers for people: a frame longer than 65,535 bytes does not come in.
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let (offset, wanted, found) = (short(offset), short(wanted), short(found));
        ParseError { layer, fault, offset, wanted, found }
    }

    /// Is it the IPv4 header checksum, and nothing else?
    pub fn is_checksum(&self) -> bool {
        self.fault == Fault::Checksum
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Ethernet => "Ethernet",
            Layer::Arp => "ARP",
            Layer::Vlan => "VLAN tag",
            Layer::Ipv4 => "IPv4",
            Layer::Ipv6 => "IPv6",
            Layer::Icmp => "ICMP",
            Layer::Icmpv6 => "ICMPv6",
            Layer::Tcp => "TCP",
            Layer::Udp => "UDP",
            Layer::Sctp => "SCTP",
            Layer::Quote => "quoted packet",
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseError { layer, offset, wanted, found, .. } = self;
        write!(f, "{layer} at byte {offset}: ")?;
        match self.fault {
            Fault::FrameEnds => write!(f, "wanted {wanted} bytes, the frame has {found} left"),
            Fault::PacketEnds => {
                write!(f, "wanted {wanted} bytes, the packet's own length leaves {found}")
            }
            Fault::Version => write!(f, "wanted version {wanted}, found {found}"),
            Fault::HeaderTooShort => {
                write!(f, "wanted a header length of at least {wanted}, found {found}")
            }
            Fault::LengthTooShort => {
                write!(f, "wanted a length of at least {wanted}, found {found}")
            }
            Fault::Checksum => write!(f, "wanted checksum {wanted:#06x}, found {found:#06x}"),
            Fault::AddressLengths => {
                write!(f, "wanted address lengths {wanted:#06x}, found {found:#06x}")
            }
            Fault::LaterFragment => write!(f, "wanted a first fragment, found a later one"),
            Fault::Protocol => write!(f, "wanted TCP, UDP or SCTP, found protocol {found}"),
            Fault::SourceRoute => write!(f, "wanted no source route, found one"),
            Fault::MappedAddress => write!(f, "wanted no IPv4-mapped address, found one"),
            Fault::ChainTooLong => {
                write!(f, "wanted at most {wanted} extension headers, found {found} or more")
            }
        }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_and_what() {
        let rows = [
            (
                ParseError::new(Layer::Udp, Fault::PacketEnds, 34, 8, 3),
                "UDP at byte 34: wanted 8 bytes, the packet's own length leaves 3",
            ),
            (
                ParseError::new(Layer::Ipv4, Fault::Checksum, 14, 0xabc, 0),
                "IPv4 at byte 14: wanted checksum 0x0abc, found 0x0000",
            ),
            (
                ParseError::new(Layer::Ethernet, Fault::FrameEnds, 0, 14, 70_000),
                "Ethernet at byte 0: wanted 14 bytes, the frame has 65535 left",
            ),
            (
                ParseError::new(Layer::Vlan, Fault::FrameEnds, 18, 4, 2),
                "VLAN tag at byte 18: wanted 4 bytes, the frame has 2 left",
            ),
            (
                ParseError::new(Layer::Ipv6, Fault::SourceRoute, 54, 0, 1),
                "IPv6 at byte 54: wanted no source route, found one",
            ),
            (
                ParseError::new(Layer::Icmpv6, Fault::MappedAddress, 54, 0, 1),
                "ICMPv6 at byte 54: wanted no IPv4-mapped address, found one",
            ),
            (
                ParseError::new(Layer::Ipv6, Fault::ChainTooLong, 118, 8, 9),
                "IPv6 at byte 118: wanted at most 8 extension headers, found 9 or more",
            ),
            (
                ParseError::new(Layer::Arp, Fault::AddressLengths, 14, 0x0604, 0x1010),
                "ARP at byte 14: wanted address lengths 0x0604, found 0x1010",
            ),
        ];
        for (error, text) in rows {
            assert_eq!(error.to_string(), text);
        }
        assert!(std::mem::size_of::<ParseError>() <= 8);
    }
}
