//! What `guideway kubernetes status` tells: clusters, and each of their services that is ours.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A Kubernetes cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Since when all of it is known; none: not since the start, and its kept state is served.
    pub known_unix_ms: Option<u64>,
    /// When a change was taken last; none: never.
    pub taken_unix_ms: Option<u64>,
    /// Services of the cluster that are ours.
    pub ours: usize,
    /// Services that were made of them, one for each port and address.
    pub services: usize,
    /// Of its replicas this one writes.
    pub leads: bool,
    /// What is not in force of it, and writes that its API did not take, a line each.
    pub refused: Vec<String>,
    /// What is in the way of the watches, a line each.
    pub problems: Vec<String>,
    /// What was in the way last; it may be over.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// Pools of addresses, those of the configuration first.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
}

/// A pool of addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// For each family of which it has addresses.
    pub families: Vec<PoolFamily>,
    /// Why nothing is given out of it.
    pub problem: Option<String>,
}

/// How many addresses of one family are what.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolFamily {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// All that may be given out; more than 9223372036854775807 are told as that.
    pub addresses: u64,
    /// Services have them.
    pub used: u64,
    /// They were given back, and rest.
    pub resting: u64,
    /// They can be had.
    pub free: u64,
}

/// Something that was in the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastError {
    /// When it began.
    pub at_unix_ms: u64,
    /// What it was.
    pub error: String,
}

/// All clusters at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KubernetesReport {
    /// When this report was made.
    pub now_unix_ms: u64,
    /// In the configuration's order.
    pub clusters: Vec<ClusterReport>,
}

/// A cluster with its services.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterReport {
    /// How it is doing.
    pub cluster: ClusterStatus,
    /// By namespace and name; none: whoever follows it did not answer in time.
    pub services: Option<Vec<KubernetesService>>,
}

/// A Service of `type: LoadBalancer` that is ours.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KubernetesService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to be thought of it.
    pub state: KubernetesServiceState,
    /// Its addresses.
    pub addresses: Vec<PooledAddress>,
    /// Where packets go: `pods`, `nodes` or `nodePorts`.
    pub target: String,
    /// Whose address they come from: `snat` is ours, `keep` the client's.
    pub source: String,
    /// The services of the desired state that are made of it.
    pub services: Vec<String>,
    /// Pods, or nodes where those are the target, that take new flows.
    pub ready: usize,
    /// Those that keep the flows they have.
    pub draining: usize,
    /// Those that get nothing: they do not answer to Kubernetes or to a probe of ours.
    pub down: usize,
    /// The reason of its condition, or of what else is in its way.
    pub reason: String,
    /// The same at length.
    pub message: String,
}

/// What is to be thought of a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KubernetesServiceState {
    /// It has an address, and somebody who answers.
    #[default]
    Serving,
    /// It has an address, and nobody who answers.
    NoEndpoint,
    /// It has no address.
    NoAddress,
    /// Something of it is not as it asks.
    Limited,
    /// Its class is none of ours any more; it is served as before.
    Orphaned,
    /// It is about to give back what it has.
    Leaving,
}

/// An address of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PooledAddress {
    /// The address.
    pub address: IpAddr,
    /// The pool that it came from.
    pub pool: String,
}
