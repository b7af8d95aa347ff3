//! What the XDP program takes off the NIC: a pure function of the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{AddressRole, Mode, Snapshot};
use crate::wire::{Address, Protocol};

/// One thing the XDP program takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SteerEntry {
    /// Everything to an address that is ours alone: every protocol, ARP and NDP questions for it, fragments.
    Whole(IpAddr),
    /// One protocol and port of an address the machine has too.
    Port(IpAddr, Protocol, u16),
    /// NAT return traffic to an address the machine has too: TCP and UDP to these ports.
    PortRange(IpAddr, u16, u16),
    /// Bytes of room that packets to a VIP are given in front, for the header of a tunnel.
    Room(IpAddr, u16),
    /// ICMP errors about tunnels' packets: to an outer source in this network.
    TunnelSource(IpAddr, u8),
    /// An address of the machine itself: answers of DNAT backends to it are the kernel's.
    Own(IpAddr),
    /// DNAT return traffic: everything from this socket of a backend, and ICMP errors about what is
    /// sent to it, but for packets to the machine itself.
    Backend(IpAddr, Protocol, u16),
    /// The same of all these ports of a backend, both ends included.
    BackendPorts(IpAddr, Protocol, u16, u16),
}

/// Port ranges of one shared address that can be taken.
pub const MOST_SHARED_RANGES: usize = 8;

/// All that is taken, without duplicates and in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SteerTable {
    /// The entries.
    pub entries: BTreeSet<SteerEntry>,
}

impl SteerTable {
    /// The table for a snapshot.
    pub fn of(snapshot: &Snapshot) -> SteerTable {
        let whole = |address: IpAddr| {
            !matches!(snapshot.address_role(Address::from(address)), Some(AddressRole::Shared))
        };
        let mut entries = BTreeSet::new();
        for service in &snapshot.services {
            let address = service.vip.ip();
            entries.insert(if whole(address) {
                SteerEntry::Whole(address)
            } else {
                SteerEntry::Port(address, service.protocol, service.vip.port())
            });
        }
        for snat in &snapshot.snat {
            entries.insert(if whole(snat.address) {
                SteerEntry::Whole(snat.address)
            } else {
                SteerEntry::PortRange(snat.address, *snat.ports.start(), *snat.ports.end())
            });
        }
        entries.extend(rooms(snapshot));
        entries.extend(snapshot.tunnel_sources.iter().map(|source| {
            let network = source.network().ip();
            SteerEntry::TunnelSource(network, source.prefix_len())
        }));
        entries.extend(dnat(snapshot));
        SteerTable { entries }
    }

    /// What has to be added to `running`, to be done once every worker runs the new snapshot.
    pub fn added_to<'a>(
        &'a self,
        running: &'a SteerTable,
    ) -> impl Iterator<Item = SteerEntry> + 'a {
        self.entries.difference(&running.entries).copied()
    }

    /// What has to be removed from `running`, to be done before the new snapshot is published: the
    /// last that was added first.
    pub fn removed_from<'a>(
        &'a self,
        running: &'a SteerTable,
    ) -> impl Iterator<Item = SteerEntry> + 'a {
        let last_first = running.entries.iter().rev().copied();
        last_first.filter(|entry| !self.entries.contains(entry))
    }
}

/// For each VIP the most that any of its backends needs. What needs less is moved forward.
fn rooms(snapshot: &Snapshot) -> impl Iterator<Item = SteerEntry> {
    let mut rooms: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for backend in snapshot.backends.iter().flatten() {
        let Some(service) = snapshot.service_of(backend) else { continue };
        let needed = backend.mode.overhead_bytes(Address::from(backend.socket.ip()).family());
        if needed > 0 {
            let room = rooms.entry(service.vip.ip()).or_default();
            *room = needed.max(*room);
        }
    }
    rooms.into_iter().map(|(address, room)| SteerEntry::Room(address, room as u16))
}

/// The sockets of DNAT backends, those included that only have old flows, and what is not theirs.
fn dnat(snapshot: &Snapshot) -> BTreeSet<SteerEntry> {
    let mut entries = BTreeSet::new();
    for backend in snapshot.backends.iter().flatten().filter(|b| b.mode == Mode::Dnat) {
        let Some(service) = snapshot.service_of(backend) else { continue };
        let socket = backend.socket;
        let (address, protocol) = (socket.ip(), service.protocol);
        entries.insert(match socket.port() {
            0 => {
                let (first, last) = (service.vip.port(), service.last_port);
                SteerEntry::BackendPorts(address, protocol, first, last.unwrap_or(first))
            }
            port => SteerEntry::Backend(address, protocol, port),
        });
    }
    if !entries.is_empty() {
        let own = snapshot.own_addresses().iter();
        entries.extend(own.map(|address| SteerEntry::Own(address.ip())));
    }
    entries
}
