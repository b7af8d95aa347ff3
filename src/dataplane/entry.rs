//! One flow, as plain data of a fixed size.

use crate::wire::FlowKey;

/// Number of the layout of [`FlowEntry`]; entries of another are not imported.
pub const ENTRY_VERSION: u16 = 1;

/// One flow. 64 bytes, no pointers, backend by id, time in ticks of CLOCK_BOOTTIME: it can be
/// handed to another worker, process or node as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FlowEntry {
    /// As the client sends it: client -> VIP.
    pub key: FlowKey,
    /// [`crate::forwarding::BackendId`].
    pub backend: u32,
    /// Low 32 bits of the last packet's [`super::Ticks`].
    pub last_seen_ms: u32,
    /// Low 32 bits of the first packet's ticks.
    pub created_ms: u32,
    /// SNAT address, host byte order; 0 without NAT.
    pub snat_address: u32,
    /// Backend's address at the time the flow was made, host byte order.
    pub backend_address: u32,
    /// SNAT port; 0 without NAT.
    pub snat_port: u16,
    /// Backend's port.
    pub backend_port: u16,
    /// MAC the client's frames come from.
    pub client_mac: [u8; 6],
    /// Port the client's frames come in by.
    pub client_port: u8,
    /// TCP state (see `tcp_state`), or free, or held down after close.
    pub state: u8,
    /// Packets both ways, saturating.
    pub packets: u32,
    /// Layout: [`ENTRY_VERSION`].
    pub version: u16,
    /// Seen from client, from backend, FIN each way, and so on.
    pub flags: u16,
    /// Bytes both ways, saturating.
    pub bytes: u64,
}

const _: () = assert!(std::mem::size_of::<FlowEntry>() == 64);
