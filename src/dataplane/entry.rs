//! One flow: as the table holds it, and as plain data for others.

use std::net::SocketAddr;

use super::{FlowState, Side};
use crate::forwarding::Backend;
use crate::wire::{Address, FlowKey, MacAddress, PortId, Tags};

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
    /// The backend's packets come by us too (NAT, DNAT).
    pub const BOTH_WAYS: u16 = 1 << 5;
    /// A packet was refused since the backend is gone.
    pub const BACKEND_GONE: u16 = 1 << 6;
}

/// Number of the layout of [`FlowEntry`]; entries of another are not imported.
pub const ENTRY_VERSION: u16 = 2;

/// Set in [`Flow::block`]: no block of SNAT ports, but the fingerprint of the backend.
const NOT_NAT: u32 = 1 << 31;

/// A station on a link: where a client's frames come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// Port the frames come in by.
    pub port: PortId,
    /// VLANs they come with.
    pub tags: Tags,
    /// MAC they come from.
    pub mac: MacAddress,
}

impl Station {
    /// MAC and port in one word, as a [`Flow`] has them.
    #[inline(always)]
    fn word(self) -> u64 {
        Station::word_of(self.mac.word(), self.port)
    }

    /// The same of a MAC that is a word already.
    #[inline(always)]
    pub(super) fn word_of(mac: u64, port: PortId) -> u64 {
        mac | (port.0 as u64) << PORT_SHIFT
    }
}

/// A flow in its place in the table: one cache line, IPv4 or IPv6.
///
/// What follows from the backend stands with the backend in the snapshot, what follows from the SNAT
/// port with the block the port is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub(super) struct Flow {
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    /// A [`super::FlowState`], 0 when the place is not in use.
    pub(super) state: u8,
    /// See [`entry_flags`].
    pub(super) flags: u16,
    /// [`crate::forwarding::BackendId`].
    pub(super) backend: u32,
    /// Low 32 bits of the last packet's [`super::Ticks`].
    pub(super) last_seen_ms: u32,
    /// Under NAT, the block its SNAT port is of; else [`NOT_NAT`] with its backend's fingerprint.
    block: u32,
    client_tags: Tags,
    /// Where the client's frames come from, in one word: the MAC as [`MacAddress::word`] has it, the
    /// port in the seventh byte, and under NAT the high byte of its SNAT port in the last.
    client: u64,
}

/// In [`Flow::client`].
const PORT_SHIFT: u32 = 48;
const SNAT_SHIFT: u32 = 56;

const _: () = assert!(std::mem::size_of::<Flow>() == 64);

impl Flow {
    /// A place that is not in use.
    pub(super) const FREE: Flow = Flow {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        state: 0,
        flags: 0,
        backend: 0,
        last_seen_ms: 0,
        block: NOT_NAT,
        client_tags: Tags::NONE,
        client: 0,
    };

    /// A flow of these packets, with nothing else said of it.
    pub(super) fn new(key: &FlowKey, client: Station) -> Flow {
        Flow {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol_number(),
            client_tags: client.tags,
            client: client.word(),
            ..Flow::FREE
        }
    }

