//! Whom the kernel is asked to keep alive as neighbours.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{DesiredState, Topology};
use crate::forwarding::{BackendState, RouteTable, Snapshot};
use crate::wire::{PortId, Tags};

/// A station that has to be known: by which port and VLANs, and its address.
pub type WantedNeighbour = (PortId, Tags, IpAddr);

/// The configured backends that are on a link of ours, and every gateway: by gateways go the frames
/// to backends behind them and the ways back to clients.
pub fn wanted_neighbours(desired: &DesiredState, topology: &Topology) -> BTreeSet<WantedNeighbour> {
    let addresses: BTreeSet<IpAddr> = desired
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(|backend| backend.address))
        .collect();
    let mut wanted = hops(addresses, topology);
    let gateways = topology.routes.iter().filter_map(|r| Some((r.port, r.tags, r.gateway?)));
    wanted.extend(gateways.filter(|&(port, ..)| is_up(port, topology)));
    wanted
}

/// The retired backends of a snapshot: still needed until their last flow has ended.
pub fn retired_neighbours(snapshot: &Snapshot, topology: &Topology) -> BTreeSet<WantedNeighbour> {
    let retired = snapshot.backends.iter().flatten().filter(|b| b.state == BackendState::Retired);
    hops(retired.map(|backend| backend.socket.ip()).collect(), topology)
}

fn hops(addresses: BTreeSet<IpAddr>, topology: &Topology) -> BTreeSet<WantedNeighbour> {
    let routes = RouteTable::new(topology.routes.clone(), vec![]);
    let hop = |address| {
        let route = routes.route(address)?;
        Some((route.port, route.tags, route.gateway.unwrap_or(address)))
    };
    addresses.into_iter().filter_map(hop).filter(|&(port, ..)| is_up(port, topology)).collect()
}

/// The kernel refuses neighbours on a link that is down.
fn is_up(port: PortId, topology: &Topology) -> bool {
    topology.links.get(port.index()).is_some_and(|link| link.up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{World, desired, service, service_6, topology, topology_6};

    #[test]
    fn backends_on_a_link_and_gateways() {
        let mut desired = desired(vec![service("web", 3)]);
        desired.services[0].backends[2].address = "198.51.100.9".parse().unwrap();
        let mut topology = topology();
        let wanted = |topology: &Topology| -> Vec<String> {
            let wanted = wanted_neighbours(&desired, topology);
            wanted.iter().map(|(port, _, address)| format!("{} {address}", port.0)).collect()
        };
        assert_eq!(wanted(&topology), ["0 10.1.0.254", "1 10.2.0.11", "1 10.2.0.12"]);
        topology.links[1].up = false;
        assert_eq!(wanted(&topology), ["0 10.1.0.254"], "nobody is asked over a link that is down");
    }

    #[test]
    fn ipv6_neighbours_with_their_vlans() {
        let desired = desired(vec![service_6("web", 2)]);
        let wanted = wanted_neighbours(&desired, &topology_6());
        let line = |(port, tags, address): &WantedNeighbour| format!("{} {tags} {address}", port.0);
        let wanted: Vec<String> = wanted.iter().map(line).collect();
        let all = [
            "0 untagged 10.1.0.254",
            "0 untagged fe80::fe",
            "1 vlan 10 2001:db8:2::11",
            "1 vlan 10 2001:db8:2::12",
        ];
        assert_eq!(wanted, all);
    }

    #[test]
    fn retired_backends_are_asked_for_too() {
        let mut world = World::new(vec![service("web", 2)]);
        world.step();
        assert_eq!(retired_neighbours(&world.snapshot, &world.topology), BTreeSet::new());
        world.desired.services[0].backends.remove(0);
        world.step();
        let wanted = [(PortId(1), Tags::NONE, "10.2.0.11".parse().unwrap())];
        assert_eq!(retired_neighbours(&world.snapshot, &world.topology), BTreeSet::from(wanted));
    }
}
