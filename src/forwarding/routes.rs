//! Where a frame goes next: port and MAC, by destination address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::wire::{MacAddress, PortId, Tags};

/// The station a frame is sent to, and the port it leaves by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NextHop {
    /// Port it leaves by; the source MAC is that port's.
    pub port: PortId,
    /// VLANs it leaves with.
    pub tags: Tags,
    /// Destination MAC.
    pub mac: MacAddress,
}

/// A prefix and where packets into it go: by a gateway whose MAC is known, or straight to the
/// destination, whose own MAC is then looked up in the neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Network address.
    pub network: IpAddr,
    /// Prefix length in bits, 0 to 32 or 128.
    pub prefix_len: u8,
    /// Kernel's metric: of two routes to one prefix, the lower one is used.
    pub metric: u32,
    /// Port it leaves by.
    pub port: PortId,
    /// VLANs it leaves with.
    pub tags: Tags,
    /// Next router, or none when the destination is on the link. Of either family.
    pub gateway: Option<IpAddr>,
}

impl Route {
    fn covers(&self, address: IpAddr) -> bool {
        let prefix_len = u32::from(self.prefix_len);
        match (address, self.network) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix_len)).unwrap_or(0);
                (address.to_bits() ^ network.to_bits()) & mask == 0
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix_len)).unwrap_or(0);
                (address.to_bits() ^ network.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// A station on a link as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Port it is behind.
    pub port: PortId,
    /// VLANs it is behind.
    pub tags: Tags,
    /// Its MAC, also the last one known when it is gone.
    pub mac: MacAddress,
    /// The kernel's probes failed: it is not there any more.
    pub gone: bool,
}

/// The kernel's routes and neighbours on our ports, for replies whose way back is not known from
/// the flow itself. Longest prefix first; a handful of entries, so a walk is enough.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    neighbours: Vec<Neighbour>,
    /// Sorted.
    gone: Vec<(PortId, Tags, MacAddress)>,
}

impl RouteTable {
    /// Sorts what the kernel reported.
    pub fn new(mut routes: Vec<Route>, mut neighbours: Vec<Neighbour>) -> RouteTable {
        routes.sort_by_key(|route| {
            (u8::MAX - route.prefix_len, route.metric, route.network, route.port, route.tags)
        });
        neighbours.sort_by_key(|neighbour| (neighbour.address, neighbour.port, neighbour.tags));
        let stations = |gone| {
            let of = neighbours.iter().filter(move |n| n.gone == gone && n.mac.is_station());
            of.map(|n| (n.port, n.tags, n.mac)).collect::<BTreeSet<_>>()
        };
        // In order: a link that goes down may leave thousands behind.
        let gone = stations(true).difference(&stations(false)).copied().collect();
        RouteTable { routes, neighbours, gone }
    }

    /// Where a packet to `address` goes; none when there is no route, or no MAC for its next hop.
    pub fn next_hop(&self, address: IpAddr) -> Option<NextHop> {
        let route = self.route(address)?;
        let hop = route.gateway.unwrap_or(address);
        let found = self
            .neighbours
            .binary_search_by_key(&(hop, route.port, route.tags), |n| (n.address, n.port, n.tags));
        let neighbour = self.neighbours.get(found.ok()?)?;
        let usable = !neighbour.gone && neighbour.mac.is_station();
        usable.then_some(NextHop { port: route.port, tags: route.tags, mac: neighbour.mac })
    }

    /// The route a packet to `address` takes, whether or not its next hop's MAC is known.
    pub fn route(&self, address: IpAddr) -> Option<&Route> {
        self.routes.iter().find(|route| route.covers(address))
    }

    /// The ports and VLANs that some route leaves by.
    pub fn links(&self) -> BTreeSet<(PortId, Tags)> {
        self.routes.iter().map(|route| (route.port, route.tags)).collect()
    }

    /// Is any station known to be gone? Almost always there is none.
    #[inline]
    pub fn any_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Is this station known to be gone?
    #[inline]
    pub fn is_gone(&self, hop: NextHop) -> bool {
        !self.gone.is_empty() && self.gone.binary_search(&(hop.port, hop.tags, hop.mac)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(network: &str, prefix_len: u8, metric: u32, port: u8, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|g| g.parse().unwrap());
        let (network, port) = (network.parse().unwrap(), PortId(port));
        Route { network, prefix_len, metric, port, tags: Tags::NONE, gateway }
    }

    fn neighbour(address: &str, port: u8, last: u8, gone: bool) -> Neighbour {
        let mac = MacAddress([2, 0, 0, 0, 0, last]);
        let (address, port) = (address.parse().unwrap(), PortId(port));
        Neighbour { address, port, tags: Tags::NONE, mac, gone }
    }

    #[test]
    fn longest_prefix_then_metric_then_neighbour() {
        let table = RouteTable::new(
            vec![
                route("0.0.0.0", 0, 100, 0, Some("10.0.0.254")),
                route("0.0.0.0", 0, 50, 0, Some("10.0.0.253")),
                route("10.0.0.0", 24, 0, 0, None),
                route("10.0.0.128", 25, 0, 1, None),
            ],
            vec![
                neighbour("10.0.0.253", 0, 3, false),
                neighbour("10.0.0.254", 0, 4, false),
                neighbour("10.0.0.7", 0, 7, false),
                neighbour("10.0.0.200", 1, 8, true),
            ],
        );
        let hop = |address: &str| {
            table.next_hop(address.parse().unwrap()).map(|h| (h.port.0, h.mac.0[5]))
        };
        let rows = [
            ("by the default route of the lower metric", "8.8.8.8", Some((0, 3))),
            ("on the link", "10.0.0.7", Some((0, 7))),
            ("on the link, MAC not known", "10.0.0.8", None),
            ("longer prefix, neighbour gone", "10.0.0.200", None),
        ];
        for (description, address, wanted) in rows {
            assert_eq!(hop(address), wanted, "{description}");
        }
        let gone =
            NextHop { port: PortId(1), tags: Tags::NONE, mac: MacAddress([2, 0, 0, 0, 0, 8]) };
        assert!(table.is_gone(gone) && !table.is_gone(NextHop { port: PortId(0), ..gone }));
    }
}
