//! SNAT pools.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::super::{DesiredState, Refusal};
use super::addresses::check_unicast;
use crate::forwarding::MOST_SHARED_RANGES;

/// A SNAT port's low 8 bits are its flow's shard: fewer ports in a row would leave shards without.
const LEAST_PORTS: u32 = 256;

pub(super) fn check(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    if desired.snat.len() > usize::from(u16::MAX) {
        refusals.push(Refusal::new(
            "snat",
            format!("{} entries", desired.snat.len()),
            format!("at most {}", u16::MAX),
        ));
    }
    let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    for (place, snat) in desired.snat.iter().enumerate() {
        let (start, end) = (*snat.ports.start(), *snat.ports.end());
        check_unicast(format!("snat[{place}].address"), snat.address, refusals);
        if start == 0 || u32::from(end) + 1 < u32::from(start) + LEAST_PORTS {
            refusals.push(Refusal::new(
                format!("snat[{place}].ports"),
                format!("{start}-{end} has port 0 or fewer than {LEAST_PORTS} ports"),
                format!("at least {LEAST_PORTS} ports in a row from 1 on, such as 1024-65535"),
            ));
        }
        let others = by_address.entry(snat.address).or_default();
        let overlaps = |&&other: &&usize| {
            let ports = &desired.snat[other].ports;
            start <= *ports.end() && *ports.start() <= end
        };
        if let Some(other) = others.iter().find(overlaps) {
            refusals.push(Refusal::new(
                format!("snat[{place}].ports"),
                format!("{start}-{end} overlaps snat[{other}] of the same address"),
                "ranges without a common port, or one entry",
            ));
        }
        others.push(place);
        if snat.shared_address && others.len() > MOST_SHARED_RANGES {
            refusals.push(Refusal::new(
                format!("snat[{place}].ports"),
                format!("{} has more than {MOST_SHARED_RANGES} port ranges", snat.address),
                format!(
                    "at most {MOST_SHARED_RANGES} ranges of an address shared with the machine, \
                     which the XDP program goes through one by one: join them"
                ),
            ));
        }
    }
    check_services(desired, &by_address, refusals);
}

/// A service's port in the SNAT range of its own address: return traffic could not be told from it.
fn check_services(
    desired: &DesiredState,
    by_address: &HashMap<IpAddr, Vec<usize>>,
    refusals: &mut Vec<Refusal>,
) {
    for (place, service) in desired.services.iter().enumerate() {
        let pools = by_address.get(&service.address).into_iter().flatten();
        for &pool in pools {
            let ports = &desired.snat[pool].ports;
            if ports.contains(&service.port) {
                refusals.push(Refusal::new(
                    format!("services[{place}].port"),
                    format!(
                        "{} lies in the ports {}-{} of snat[{pool}]",
                        SocketAddr::new(service.address, service.port),
                        ports.start(),
                        ports.end()
                    ),
                    "SNAT ports without the service's port, or another address for one of them",
                ));
            }
        }
    }
}
