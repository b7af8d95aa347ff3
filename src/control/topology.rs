//! What the kernel says about links, addresses, routes and neighbours, as plain data.

use std::net::IpAddr;

use crate::wire::{MacAddress, PortId, Tags};

/// One of our interfaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Interface name as configured.
    pub name: String,
    /// The kernel's number for it; 0 while it does not exist.
    pub ifindex: u32,
    /// For an interface that leads into a bridge of this machine: the bridge's number. Routes and
    /// neighbours of the bridge are then this port's.
    pub bridge_ifindex: Option<u32>,
    /// Its MAC.
    pub mac: MacAddress,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u16,
    /// Administratively up and with carrier.
    pub up: bool,
}

/// Another link of the kernel's that stands for one of our ports: a VLAN over it, or the bond it is
/// part of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UpperLink {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub ifindex: u32,
    /// The port its frames leave by.
    pub port: PortId,
    /// The VLANs they leave with; none for a bond.
    pub tags: Tags,
}

/// An address of the machine itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OwnAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface that has it.
    pub ifindex: u32,
}

/// The world `compile` and the engine's next hops depend on. Sorted: equal worlds are equal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// By port id, in the configuration's order.
    pub links: Vec<LinkState>,
    /// What else stands for one of them, by the kernel's numbers.
    pub upper_links: Vec<UpperLink>,
    /// The machine's own addresses, on any interface.
    pub own_addresses: Vec<OwnAddress>,
    /// Routes that leave by one of our ports.
    pub routes: Vec<crate::forwarding::Route>,
    /// Stations behind our ports.
    pub neighbours: Vec<crate::forwarding::Neighbour>,
    /// `net.ipv4.ip_local_port_range`: what the machine's own connections use.
    pub local_port_range: Option<(u16, u16)>,
}

impl Topology {
    /// Does the machine itself have this address?
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own_addresses.iter().any(|own| own.address == address)
    }

    /// The port with this interface name.
    pub fn port_by_name(&self, name: &str) -> Option<PortId> {
        self.links.iter().position(|link| link.name == name).map(|place| PortId(place as u8))
    }
}
