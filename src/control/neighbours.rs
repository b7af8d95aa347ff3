//! Whom the kernel is asked to keep alive as neighbours.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::compile::retired_backends;
use super::{BackendSpec, DesiredState, ServiceSpec, Shared, Topology};
use crate::forwarding::{Backend, RouteTable, Snapshot};
use crate::wire::{PortId, Tags};

/// A station that has to be known: by which port and VLANs, and its address.
pub type WantedNeighbour = (PortId, Tags, IpAddr);

/// The configured backends that are on a link of ours, and every gateway: by gateways go the frames
/// to backends behind them and the ways back to clients.
pub fn wanted_neighbours(desired: &DesiredState, topology: &Topology) -> BTreeSet<WantedNeighbour> {
    let addresses: BTreeSet<IpAddr> = desired
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(BackendSpec::routed_by))
        .collect();
    let mut wanted = hops(addresses, topology);
    wanted.extend(gateways(topology));
    wanted
}

/// The retired backends of a snapshot: still needed until their last flow has ended.
pub fn retired_neighbours(snapshot: &Snapshot, topology: &Topology) -> BTreeSet<WantedNeighbour> {
    let retired = retired_backends(snapshot);
    let retired = retired.into_iter().filter_map(|id| snapshot.backend(id));
    hops(retired.map(Backend::routed_by).collect(), topology)
}

/// The stations that have to be known, kept up to date: of a million backends only those are looked
/// at that come and go.
#[derive(Debug, Default)]
pub struct NeighbourList {
    topology: Topology,
    routes: RouteTable,
    /// What is counted in `hops`.
    desired: DesiredState,
    /// Stations by which configured backends are reached, and how many by each.
    hops: HashMap<WantedNeighbour, usize>,
    retired: BTreeSet<WantedNeighbour>,
}

impl NeighbourList {
    /// What is wanted now, all together; none when it is what it was.
    pub fn follow(
        &mut self,
        desired: &DesiredState,
        topology: &Topology,
        snapshot: &Snapshot,
    ) -> Option<BTreeSet<WantedNeighbour>> {
        let mut is_other = false;
        if self.topology != *topology {
            is_other = true;
            self.topology = topology.clone();
            self.routes = RouteTable::new(topology.routes.clone(), vec![]);
            self.hops.clear();
            self.desired = DesiredState::default();
        }
        let (gone, new) = desired.changes_since(&self.desired);
        for hop in addresses_of(&new).filter_map(|address| self.hop(address)).collect::<Vec<_>>() {
            let count = self.hops.entry(hop).or_default();
            is_other |= *count == 0;
            *count += 1;
        }
        for hop in addresses_of(&gone).filter_map(|address| self.hop(address)).collect::<Vec<_>>() {
            let count = self.hops.entry(hop).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                is_other = true;
                self.hops.remove(&hop);
            }
        }
        self.desired = desired.clone();
        let retired = retired_neighbours(snapshot, topology);
        is_other |= retired != self.retired;
        self.retired = retired;
        is_other.then(|| {
            let gateways = gateways(&self.topology);
            self.hops.keys().copied().chain(gateways).chain(self.retired.iter().copied()).collect()
        })
    }

    fn hop(&self, address: IpAddr) -> Option<WantedNeighbour> {
        let route = self.routes.route(address)?;
        let hop = (route.port, route.tags, route.gateway.unwrap_or(address));
        Some(hop).filter(|&(port, ..)| is_up(port, &self.topology))
    }
}

fn addresses_of<'a>(services: &'a [&Shared<ServiceSpec>]) -> impl Iterator<Item = IpAddr> + 'a {
    services.iter().flat_map(|service| service.backends.iter().map(BackendSpec::routed_by))
}

fn gateways(topology: &Topology) -> impl Iterator<Item = WantedNeighbour> + '_ {
    let gateways = topology.routes.iter().filter_map(|r| Some((r.port, r.tags, r.gateway?)));
    gateways.filter(|&(port, ..)| is_up(port, topology))
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

    #[test]
    fn kept_up_to_date_as_if_made_anew() {
        type Change = fn(&mut World);
        let rows: [(&str, Change, bool); 7] = [
            ("the first time", |_| {}, true),
            ("nothing", |_| {}, false),
            ("a weight", |w| w.desired.services[0].backends[0].weight = 3, false),
            (
                "another address",
                |w| w.desired.services[0].backends[0].address = [10, 2, 0, 19].into(),
                true,
            ),
            (
                "the old one leaves, the same ones come once more",
                |w| w.desired.services.push(ServiceSpec { port: 81, ..service("api", 2) }.into()),
                true,
            ),
            ("a service gone", |w| _ = w.desired.services.remove(0), true),
            ("a link down", |w| w.topology.links[1].up = false, true),
        ];
        let mut world = World::new(vec![service("web", 2)]);
        let (mut list, mut last) = (NeighbourList::default(), BTreeSet::new());
        for (description, change, is_other) in rows {
            change(&mut world);
            world.step();
            let mut wanted = wanted_neighbours(&world.desired, &world.topology);
            wanted.extend(retired_neighbours(&world.snapshot, &world.topology));
            let found = list.follow(&world.desired, &world.topology, &world.snapshot);
            assert_eq!(found.is_some(), is_other, "{description}");
            last = found.unwrap_or(last);
            assert_eq!(last, wanted, "{description}");
        }
    }
}
