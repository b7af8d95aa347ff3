//! What `guideway status` tells: plain data, the same in JSON and in memory.
//!
//! Moments are Unix milliseconds, so that ages are differences to [`StatusReport::now_unix_ms`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{ClusterStatus, DrainStatus, StoppingStatus};
use crate::control::{Health, IdlePolicy};
use crate::dataplane::{Counters, DropReason, EventCounters, ReplyKind};
use crate::forwarding::BackendState;
use crate::io::QueueStatistics;
use crate::wire::Protocol;

/// Everything at one moment. Workers count on while it is read, so sums may be a batch apart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When this report was made.
    pub now_unix_ms: u64,
    /// When the process started.
    pub started_unix_ms: u64,
    /// It is to end, and lets no new flows begin.
    #[serde(default)]
    pub stopping: Option<StoppingStatus>,
    /// Where its orders come from.
    pub configuration: ConfigurationStatus,
    /// Which snapshot is in use.
    pub generation: GenerationStatus,
    /// First digits of a hash of the cluster key: nodes of one group show the same.
    pub cluster_key_fingerprint: String,
    /// Feeds of services, in the configuration's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedStatus>,
    /// Kubernetes clusters.
    pub clusters: Vec<ClusterStatus>,
    /// In the configuration's order.
    pub interfaces: Vec<InterfaceStatus>,
    /// By number.
    pub workers: Vec<WorkerStatus>,
    /// Sorted by name.
    pub services: Vec<ServiceStatus>,
    /// Backends that are drained by hand.
    pub drains: Vec<DrainStatus>,
    /// Source addresses for NAT.
    pub snat: Vec<SnatStatus>,
    /// What became of the frames of all workers.
    pub counters: CountersStatus,
    /// Records of flows, where somebody gets them.
    pub flow_records: Option<FlowRecordsStatus>,
}

/// Records of flows that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowRecordsStatus {
    /// Lines written to the file.
    pub written: u64,
    /// Records sent to the collector; whether they arrived, nobody says.
    pub sent: u64,
    /// Records that could not be written or sent. Ends of flows that did not get so far are counted as
    /// `flow_events_lost`.
    pub lost: u64,
}

/// A feed of services.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Since when there is a connection; none: there is none, and its last state stays.
    pub connected_unix_ms: Option<u64>,
    /// When the last update was taken; none: never.
    pub taken_unix_ms: Option<u64>,
    /// The revision of that.
    pub revision: u64,
    /// Services that were taken and not refused.
    pub services: usize,
    /// What is not in force of it, a line each.
    pub refused: Vec<String>,
    /// Why there is no connection, or why the last update was refused.
    pub problem: Option<String>,
}

/// The configuration file and its reloads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The file.
    pub file: String,
    /// The generation its last good form was first published in.
    pub loaded_in_generation: u64,
    /// When that was read.
    pub loaded_unix_ms: u64,
    /// A later form that was refused, if the file has not become good since.
    pub refused: Option<RefusedReload>,
    /// What became of each reading of it.
    #[serde(default)]
    pub reloads: ReloadsStatus,
}

/// Readings of the configuration, the one at start aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReloadsStatus {
    /// Taken over.
    pub taken_over: u64,
    /// Nothing had changed.
    pub unchanged: u64,
    /// Kept back, to be confirmed.
    pub held: u64,
    /// Refused, all of it or a part.
    pub refused: u64,
}

/// A configuration that was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When.
    pub at_unix_ms: u64,
    /// The whole message, several lines.
    pub error: String,
}

/// Published and in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// The newest.
    pub published: u64,
    /// The newest that every worker runs.
    pub acknowledged: u64,
}

/// One of our interfaces.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The bridge of this machine it leads into.
    pub bridge: Option<String>,
    /// Its MAC.
    pub mac: String,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u16,
    /// Administratively up and with carrier.
    pub up: bool,
    /// How frames get to us, and what verdicts do not see.
    pub queues: Vec<QueueStatistics>,
    /// The XDP program's counters by name.
    pub steer: BTreeMap<String, u64>,
}

