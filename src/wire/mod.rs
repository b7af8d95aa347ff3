//! Bytes on the wire: parse, flow key, checksums, rewriting in place, replies.
//!
//! Knows Ethernet, ARP, IPv4, ICMP, TCP and UDP as their RFCs draw them. Must never know services,
//! snapshots, devices or time.

pub mod checksum;
mod flow_key;
mod frame;
mod mac;
mod packet;
mod parse;
mod parse_error;
pub mod reply;
pub mod rewrite;
pub mod toeplitz;

#[cfg(test)]
pub(crate) mod samples;

pub use flow_key::{FlowKey, Protocol};
pub use frame::{FrameView, PortId};
pub use mac::{MacAddress, MacParseError};
pub use packet::{
    ARP_LEN, Arp, Body, ETHERNET_LEN, ICMP_LEN, IPV4_LEN, Ipv4Part, Packet, TCP_LEN, TcpFlags,
    TcpPart, Transport, UDP_LEN,
};
pub use parse::{ParseOutcome, parse};
pub use parse_error::{Fault, Layer, ParseError};
pub use reply::gratuitous_arp;
