//! A desired state against the machine it is to run on.

use std::net::IpAddr;

use super::{DesiredState, NodeSpec, Refusal, ServiceSpec, SnatSpec, Topology};
use crate::forwarding::{Mode, RouteTable};

/// Everything that cannot work on this machine, in a state that [`super::validate`] lets pass.
///
/// Asked when a configuration is taken, not when the machine changes under a running one.
pub fn check_against(desired: &DesiredState, node: &NodeSpec, topology: &Topology) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let routes = RouteTable::new(topology.routes.clone(), vec![]);
    for (place, service) in desired.services.iter().enumerate() {
        let path = format!("services[{place}]");
        let only = format!("{} port {}", service.protocol, service.port);
        let owned = (service.address, service.shared_address);
        refusals.extend(check_owner(&path, owned, &only, topology));
        check_backends(&path, service, topology, &routes, &mut refusals);
    }
    for (place, snat) in desired.snat.iter().enumerate() {
        let path = format!("snat[{place}]");
        let only = format!("ports {}-{}", snat.ports.start(), snat.ports.end());
        let owned = (snat.address, snat.shared_address);
        refusals.extend(check_owner(&path, owned, &only, topology));
        refusals.extend(check_local_ports(&path, snat, topology));
        refusals.extend(check_interface(&path, snat, node));
    }
    refusals
}

/// The machine has the address exactly when it is marked as shared.
fn check_owner(
    path: &str,
    (address, shared): (IpAddr, bool),
    only: &str,
    topology: &Topology,
) -> Option<Refusal> {
    match (topology.is_own(address), shared) {
        (true, false) => Some(Refusal::new(
            format!("{path}.address"),
            format!("{address} is in use by the machine itself{}", holder(address, topology)),
            format!(
                "an address of its own, or `shared_address: true`: then only {only} is taken and \
                 everything else to it stays the machine's"
            ),
        )),
        (false, true) => Some(Refusal::new(
            format!("{path}.shared_address"),
            format!(
                "{address} is not an address of this machine, so nobody would answer {} for it",
                if address.is_ipv4() { "ARP" } else { "NDP" }
            ),
            "`shared_address: false`, or an address that `ip address` shows",
        )),
        _ => None,
    }
}

/// ` (eth1)`, when the address is on an interface of ours.
fn holder(address: IpAddr, topology: &Topology) -> String {
    let own = topology.own_addresses.iter().find(|own| own.address == address);
    let name = own.and_then(|own| {
        let has = |link: &&super::LinkState| {
            link.ifindex == own.ifindex || link.bridge_ifindex == Some(own.ifindex)
        };
        let upper = || topology.upper_links.iter().find(|link| link.ifindex == own.ifindex);
        let link = topology.links.iter().find(has).map(|link| &link.name);
        link.or_else(|| upper().map(|link| &link.name))
    });
    name.map(|name| format!(" (on {name})")).unwrap_or_default()
}

fn check_backends(
    path: &str,
    service: &ServiceSpec,
    topology: &Topology,
    routes: &RouteTable,
    refusals: &mut Vec<Refusal>,
) {
    for (number, backend) in service.backends.iter().enumerate() {
        let path = format!("{path}.backends[{number}].address");
        let address = backend.address;
        if topology.is_own(address) {
            refusals.push(Refusal::new(
                path,
                format!("{address} is this machine itself{}", holder(address, topology)),
                "a machine or container behind one of the interfaces: frames go out there, and \
                 never to the machine's own sockets",
            ));
        } else if service.mode == Mode::L2dsr
            && let Some(gateway) = routes.route(address).and_then(|route| route.gateway)
        {
            refusals.push(Refusal::new(
                path,
                format!("{address} is behind the router {gateway}, which would send the VIP back"),
                "for l2dsr a backend on a link of this machine, else `mode: nat`",
            ));
        }
    }
}

/// On a shared address the machine's own connections must not use our ports.
fn check_local_ports(path: &str, snat: &SnatSpec, topology: &Topology) -> Option<Refusal> {
    let (low, high) = topology.local_port_range.filter(|_| snat.shared_address)?;
    let (start, end) = (*snat.ports.start(), *snat.ports.end());
    (start <= high && low <= end).then(|| {
        Refusal::new(
            format!("{path}.ports"),
            format!(
                "{start}-{end} overlaps {low}-{high}, from which the machine's own connections \
                 take theirs (net.ipv4.ip_local_port_range)"
            ),
            format!(
                "{}, an address that is not shared, or another net.ipv4.ip_local_port_range",
                free_ports(low, high)
            ),
        )
    })
}

/// The larger of the ranges below and above the machine's, without the well-known ports.
fn free_ports(low: u16, high: u16) -> String {
    let (below, above) = (i32::from(low) - 1024, 65_535 - i32::from(high));
    match below.max(above) {
        ..256 => "ports outside of it".to_string(),
        _ if below >= above => format!("ports 1024-{}", low - 1),
        _ => format!("ports {}-65535", high + 1),
    }
}