/// One worker thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u8,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// What it does when there is nothing to do.
    pub idle: IdlePolicy,
    /// The snapshot it runs.
    pub generation: u64,
    /// Batches so far.
    pub batches: u64,
    /// Frames that it received itself.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Live flow entries.
    pub flows: u64,
    /// Most it may have.
    pub flows_limit: u64,
    /// Frames forwarded.
    #[serde(default)]
    pub forwarded: u64,
    /// Frames dropped, for whatever reason.
    #[serde(default)]
    pub dropped: u64,
    /// Packets given to the workers that own their flows.
    pub handed_over: u64,
    /// Times it panicked and was started again.
    pub restarts: u64,
}

/// One service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// VIP and port; of several ports, the first.
    pub vip: SocketAddr,
    /// The last of several ports.
    pub last_port: Option<u16>,
    /// Transport.
    pub protocol: Protocol,
    /// How packets get to backends.
    pub mode: String,
    /// What new flows get.
    pub state: ServiceState,
    /// Length of its Maglev table; 0 with no usable backend.
    pub table_size: usize,
    /// Live flows.
    pub flows: u64,
    /// Sorted by name.
    pub backends: Vec<BackendStatus>,
}

/// What new flows of a service get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// A backend.
    Serving,
    /// What its `no_backend` says.
    NoBackend,
    /// What its `on_service_gone` says: it is no longer in the configuration.
    Removed,
}

/// One backend.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name in the service.
    pub name: String,
    /// Where it listens; of several ports, the first.
    pub socket: SocketAddr,
    /// The last of several ports on which it listens.
    pub last_port: Option<u16>,
    /// Weight as configured.
    pub weight: u16,
    /// What it may still get.
    pub state: BackendState,
    /// What its health check says; none without one.
    pub health: Option<HealthStatus>,
    /// Its part of the table's slots, 0 to 1.
    pub share: f64,
    /// Its part by weight among active backends, 0 to 1.
    pub promised_share: f64,
    /// Live flows.
    pub flows: u64,
    /// What went to it and came from it.
    pub traffic: TrafficStatus,
    /// Longest packet that the way to it takes, as routers told; none: they told nothing.
    pub path_mtu_bytes: Option<u16>,
    /// Where its frames go, or why nowhere.
    pub next_hop: NextHopStatus,
}

/// A backend's traffic since its id was first used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of their frames, as they came.
    pub bytes_in: u64,
    /// Packets from the backend; with direct return none comes by us.
    pub packets_out: u64,
    /// Bytes of their frames, as they came.
    pub bytes_out: u64,
}

impl TrafficStatus {
    /// Both together.
    pub fn plus(&self, other: &TrafficStatus) -> TrafficStatus {
        self.with(other, |one, other| one + other)
    }

    /// What has come since an earlier count; all of it where counting began anew.
    pub fn since(&self, before: &TrafficStatus) -> TrafficStatus {
        let is_anew = self.packets_in < before.packets_in || self.packets_out < before.packets_out;
        let before = if is_anew { TrafficStatus::default() } else { *before };
        self.with(&before, |now, before| now.saturating_sub(before))
    }

    fn with(&self, other: &TrafficStatus, join: impl Fn(u64, u64) -> u64) -> TrafficStatus {
        TrafficStatus {
            packets_in: join(self.packets_in, other.packets_in),
            bytes_in: join(self.bytes_in, other.bytes_in),
            packets_out: join(self.packets_out, other.packets_out),
            bytes_out: join(self.bytes_out, other.bytes_out),
        }
    }
}

/// What a health check says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthStatus {
    /// What is thought of the backend.
    pub health: Health,
    /// Since when it is thought.
    pub since_unix_ms: u64,
    /// The last result in words.
    pub reason: String,
    /// Since when the results are that.
    pub reason_since_unix_ms: u64,
}

