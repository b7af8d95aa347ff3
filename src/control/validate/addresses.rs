//! Addresses: what each may be, and that no two uses of one contradict each other.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::{DesiredState, Refusal};
use crate::wire::Address;

/// Why this address cannot be a station's wherever it is asked for, if it cannot, and what can.
fn not_unicast(address: IpAddr) -> Option<(&'static str, String)> {
    match address {
        IpAddr::V4(address) => {
            let why = match address.octets()[0] {
                0 => "is in 0.0.0.0/8, \"this network\"",
                127 => "is a loopback address",
                224..=239 => "is a multicast address",
                240..=255 => "is a broadcast or reserved address",
                _ => return None,
            };
            Some((why, "a unicast IPv4 address".to_string()))
        }
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                let wanted = format!("{mapped}: IPv4 addresses are written as such");
                return Some(("is an IPv4-mapped address, which no packet may carry", wanted));
            }
            let why = match address {
                _ if address.is_unspecified() => "is no address",
                _ if address.is_loopback() => "is the loopback address",
                _ if address.is_multicast() => "is a multicast address",
                _ if !Address::from(address).is_one_host() => "is in ::/80, which is reserved",
                _ if Address::from(address).is_link_local() => {
                    "is a link-local address, of which every link has its own"
                }
                _ => return None,
            };
            Some((why, "a global or unique local IPv6 address".to_string()))
        }
    }
}

/// Refuses what is not unicast, and what is valid on one link only.
pub(super) fn check_unicast(path: String, address: IpAddr, refusals: &mut Vec<Refusal>) {
    if let Some((why, wanted)) = not_unicast(address) {
        refusals.push(Refusal::new(path, format!("{address} {why}"), wanted));
    }
}

/// One use of an address that Guideway answers for.
struct Use {
    path: String,
    what: String,
    shared: bool,
}

pub(super) fn check(desired: &DesiredState, refusals: &mut Vec<Refusal>) {
    let vips = desired.services.iter().enumerate().map(|(place, service)| {
        let what = format!("VIP of service {}", service.name);
        let path = format!("services[{place}]");
        (service.address, Use { path, what, shared: service.shared_address })
    });
    let snat = desired.snat.iter().enumerate().map(|(place, snat)| {
        let (path, what) = (format!("snat[{place}]"), format!("address of snat[{place}]"));
        (snat.address, Use { path, what, shared: snat.shared_address })
    });
    let mut first: HashMap<IpAddr, Use> = HashMap::new();
    for (address, this) in vips.chain(snat) {
        match first.get(&address) {
            Some(other) if other.shared != this.shared => refusals.push(Refusal::new(
                format!("{}.shared_address", this.path),
                format!(
                    "{address} is {} here and {} as {}",
                    says(this.shared),
                    says(other.shared),
                    other.what
                ),
                "the same `shared_address` wherever the address is used",
            )),
            Some(_) => {}
            None => {
                first.insert(address, this);
            }
        }
    }
    check_backends(desired, &first, refusals);
}

fn says(shared: bool) -> &'static str {
    if shared { "shared with the machine" } else { "Guideway's alone" }
}

/// A backend at an address of ours: its packets would come straight back.
fn check_backends(
    desired: &DesiredState,
    ours: &HashMap<IpAddr, Use>,
    refusals: &mut Vec<Refusal>,
) {
    for (place, service) in desired.services.iter().enumerate() {
        for (number, backend) in service.backends.iter().enumerate() {
            if let Some(used) = ours.get(&backend.address) {
                refusals.push(Refusal::new(
                    format!("services[{place}].backends[{number}].address"),
                    format!("{} is the {}", backend.address, used.what),
                    "the backend's own address (with l2dsr the VIP stands on the backend's \
                     loopback, and `address` is the one it has on the link)",
                ));
            }
        }
    }
}
