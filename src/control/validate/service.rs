//! Services and their backends.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::super::{BackendSpec, DesiredState, HealthCheckSpec, Refusal, ServiceSpec};
use super::addresses::check_unicast;
use super::health_check;
use crate::forwarding::{FlowTimeouts, Mode};
use crate::maglev::{MAX_SIZE, is_prime, largest_default_size, next_prime};
use crate::wire::{Address, Family, Protocol};

/// Longest name of a service or backend: as long as a domain name, which those of pods are.
const NAME_BYTES: usize = 253;

/// Longest idle time: times are compared modulo 2^32 ms.
const LONGEST_MS: u32 = i32::MAX as u32;

/// What need not be looked at.
pub(super) struct Beside<'a> {
    /// Is the service at this place known to be good in itself?
    pub is_known: &'a dyn Fn(usize) -> bool,
    /// What services need may be elsewhere.
    pub is_part: bool,
}

pub(super) fn check(desired: &DesiredState, beside: &Beside<'_>, refusals: &mut Vec<Refusal>) {
    check_ranges(desired, refusals);
    let mut names = HashMap::new();
    let mut sockets = HashMap::new();
    let has_snat = |wanted| desired.snat.iter().any(|snat| family(snat.address) == wanted);
    let has_source =
        |wanted| desired.tunnel_sources.iter().any(|source| family(source.network) == wanted);
    for (place, service) in desired.services.iter().enumerate() {
        let path = format!("services[{place}]");
        check_name(&path, &service.name, "service", &mut names, place, refusals);
        let socket = (service.address, service.port, service.protocol);
        if let Some(other) = sockets.insert(socket, place) {
            let taken = &desired.services[other].name;
            refusals.push(Refusal::new(
                format!("{path}.port"),
                format!(
                    "{} {} is taken by service {taken} (services[{other}])",
                    service.protocol,
                    SocketAddr::new(service.address, service.port)
                ),
                "another port, protocol or address: each belongs to one service",
            ));
        }
        if !(beside.is_known)(place) {
            check_one(&path, service, refusals);
        }
        if !beside.is_part {
            refusals.extend(needs_snat(&path, service, has_snat));
            refusals.extend(needs_tunnel_source(&path, service, has_source));
        }
    }
}

pub(super) fn check_alone(path: &str, service: &ServiceSpec, refusals: &mut Vec<Refusal>) {
    check_name(path, &service.name, "service", &mut HashMap::new(), 0, refusals);
    check_one(path, service, refusals);
}

/// Translation leaves the family as it is: each has addresses of its own. `has_snat`: is there one of
/// this family?
pub fn needs_snat(
    path: &str,
    service: &ServiceSpec,
    has_snat: impl Fn(Family) -> bool,
) -> Option<Refusal> {
    let family = family(service.address);
    if service.mode != Mode::Nat || has_snat(family) {
        return None;
    }
    let is_empty = ![Family::Ipv4, Family::Ipv6].into_iter().any(has_snat);
    let (what, wanted) = match is_empty {
        true => ("address".to_string(), "an entry in `snat`".to_string()),
        false => (format!("{family} address"), format!("an entry with an {family} one in `snat`")),
    };
    Some(Refusal::new(
        format!("{path}.mode"),
        format!("nat needs an {what} to translate to, and there is none in `snat`"),
        format!("{wanted}, or `mode: l2dsr`"),
    ))
}

/// A tunnel's outer addresses are of the backend's family, whatever the VIP's is.
/// One refusal for each family that is needed and not there.
pub fn needs_tunnel_source(
    path: &str,
    service: &ServiceSpec,
    has_source: impl Fn(Family) -> bool,
) -> Vec<Refusal> {
    let Some(tunnel) = service.mode.tunnel() else { return vec![] };
    let uses = |wanted| service.backends.iter().any(|b| family(b.address) == wanted);
    let missing = |wanted: &Family| uses(*wanted) && !has_source(*wanted);
    let refusal = |wanted| {
        Refusal::new(
            format!("{path}.mode"),
            format!("{} to {wanted} backends needs an outer source address", tunnel.name()),
            format!("an {wanted} network in `tunnel_sources`"),
        )
    };
    [Family::Ipv4, Family::Ipv6].into_iter().filter(missing).map(refusal).collect()
}

