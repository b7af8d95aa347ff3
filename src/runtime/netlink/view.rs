//! What the kernel has said so far, and the topology that follows from it. Pure.
//!
//! Neighbours change all the time and are followed message by message. Links, addresses and routes
//! are read anew when one of them changes: the kernel does not tell of every route that a link
//! takes with it when it goes down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::links::{Links, Places, link_of};
use super::routes::{KernelRoute, routes_of};
use crate::control::{InterfaceSpec, LinkState, OwnAddress, Topology, UpperLink};
use crate::forwarding::{Neighbour, Route};
use crate::wire::MacAddress;

/// One complete reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub links: Vec<LinkMessage>,
    pub addresses: Vec<AddressMessage>,
    pub routes: Vec<RouteMessage>,
    /// None when only the others were read.
    pub neighbours: Option<Vec<NeighbourMessage>>,
}

/// What an event asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// Nothing, or it has been taken in.
    Done,
    /// Links, addresses and routes have to be read anew.
    Reread,
    /// Events were lost: everything has to be read anew.
    RereadAll,
}

/// A neighbour of the kernel's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Station {
    /// The last MAC it was known by: the kernel forgets it when its probes fail.
    mac: Option<MacAddress>,
    /// The kernel would send to it.
    usable: bool,
    /// The kernel keeps it fresh by itself.
    pub managed: bool,
    /// Set by hand: neither fails nor needs care.
    pub fixed: bool,
    /// Deleted while it was failing.
    absent: bool,
}

/// The key of a neighbour: interface number and address.
pub type StationKey = (u32, IpAddr);

/// Everything the kernel has said.
#[derive(Clone, Debug, Default)]
pub struct KernelView {
    links: Links,
    addresses: BTreeSet<(IpAddr, u32)>,
    /// An IPv6 address is being tried: whether the machine has it will show in a second.
    has_tentative: bool,
    routes: BTreeSet<KernelRoute>,
    stations: BTreeMap<StationKey, Station>,
    local_port_range: Option<(u16, u16)>,
}

impl KernelView {
    /// Takes a reading in the place of what was known.
    pub fn take(&mut self, reading: Reading) {
        self.links = reading.links.iter().filter_map(link_of).collect();
        self.addresses = reading.addresses.iter().filter_map(address_of).collect();
        self.has_tentative = reading.addresses.iter().any(is_tentative);
        self.routes = reading.routes.iter().flat_map(routes_of).collect();
        let Some(neighbours) = reading.neighbours else { return };
        let there: BTreeSet<_> = neighbours.iter().filter_map(station_key).collect();
        let lost: Vec<_> =
            self.stations.keys().filter(|key| !there.contains(key)).copied().collect();
        lost.into_iter().for_each(|key| self.delete_station(key));
        neighbours.iter().for_each(|neighbour| self.put_station(neighbour));
    }

    /// `net.ipv4.ip_local_port_range`.
    pub fn set_local_port_range(&mut self, range: Option<(u16, u16)>) {
        self.local_port_range = range;
    }

