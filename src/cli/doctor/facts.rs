//! What there is to know of the machine: plain data, read by [`super::read`], judged elsewhere.

use std::collections::BTreeMap;

use crate::admin::StatusReport;
use crate::control::{DesiredState, InterfaceSpec, NodeSpec, Topology};
use crate::io::afxdp::ethtool::{Offloads, Rss};
use crate::io::afxdp::features::XdpFeatures;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The configuration, or why it cannot be used.
    pub config: Option<Result<Config, String>>,
    /// What a running Guideway says of itself, if there is one.
    pub running: Option<StatusReport>,
    /// As `uname -r` says.
    pub kernel: String,
    /// Effective ones of this process, a bit each.
    pub capabilities: u64,
    /// Memory that may be locked, in bytes; none: as much as there is.
    pub memlock_bytes: Option<u64>,
    /// Free huge pages, and the size of one in bytes.
    pub huge_pages: (u64, u64),
    /// CPUs that are online.
    pub cpus: Vec<usize>,
    /// Those that the kernel keeps other threads away from.
    pub isolated: Vec<usize>,
    /// What decides about each CPU's frequency, where the kernel tells.
    pub governors: BTreeMap<usize, String>,
    /// What the kernel reads the time from.
    pub clock_source: String,
    /// There is a bpffs where the configuration wants its programs pinned.
    pub has_bpffs: bool,
    /// Neighbours that the kernel keeps at most, for IPv4 and IPv6.
    pub neighbours_most: [Option<u64>; 2],
    /// Links, addresses, routes and stations, as the kernel says; none where it does not.
    pub topology: Option<Topology>,
    /// Of each interface of the configuration.
    pub interfaces: Vec<InterfaceFacts>,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Config {
    /// Fixed at start.
    pub node: NodeSpec,
    /// What may change.
    pub desired: DesiredState,
}

impl Facts {
    /// The configuration, where there is a good one.
    pub fn good_config(&self) -> Option<&Config> {
        self.config.as_ref()?.as_ref().ok()
    }

    /// Workers that run, or would.
    pub fn workers(&self) -> usize {
        if let Some(report) = &self.running {
            return report.workers.len();
        }
        let configured = self.good_config().and_then(|config| config.node.workers.count);
        let most_queues = || self.interfaces.iter().map(|interface| interface.queues).max();
        configured.map_or_else(|| most_queues().unwrap_or(1).max(1) as usize, usize::from)
    }

    /// The core of a worker: as it runs, as configured, or as it would be chosen.
    pub fn core_of(&self, worker: usize) -> Option<usize> {
        if let Some(report) = &self.running {
            return report.workers.get(worker)?.core;
        }
        let configured = self.good_config().and_then(|config| config.node.workers.cores.as_ref());
        let cores = configured.unwrap_or(&self.cpus);
        cores.get(worker % cores.len().max(1)).copied()
    }

    /// Bytes of all frames.
    pub fn frame_memory_bytes(&self) -> u64 {
        let Some(config) = self.good_config() else { return 0 };
        let limits = &config.node.limits;
        let queues: u64 = self.interfaces.iter().map(|interface| u64::from(interface.queues)).sum();
        queues * u64::from(limits.frames_per_queue) * u64::from(limits.frame_bytes)
    }
}

/// One interface.
#[derive(Clone, Debug)]
pub struct InterfaceFacts {
    /// As configured.
    pub spec: InterfaceSpec,
    /// None: there is no such interface.
    pub link: Option<LinkFacts>,
    /// Receive queues in use.
    pub queues: u32,
    /// What the driver says it can do; none where the kernel does not tell.
    pub features: Option<XdpFeatures>,
    /// How packets are spread over queues, or why that is not known.
    pub rss: Result<Rss, String>,
    /// What is on.
    pub offloads: Offloads,
    /// Of a veth, the other end, where it is in this network namespace.
    pub peer: Option<PeerFacts>,
    /// `rp_filter` of the interface and of `all`.
    pub rp_filter: (Option<u32>, Option<u32>),
    /// IPv6 is off on it.
    pub has_no_ipv6: bool,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFacts {
    /// In bytes.
    pub mtu: u32,
    /// Set up by the administrator.
    pub up: bool,
    /// A veth.
    pub is_veth: bool,
    /// Id of an XDP program that is on it.
    pub program: Option<u32>,
}

/// The other end of a veth pair.
#[derive(Clone, Debug)]
pub struct PeerFacts {
    /// Its name.
    pub name: String,
    /// Checksums of what it sends are left to us.
    pub tx_checksum: Option<bool>,
}
