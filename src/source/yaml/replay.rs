//! The `replay` section: what the kernel and the health checks would say, for `guideway replay`.

use std::collections::HashSet;
use std::net::IpAddr;

use super::reader::Section;
use super::scalar::{Scalar, Wrong, address, interface_name, mac, network, number, text};
use super::schema;
use crate::control::{DesiredState, LinkState, NodeSpec, OwnAddress, Topology};
use crate::forwarding::{Neighbour, Route};
use crate::wire::{MacAddress, PortId, Tags};

/// A world that is written down.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplaySpec {
    /// Interfaces whose MAC or MTU matter.
    pub links: Vec<ReplayLink>,
    /// The machine's own addresses.
    pub own_addresses: Vec<(IpAddr, String)>,
    /// Routes, the first of equals wins.
    pub routes: Vec<ReplayRoute>,
    /// Stations: address, MAC, interface.
    pub neighbours: Vec<(IpAddr, MacAddress, String)>,
    /// Unhealthy backends: service, backend.
    pub down: Vec<(String, String)>,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayLink {
    /// Name.
    pub name: String,
    /// MAC.
    pub mac: MacAddress,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u16,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayRoute {
    /// Network and prefix length.
    pub to: (IpAddr, u8),
    /// Next router; none: on the link.
    pub via: Option<IpAddr>,
    /// Interface it leaves by.
    pub interface: String,
}

impl ReplaySpec {
    /// The world as the kernel would tell it. A link that is not written down has the MAC
    /// `02:00:00:00:01:PORT` and an MTU of 1500; all are up.
    pub fn topology(&self, node: &NodeSpec) -> Topology {
        let places = node.interfaces.iter().zip(0u8..);
        let links = places.clone().map(|(interface, place)| self.link(&interface.name, place));
        let port = |name: &str| {
            places.clone().find(|(interface, _)| interface.name == name).map(|(_, at)| PortId(at))
        };
        let own = self.own_addresses.iter().map(|(address, interface)| OwnAddress {
            address: *address,
            // Another interface of the machine only has to be none of ours.
            ifindex: port(interface).map_or(u32::MAX, ifindex),
        });
        let routes = self.routes.iter().zip(0u32..).filter_map(|(route, metric)| {
            let (network, prefix_len) = route.to;
            let port = port(&route.interface)?;
            let (tags, gateway) = (Tags::NONE, route.via);
            Some(Route { network, prefix_len, metric, port, tags, gateway })
        });
        let neighbours = self.neighbours.iter().filter_map(|(address, mac, interface)| {
            let port = port(interface)?;
            let (address, tags, mac) = (*address, Tags::NONE, *mac);
            Some(Neighbour { address, port, tags, mac, gone: false })
        });
        let mut topology = Topology {
            links: links.collect(),
            upper_links: vec![],
            own_addresses: own.collect(),
            routes: routes.collect(),
            neighbours: neighbours.collect(),
            local_port_range: None,
        };
        topology.own_addresses.sort();
        topology.routes.sort_by_key(|r| (r.network, r.prefix_len, r.metric, r.port));
        topology.neighbours.sort_by_key(|n| (n.address, n.port));
        topology
    }

    fn link(&self, name: &str, place: u8) -> LinkState {
        let written = self.links.iter().find(|link| link.name == name);
        LinkState {
            name: name.to_string(),
            ifindex: ifindex(PortId(place)),
            bridge_ifindex: None,
            mac: written.map_or(MacAddress([2, 0, 0, 0, 1, place]), |link| link.mac),
            mtu_bytes: written.map_or(1500, |link| link.mtu_bytes),
            up: true,
        }
    }
}

fn ifindex(port: PortId) -> u32 {
    u32::from(port.0) + 1
}

pub(super) fn read(section: &Section<'_>) -> Option<ReplaySpec> {
    let links = section.maps("links", &schema::REPLAY_LINK, |section| {
        let name = section.get("name", interface_name);
        let mac = section.get("mac", mac);
        // RFC 791: every host takes 576 bytes, and below 68 nothing passes.
        let mtu_bytes = section.get("mtu", number(68..=65_535));
        Some(ReplayLink { name: name?, mac: mac?, mtu_bytes: mtu_bytes? })
    });
    let own_addresses = section.maps("own_addresses", &schema::REPLAY_OWN_ADDRESS, |section| {
        let address = section.get("address", address);
        let interface = section.get("interface", interface_name);
        Some((address?, interface?))
    });
    let routes = section.maps("routes", &schema::REPLAY_ROUTE, |section| {
        let to = section.get("to", network);
        let via = section.optional("via", address);
        let interface = section.get("interface", interface_name);
        Some(ReplayRoute { to: to?, via: via?, interface: interface? })
    });
    let neighbours = section.maps("neighbours", &schema::REPLAY_NEIGHBOUR, |section| {
        let address = section.get("address", address);
        let mac = section.get("mac", mac);
        let interface = section.get("interface", interface_name);
        Some((address?, mac?, interface?))
    });
    let down = section.scalars("down", service_and_backend);
    Some(ReplaySpec {
        links: links?,
        own_addresses: own_addresses?,
        routes: routes?,
        neighbours: neighbours?,
        down: down?.unwrap_or_default(),
    })
}

fn service_and_backend(scalar: Scalar<'_>) -> Result<(String, String), Wrong> {
    let text = text(scalar)?;
    match text.split_once('/') {
        Some((service, backend)) if !service.is_empty() && !backend.is_empty() => {
            Ok((service.to_string(), backend.to_string()))
        }
        _ => Err(Wrong {
            problem: format!("{} names no backend", super::error::quoted(&text)),
            wanted: "SERVICE/BACKEND, such as web/b1".to_string(),
            hint: None,
        }),
    }
}

/// Names in the section that nothing has: (path, problem, wanted).
pub(super) fn strangers(
    replay: &ReplaySpec,
    node: &NodeSpec,
    desired: &DesiredState,
) -> Vec<(String, String, String)> {
    let names: Vec<&str> = node.interfaces.iter().map(|i| i.name.as_str()).collect();
    let mut found = Vec::new();
    let mut check = |path: String, name: &str| {
        if !names.contains(&name) {
            let problem = format!("`{name}` is not in `interfaces`");
            found.push((path, problem, super::scalar::one_of(&names)));
        }
    };
    for (place, link) in replay.links.iter().enumerate() {
        check(format!("replay.links[{place}].name"), &link.name);
    }
    for (place, route) in replay.routes.iter().enumerate() {
        check(format!("replay.routes[{place}].interface"), &route.interface);
    }
    for (place, (_, _, interface)) in replay.neighbours.iter().enumerate() {
        check(format!("replay.neighbours[{place}].interface"), interface);
    }
    let backends: HashSet<(&str, &str)> = desired
        .services
        .iter()
        .flat_map(|s| s.backends.iter().map(|b| (s.name.as_str(), b.name.as_str())))
        .collect();
    for (place, (service, backend)) in replay.down.iter().enumerate() {
        if !backends.contains(&(service.as_str(), backend.as_str())) {
            let problem = format!("there is no backend `{backend}` of a service `{service}`");
            let wanted = "SERVICE/BACKEND, as they are named under `services`".to_string();
            found.push((format!("replay.down[{place}]"), problem, wanted));
        }
    }
    found
}
