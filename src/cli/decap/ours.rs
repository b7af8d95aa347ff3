//! Which destinations are ours, from the arguments and the machine's addresses. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::io::afxdp::decap::DecapAddresses;
use crate::runtime::netlink::MachineAddress;

/// What `interface`'s program takes.
pub fn addresses(
    local: &[IpAddr],
    vips: &[IpAddr],
    interface: &str,
    machine: &BTreeSet<MachineAddress>,
) -> DecapAddresses {
    let named = |named: &[IpAddr]| named.iter().map(IpAddr::to_canonical).collect();
    let of_interface = machine.iter().filter(|one| one.interface == interface);
    DecapAddresses {
        local: match local {
            [] => of_interface.map(|one| one.address).collect(),
            some => named(some),
        },
        inner: match vips {
            [] => machine.iter().map(|one| one.address).filter(may_be_inner).collect(),
            some => named(some),
        },
    }
}

/// What is for this machine or this link alone must not come out of a tunnel (RFC 1122 section
/// 3.2.1.3, RFC 3927 section 2.6.2, RFC 4291 sections 2.5.3 and 2.5.6).
fn may_be_inner(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> BTreeSet<MachineAddress> {
        let rows = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("lo", "10.1.0.100"),
            ("eth1", "10.1.0.11"),
            ("eth1", "fe80::11"),
            ("eth1", "fd00::11"),
            ("eth2", "169.254.7.7"),
            ("eth2", "10.2.0.11"),
        ];
        let of = |(interface, address): (&str, &str)| MachineAddress {
            interface: interface.to_string(),
            address: address.parse().unwrap(),
            prefix_len: 32,
        };
        rows.into_iter().map(of).collect()
    }

    fn texts(addresses: &BTreeSet<IpAddr>) -> Vec<String> {
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn by_default_the_interface_takes_and_the_machine_is_the_end() {
        let found = addresses(&[], &[], "eth1", &machine());
        assert_eq!(texts(&found.local), ["10.1.0.11", "fd00::11", "fe80::11"]);
        assert_eq!(texts(&found.inner), ["10.1.0.11", "10.1.0.100", "10.2.0.11", "fd00::11"]);
    }

    #[test]
    fn what_is_named_is_all() {
        let ip = |text: &str| text.parse().unwrap();
        let (local, vips) = ([ip("::ffff:10.1.0.11")], [ip("10.1.0.100"), ip("fd00::100")]);
        let found = addresses(&local, &vips, "eth1", &machine());
        assert_eq!(texts(&found.local), ["10.1.0.11"], "a mapped address is an IPv4 one");
        assert_eq!(texts(&found.inner), ["10.1.0.100", "fd00::100"]);
    }
}