/// SCTP's checksum is over all of a packet, and its ends may have many addresses (RFC 9260 section 6.4):
/// it goes to backends as it is.
fn check_protocol(path: &str, service: &ServiceSpec, refusals: &mut Vec<Refusal>) {
    if service.protocol == Protocol::Sctp && service.mode.is_translated() {
        refusals.push(Refusal::new(
            format!("{path}.mode"),
            format!("sctp is not translated, and {} translates", service.mode.name()),
            "`mode: l2dsr`, `dscp`, `ipip`, `gre` or `gue`",
        ));
    }
}

/// What goes only with some modes.
fn check_rules(path: &str, service: &ServiceSpec, refusals: &mut Vec<Refusal>) {
    let mode = service.mode.name();
    if let Some(last) = service.last_port {
        let ports = format!("{}-{last}", service.port);
        if service.shared_address {
            refusals.push(Refusal::new(
                format!("{path}.port"),
                format!("{ports} are several, of an address shared with the machine"),
                "one port, or an address that is Guideway's alone",
            ));
        }
        let has_none = |check: &HealthCheckSpec| check.port.is_none() && check.kind.has_ports();
        if service.health_check.as_ref().is_some_and(has_none) {
            refusals.push(Refusal::new(
                format!("{path}.health_check"),
                format!("of the ports {ports} it does not say which"),
                "`port` in `health_check`",
            ));
        }
    }
    if !service.rules.entries && service.mode.is_translated() {
        refusals.push(Refusal::new(
            format!("{path}.flow"),
            format!("without an entry {mode} would not know its own translation"),
            "`entry`, or a mode of direct return (l2dsr, dscp, ipip, gre, gue)",
        ));
    }
    if service.min_healthy_percent > 100 {
        refusals.push(Refusal::new(
            format!("{path}.min_healthy"),
            format!("{} % of the backends are never healthy", service.min_healthy_percent),
            "0 to 100",
        ));
    }
    if !service.rules.entries && service.rules.affinity_ms > 0 {
        refusals.push(Refusal::new(
            format!("{path}.affinity"),
            "with `flow: none` nothing is remembered",
            "`flow: entry`, or `hash: client` alone",
        ));
    }
}

/// Ports of services of several do not overlap.
fn check_ranges(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let mut ranges: Vec<_> = desired
        .services
        .iter()
        .enumerate()
        .filter_map(|(place, service)| {
            let last = service.last_port?;
            Some((service.address, service.protocol, service.port, last, place))
        })
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let &[(address, protocol, _, last, before), (next, its, first, _, place)] = pair else {
            continue;
        };
        if (address, protocol) == (next, its) && first <= last {
            let other = &desired.services[before].name;
            refusals.push(Refusal::new(
                format!("services[{place}].port"),
                format!("some of these ports of {address} are those of service {other} already"),
                "ports that do not overlap",
            ));
        }
    }
}

fn check_one(path: &str, service: &ServiceSpec, refusals: &mut Vec<Refusal>) {
    check_protocol(path, service, refusals);
    check_rules(path, service, refusals);
    check_unicast(format!("{path}.address"), service.address, refusals);
    check_port(path, service.port, refusals);
    check_table_size(path, service, refusals);
    check_timeouts(path, &service.timeouts, refusals);
    if let Some(spec) = &service.health_check {
        let path = format!("{path}.health_check");
        health_check::check(&path, spec, &service.backends, refusals);
    }
    let mut names = HashMap::new();
    for (place, backend) in service.backends.iter().enumerate() {
        let path = format!("{path}.backends[{place}]");
        check_name(&path, &backend.name, "backend", &mut names, place, refusals);
        check_backend(&path, service, backend, refusals);
    }
}

/// The station that stands between us and a backend.
fn check_via(
    path: &str,
    service: &ServiceSpec,
    backend: &BackendSpec,
    via: IpAddr,
    refusals: &mut Vec<Refusal>,
) {
    check_unicast(path.to_string(), via, refusals);
    if family(via) != family(backend.address) {
        let problem = format!("{via} is of another family than {}", backend.address);
        refusals.push(Refusal::new(
            path,
            problem,
            format!("an {} address", family(backend.address)),
        ));
    }
    if service.mode == Mode::L2dsr {
        let problem = "the VIP's packets would be sent back, or routed on by it";
        refusals.push(Refusal::new(path, problem, "no such key with `mode: l2dsr`"));
    }
}

