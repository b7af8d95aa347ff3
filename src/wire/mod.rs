//! Bytes on the wire: parse, flow key, checksums, rewriting in place, replies.
//!
//! Knows Ethernet, VLAN tags, ARP, IPv4, IPv6, ICMP, NDP, TCP, UDP and SCTP as their RFCs draw them. Must
//! never know services, snapshots, devices or time.

mod address;
pub mod checksum;
pub mod encap;
mod ends;
mod flow_key;
mod frame;
mod header;
mod link;
mod mac;
pub mod mss;
mod packet;
mod parse;
mod parse_error;
mod quote;
pub mod reply;
pub mod rewrite;
mod sctp;
pub mod toeplitz;
mod tunnel_quote;

#[cfg(test)]
pub(crate) mod samples;

pub use address::{Address, Family};
pub use ends::ends_of;
pub use flow_key::{FlowKey, Protocol};
pub use frame::{FrameView, PortId};
pub use link::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Link, MOST_TAGS, TAG_LEN, Tags};
pub use mac::{MacAddress, MacParseError};
pub use packet::{
    ARP_LEN, Arp, Body, Content, Fragment, ICMP_LEN, IPV4_LEN, IPV6_LEN, IpPacket, Packet, TCP_LEN,
    TcpFlags, UDP_LEN,
};
pub use parse::{
    Headers, Kind, ParseOutcome, PlainPacket, class_and_fragmenting, parse, parse_arp, parse_into,
    put_rest, read_ipv4, read_ipv6,
};
pub use parse_error::{Fault, Layer, ParseError};
pub use quote::{ERROR_HEADER_LEN, Quote, parse_quote};
pub use reply::{gratuitous_arp, unsolicited_advertisement};
pub use tunnel_quote::{TunnelQuote, parse_tunnel_quote};
