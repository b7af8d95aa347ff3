//! What has to be served, by a slow and obvious function of all that the API has: a line for each port
//! of each address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use guideway::control::Form;
use guideway::forwarding::Mode;
use guideway::source::kubernetes::objects::{Endpoint, Key, Service, ServicePort, Transport};
use guideway::source::kubernetes::way::Target;

use super::api::{Api, MANAGER, is_of_our_class};

/// A form in force, as a line.
pub fn line_of(form: &Form) -> String {
    let spec = &form.spec;
    let mut backends: Vec<String> = spec
        .backends
        .iter()
        .map(|b| {
            let at = SocketAddr::new(b.address, b.port);
            backend(&b.name, at, b.via, b.weight, b.drain)
        })
        .collect();
    backends.sort();
    let check = spec.health_check.as_ref().and_then(|check| check.port);
    let open = ["198.51.100.7", "192.0.2.1", "2001:db8::1"]
        .map(|client| spec.rules.allows(client.parse::<IpAddr>().unwrap().into()));
    format!(
        "{} {} {} {} {:?} made {} check {check:?} affinity {} open {open:?} [{}]",
        spec.name,
        spec.protocol,
        spec.address,
        spec.port,
        spec.mode,
        form.created_ms,
        spec.rules.affinity_ms,
        backends.join(", ")
    )
}

fn backend(name: &str, at: SocketAddr, via: Option<IpAddr>, weight: u16, drain: bool) -> String {
    format!("{name} {at} via {via:?} weight {weight}{}", if drain { " drain" } else { "" })
}

/// All lines that there have to be.
pub fn lines(api: &Api) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (key, service) in &api.services {
        let claimed: Vec<IpAddr> = api.held(&service.uid).map(|(address, _)| address).collect();
        let by_us = api.held(&service.uid).any(|(_, claim)| &*claim.manager == MANAGER);
        if !service.is_balanced || service.is_deleted || !(is_of_our_class(service) || by_us) {
            continue;
        }
        let mut in_force = vec![];
        for address in claimed.iter().copied() {
            // Of two, one.
            let same = claimed.iter().filter(|other| other.is_ipv4() == address.is_ipv4());
            let (told, untold): (Vec<&IpAddr>, _) =
                same.partition(|other| service.status.contains(other));
            if told.first().or(untold.first()) != Some(&&address) {
                continue;
            }
            in_force.push(address);
        }
        // The service's own word, else that of the pool of the lowest address.
        let pool = in_force.iter().min().and_then(|lowest| {
            let (_, claim) = api.held(&service.uid).find(|(address, _)| address == lowest)?;
            api.readable_pools().find(|pool| pool.name == claim.pool)
        });
        let target = service.wishes.target.or(pool.map(|pool| pool.target));
        let target = target.unwrap_or(Target::Pods);
        for address in in_force {
            let ports = service.ports.iter();
            lines.extend(ports.filter_map(|port| line(api, (key, service), target, port, address)));
        }
    }
    lines
}

fn line(
    api: &Api,
    (key, service): (&Key, &Service),
    target: Target,
    port: &ServicePort,
    address: IpAddr,
) -> Option<String> {
    let is_whole = target == Target::Nodes;
    if target == Target::NodePorts && port.node_port.is_none() {
        return None;
    }
    let protocol = match port.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Sctp if is_whole => "sctp",
        Transport::Sctp => return None,
    };
    let six = if address.is_ipv6() { ".v6" } else { "" };
    let name = format!("{}.{}.{}.{protocol}{six}", key.namespace, key.name, port.port);
    let mode = match (is_whole, service.wishes.keep_source) {
        (true, _) => Mode::L2dsr,
        (false, Some(true)) => Mode::Dnat,
        (false, _) => Mode::Nat,
    };
    let own = service.health_port.filter(|_| service.is_local);
    let check = (target != Target::Pods).then(|| own.unwrap_or(10_256));
    let mut backends = match target {
        Target::Nodes => nodes(api, (key, service), port, port.port, address),
        Target::NodePorts => nodes(api, (key, service), port, port.node_port?, address),
        Target::Pods => pods(api, key, port, address)
            .into_iter()
            .map(|(name, at, via, drain)| backend(&name, at, via, 1, drain))
            .collect(),
    };
    backends.sort();
    let is_closed = !service.source_ranges.is_empty();
    let affinity = if service.affinity_s.is_some() { 10_800_000 } else { 0 };
    Some(format!(
        "{name} {protocol} {address} {} {mode:?} made {} check {check:?} affinity {affinity} open \
         [true, {}, {}] [{}]",
        port.port,
        service.created_ms,
        !is_closed,
        !is_closed,
        backends.join(", ")
    ))
}

