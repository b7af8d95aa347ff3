//! Addresses and ways: who has a VIP already, and which backends cannot be reached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Config, Facts};
use super::finding::Finding;
use crate::control::{Topology, check_against};
use crate::forwarding::RouteTable;
use crate::wire::Address;

/// Findings of one kind that are told one by one.
const MOST_LINES: usize = 10;

/// Looks at all of it.
pub fn look(facts: &Facts) -> Vec<Finding> {
    let Some(config) = facts.good_config() else { return vec![] };
    let Some(topology) = &facts.topology else {
        let advice = "`ip link` and `ip route` say why";
        let found = "the kernel does not tell links, routes and neighbours";
        return vec![Finding::fail("network", "", found, advice)];
    };
    let routes = RouteTable::new(topology.routes.clone(), topology.neighbours.clone());
    let mut findings = clashes(config, topology);
    findings.extend(strangers(config, topology));
    if facts.running.is_none() {
        findings.extend(next_hops(config, topology, &routes));
    }
    findings.extend(neighbour_table(facts, config, &routes));
    findings.extend(no_ipv6(facts, config));
    findings.extend(tunnels(config, topology, &routes));
    findings
}

/// What a start or a reload would refuse on this machine.
fn clashes(config: &Config, topology: &Topology) -> Vec<Finding> {
    let refusals = check_against(&config.desired, &config.node, topology);
    if refusals.is_empty() {
        return vec![Finding::ok(
            "addresses",
            "",
            "VIPs and SNAT addresses are nobody else's here",
        )];
    }
    let found = refusals.iter().take(MOST_LINES).map(|refusal| {
        Finding::fail("addresses", &refusal.path, &refusal.problem, &refusal.wanted)
    });
    let more = refusals.len().saturating_sub(MOST_LINES);
    let more = (more > 0).then(|| {
        Finding::fail("addresses", "", format!("{more} more like these"), "see those above")
    });
    found.chain(more).collect()
}

/// Stations that answer for an address of ours.
fn strangers(config: &Config, topology: &Topology) -> Vec<Finding> {
    let desired = &config.desired;
    let services = desired.services.iter().filter(|s| !s.shared_address).map(|s| s.address);
    let snat = desired.snat.iter().filter(|s| !s.shared_address).map(|s| s.address);
    let ours: BTreeSet<IpAddr> = services.chain(snat).collect();
    let answers = topology.neighbours.iter().filter(|n| !n.gone && ours.contains(&n.address));
    let told = answers.take(MOST_LINES).map(|station| {
        let link = topology.links.get(station.port.index());
        let name = link.map_or("?", |link| &link.name);
        Finding::warn(
            "addresses",
            &station.address.to_string(),
            format!("{} answers for it on {name}", station.mac),
            "fine for another Guideway of the group; else take the address from that station",
        )
    });
    told.collect()
}

/// Before a start: is there a way to each backend, and does somebody answer there?
fn next_hops(config: &Config, topology: &Topology, routes: &RouteTable) -> Vec<Finding> {
    let (mut no_route, mut unknown, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for service in &config.desired.services {
        for backend in &service.backends {
            count += 1;
            let Some(route) = routes.route(backend.address) else {
                no_route.insert(format!("{}/{}", service.name, backend.name));
                continue;
            };
            let hop = route.gateway.unwrap_or(backend.address);
            let is_known = |n: &&crate::forwarding::Neighbour| n.address == hop && !n.gone;
            if !topology.neighbours.iter().any(|n| is_known(&n)) {
                unknown.insert(hop);
            }
        }
    }
    let mut findings = Vec::new();
    if !no_route.is_empty() {
        findings.push(Finding::fail(
            "next_hops",
            &shortened(no_route.iter().map(String::as_str)),
            "no route by any of the interfaces",
            "`ip route get ADDRESS` has to name one of `interfaces`",
        ));
    }
    if unknown.is_empty() && findings.is_empty() {
        findings.push(Finding::ok("next_hops", "", format!("known for all {count} backends")));
    }
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.iter().map(IpAddr::to_string).collect();
        findings.push(Finding::warn(
            "next_hops",
            &shortened(unknown.iter().map(String::as_str)),
            "no MAC is known (yet)",
            "asked for at start; `ping` tells now whether anybody answers there",
        ));
    }
    findings
}

/// Names, a few of them.
pub fn shortened<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let first = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// More stations on our links than the kernel remembers.
fn neighbour_table(facts: &Facts, config: &Config, routes: &RouteTable) -> Vec<Finding> {
    let backends = config.desired.services.iter().flat_map(|service| &service.backends);
    let hops: BTreeSet<IpAddr> = backends
        .filter_map(|backend| {
            Some(routes.route(backend.address)?.gateway.unwrap_or(backend.address))
        })
        .collect();
    let mut findings = Vec::new();
    for (family, most) in ["ipv4", "ipv6"].into_iter().zip(facts.neighbours_most) {
        let count = hops.iter().filter(|hop| hop.is_ipv4() == (family == "ipv4")).count() as u64;
        let Some(most) = most.filter(|&most| count * 10 > most * 9) else { continue };
        findings.push(Finding::warn(
            "neighbours",
            "",
            format!("{count} {family} stations on our links, and the kernel keeps {most}"),
            format!("`sysctl -w net.{family}.neigh.default.gc_thresh3={}`", count * 2),
        ));
    }
    findings
}