    /// As the client sends it: client -> VIP.
    #[inline]
    pub(super) fn key(&self) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            protocol: u32::from(self.protocol),
        }
    }

    /// Is it the flow of a client's packet with this key?
    #[inline(always)]
    pub(super) fn is_of(&self, key: &FlowKey) -> bool {
        // Field by field in place: a key made of it for comparing would be written and read again.
        // Both ports are one word in memory.
        let ports = |first: u16, second: u16| u32::from(first) | u32::from(second) << 16;
        let is_other = (self.source.differs(key.source)
            | self.destination.differs(key.destination))
            | u64::from(
                (ports(self.source_port, self.destination_port)
                    ^ ports(key.source_port, key.destination_port))
                    | (u32::from(self.protocol) ^ key.protocol),
            );
        is_other == 0 && self.is_in_use()
    }

    /// The VIP's port.
    #[inline]
    pub(super) fn destination_port(&self) -> u16 {
        self.destination_port
    }

    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.state != 0
    }

    /// Is it no flow, but where a client's new ones go?
    #[inline]
    pub(super) fn is_affinity(&self) -> bool {
        self.state == super::FlowState::Affinity as u8
    }

    /// Is the flow translated? Its own mode counts, not what its service has become since.
    #[inline]
    pub(super) fn is_nat(&self) -> bool {
        self.block & NOT_NAT == 0
    }

    /// Under NAT: the block its SNAT port is of, and the port's high byte; the low one is the shard.
    #[inline]
    pub(super) fn binding(&self) -> Option<(u32, u8)> {
        self.is_nat().then_some((self.block, (self.client >> SNAT_SHIFT) as u8))
    }

    /// Makes the flow a translated one.
    pub(super) fn bind(&mut self, block: u32, snat_high: u8) {
        self.block = block & !NOT_NAT;
        self.client = self.client & !(0xff << SNAT_SHIFT) | u64::from(snat_high) << SNAT_SHIFT;
    }

    /// Without NAT: the fingerprint of its backend.
    #[inline]
    pub(super) fn fingerprint(&self) -> Option<u32> {
        (!self.is_nat()).then_some(self.block & !NOT_NAT)
    }

    /// Is it without translation, to the backend with this fingerprint?
    #[inline(always)]
    pub(super) fn is_untranslated_to(&self, fingerprint: u32) -> bool {
        self.block == NOT_NAT | fingerprint
    }

    /// Is it in the middle of its life, where only some packets from this side change anything?
    #[inline(always)]
    pub(super) fn is_quiet_for(&self, from: Side) -> bool {
        let is_known = from == Side::Client || self.has(entry_flags::SEEN_BACKEND);
        is_known && (self.state == FlowState::Established as u8 || self.is_udp())
    }

    /// Is it one of UDP?
    #[inline(always)]
    pub(super) fn is_udp(&self) -> bool {
        self.state == FlowState::Udp as u8
    }

    /// Makes the flow one without translation, to the backend with this fingerprint.
    pub(super) fn set_fingerprint(&mut self, fingerprint: u32) {
        self.block = NOT_NAT | fingerprint;
    }

    /// Is a flag of [`entry_flags`] set?
    #[inline]
    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Milliseconds since its last packet, by wrapping arithmetic: right up to 49 days.
    #[inline]
    pub(super) fn age_ms(&self, now_ms: u32) -> u32 {
        now_ms.wrapping_sub(self.last_seen_ms)
    }

    #[inline]
    pub(super) fn client(&self) -> Station {
        Station { port: self.client_port(), tags: self.client_tags, mac: self.client_mac() }
    }

    #[inline(always)]
    pub(super) fn client_port(&self) -> PortId {
        PortId((self.client >> PORT_SHIFT) as u8)
    }

    #[inline(always)]
    pub(super) fn client_mac(&self) -> MacAddress {
        MacAddress::from_word(self.client)
    }

    #[inline(always)]
    pub(super) fn client_tags(&self) -> Tags {
        self.client_tags
    }

    #[inline]
    pub(super) fn set_client(&mut self, client: Station) {
        self.set_client_word(client.word(), client.tags);
    }

    /// The same with a [`Station::word`].
    #[inline(always)]
    pub(super) fn set_client_word(&mut self, word: u64, tags: Tags) {
        self.client = self.client & 0xff << SNAT_SHIFT | word;
        self.client_tags = tags;
    }
}