fn check_interface(path: &str, snat: &SnatSpec, node: &NodeSpec) -> Option<Refusal> {
    let name = snat.interface.as_ref()?;
    let names: Vec<&str> = node.interfaces.iter().map(|spec| spec.name.as_str()).collect();
    (!names.contains(&name.as_str())).then(|| {
        Refusal::new(
            format!("{path}.interface"),
            format!("there is no interface `{name}` in `interfaces`"),
            format!("one of {}", names.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{
        address, desired, node, service, service_6, topology, topology_6,
    };

    type Change = fn(&mut DesiredState);

    fn check(rows: &[(&str, Change, &[&str])]) {
        for (description, change, wanted) in rows {
            let mut state = desired(vec![service("web", 3)]);
            change(&mut state);
            let found = check_against(&state, &node(), &topology());
            let found: Vec<String> = found.iter().map(Refusal::to_string).collect();
            assert_eq!(found, *wanted, "{description}");
        }
    }

    #[test]
    fn addresses_the_machine_has() {
        check(&[
            ("fits", |_| {}, &[]),
            (
                "the VIP is the machine's",
                |s| s.services[0].address = address("10.1.0.1"),
                &["services[0].address: 10.1.0.1 is in use by the machine itself (on eth0); \
                   wanted: an address of its own, or `shared_address: true`: then only tcp port \
                   80 is taken and everything else to it stays the machine's"],
            ),
            (
                "marked as shared",
                |s| {
                    s.services[0].address = address("10.1.0.1");
                    s.services[0].shared_address = true;
                },
                &[],
            ),
            (
                "shared with nobody",
                |s| s.services[0].shared_address = true,
                &["services[0].shared_address: 10.1.0.100 is not an address of this machine, so \
                   nobody would answer ARP for it; wanted: `shared_address: false`, or an \
                   address that `ip address` shows"],
            ),
        ]);
    }

    #[test]
    fn ipv6_addresses_the_machine_has() {
        let rows: [(&str, Change, &[&str]); 4] = [
            ("fits", |_| {}, &[]),
            (
                "the VIP is the machine's, in a VLAN",
                |s| s.services[0].address = address("2001:db8:2::1"),
                &["services[0].address: 2001:db8:2::1 is in use by the machine itself (on \
                   eth1.10); wanted: an address of its own, or `shared_address: true`: then only \
                   tcp port 80 is taken and everything else to it stays the machine's"],
            ),
            (
                "shared with nobody",
                |s| s.services[0].shared_address = true,
                &[
                    "services[0].shared_address: 2001:db8:1::100 is not an address of this machine, \
                   so nobody would answer NDP for it; wanted: `shared_address: false`, or an \
                   address that `ip address` shows",
                ],
            ),
            (
                "l2dsr by a router",
                |s| {
                    s.services[0].mode = Mode::L2dsr;
                    s.services[0].backends[0].address = address("2001:db8:9::1");
                },
                &["services[0].backends[0].address: 2001:db8:9::1 is behind the router fe80::fe, \
                   which would send the VIP back; wanted: for l2dsr a backend on a link of this \
                   machine, else `mode: nat`"],
            ),
        ];
        for (description, change, wanted) in rows {
            let mut state = desired(vec![service_6("web", 1)]);
            change(&mut state);
            let found = check_against(&state, &node(), &topology_6());
            let found: Vec<String> = found.iter().map(Refusal::to_string).collect();
            assert_eq!(found, *wanted, "{description}");
        }
    }

    #[test]
    fn snat_pools_beside_the_machine() {
        check(&[
            (
                "shared ports the machine uses",
                |s| {
                    s.snat[0].address = address("10.1.0.1");
                    s.snat[0].shared_address = true;
                },
                &["snat[0].ports: 1024-65535 overlaps 32768-60999, from which the machine's own \
                   connections take theirs (net.ipv4.ip_local_port_range); wanted: ports \
                   1024-32767, an address that is not shared, or another \
                   net.ipv4.ip_local_port_range"],
            ),
            (
                "shared ports beside them",
                |s| {
                    s.snat[0].address = address("10.1.0.1");
                    s.snat[0].shared_address = true;
                    s.snat[0].ports = 61_000..=65_535;
                },
                &[],
            ),
            (
                "unknown interface",
                |s| s.snat[0].interface = Some("eth7".into()),
                &["snat[0].interface: there is no interface `eth7` in `interfaces`; wanted: one \
                   of eth0, eth1"],
            ),
        ]);
    }

    #[test]
    fn backends_that_cannot_be_reached() {
        check(&[
            (
                "the machine itself",
                |s| s.services[0].backends[0].address = address("10.2.0.1"),
                &["services[0].backends[0].address: 10.2.0.1 is this machine itself (on eth1); \
                   wanted: a machine or container behind one of the interfaces: frames go out \
                   there, and never to the machine's own sockets"],
            ),
            (
                "l2dsr by a router",
                |s| {
                    s.services[0].mode = Mode::L2dsr;
                    s.services[0].backends[1].address = address("198.51.100.1");
                },
                &["services[0].backends[1].address: 198.51.100.1 is behind the router \
                   10.1.0.254, which would send the VIP back; wanted: for l2dsr a backend on a \
                   link of this machine, else `mode: nat`"],
            ),
            (
                "nat by a router",
                |s| s.services[0].backends[1].address = address("198.51.100.1"),
                &[],
            ),
        ]);
    }

    #[test]
    fn free_ports_beside_the_machines() {
        let rows = [
            ((32_768, 60_999), "ports 1024-32767"),
            ((1_024, 50_000), "ports 50001-65535"),
            ((1_024, 65_400), "ports outside of it"),
            ((80, 65_535), "ports outside of it"),
        ];
        for ((low, high), wanted) in rows {
            assert_eq!(free_ports(low, high), wanted);
        }
    }
}