fn no_ipv6(facts: &Facts, config: &Config) -> Vec<Finding> {
    let is_wanted = config.desired.services.iter().any(|service| service.address.is_ipv6());
    let off = facts.interfaces.iter().filter(|i| is_wanted && i.link.is_some() && i.has_no_ipv6);
    let told = off.map(|interface| {
        let name = &interface.spec.name;
        Finding::fail(
            "ipv6",
            name,
            "off, and there are IPv6 VIPs",
            format!("`sysctl -w net.ipv6.conf.{}.disable_ipv6=0`", name.replace('.', "/")),
        )
    });
    told.collect()
}

/// Does a packet of the largest size that clients may send fit into its envelope?
fn tunnels(config: &Config, topology: &Topology, routes: &RouteTable) -> Vec<Finding> {
    let from_clients = topology.links.iter().map(|link| usize::from(link.mtu_bytes)).max();
    let from_clients = from_clients.unwrap_or(0).min(1_500);
    let mut findings = Vec::new();
    for service in &config.desired.services {
        let room = service.backends.iter().filter_map(|backend| {
            let overhead = service.mode.overhead_bytes(Address::from(backend.address).family());
            let link = topology.links.get(routes.route(backend.address)?.port.index())?;
            Some((usize::from(link.mtu_bytes).saturating_sub(overhead), &link.name, overhead))
        });
        let Some((fits, name, overhead)) = room.min_by_key(|(fits, ..)| *fits) else { continue };
        if overhead > 0 && fits < from_clients {
            findings.push(Finding::warn(
                "headroom",
                &service.name,
                format!("packets of clients up to {fits} bytes fit into the envelope on {name}"),
                format!(
                    "longer ones are answered with that size, which costs them a round trip, and \
                     `mss: auto` keeps TCP below it: `ip link set {name} mtu {}` on the whole way",
                    from_clients + overhead
                ),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::State::{self, Fail, Ok, Warn};
    use super::super::testing::{config, facts, told};
    use super::*;
    use crate::control::OwnAddress;

    type Row = (&'static str, &'static str, fn(&mut Facts), State, &'static str);

    fn topology(facts: &mut Facts) -> &mut Topology {
        facts.topology.as_mut().unwrap()
    }

    const ROWS: &[Row] = &[
        ("as it should be", "addresses", |_| {}, Ok, "nobody else's"),
        (
            "the machine has a VIP",
            "addresses",
            |f| {
                let address = [10, 1, 0, 100].into();
                topology(f).own_addresses.push(OwnAddress { address, ifindex: 2 });
            },
            Fail,
            "in use by the machine itself (on eth1)",
        ),
        (
            "somebody answers for a VIP",
            "addresses",
            |f| topology(f).neighbours[1].address = [10, 1, 0, 100].into(),
            Warn,
            "02:00:00:00:00:0c answers for it on eth1",
        ),
        ("all are known", "next_hops", |_| {}, Ok, "all 2 backends"),
        ("no route", "next_hops", |f| topology(f).routes.clear(), Fail, "no route"),
        ("nobody answers", "next_hops", |f| topology(f).neighbours.clear(), Warn, "no MAC"),
        ("gone", "next_hops", |f| topology(f).neighbours[0].gone = true, Warn, "no MAC"),
        (
            "a small table",
            "neighbours",
            |f| f.neighbours_most[0] = Some(2),
            Warn,
            "2 ipv4 stations on our links, and the kernel keeps 2",
        ),
        (
            "IPv6 is off",
            "ipv6",
            |f| {
                let v6 = "address: 2001:db8::1\n    port: 80\n    mode: l2dsr\n    backends: []\n  - name: v4";
                f.config = config("address: 10.1.0.100", &format!("{v6}\n    address: 10.1.0.100"));
                f.interfaces[0].has_no_ipv6 = true;
            },
            Fail,
            "off",
        ),
        (
            "no room for the envelope",
            "headroom",
            |f| {
                let service = "services:\n  - name: web\n    address: 10.1.0.100\n";
                let tunnel = format!("tunnel_sources: [10.9.0.0/24]\n{service}    mode: ipip\n");
                f.config = config(service, &tunnel);
            },
            Warn,
            "up to 1480 bytes fit",
        ),
        ("nothing is told", "network", |f| f.topology = None, Fail, "does not tell"),
    ];

    #[test]
    fn faults_by_row() {
        for (description, check, change, state, found) in ROWS {
            let mut facts = facts();
            change(&mut facts);
            told(description, &look(&facts), check, *state, found);
        }
    }

    #[test]
    fn where_all_is_well_nothing_else_is_said() {
        let checks: Vec<_> = look(&facts()).iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["addresses", "next_hops"]);
    }

    #[test]
    fn many_names_are_shortened() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(shortened(names.into_iter()), "a, b, c, d, e and 2 more");
        assert_eq!(shortened(names[..2].iter().copied()), "a, b");
    }
}
