//! Reads the facts: files of `/proc` and `/sys`, netlink, ethtool, and the admin socket.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::facts::{Config, Facts, InterfaceFacts, LinkFacts, PeerFacts};
use crate::admin;
use crate::cli::ask::{LIMIT, block_on};
use crate::cli::plan::files;
use crate::control::InterfaceSpec;
use crate::io::afxdp::{self, Link, ethtool, features};
use crate::runtime::netlink;

/// Everything that can be known. What cannot is left out: each check says what that means.
pub fn facts(config: &Path, socket: &Path) -> Facts {
    let config = files::read(config).map(|(node, desired)| Config { node, desired });
    let running = block_on(admin::fetch(socket, LIMIT)).ok();
    let interfaces: &[InterfaceSpec] =
        config.as_ref().map_or(&[], |config| config.node.interfaces.as_slice());
    let bpf_dir = config.as_ref().map(|config| config.node.bpf_dir.as_path());
    let cpus = cpu_list(&text("/sys/devices/system/cpu/online"));
    Facts {
        running,
        kernel: text("/proc/sys/kernel/osrelease"),
        capabilities: capabilities(),
        memlock_bytes: getrlimit(Resource::Memlock).current,
        huge_pages: huge_pages(&text("/proc/meminfo")),
        isolated: cpu_list(&text("/sys/devices/system/cpu/isolated")),
        governors: governors(&cpus),
        cpus,
        clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        has_bpffs: bpf_dir.is_ok_and(afxdp::has_bpffs),
        neighbours_most: ["ipv4", "ipv6"]
            .map(|family| number(&format!("/proc/sys/net/{family}/neigh/default/gc_thresh3"))),
        topology: netlink::read_topology(interfaces).ok(),
        interfaces: interfaces.iter().map(interface).collect(),
        config: Some(config),
    }
}

/// Without the end of its line; empty where it cannot be read.
fn text(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_string()
}

fn number(file: &str) -> Option<u64> {
    text(file).parse().ok()
}

fn capabilities() -> u64 {
    let status = text("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn huge_pages(meminfo: &str) -> (u64, u64) {
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (of("HugePages_Free:"), of("Hugepagesize:") * 1024)
}

/// The CPUs of a list such as `0-3,8`.
fn cpu_list(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse::<usize>()) {
            // No machine has more, and a file of the kernel's could say anything.
            cpus.extend((first..=last).take(8_192));
        }
    }
    cpus
}

fn governors(cpus: &[usize]) -> BTreeMap<usize, String> {
    let of = |cpu: &usize| {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        Some((*cpu, text(&file))).filter(|(_, governor)| !governor.is_empty())
    };
    cpus.iter().filter_map(of).collect()
}

fn interface(spec: &InterfaceSpec) -> InterfaceFacts {
    let name = spec.name.as_str();
    let conf = |family: &str, of: &str, key: &str| {
        number(&format!("/proc/sys/net/{family}/conf/{of}/{key}")).map(|value| value as u32)
    };
    let link = afxdp::link(name).ok();
    let peer = link.as_ref().filter(|link| link.is_veth).and_then(peer);
    InterfaceFacts {
        spec: spec.clone(),
        queues: if link.is_some() { afxdp::queue_count(name).unwrap_or(0) } else { 0 },
        features: link.as_ref().and_then(|link| features::xdp_features(link.index).ok()),
        rss: ethtool::rss(name).map_err(|error| error.to_string()),
        offloads: ethtool::offloads(name),
        peer,
        rp_filter: (conf("ipv4", name, "rp_filter"), conf("ipv4", "all", "rp_filter")),
        has_no_ipv6: conf("ipv6", name, "disable_ipv6") == Some(1),
        link: link.map(|link| LinkFacts {
            mtu: link.mtu,
            up: link.up,
            is_veth: link.is_veth,
            program: link.xdp.map(|program| program.id),
        }),
    }
}

/// The other end of a veth pair, where it is in this network namespace.
fn peer(link: &Link) -> Option<PeerFacts> {
    let name = afxdp::link_by_index(link.other_end?).ok()?.name;
    let tx_checksum = ethtool::offloads(&name).tx_checksum;
    Some(PeerFacts { name, tx_checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_writes_it() {
        assert_eq!(cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list(""), [0usize; 0]);
        assert_eq!(cpu_list("0-18446744073709551615").len(), 8_192);
        let meminfo = "MemTotal:  1 kB\nHugePages_Free:       12\nHugepagesize:       2048 kB\n";
        assert_eq!(huge_pages(meminfo), (12, 2 << 20));
        assert_eq!(huge_pages(""), (0, 0));
    }

    #[test]
    fn this_machine_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let facts = facts(&directory.path().join("none.yaml"), &directory.path().join("none.sock"));
        assert!(facts.kernel.contains('.') && !facts.cpus.is_empty(), "{facts:?}");
        assert!(facts.config.unwrap().unwrap_err().contains("none.yaml"));
        assert!(facts.running.is_none() && facts.topology.is_some());
    }
}
