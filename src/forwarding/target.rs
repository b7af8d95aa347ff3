//! What the packet path has to know of a backend, in one cache line.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Backend, Mode, NextHop, Port};
use crate::wire::{Address, MacAddress, PortId, Tags};

/// A backend as packets see it: made from [`Backend`] and the port its next hop is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// The way there; none: no route, no MAC, or its port is down.
    pub way: Option<Way>,
    /// Where it listens.
    pub port: u16,
    /// Its service's place in this snapshot.
    pub service: u32,
    /// How packets get there.
    pub mode: Mode,
    /// Some 31 bits that follow from address and port: another socket has others, but for a chance
    /// in two thousand million.
    pub fingerprint: u32,
    /// A backend has this id.
    pub is_there: bool,
    /// See [`Backend::gone`]. Its flows go on no longer.
    pub is_gone: bool,
}

const _: () = assert!(std::mem::size_of::<Target>() == 64);

/// How a frame leaves: everything of its link header, and what may leave there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Port it leaves by.
    pub port: PortId,
    /// VLANs it leaves with.
    pub tags: Tags,
    /// The next station's MAC and that port's, as they stand in the frame.
    pub macs: [u8; 12],
    /// Longest packet that may leave there, in bytes.
    pub mtu_bytes: u16,
}

impl Way {
    /// By this hop, if its port is there and up.
    #[inline]
    pub fn by(hop: NextHop, ports: &[Port]) -> Option<Way> {
        let port = ports.get(hop.port.index()).filter(|port| port.up)?;
        Some(Way {
            port: hop.port,
            tags: hop.tags,
            macs: macs(hop.mac, port.mac),
            mtu_bytes: port.mtu_bytes,
        })
    }
}

/// Destination and source as they stand in a frame.
#[inline]
fn macs(destination: MacAddress, source: MacAddress) -> [u8; 12] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

impl Target {
    /// No backend has this id.
    pub const NONE: Target = Target {
        address: Address::UNSPECIFIED,
        way: None,
        service: 0,
        mode: Mode::L2dsr,
        port: 0,
        fingerprint: 0,
        is_there: false,
        is_gone: false,
    };

    pub(super) fn of(backend: &Backend, ports: &[Port]) -> Target {
        let address = Address::from(backend.socket.ip());
        Target {
            address,
            fingerprint: fingerprint(address, backend.socket.port()),
            way: backend.next_hop.and_then(|hop| Way::by(hop, ports)),
            service: backend.service.0,
            mode: backend.mode,
            port: backend.socket.port(),
            is_there: true,
            is_gone: backend.gone,
        }
    }
}

/// No secret: it tells sockets apart that one operator has chosen.
fn fingerprint(address: Address, port: u16) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(&address.octets());
    hasher.write(&port.to_be_bytes());
    (hasher.finish() >> 33) as u32
}
