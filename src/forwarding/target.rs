//! What the packet path has to know of a backend, in one cache line.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Backend, Mode, NextHop, Port, Service};
use crate::wire::encap::Envelope;
use crate::wire::{Address, MacAddress, PortId, Tags};

/// A backend as packets see it: made from [`Backend`], its service, and the port its next hop is
/// behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct Target {
    /// Where it is.
    pub address: Address,
    way: Way,
    /// Where it listens; 0: on the port that a packet was sent to.
    pub port: u16,
    /// What nearly all of its packets need.
    pub shortcut: Shortcut,
    /// What else is known: bits of [`standing`].
    standing: u8,
    /// Its service's place in this snapshot.
    pub service: u32,
    /// Some 31 bits that follow from address and port: another socket has others, but for a chance
    /// in two thousand million.
    pub fingerprint: u32,
    /// See [`Target::is_young`]: of TCP and of UDP.
    young: [u16; 2],
    /// How packets get there.
    pub mode: Mode,
}

const _: () = assert!(std::mem::size_of::<Target>() == 64);

/// What is done with the packets of a flow in the middle of its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shortcut {
    /// That has to be asked: there is no way to the backend, it or its service is gone, there is none,
    /// or its mode has no shortcut (`dscp`).
    None,
    /// Addresses and ports are translated: those of the flow, or of DNAT.
    Translate,
    /// Only the link header changes.
    Link,
    /// The packet goes in an envelope.
    Tunnel,
}

mod standing {
    /// A backend has this id.
    pub const IS_THERE: u8 = 1;
    pub const HAS_WAY: u8 = 1 << 1;
    pub const IS_GONE: u8 = 1 << 2;
}

/// How a frame leaves: everything of its link header, and what may leave there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Way {
    /// The next station's MAC and that port's, as they stand in the frame.
    pub macs: [u8; 12],
    /// VLANs it leaves with.
    pub tags: Tags,
    /// Longest packet that may leave there, in bytes.
    pub mtu_bytes: u16,
    /// Port it leaves by.
    pub port: PortId,
    /// Bytes of the link header.
    pub header_len: u8,
}

impl Way {
    const NONE: Way =
        Way { macs: [0; 12], tags: Tags::NONE, mtu_bytes: 0, port: PortId(0), header_len: 0 };

    /// By this hop, if its port is there and up.
    #[inline]
    pub fn by(hop: NextHop, ports: &[Port]) -> Option<Way> {
        let port = ports.get(hop.port.index()).filter(|port| port.up)?;
        Some(Way {
            port: hop.port,
            tags: hop.tags,
            macs: Way::macs(hop.mac, port.mac),
            mtu_bytes: port.mtu_bytes,
            header_len: hop.tags.header_len() as u8,
        })
    }

    /// Destination and source as they stand in a frame.
    #[inline(always)]
    pub fn macs(destination: MacAddress, source: MacAddress) -> [u8; 12] {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Ages are compared by their number of 4,096 ms.
const AGE_SHIFT: u32 = 12;

impl Target {
    /// No backend has this id.
    pub const NONE: Target = Target {
        address: Address::UNSPECIFIED,
        way: Way::NONE,
        port: 0,
        shortcut: Shortcut::None,
        standing: 0,
        service: 0,
        fingerprint: 0,
        young: [0; 2],
        mode: Mode::L2dsr,
    };

    /// Where it listens for what was sent to this port of the VIP.
    #[inline(always)]
    pub fn port_for(&self, vip_port: u16) -> u16 {
        if self.port == 0 { vip_port } else { self.port }
    }

    pub(super) fn of(backend: &Backend, service: Option<&Service>, ports: &[Port]) -> Target {
        let address = Address::from(backend.socket.ip());
        let way = backend.next_hop.and_then(|hop| Way::by(hop, ports));
        let is_dead_end = way.is_none() || backend.gone || service.is_none_or(|s| s.gone);
        let shortcut = match backend.mode {
            _ if is_dead_end => Shortcut::None,
            // Rare enough to go the thorough way.
            Mode::Dscp(_) => Shortcut::None,
            Mode::Nat | Mode::Dnat => Shortcut::Translate,
            Mode::L2dsr => Shortcut::Link,
            Mode::Tunnel(..) => Shortcut::Tunnel,
        };
        let steps = |timeout_ms: u32| (timeout_ms >> AGE_SHIFT).min(u32::from(u16::MAX)) as u16;
        let timeouts = service.map(|service| service.timeouts);
        let young = timeouts.map_or([0; 2], |t| [steps(t.tcp_established_ms), steps(t.udp_ms)]);
        Target {
            address,
            way: way.unwrap_or(Way::NONE),
            port: backend.socket.port(),
            shortcut,
            standing: standing::IS_THERE
                | if way.is_some() { standing::HAS_WAY } else { 0 }
                | if backend.gone { standing::IS_GONE } else { 0 },
            service: backend.service.0,
            fingerprint: fingerprint(address, backend.socket.port()),
            young,
            mode: backend.mode,
        }
    }

    /// The way there; none: no route, no MAC, or its port is down.
    #[inline]
    pub fn way(&self) -> Option<&Way> {
        (self.standing & standing::HAS_WAY != 0).then_some(&self.way)
    }

    /// The way that there is when [`Target::shortcut`] is any.
    #[inline(always)]
    pub fn short_way(&self) -> &Way {
        &self.way
    }

    /// The envelope for packets of its service, if they get there in one, and can.
    pub(super) fn envelope(&self, service: &Service) -> Option<Envelope> {
        let (Mode::Tunnel(tunnel, dscp), Shortcut::Tunnel) = (self.mode, self.shortcut) else {
            return None;
        };
        let inner = Address::from(service.vip.ip()).family();
        let link = (&self.way.macs, self.way.tags);
        Some(Envelope::new((tunnel, dscp), self.address, inner, link))
    }

    /// A backend has this id.
    #[inline]
    pub fn is_there(&self) -> bool {
        self.standing & standing::IS_THERE != 0
    }

    /// See [`Backend::gone`]. Its flows go on no longer.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.standing & standing::IS_GONE != 0
    }

    /// Is a flow in the middle of its life surely not idle, by the time since its last packet? One
    /// that is within four seconds of its time-out may be said to be not so: ask it exactly.
    #[inline(always)]
    pub fn is_young(&self, is_udp: bool, age_ms: u32) -> bool {
        age_ms >> AGE_SHIFT < u32::from(self.young[usize::from(is_udp)])
    }
}

/// No secret: it tells sockets apart that one operator has chosen.
fn fingerprint(address: Address, port: u16) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(&address.octets());
    hasher.write(&port.to_be_bytes());
    (hasher.finish() >> 33) as u32
}
