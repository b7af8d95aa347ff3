//! The API's objects -> what counts of them. Whatever an object says, this ends: what cannot be read is
//! left out, and told where a person wrote it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use kube::ResourceExt;

use super::api;
use super::objects::{
    Endpoint, IpFamily, Key, Node, PortTold, Range, Service, ServicePort, Slice, SlicePort,
    Transport, Wishes, version_of,
};
use super::way::{IpMode, Target, keeps_source};

/// Ours, so that a service which is no balancer's any more is still known as ours.
pub const OUR_FINALIZER: &str = "guideway.dev/release";
/// The one that tools look for.
pub const STANDARD_FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// Our condition in the status of a service.
pub const CONDITION: &str = "guideway.dev/Ready";
/// The label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Names of one annotation: ours, and those of MetalLB.
const ADDRESSES: &[&str] = &[
    "guideway.dev/addresses",
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
];
const POOL: &[&str] =
    &["guideway.dev/pool", "metallb.io/address-pool", "metallb.universe.tf/address-pool"];
const SHARE: &[&str] =
    &["guideway.dev/share", "metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];
const SOURCE: &str = "guideway.dev/source";
const TARGET: &str = "guideway.dev/target";
const IP_MODE: &str = "guideway.dev/ip-mode";
/// On a node: not for balancers outside.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// On a node: the cluster's autoscaler is going to take it away.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Of an object in a namespace.
pub fn key(object: &impl ResourceExt) -> Key {
    Key::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// A Service.
pub fn service(object: &api::Service) -> Service {
    let spec = &object.spec;
    let has = |name: &str| object.finalizers().iter().any(|finalizer| finalizer == name);
    let label = |(key, value): (&String, &String)| (Arc::from(&**key), Arc::from(&**value));
    let mut wishes = wishes(object.annotations(), spec);
    let families = spec.ip_families.iter().flatten().filter_map(|word| family(word)).collect();
    let ports = spec.ports.iter().flatten().filter_map(port).collect();
    let source_ranges = ranges(spec, &mut wishes.wrong);
    let mut service = Service {
        uid: object.uid().unwrap_or_default().into(),
        version: version_of(object.resource_version().as_deref()),
        created_ms: created_ms(object),
        is_balanced: spec.r#type.as_deref() == Some("LoadBalancer"),
        class: spec.load_balancer_class.as_deref().map(Arc::from),
        is_deleted: object.metadata.deletion_timestamp.is_some(),
        has_our_finalizer: has(OUR_FINALIZER),
        has_standard_finalizer: has(STANDARD_FINALIZER),
        families,
        needs_both_families: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
        ports,
        affinity_s: affinity_s(spec),
        is_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        health_port: spec.health_check_node_port.and_then(number),
        source_ranges,
        labels: object.labels().iter().map(label).collect(),
        wishes,
        ..Service::default()
    };
    status(&object.status, &mut service);
    service
}

fn created_ms(object: &impl ResourceExt) -> u64 {
    let made = object.creation_timestamp().map(|time| time.0.as_millisecond());
    made.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

fn family(word: &str) -> Option<IpFamily> {
    match word {
        "IPv4" => Some(IpFamily::V4),
        "IPv6" => Some(IpFamily::V6),
        _ => None,
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn port(port: &api::Port) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        transport: Transport::of(port.protocol.as_deref())?,
        port: number(port.port?)?,
        node_port: port.node_port.and_then(number),
    })
}

/// Three hours where nothing is said, as the API documents.
fn affinity_s(spec: &api::ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds).unwrap_or(10_800);
    u32::try_from(seconds).ok()
}

/// One that cannot be read closes nothing and opens nothing: the API refuses such, but for blanks.
fn ranges(spec: &api::ServiceSpec, wrong: &mut Vec<String>) -> Vec<Range> {
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    let read = |text: &String| -> Option<Range> {
        let (network, prefix_len) = text.trim().split_once('/')?;
        let (network, prefix_len) = (network.parse().ok()?, prefix_len.parse().ok()?);
        Some(Range { network, prefix_len }).filter(|range| range.ends().is_some())
    };
    let mut found = vec![];
    for text in texts {
        match read(text) {
            Some(range) => found.push(range),
            None => wrong.push(format!("loadBalancerSourceRanges: `{text}` is no network")),
        }
    }
    found
}

fn wishes(annotations: &BTreeMap<String, String>, spec: &api::ServiceSpec) -> Wishes {
    let first = |names: &'static [&'static str]| {
        let found = names.iter().find_map(|name| Some((*name, annotations.get(*name)?)));
        found.map(|(name, text)| (name, text.trim())).filter(|(_, text)| !text.is_empty())
    };
    let mut wishes = Wishes {
        pool: first(POOL).map(|(_, text)| text.into()),
        share: first(SHARE).map(|(_, text)| text.into()),
        ..Wishes::default()
    };
    let field = spec.load_balancer_ip.as_deref().map(|text| ("spec.loadBalancerIP", text.trim()));
    let asked = first(ADDRESSES).or(field.filter(|(_, text)| !text.is_empty()));
    if let Some((name, text)) = asked {
        for part in text.split(',').map(str::trim) {
            match part.parse::<IpAddr>() {
                Ok(address) => wishes.addresses.push(address),
                Err(_) => wishes.wrong.push(format!("{name}: `{part}` is no address")),
            }
        }
    }
    let text = |name| annotations.get(name).map(|text| text.trim());
    let wrong = &mut wishes.wrong;
    wishes.keep_source = word(SOURCE, text(SOURCE), keeps_source, wrong);
    wishes.target = word(TARGET, text(TARGET), Target::parse, wrong);
    let mode = |word: &str| {
        IpMode::of(Some(word)).ok_or_else(|| format!("`{word}` is not `VIP` or `Proxy`"))
    };
    wishes.ip_mode = word(IP_MODE, text(IP_MODE), mode, wrong);
    wishes
}