/// Where endpoints of a port are, with all that is said of each.
fn sockets(
    api: &Api,
    key: &Key,
    port: &ServicePort,
    vip: IpAddr,
) -> BTreeMap<SocketAddr, Vec<Endpoint>> {
    let mut found: BTreeMap<SocketAddr, Vec<Endpoint>> = BTreeMap::new();
    for (name, (owner, slice)) in &api.slices {
        let is_its = name.namespace == key.namespace && *owner == key.name;
        for endpoint in slice.endpoints.iter().filter(|_| is_its) {
            for slice_port in &slice.ports {
                let is_this =
                    slice_port.name == port.name && slice_port.transport == port.transport;
                if is_this && endpoint.address.is_ipv4() == vip.is_ipv4() {
                    let socket = SocketAddr::new(endpoint.address, slice_port.port);
                    found.entry(socket).or_default().push(endpoint.clone());
                }
            }
        }
    }
    found
}

type Pod = (String, SocketAddr, Option<IpAddr>, bool);

/// Name, socket, node's address, draining.
fn pods(api: &Api, key: &Key, port: &ServicePort, vip: IpAddr) -> Vec<Pod> {
    let mut sockets = sockets(api, key, port, vip);
    sockets.retain(|_, said| said.iter().any(|e| e.ready || e.serving));
    let is_ready = |said: &[Endpoint]| said.iter().any(|e| e.ready);
    let is_last = |said: &[Endpoint]| said.iter().any(|e| e.serving && e.terminating);
    let some_ready = sockets.values().any(|said| is_ready(said));
    let name = |at: &SocketAddr, said: &[Endpoint]| match (&said[0].pod, at.ip()) {
        (Some(pod), _) => pod.to_string(),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => {
            address.segments().map(|word| format!("{word:04x}")).join("-")
        }
    };
    let names: Vec<String> = sockets.iter().map(|(at, said)| name(at, said)).collect();
    let mut pods = vec![];
    for ((at, said), name) in sockets.iter().zip(&names) {
        let is_twice = names.iter().filter(|other| *other == name).count() > 1;
        let address = match at.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(a) => a.segments().map(|word| format!("{word:04x}")).join("-"),
        };
        let node = said[0].node.as_ref().and_then(|node| api.nodes.get(node));
        let via = node.and_then(|node| {
            node.addresses.iter().copied().find(|via| via.is_ipv4() == vip.is_ipv4())
        });
        let drain = if some_ready { !is_ready(said) } else { !is_last(said) };
        let name = if is_twice { format!("{name}_{address}_{}", at.port()) } else { name.clone() };
        pods.push((name, *at, via.filter(|via| *via != at.ip()), drain));
    }
    pods
}

fn nodes(
    api: &Api,
    (key, service): (&Key, &Service),
    port: &ServicePort,
    at_node: u16,
    vip: IpAddr,
) -> Vec<String> {
    let sockets = sockets(api, key, port, vip);
    let pods = pods(api, key, port, vip);
    let mut lines = vec![];
    for (name, node) in &api.nodes {
        let address = node.addresses.iter().find(|address| address.is_ipv4() == vip.is_ipv4());
        let Some(address) = address else { continue };
        let own = pods.iter().filter(|pod| sockets[&pod.1][0].node.as_ref() == Some(name));
        let (old, new): (Vec<&Pod>, Vec<&Pod>) = own.partition(|pod| pod.3);
        if service.is_local && old.is_empty() && new.is_empty() {
            continue;
        }
        let weight = if service.is_local { new.len().max(1) as u16 } else { 1 };
        let drain = node.is_leaving || service.is_local && new.is_empty();
        lines.push(backend(name, SocketAddr::new(*address, at_node), None, weight, drain));
    }
    lines
}
