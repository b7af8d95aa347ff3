//! What is fixed when Guideway starts: interfaces, workers, limits, files.
//!
//! A reload that changes any of it is refused with the advice to restart.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How an interface is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSpec {
    /// Interface name, for example `eth1`.
    pub name: String,
    /// Name of a Linux bridge of this machine: Guideway makes the veth pair `name` into it.
    pub bridge: Option<String>,
    /// XDP mode.
    pub xdp_mode: XdpModeChoice,
    /// Zero copy or copy.
    pub zero_copy: ZeroCopyChoice,
    /// What becomes of VIP and NAT frames on a queue that has no worker.
    pub on_worker_gone: WorkerGonePolicy,
}

/// Where the XDP program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpModeChoice {
    /// In the driver if it can, else in the stack.
    #[default]
    Auto,
    /// In the driver, or start is refused.
    Native,
    /// In the stack: works everywhere, slow.
    Generic,
}

/// How frames get into the worker's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroCopyChoice {
    /// Zero copy if the driver can, else copy.
    #[default]
    Auto,
    /// Zero copy, or start is refused.
    Required,
    /// Copy.
    Off,
}

/// VIP and NAT frames on a queue without a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerGonePolicy {
    /// Dropped and counted as `steer_no_worker`: TCP retransmits.
    #[default]
    Drop,
    /// Passed to the kernel, which answers live connections with resets.
    Kernel,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdlePolicy {
    /// Polls for a moment after traffic where the core is the worker's alone, then sleeps.
    #[default]
    Auto,
    /// Never sleeps: lowest latency, takes the whole core.
    Busy,
    /// Sleeps at once.
    Sleep,
}

/// What decides which worker has a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// Its addresses and ports, by the NIC's hash where that is known.
    #[default]
    Flow,
    /// The client's address and the VIP: all flows of a client have one worker, and so its affinity.
    Client,
}

/// Worker threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkersSpec {
    /// How many; none: the largest queue count of all interfaces.
    pub count: Option<u8>,
    /// The core of each worker; none: worker w on core w modulo the cores there are.
    pub cores: Option<Vec<usize>>,
    /// What an idle worker does.
    pub idle: IdlePolicy,
    /// Which worker has which flow.
    pub spread: Spread,
}

/// Everything that can grow has its limit here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitsSpec {
    /// Flow entries of each worker.
    pub flows_per_worker: usize,
    /// Backends of all services, retired ones included.
    pub backends: usize,
    /// Retired backends that wait for their flows to end; beyond, the oldest is cut.
    pub retired_backends: usize,
    /// How long a removed service stays to answer its flows, in milliseconds.
    pub service_gone_linger_ms: u32,
    /// Rest of a SNAT port after its flow closed, in milliseconds.
    pub snat_hold_down_ms: u32,
    /// Blocks of 256 SNAT ports of each worker: one for each backend, SNAT address and shard used.
    pub snat_blocks_per_worker: usize,
    /// ARP, echo, reset and unreachable answers of each worker a second.
    pub replies_per_second: u32,
    /// New flows of each worker a second that get entries where they need none (direct return).
    pub new_flows_per_second: u32,
    /// Packets in fragments of which each worker knows at a time; 0: none is forwarded.
    pub fragmented_packets: usize,
    /// Fragments each worker holds until the first one of their packet is there.
    pub fragments_held: usize,
    /// How long a packet in fragments is known and its fragments are held, in milliseconds.
    pub fragment_hold_ms: u32,
    /// Frames of memory of each (interface, queue).
    pub frames_per_queue: u32,
    /// Bytes of one frame's chunk: 2048 or 4096.
    pub frame_bytes: u32,
    /// Frames that may wait from one worker to another.
    pub hand_over_ring: usize,
}

/// Records of flows that have ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecordsSpec {
    /// File to which a line of JSON is added for each flow.
    pub file: Option<PathBuf>,
    /// Collector that gets them by IPFIX over UDP.
    pub ipfix: Option<SocketAddr>,
    /// Ends of flows that may wait at each worker.
    pub waiting_per_worker: usize,
}

/// A gRPC feed of services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedSpec {
    /// What it is called in status and log; also the name of the file its last good state is kept in.
    pub name: String,
    /// `https://HOST:PORT`, or `http://` where it is plain.
    pub url: String,
    /// What this node says it is; none: the machine's host name.
    pub node: Option<String>,
    /// The authorities whose certificates count, in PEM; none: the machine's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key, in PEM.
    pub cert_files: Option<(PathBuf, PathBuf)>,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
}

/// A Kubernetes cluster whose services are balanced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KubernetesSpec {
    /// What it is called in status and log; also the name of the file its last state is kept in.
    pub name: String,
    /// How its API is reached; none: as the pod that this is.
    pub kubeconfig: Option<PathBuf>,
    /// Which context of that; none: the current one.
    pub context: Option<String>,
    /// Classes whose services are ours.
    pub classes: Vec<String>,
    /// Services without a class are ours, too.
    pub default: bool,
    /// Tells several Guideways of one cluster apart.
    pub manager: String,
    /// The namespace of the Lease by which replicas elect the one that writes.
    pub lease_namespace: String,
    /// Pools beside those that are objects of the cluster.
    pub pools: Vec<AddressPoolSpec>,
}

/// Addresses that services of a cluster may get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressPoolSpec {
    /// Its name.
    pub name: String,
    /// Networks, ranges and addresses.
    pub addresses: Vec<String>,
    /// Services that ask for nothing get addresses of it.
    pub auto_assign: bool,
    /// Of several pools the one with the smallest number comes first.
    pub priority: u32,
    /// Addresses that end in .0 and .255 are left out.
    pub skip_ends: bool,
    /// Only for services of these namespaces; empty: of all.
    pub namespaces: Vec<String>,
    /// Rest of an address after it was given back, in milliseconds.
    pub reuse_after_ms: u32,
    /// Services of several namespaces may share an address.
    pub share_across_namespaces: bool,
    /// Where packets of its services go, if they say nothing else.
    pub target: String,
    /// Whose address backends see, if they say nothing else.
    pub source: String,
}

/// Metrics over HTTP, which only tell and change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpSpec {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Most services that have metrics of their own.
    pub most_services: usize,
    /// Most backends that have.
    pub most_backends: usize,
}

/// Everything fixed at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSpec {
    /// Interfaces; their order gives port ids.
    pub interfaces: Vec<InterfaceSpec>,
    /// Worker threads.
    pub workers: WorkersSpec,
    /// Limits.
    pub limits: LimitsSpec,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// Metrics over HTTP; none: nobody listens.
    pub http: Option<HttpSpec>,
    /// Where state that outlives a run is kept (the cluster key, when none is configured).
    pub state_dir: PathBuf,
    /// A directory on a bpffs for the pinned XDP programs.
    pub bpf_dir: PathBuf,
    /// File with the cluster key: 32 hex digits. None: a random one is made in `state_dir`.
    pub cluster_key_file: Option<PathBuf>,
    /// Who wants records of flows; none: nobody, and flows are not counted one by one.
    pub flow_records: Option<FlowRecordsSpec>,
    /// Feeds of services, in the order in which they have what two of them want.
    pub feeds: Vec<FeedSpec>,
    /// Kubernetes clusters.
    pub kubernetes: Vec<KubernetesSpec>,
}