/// What an annotation's word means; one that means nothing is told.
fn word<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
    wrong: &mut Vec<String>,
) -> Option<T> {
    let parsed = text.map(parse)?;
    parsed.map_err(|told| wrong.push(format!("{name}: {told}"))).ok()
}

fn status(status: &api::ServiceStatus, service: &mut Service) {
    let ingress = status.load_balancer.ingress.iter().flatten();
    let (mut modes, mut ports) = (vec![], vec![]);
    for one in ingress {
        modes.push(IpMode::of(one.ip_mode.as_deref()));
        ports.push(one.ports.iter().flatten().filter_map(port_told).collect::<Vec<_>>());
        let address = one.ip.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        service.status.extend(address);
    }
    service.status_mode = modes.first().copied().flatten();
    service.status_mode =
        service.status_mode.filter(|mode| modes.iter().all(|m| *m == Some(*mode)));
    if ports.windows(2).all(|pair| pair.first() == pair.last()) {
        service.status_ports = ports.pop().unwrap_or_default();
    }
    let conditions = status.conditions.iter().flatten();
    let ours = conditions.into_iter().find(|condition| condition.r#type == CONDITION);
    service.told = ours.map(|told| (told.reason.as_str().into(), told.message.as_str().into()));
}

fn port_told(port: &api::PortStatus) -> Option<PortTold> {
    Some(PortTold {
        port: number(port.port?)?,
        transport: Transport::of(port.protocol.as_deref())?,
        is_refused: port.error.is_some(),
    })
}

/// An EndpointSlice with the Service it is of; none: it is of none, or of names.
pub fn slice(object: &api::EndpointSlice) -> Option<(Arc<str>, Slice)> {
    let owner = object.labels().get(SERVICE_NAME)?.as_str().into();
    let family = family(&object.address_type)?;
    let port = |port: &api::Port| {
        Some(SlicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            transport: Transport::of(port.protocol.as_deref())?,
            port: number(port.port?)?,
        })
    };
    let ports = object.ports.iter().flatten().filter_map(port).collect();
    let read = object.endpoints.iter().flatten().filter_map(endpoint);
    let endpoints = read.filter(|endpoint| IpFamily::of(endpoint.address) == family).collect();
    Some((owner, Slice { family, ports, endpoints }))
}

/// A condition that is not said counts as the API documents: ready unless told otherwise, serving as it
/// is ready, not terminating.
fn endpoint(endpoint: &api::Endpoint) -> Option<Endpoint> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let pod = endpoint.target_ref.as_ref().filter(|of| of.kind.as_deref() == Some("Pod"));
    Some(Endpoint {
        address: endpoint.addresses.first()?.parse().ok()?,
        pod: pod.and_then(|of| of.name.as_deref()).map(Arc::from),
        node: endpoint.node_name.as_deref().map(Arc::from),
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
    })
}

/// A node.
pub fn node(object: &api::Node) -> Node {
    let listed = object.status.addresses.iter().flatten();
    let internal = listed.filter(|address| address.r#type == "InternalIP");
    let mut addresses: Vec<IpAddr> = vec![];
    for address in internal.filter_map(|address| address.address.parse::<IpAddr>().ok()) {
        if !addresses.iter().any(|known| IpFamily::of(*known) == IpFamily::of(address)) {
            addresses.push(address);
        }
    }
    let leaves = |taint: &api::Taint| taint.key == TO_BE_DELETED;
    let is_leaving = object.metadata.deletion_timestamp.is_some()
        || object.labels().contains_key(EXCLUDED)
        || object.spec.taints.iter().flatten().any(leaves);
    Node { addresses, is_leaving }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
