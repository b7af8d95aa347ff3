//! One flow, as plain data of a fixed size.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::wire::{FlowKey, MacAddress, PortId};

/// The bits of [`FlowEntry::flags`].
pub mod entry_flags {
    /// A packet came from the backend.
    pub const SEEN_BACKEND: u16 = 1;
    /// The TCP connection was once established.
    pub const WAS_ESTABLISHED: u16 = 1 << 1;
    /// FIN from the client.
    pub const FIN_CLIENT: u16 = 1 << 2;
    /// FIN from the backend.
    pub const FIN_BACKEND: u16 = 1 << 3;
    /// The SNAT port was given back: the entry only passes late packets on, until the port is taken.
    pub const PORT_RELEASED: u16 = 1 << 4;
}

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
    /// A [`super::FlowState`], 0 when the entry is not in use.
    pub state: u8,
    /// Packets both ways, saturating.
    pub packets: u32,
    /// Layout: [`ENTRY_VERSION`].
    pub version: u16,
    /// See [`entry_flags`].
    pub flags: u16,
    /// Bytes both ways, saturating.
    pub bytes: u64,
}

const _: () = assert!(std::mem::size_of::<FlowEntry>() == 64);

impl FlowEntry {
    /// An entry that is not in use.
    pub const FREE: FlowEntry = FlowEntry {
        key: FlowKey {
            source: 0,
            destination: 0,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
        },
        backend: 0,
        last_seen_ms: 0,
        created_ms: 0,
        snat_address: 0,
        backend_address: 0,
        snat_port: 0,
        backend_port: 0,
        client_mac: [0; 6],
        client_port: 0,
        state: 0,
        packets: 0,
        version: ENTRY_VERSION,
        flags: 0,
        bytes: 0,
    };

    /// Is it in use?
    #[inline]
    pub fn is_in_use(&self) -> bool {
        self.state != 0
    }

    /// Is the flow translated? Its own mode counts, not what its service has become since.
    #[inline]
    pub fn is_nat(&self) -> bool {
        self.snat_port != 0
    }

    /// Under NAT, the key of the backend's packets: backend -> SNAT address and port.
    #[inline]
    pub fn return_key(&self) -> FlowKey {
        FlowKey {
            source: self.backend_address,
            destination: self.snat_address,
            source_port: self.backend_port,
            destination_port: self.snat_port,
            protocol: self.key.protocol,
        }
    }

    /// Where its backend listens.
    #[inline]
    pub fn backend_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.backend_address), self.backend_port)
    }

    /// The source that the backend sees under NAT.
    #[inline]
    pub fn snat_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.snat_address), self.snat_port)
    }

    /// The station the client's frames come from, and the port they come in by.
    #[inline]
    pub fn client_station(&self) -> (PortId, MacAddress) {
        (PortId(self.client_port), MacAddress(self.client_mac))
    }

    /// Is a flag of [`entry_flags`] set?
    #[inline]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Milliseconds since its last packet, by wrapping arithmetic: right up to 49 days.
    #[inline]
    pub fn age_ms(&self, now_ms: u32) -> u32 {
        now_ms.wrapping_sub(self.last_seen_ms)
    }
}
