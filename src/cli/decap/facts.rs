//! Reads what the kernel is set to.

use std::path::Path;

use super::settings::{Conf, InterfaceFacts};
use crate::io::afxdp::decap;

const SYSCTLS: &str = "/proc/sys/net";

/// What is set for one interface, and for all.
pub fn interface(name: &str) -> anyhow::Result<InterfaceFacts> {
    let mtu = decap::mtu(name)?;
    Ok(InterfaceFacts { name: name.to_string(), own: conf(name), all: conf("all"), mtu })
}

fn conf(interface: &str) -> Conf {
    let of = |family: &str, key: &str| {
        number(&Path::new(SYSCTLS).join(family).join("conf").join(interface).join(key))
    };
    Conf {
        rp_filter: of("ipv4", "rp_filter"),
        arp_ignore: of("ipv4", "arp_ignore"),
        arp_announce: of("ipv4", "arp_announce"),
        accept_local: of("ipv4", "accept_local"),
        disable_ipv6: of("ipv6", "disable_ipv6"),
    }
}

/// None where the kernel lacks the setting, as one without IPv6 does.
fn number(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
