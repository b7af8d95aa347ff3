//! Bytes on the wire: parse, flow key, checksums, rewriting in place, replies.
//!
//! Knows Ethernet, ARP, IPv4, ICMP, TCP and UDP as their RFCs draw them. Must never know services,
//! snapshots, devices or time.

mod flow_key;
mod frame;
mod mac;

pub use flow_key::{FlowKey, Protocol};
pub use frame::{FrameView, PortId};
pub use mac::{MacAddress, MacParseError};
