//! What counts of the API's objects, small enough to keep all of a cluster's in memory.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::way::{IpMode, Target};
use crate::wire::Family;

/// Namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// Of these two.
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Service {
    /// The API's number for it: another one of the same name has another.
    pub uid: Arc<str>,
    /// The API's number for what it is now; 0: unknown.
    pub version: u64,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// `type: LoadBalancer`.
    pub is_balanced: bool,
    /// `loadBalancerClass`.
    pub class: Option<Arc<str>>,
    /// Somebody has deleted it; it stays until its finalizers are gone.
    pub is_deleted: bool,
    /// It has `guideway.dev/release`: it is, or was, ours.
    pub has_our_finalizer: bool,
    /// It has `service.kubernetes.io/load-balancer-cleanup`.
    pub has_standard_finalizer: bool,
    /// `ipFamilies`, in their order.
    pub families: Vec<IpFamily>,
    /// `ipFamilyPolicy: RequireDualStack`.
    pub needs_both_families: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `sessionAffinity: ClientIP`, and for how long.
    pub affinity_s: Option<u32>,
    /// `externalTrafficPolicy: Local`: only nodes with endpoints of their own.
    pub is_local: bool,
    /// Where those nodes tell whether they have some.
    pub health_port: Option<u16>,
    /// `loadBalancerSourceRanges`; empty: everybody.
    pub source_ranges: Vec<Range>,
    /// Labels, which pools may ask for.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// What its annotations ask for.
    pub wishes: Wishes,
    /// The addresses in its status.
    pub status: Vec<IpAddr>,
    /// The `ipMode` that all of these have; none: they differ, or have none.
    pub status_mode: Option<IpMode>,
    /// What all of these say of its ports; empty: they differ, or say nothing.
    #[serde(default)]
    pub status_ports: Vec<PortTold>,
    /// What our condition in its status says: reason and message.
    pub told: Option<(Arc<str>, Arc<str>)>,
}

/// What a status says of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortTold {
    /// The port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
    /// It is not served.
    pub is_refused: bool,
}

/// What a service asks for by annotations, and by `spec.loadBalancerIP`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// These addresses and no others.
    pub addresses: Vec<IpAddr>,
    /// Out of this pool and no other.
    pub pool: Option<Arc<str>>,
    /// Its address may be that of others with the same key.
    pub share: Option<Arc<str>>,
    /// The client's address stays in the packets.
    pub keep_source: Option<bool>,
    /// Where packets go.
    pub target: Option<Target>,
    /// What pods are told of its addresses.
    pub ip_mode: Option<IpMode>,
    /// What could not be read of them.
    pub wrong: Vec<String>,
}

impl Wishes {
    /// The address of this family that is asked for.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| IpFamily::of(*address) == family)
    }
}

/// IPv4 or IPv6, as the API writes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum IpFamily {
    /// `IPv4`.
    V4,
    /// `IPv6`.
    V6,
}

impl IpFamily {
    /// That of an address.
    pub fn of(address: IpAddr) -> IpFamily {
        if address.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }
    }

    /// As packets have it.
    pub fn wire(self) -> Family {
        match self {
            IpFamily::V4 => Family::Ipv4,
            IpFamily::V6 => Family::Ipv6,
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpFamily::V4 => "IPv4",
            IpFamily::V6 => "IPv6",
        })
    }
}

/// TCP, UDP or SCTP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// `TCP`.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

impl Transport {
    /// As the API writes it; TCP where it says nothing.
    pub fn of(word: Option<&str>) -> Option<Transport> {
        match word {
            None | Some("TCP") => Some(Transport::Tcp),
            Some("UDP") => Some(Transport::Udp),
            Some("SCTP") => Some(Transport::Sctp),
            Some(_) => None,
        }
    }

    /// In small letters.
    pub fn word(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        }
    }
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServicePort {
    /// By its name the slices' ports are found; empty where there is only one.
    pub name: Arc<str>,
    /// Its transport.
    pub transport: Transport,
    /// At the VIP.
    pub port: u16,
    /// On every node.
    pub node_port: Option<u16>,
}

/// A network of clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Range {
    /// Its address.
    pub network: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
}

/// An EndpointSlice: some of a Service's endpoints, all of one family and with the same ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// The family of its addresses.
    pub family: IpFamily,
    /// Ports of each endpoint.
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlicePort {
    /// That of the Service's port.
    pub name: Arc<str>,
    /// Its transport.
    pub transport: Transport,
    /// Where endpoints listen.
    pub port: u16,
}

/// One endpoint, a pod as a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address. The API allows more, and means any of them.
    pub address: IpAddr,
    /// The pod.
    pub pod: Option<Arc<str>>,
    /// The node that it runs on.
    pub node: Option<Arc<str>>,
    /// It takes new flows.
    pub ready: bool,
    /// It answers.
    pub serving: bool,
    /// It is going to end.
    pub terminating: bool,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its addresses of type InternalIP, at most one of a family.
    pub addresses: Vec<IpAddr>,
    /// It is about to go, or is not to be used from outside: nothing new for it.
    pub is_leaving: bool,
}

impl Node {
    /// The one of this family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|&address| IpFamily::of(address) == family)
    }
}

/// An AddressClaim: somebody has this address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Claim {
    /// The API's number for what it is now.
    pub version: String,
    /// Which Guideway of the cluster has taken it.
    pub manager: Arc<str>,
    /// The pool it came from.
    pub pool: Arc<str>,
    /// Who may share it.
    pub share: Option<Arc<str>>,
    /// Who has it, the first first.
    pub holders: Vec<Holder>,
    /// When the last of them left, Unix milliseconds.
    pub released_ms: Option<u64>,
    /// Who left last.
    pub last: Option<Key>,
}

impl Claim {
    /// The version as a number; 0: it is asked for, and not there yet.
    pub fn number(&self) -> u64 {
        version_of(Some(&self.version))
    }

    /// Is this service, by its uid, one of those that have it?
    pub fn is_of(&self, uid: &str) -> bool {
        self.holders.iter().any(|holder| &*holder.uid == uid)
    }
}

/// Versions of one kind of object are numbers that grow, since Kubernetes 1.35 by its documentation and
/// with etcd ever before. 0: it is no number.
pub fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A Service that has an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The Service.
    pub service: Key,
    /// Its `uid`.
    pub uid: Arc<str>,
}
