//! Backends that several services use: whose packets are whose has to be told.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::{DesiredState, Refusal};
use crate::forwarding::Mode;

pub(super) fn check(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    check_dnat(desired, refusals);
    check_dscp(desired, refusals);
}

/// Answers of DNAT backends are known by their socket: it can answer for one VIP only.
fn check_dnat(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let mut users: HashMap<_, &str> = HashMap::new();
    for (place, service) in desired.services.iter().enumerate() {
        if service.mode != Mode::Dnat {
            continue;
        }
        for (number, backend) in service.backends.iter().enumerate() {
            let socket = (backend.address, backend.port, service.protocol);
            let other = *users.entry(socket).or_insert(&service.name);
            if other != service.name {
                refusals.push(Refusal::new(
                    format!("services[{place}].backends[{number}].address"),
                    format!(
                        "{} {} is a backend of service {other} already, and its answers could \
                         not be told apart",
                        service.protocol,
                        SocketAddr::new(backend.address, backend.port)
                    ),
                    "another port or address for one of them, or `mode: nat`",
                ));
            }
        }
    }
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