fn check_backend(
    path: &str,
    service: &ServiceSpec,
    backend: &BackendSpec,
    refusals: &mut Vec<Refusal>,
) {
    check_unicast(format!("{path}.address"), backend.address, refusals);
    if let Some(via) = backend.via {
        check_via(&format!("{path}.via"), service, backend, via, refusals);
    }
    let listens_on_all = service.last_port.is_some() && service.mode.is_translated();
    if backend.port != 0 || !listens_on_all {
        check_port(path, backend.port, refusals);
    }
    if listens_on_all && service.mode == Mode::Dnat && backend.port != 0 {
        let problem =
            format!("answers from {} could be of any of the service's ports", backend.port);
        let wanted = "no such key: the backend then listens on all of them";
        refusals.push(Refusal::new(format!("{path}.port"), problem, wanted));
    }
    let (vip, own) = (family(service.address), family(backend.address));
    if vip != own && service.mode.tunnel().is_none() {
        refusals.push(Refusal::new(
            format!("{path}.address"),
            format!(
                "{} is {own}, and the VIP {} is {vip}: {} makes no {own} packets of {vip} ones",
                backend.address,
                service.address,
                service.mode.name()
            ),
            format!("the backend's {vip} address, or a tunnel (`mode: ipip`, `gre` or `gue`)"),
        ));
    }
    if service.mode.keeps_port() && backend.port != service.port {
        refusals.push(Refusal::new(
            format!("{path}.port"),
            format!(
                "{} is not the service's port, and {} leaves ports as they are",
                backend.port,
                service.mode.name()
            ),
            format!("{}", service.port),
        ));
    }
}

fn family(address: IpAddr) -> Family {
    Address::from(address).family()
}

fn check_name<'a>(
    path: &str,
    name: &'a str,
    what: &str,
    names: &mut HashMap<&'a str, usize>,
    place: usize,
    refusals: &mut Vec<Refusal>,
) {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(allowed) {
        refusals.push(Refusal::new(
            format!("{path}.name"),
            format!("{name:?} is not a name"),
            format!("1 to {NAME_BYTES} characters of a-z, 0-9, `.`, `_`, `-`"),
        ));
    }
    if let Some(other) = names.insert(name, place) {
        refusals.push(Refusal::new(
            format!("{path}.name"),
            format!("{name} is the name of {what} number {} already", other + 1),
            "a name of its own: shares and health go by it",
        ));
    }
}

fn check_port(path: &str, port: u16, refusals: &mut Vec<Refusal>) {
    if port == 0 {
        refusals.push(Refusal::new(format!("{path}.port"), "0 is not a port", "1 to 65535"));
    }
}

fn check_table_size(path: &str, service: &ServiceSpec, refusals: &mut Vec<Refusal>) {
    let path = format!("{path}.table_size");
    let weighted = service.backends.iter().filter(|backend| backend.weight > 0).count();
    let size = service.table_size.unwrap_or_else(largest_default_size);
    let prime = |from: usize| {
        next_prime(u32::try_from(from).unwrap_or(MAX_SIZE).min(MAX_SIZE)).min(MAX_SIZE)
    };
    if size > MAX_SIZE || !is_prime(size) {
        refusals.push(Refusal::new(
            path,
            format!("{size} is not a prime up to {MAX_SIZE}"),
            format!("for example {}", prime((size as usize).max(weighted))),
        ));
    } else if weighted > size as usize {
        refusals.push(Refusal::new(
            path,
            format!("{weighted} backends do not fit a table of {size} slots"),
            format!("{} (100 slots for each backend)", prime(weighted.saturating_mul(100))),
        ));
    }
}

fn check_timeouts(path: &str, timeouts: &FlowTimeouts, refusals: &mut Vec<Refusal>) {
    let fields = [
        ("tcp_opening", timeouts.tcp_opening_ms),
        ("tcp_established", timeouts.tcp_established_ms),
        ("tcp_closing", timeouts.tcp_closing_ms),
        ("tcp_reset", timeouts.tcp_reset_ms),
        ("udp", timeouts.udp_ms),
    ];
    for (field, value) in fields {
        if !(1..=LONGEST_MS).contains(&value) {
            refusals.push(Refusal::new(
                format!("{path}.timeouts.{field}"),
                format!("{value} ms cannot be counted"),
                format!("more than 0 and at most {LONGEST_MS} ms (24 days)"),
            ));
        }
    }
}