/// The way to a backend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextHopStatus {
    /// Known.
    Known {
        /// Interface it leaves by.
        interface: String,
        /// Next station.
        mac: String,
    },
    /// Not known, for this reason: its packets are dropped as `no_next_hop`.
    Missing(String),
}

/// One source address for NAT.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnatStatus {
    /// The address.
    pub address: IpAddr,
    /// First port that may be used.
    pub first_port: u16,
    /// Last port that may be used.
    pub last_port: u16,
    /// Only towards backends behind this interface.
    pub interface: Option<String>,
    /// The machine's own address too.
    pub shared_address: bool,
    /// Flows that use it now, where that is counted.
    pub in_use: Option<u64>,
}

/// Verdicts of all workers, and the two sums that must agree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CountersStatus {
    /// Frames received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames forwarded.
    pub forwarded: u64,
    /// Frames the kernel should have had.
    pub not_ours: u64,
    /// Answers by kind.
    pub replied: BTreeMap<String, u64>,
    /// Drops by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What happens besides the verdict.
    pub events: BTreeMap<String, u64>,
    /// Frames on their way from one worker to another: no verdict yet.
    pub in_hand_over: u64,
    /// Frames that were nobody's request: announcements.
    pub announced: u64,
    /// Frames that went into transmit rings.
    pub transmitted: u64,
    /// Frames that found no place in a transmit ring.
    pub transmit_full: u64,
}

impl CountersStatus {
    /// Names the engines' counts (the sum over workers) and takes the devices' beside them.
    pub fn new<'a>(
        counters: &Counters,
        queues: impl IntoIterator<Item = &'a QueueStatistics>,
        in_hand_over: u64,
        announced: u64,
    ) -> CountersStatus {
        let named = |names: &mut dyn Iterator<Item = &str>, values: &[u64]| {
            names.map(str::to_string).zip(values.iter().copied()).collect()
        };
        let (transmitted, transmit_full) = queues
            .into_iter()
            .fold((0, 0), |(sent, full), q| (sent + q.transmitted, full + q.transmit_full));
        CountersStatus {
            received: counters.received,
            received_bytes: counters.received_bytes,
            forwarded: counters.forwarded,
            not_ours: counters.not_ours,
            replied: named(&mut ReplyKind::ALL.iter().map(|k| k.name()), &counters.replied),
            dropped: named(&mut DropReason::ALL.iter().map(|r| r.name()), &counters.dropped),
            events: named(&mut EventCounters::NAMES.iter().copied(), &counters.events.values()),
            in_hand_over,
            announced,
            transmitted,
            transmit_full,
        }
    }

    /// Frames that have a verdict.
    pub fn verdicts(&self) -> u64 {
        self.to_send() - self.announced + self.not_ours + self.dropped.values().sum::<u64>()
    }

    /// Frames that were to be sent: forwarded, answered or announced.
    pub fn to_send(&self) -> u64 {
        self.forwarded + self.replied.values().sum::<u64>() + self.announced
    }

    /// Received = verdicts + on the way between workers.
    pub fn receive_balances(&self) -> bool {
        self.received == self.verdicts() + self.in_hand_over
    }

    /// Forwarded + replied + announced = transmitted + `transmit_full`.
    pub fn transmit_balances(&self) -> bool {
        self.to_send() == self.transmitted + self.transmit_full
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample_report;
    use super::*;

    #[test]
    fn sums_agree_or_not() {
        let mut counters = sample_report().counters;
        assert!(counters.receive_balances() && counters.transmit_balances());
        assert_eq!((counters.verdicts(), counters.to_send()), (3999, 3968));
        counters.received += 1;
        counters.transmit_full -= 1;
        assert!(!counters.receive_balances() && !counters.transmit_balances());
    }

    #[test]
    fn json_round_trip() {
        let report = sample_report();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<StatusReport>(&text).unwrap(), report);
    }
}
