//! Whose packets come back to us under DNAT: those from backends' sockets.

use std::sync::Arc;

use super::{Backend, Mode, Service, ServiceIndex, SharedList};
use crate::wire::{Address, FlowKey};

const EMPTY: u32 = u32::MAX;

/// A backend's socket as its packets say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Socket {
    address: Address,
    /// Port in the upper half, protocol in the lower.
    rest: u32,
}

impl Socket {
    fn hash(&self) -> u64 {
        let (high, low) = self.address.halves();
        let mixed = low ^ high.rotate_left(29) ^ u64::from(self.rest).rotate_left(41);
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Backend socket and protocol -> DNAT service: open addressing, at most half full; ranges of ports
/// beside it.
///
/// Two configured services never share a socket, but one that was removed may have had it: then both
/// are found, the configured one first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DnatTable {
    /// A power of two long, or empty when there is no DNAT.
    places: Arc<[(Socket, u32)]>,
    /// Backends that listen on all ports of their service, sorted.
    ranges: Arc<[Range]>,
    /// Addresses of backends, sorted.
    addresses: Arc<[Address]>,
}

/// The ports of a service of several, at one backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Range {
    address: Address,
    protocol: u8,
    /// The backend has old flows only.
    is_old: bool,
    first: u16,
    last: u16,
    service: u32,
}

impl DnatTable {
    /// The table of all backends of mode `dnat`.
    pub fn new(services: &[Service], backends: &SharedList<Option<Backend>>) -> DnatTable {
        let mut sockets: Vec<(Socket, u32, bool)> = Vec::new();
        let mut ranges = Vec::new();
        for backend in backends.iter().flatten().filter(|backend| backend.mode == Mode::Dnat) {
            let Some(service) = services.get(backend.service.index()) else { continue };
            if backend.socket.port() == 0 {
                ranges.push(Range {
                    address: backend.socket.ip().into(),
                    protocol: service.protocol.number(),
                    is_old: backend.is_retired(),
                    first: service.vip.port(),
                    last: service.last_port.unwrap_or(service.vip.port()),
                    service: backend.service.0,
                });
                continue;
            }
            let rest =
                u32::from(backend.socket.port()) << 16 | u32::from(service.protocol.number());
            let socket = Socket { address: backend.socket.ip().into(), rest };
            sockets.push((socket, backend.service.0, backend.is_retired()));
        }
        sockets.sort_by_key(|&(socket, service, is_old)| {
            (is_old, socket.address, socket.rest, service)
        });
        sockets.dedup_by_key(|&mut (socket, service, _)| (socket.address, socket.rest, service));
        ranges.sort_unstable();
        let of_ranges = ranges.iter().map(|range| range.address);
        let mut addresses: Vec<Address> =
            sockets.iter().map(|(at, ..)| at.address).chain(of_ranges).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if sockets.is_empty() {
            return DnatTable {
                places: [].into(),
                ranges: ranges.into(),
                addresses: addresses.into(),
            };
        }
        let len = (sockets.len() * 2).next_power_of_two();
        let nothing = Socket { address: Address::UNSPECIFIED, rest: 0 };
        let mut places = vec![(nothing, EMPTY); len];
        for (socket, service, _) in sockets {
            let mut place = (socket.hash() >> 32) as usize & (len - 1);
            while places[place].1 != EMPTY {
                place = (place + 1) & (len - 1);
            }
            places[place] = (socket, service);
        }
        DnatTable { places: places.into(), ranges: ranges.into(), addresses: addresses.into() }
    }

    /// Are they two views of the very same one?
    pub(super) fn is_same(&self, other: &DnatTable) -> bool {
        Arc::ptr_eq(&self.places, &other.places) && Arc::ptr_eq(&self.ranges, &other.ranges)
    }

    /// Is there no DNAT?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Has some backend this address? Of later fragments nothing more can be asked.
    pub fn has_address(&self, address: Address) -> bool {
        self.addresses.binary_search(&address).is_ok()
    }

    /// The service whose backend has sent a packet with this key.
    #[inline]
    pub fn find(&self, key: &FlowKey) -> Option<ServiceIndex> {
        if self.is_empty() {
            return None;
        }
        self.find_all(key.source, key.source_port, key.protocol_number()).next()
    }

    /// The services that have, or had, a backend with this socket: the configured one first.
    #[inline]
    pub fn find_all(
        &self,
        address: Address,
        port: u16,
        protocol: u8,
    ) -> impl Iterator<Item = ServiceIndex> + '_ {
        let wanted = Socket { address, rest: u32::from(port) << 16 | u32::from(protocol) };
        let mask = self.places.len().wrapping_sub(1);
        let first = (wanted.hash() >> 32) as usize;
        let in_turn = (0..self.places.len()).map(move |step| first.wrapping_add(step) & mask);
        let places = in_turn.filter_map(|place| self.places.get(place));
        let run = places.take_while(|(_, service)| *service != EMPTY);
        let run = run.filter(move |(socket, _)| *socket == wanted).map(|&(_, index)| index);
        run.chain(self.ranges_with(address, port, protocol)).map(ServiceIndex)
    }

    /// The same of services of several ports.
    #[inline]
    fn ranges_with(
        &self,
        address: Address,
        port: u16,
        protocol: u8,
    ) -> impl Iterator<Item = u32> + '_ {
        let wanted = (address, protocol);
        let first = self.ranges.partition_point(|range| (range.address, range.protocol) < wanted);
        let run = self.ranges.iter().skip(first);
        let run = run.take_while(move |range| (range.address, range.protocol) == wanted);
        let has = move |range: &&Range| (range.first..=range.last).contains(&port);
        run.filter(has).map(|range| range.service)
    }
}