/// One flow with all that is known of it, for others: handed to another worker, process or node as
/// it is. 104 bytes, no pointers, backend by id, time in ticks of CLOCK_BOOTTIME.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FlowEntry {
    /// As the client sends it: client -> VIP.
    pub key: FlowKey,
    /// Under NAT, where its backend is; else unspecified.
    pub backend_address: Address,
    /// Source that the backend sees under NAT.
    pub snat_address: Address,
    /// [`crate::forwarding::BackendId`].
    pub backend: u32,
    /// Low 32 bits of the last packet's [`super::Ticks`].
    pub last_seen_ms: u32,
    /// Under NAT, the backend's port, 0 where that is the VIP's; else 0.
    pub backend_port: u16,
    /// SNAT port; 0 without NAT.
    pub snat_port: u16,
    /// MAC the client's frames come from.
    pub client_mac: MacAddress,
    /// Port the client's frames come in by.
    pub client_port: PortId,
    /// A [`super::FlowState`], 0 when the entry is not in use.
    pub state: u8,
    /// VLANs the client's frames come with.
    pub client_tags: Tags,
    /// See [`entry_flags`].
    pub flags: u16,
    /// Layout: [`ENTRY_VERSION`].
    pub version: u16,
    /// Without NAT, the backend's [`crate::forwarding::Target::fingerprint`]; else 0.
    pub backend_fingerprint: u32,
}

const _: () = assert!(std::mem::size_of::<FlowEntry>() == 104);

impl FlowEntry {
    /// An entry that is not in use.
    pub const FREE: FlowEntry = FlowEntry {
        key: FlowKey {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
        },
        backend_address: Address::UNSPECIFIED,
        snat_address: Address::UNSPECIFIED,
        backend: 0,
        last_seen_ms: 0,
        backend_port: 0,
        snat_port: 0,
        client_mac: MacAddress::ZERO,
        client_port: PortId(0),
        state: 0,
        client_tags: Tags::NONE,
        flags: 0,
        version: ENTRY_VERSION,
        backend_fingerprint: 0,
    };

    /// Is it in use?
    pub fn is_in_use(&self) -> bool {
        self.state != 0
    }

    /// Is the flow translated?
    pub fn is_nat(&self) -> bool {
        self.snat_port != 0
    }

    /// Under NAT, the key of the backend's packets: backend -> SNAT address and port.
    pub fn return_key(&self) -> FlowKey {
        FlowKey {
            source: self.backend_address,
            destination: self.snat_address,
            source_port: self.port_of_backend(),
            destination_port: self.snat_port,
            protocol: self.key.protocol,
        }
    }

    /// Whose port its SNAT port is, in the form of a key: as the return key, but for the port of a
    /// backend that listens on all of the VIP's.
    pub(super) fn bound_towards(&self) -> FlowKey {
        FlowKey { source_port: self.backend_port, ..self.return_key() }
    }

    fn port_of_backend(&self) -> u16 {
        if self.backend_port == 0 { self.key.destination_port } else { self.backend_port }
    }

    /// Where its backend listens.
    pub fn backend_socket(&self) -> SocketAddr {
        self.backend_address.socket(self.port_of_backend())
    }

    /// Where the flow's packets go, by its backend as the snapshot has it; none when that is gone and the flow
    /// is not translated.
    pub fn sent_to(&self, backend: Option<&Backend>) -> Option<SocketAddr> {
        match self.is_nat() {
            true => Some(self.backend_socket()),
            false => backend.map(|backend| backend.socket_for(self.key.destination_port)),
        }
    }

    /// The source that the backend sees under NAT.
    pub fn snat_socket(&self) -> SocketAddr {
        self.snat_address.socket(self.snat_port)
    }

    /// Milliseconds since its last packet, by wrapping arithmetic: right up to 49 days.
    pub fn age_ms(&self, now_ms: u32) -> u32 {
        now_ms.wrapping_sub(self.last_seen_ms)
    }

    /// Is a flag of [`entry_flags`] set?
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn client(&self) -> Station {
        Station { port: self.client_port, tags: self.client_tags, mac: self.client_mac }
    }
}
