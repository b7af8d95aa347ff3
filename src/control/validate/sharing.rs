//! Backends that several services use: whose packets are whose has to be told.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::super::{DesiredState, Refusal};
use crate::forwarding::Mode;

pub(super) fn check(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    check_dnat(desired, refusals);
    check_dscp(desired, refusals);
}

/// Answers of DNAT backends are known by their socket: it can answer for one VIP only.
fn check_dnat(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let mut all = Vec::new();
    for (place, service) in desired.services.iter().enumerate() {
        if service.mode != Mode::Dnat {
            continue;
        }
        for (number, backend) in service.backends.iter().enumerate() {
            let (first, last) = match (backend.port, service.last_port) {
                (0, Some(last)) => (service.port, last),
                (port, _) => (port, port),
            };
            let at = (backend.address, service.protocol.number());
            all.push(Ports { at, first, last, place, number });
        }
    }
    all.sort_unstable();
    // Of two services that meet, the one that stands later in the file is told of the other.
    let mut found = Vec::new();
    let mut furthest: Option<Ports> = None;
    for this in all {
        let before = furthest.filter(|before| before.at == this.at && this.first <= before.last);
        if let Some(before) = before.filter(|before| before.place != this.place) {
            let (first, later) =
                if before.place < this.place { (before, this) } else { (this, before) };
            found.push((later.place, later.number, later, first.place));
        }
        if before.is_none_or(|before| this.last > before.last) {
            furthest = Some(this);
        }
    }
    found.sort_unstable();
    for (place, number, ports, other) in found {
        let (service, other) = (&desired.services[place], &desired.services[other].name);
        let mut socket = SocketAddr::new(ports.at.0, ports.first).to_string();
        if ports.last > ports.first {
            socket = format!("{socket}-{}", ports.last);
        }
        refusals.push(Refusal::new(
            format!("services[{place}].backends[{number}].address"),
            format!(
                "{} {socket} is a backend of service {other} already, and its answers could not be \
                 told apart",
                service.protocol
            ),
            "another port or address for one of them, or `mode: nat`",
        ));
    }
}

/// The ports of one DNAT backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ports {
    /// Address and protocol.
    at: (IpAddr, u8),
    first: u16,
    last: u16,
    /// Of its service, and its own there.
    place: usize,
    number: usize,
}

/// A backend of mode `dscp` knows the VIP by the DSCP, and by nothing else in ICMP errors and later
/// fragments, which have no ports.
fn check_dscp(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let mut users = HashMap::new();
    for (place, service) in desired.services.iter().enumerate() {
        let Mode::Dscp(value) = service.mode else { continue };
        if !(1..=63).contains(&value) {
            refusals.push(Refusal::new(
                format!("services[{place}].dscp"),
                format!("{value} cannot tell a VIP: packets of no service have 0"),
                "a number from 1 to 63",
            ));
        }
        for (number, backend) in service.backends.iter().enumerate() {
            let (vip, other) =
                *users.entry((backend.address, value)).or_insert((service.address, &service.name));
            if vip != service.address {
                refusals.push(Refusal::new(
                    format!("services[{place}].backends[{number}].address"),
                    format!(
                        "{} knows {vip} of service {other} by DSCP {value} already, and could not \
                         tell {} from it",
                        backend.address, service.address
                    ),
                    "another `dscp` for one of the two VIPs",
                ));
            }
        }
    }
}