    /// Takes one event.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) -> Change {
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.put_station(neighbour),
            RouteNetlinkMessage::DelNeighbour(neighbour) => {
                if let Some(key) = station_key(neighbour) {
                    self.delete_station(key);
                }
            }
            _ => return Change::Reread,
        }
        Change::Done
    }

    fn put_station(&mut self, message: &NeighbourMessage) {
        let Some(key) = station_key(message) else { return };
        let state = message.header.state;
        let said = message.attributes.iter().find_map(|a| match a {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac_of(bytes),
            _ => None,
        });
        let managed = message.attributes.iter().any(|a| {
            matches!(a, NeighbourAttribute::ExtFlags(f) if f.contains(NeighbourExtFlags::Managed))
        });
        let known = || self.stations.get(&key).and_then(|station| station.mac);
        let mac = said.or_else(known);
        let fixed = matches!(state, NeighbourState::Permanent | NeighbourState::Noarp);
        let alive = matches!(
            state,
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
        );
        let usable = said.is_some() && (fixed || alive);
        self.stations.insert(key, Station { mac, usable, managed, fixed, absent: false });
    }

    /// A neighbour that was deleted while it was failing stays failed for as long as it is wanted.
    /// One that was well was only cleaned away, or went with its link: nothing is known of it.
    fn delete_station(&mut self, key: StationKey) {
        match self.stations.get_mut(&key) {
            Some(station) if !station.usable && station.mac.is_some() => {
                (station.absent, station.managed) = (true, false);
            }
            _ => {
                self.stations.remove(&key);
            }
        }
    }

    /// Drops what is remembered of deleted neighbours that nobody wants.
    pub fn forget_absent(&mut self, wanted: &BTreeSet<StationKey>) {
        self.stations.retain(|key, station| !station.absent || wanted.contains(key));
    }

    /// A neighbour the kernel has now.
    pub fn station(&self, key: StationKey) -> Option<&Station> {
        self.stations.get(&key).filter(|station| !station.absent)
    }

    /// Is this link there and up?
    pub fn is_up(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| link.up)
    }

    /// Is the kernel still finding out whether an address is free (RFC 4862 section 5.4)?
    pub fn has_tentative(&self) -> bool {
        self.has_tentative
    }

    /// Which port and VLANs each link stands for.
    pub fn places(&self, interfaces: &[InterfaceSpec]) -> Places {
        Places::new(&self.links, interfaces)
    }

    fn ifindex(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(&ifindex, _)| ifindex)
    }

    /// The world as our ports see it.
    pub fn topology(&self, interfaces: &[InterfaceSpec]) -> Topology {
        let links: Vec<_> = interfaces.iter().map(|spec| self.link_state(spec)).collect();
        let places = self.places(interfaces);
        let mut routes: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| {
                let &KernelRoute { network, prefix_len, metric, gateway, .. } = route;
                let (port, tags) = places.of(route.ifindex)?;
                Some(Route { network, prefix_len, metric, port, tags, gateway })
            })
            .collect();
        routes.sort_by_key(|r| (r.network, r.prefix_len, r.metric, r.port, r.tags, r.gateway));
        routes.dedup();
        let mut neighbours: Vec<_> = self
            .stations
            .iter()
            .filter_map(|(&(ifindex, address), station)| {
                let ((port, tags), mac) = (places.of(ifindex)?, station.mac?);
                Some(Neighbour { address, port, tags, mac, gone: !station.usable })
            })
            .collect();
        neighbours.sort_by_key(|n| (n.address, n.port, n.tags, n.gone, n.mac));
        // A port and its bridge may both know an address; the one that is there counts.
        neighbours.dedup_by_key(|n| (n.address, n.port, n.tags));
        let own = |&(address, ifindex)| OwnAddress { address, ifindex };
        Topology {
            upper_links: self.upper_links(&places, &links),
            links,
            own_addresses: self.addresses.iter().map(own).collect(),
            routes,
            neighbours,
            local_port_range: self.local_port_range,
        }
    }

    /// What stands for a port beside the interface itself and its bridge.
    fn upper_links(&self, places: &Places, ports: &[LinkState]) -> Vec<UpperLink> {
        let is_port = |ifindex| {
            ports.iter().any(|p| p.ifindex == ifindex || p.bridge_ifindex == Some(ifindex))
        };
        let others = places.all().filter(|&(ifindex, ..)| !is_port(ifindex));
        let state = |(ifindex, port, tags)| {
            let name = self.links.get(&ifindex)?.name.clone();
            Some(UpperLink { name, ifindex, port, tags })
        };
        others.filter_map(state).collect()
    }

    fn link_state(&self, spec: &InterfaceSpec) -> LinkState {
        let ifindex = self.ifindex(&spec.name);
        let link = ifindex.and_then(|ifindex| self.links.get(&ifindex));
        LinkState {
            name: spec.name.clone(),
            ifindex: ifindex.unwrap_or(0),
            bridge_ifindex: spec.bridge.as_deref().and_then(|bridge| self.ifindex(bridge)),
            mac: link.map_or(MacAddress::ZERO, |link| link.mac),
            mtu_bytes: link.map_or(0, |link| link.mtu_bytes),
            up: link.is_some_and(|link| link.up),
        }
    }
}

/// On a point-to-point link `Address` is the peer's: `Local` goes first.
fn address_of(message: &AddressMessage) -> Option<(IpAddr, u32)> {
    // Somebody else has it, or it is not known yet.
    if message.header.flags.contains(AddressHeaderFlags::Dadfailed) || is_tentative(message) {
        return None;
    }
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    address.map(|address| (address, message.header.index))
}

/// An optimistic address is used while it is tried (RFC 4429).
fn is_tentative(message: &AddressMessage) -> bool {
    let flags = message.header.flags;
    flags.contains(AddressHeaderFlags::Tentative)
        && !flags.intersects(AddressHeaderFlags::Optimistic | AddressHeaderFlags::Dadfailed)
}

fn station_key(message: &NeighbourMessage) -> Option<StationKey> {
    let header = &message.header;
    let is_ours = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6)
        && !header.flags.contains(NeighbourFlags::Proxy);
    let address = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(IpAddr::from(*address))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some(IpAddr::from(*address))
        }
        _ => None,
    });
    address.filter(|_| is_ours).map(|address| (header.ifindex, address))
}

/// Six bytes that can be a station's.
pub fn mac_of(bytes: &[u8]) -> Option<MacAddress> {
    bytes.try_into().ok().map(MacAddress).filter(|mac| mac.is_station())
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub mod tests;
