//! Which multicast groups neighbours ask in for our IPv6 addresses, and on which links of the
//! kernel's they have to be joined.
//!
//! A neighbour solicitation is sent to the target's solicited-node group (RFC 4291 section 2.7.1).
//! A NIC drops groups that nobody joined, and so does a switch that listens to MLD (RFC 4541). The
//! kernel is not asked to have the address, so that it joins nothing by itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::sync::watch;

use super::memberships::{Membership, Memberships};
use crate::control::Topology;
use crate::forwarding::{AddressRole, Snapshot};
use crate::wire::PortId;

/// A group, on one port or on all.
pub type WantedGroup = (Option<PortId>, Ipv6Addr);

/// What was refused is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// The groups of a snapshot's addresses. Those that are shared with the machine the kernel has
/// joined.
pub fn groups_of(snapshot: &Snapshot) -> BTreeSet<WantedGroup> {
    let mut groups = BTreeSet::new();
    for (address, role) in snapshot.addresses() {
        let IpAddr::V6(address) = address else { continue };
        let group = solicited_node(address);
        match role {
            AddressRole::Vip => {
                groups.insert((None, group));
            }
            AddressRole::Snat => {
                let snat = snapshot.snat.iter().filter(|snat| snat.address == address);
                groups.extend(snat.map(|snat| (snat.port, group)));
            }
            AddressRole::Shared => {}
        }
    }
    groups
}

fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Where they are joined: on the ports, and on the VLANs and bonds over them.
fn memberships_of(groups: &BTreeSet<WantedGroup>, topology: &Topology) -> BTreeSet<Membership> {
    let ports = (0..=u8::MAX).map(PortId).zip(&topology.links).map(|(port, l)| (port, l.ifindex));
    let uppers = topology.upper_links.iter().map(|link| (link.port, link.ifindex));
    let links: Vec<(PortId, u32)> = ports.chain(uppers).filter(|&(_, index)| index > 0).collect();
    let joined_on = |&(port, group): &WantedGroup| {
        let on = links.iter().filter(move |(id, _)| port.is_none_or(|port| port == *id));
        on.map(move |&(_, ifindex)| (ifindex, group))
    };
    groups.iter().flat_map(joined_on).collect()
}

/// Joins what is wanted on the links there are, and leaves the rest, until nobody can want anything
/// any more. All groups are left at the end.
pub async fn keep_groups(
    mut wanted: watch::Receiver<BTreeSet<WantedGroup>>,
    mut topologies: watch::Receiver<Topology>,
) {
    let mut memberships = Memberships::default();
    let mut told = BTreeSet::new();
    loop {
        let goal = memberships_of(&wanted.borrow_and_update(), &topologies.borrow_and_update());
        let refused = memberships.follow(&goal);
        let is_again = !refused.is_empty();
        let mut still = BTreeSet::new();
        for ((ifindex, group), error) in refused {
            // Once, not every time it is tried again.
            if !told.contains(&(ifindex, group)) {
                tracing::warn!(
                    %group, ifindex, %error,
                    "a multicast group is not joined: neighbours may not find an IPv6 address"
                );
            }
            still.insert((ifindex, group));
        }
        told = still;
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            changed = topologies.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if is_again => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{LinkState, UpperLink};
    use crate::forwarding::{ClusterKey, RouteTable, SnapshotParts, SnatAddress, TunnelSources};
    use crate::wire::{MacAddress, Tags};

    fn snat(address: &str, port: Option<u8>, shared_address: bool) -> SnatAddress {
        let (address, port) = (address.parse().unwrap(), port.map(PortId));
        SnatAddress { address, ports: 1024..=65535, port, shared_address }
    }

    fn snapshot(snat: Vec<SnatAddress>) -> Snapshot {
        Snapshot::new(SnapshotParts {
            generation: 1,
            tunnel_sources: TunnelSources::default(),
            own_addresses: vec![],
            services: vec![],
            backends: vec![],
            snat,
            ports: vec![],
            routes: RouteTable::default(),
            cluster_key: ClusterKey([0; 16]),
        })
    }

    fn topology() -> Topology {
        let link = |name: &str, ifindex| LinkState {
            name: name.into(),
            ifindex,
            bridge_ifindex: None,
            mac: MacAddress::ZERO,
            mtu_bytes: 1500,
            up: true,
        };
        let vlan = UpperLink {
            name: "eth1.10".into(),
            ifindex: 9,
            port: PortId(1),
            tags: Tags::customer(10),
        };
        Topology {
            links: vec![link("eth0", 2), link("eth1", 3), link("absent", 0)],
            upper_links: vec![vlan],
            ..Topology::default()
        }
    }

    #[test]
    fn groups_and_links_by_row() {
        type Row = (&'static str, Vec<SnatAddress>, &'static [(u32, &'static str)]);
        let rows: Vec<Row> = vec![
            ("IPv4", vec![snat("10.1.0.10", None, false)], &[]),
            ("shared", vec![snat("2001:db8::1", None, true)], &[]),
            (
                "on every link",
                vec![snat("2001:db8::a1b2:c3d4", None, false)],
                &[(2, "ff02::1:ffb2:c3d4"), (3, "ff02::1:ffb2:c3d4"), (9, "ff02::1:ffb2:c3d4")],
            ),
            (
                "on one port and its VLAN",
                vec![snat("2001:db8::1", Some(1), false)],
                &[(3, "ff02::1:ff00:1"), (9, "ff02::1:ff00:1")],
            ),
            (
                "two addresses in one group",
                vec![snat("2001:db8::1", Some(0), false), snat("2001:db9::1", Some(0), false)],
                &[(2, "ff02::1:ff00:1")],
            ),
        ];
        for (description, snat, wanted) in rows {
            let found = memberships_of(&groups_of(&snapshot(snat)), &topology());
            let wanted: BTreeSet<Membership> =
                wanted.iter().map(|(at, group)| (*at, group.parse().unwrap())).collect();
            assert_eq!(found, wanted, "{description}");
        }
    }
}
