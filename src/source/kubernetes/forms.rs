//! A Service that has addresses -> the services of the desired state: one for each port and address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoints::{Target as Endpoint, targets};
use super::objects::{IpFamily, Key, Node, Service, ServicePort};
use super::way::Target;
use super::world::{Standing, World};
use crate::control::{
    BackendSpec, Form, HealthCheckKind, HealthCheckSpec, HttpCheck, Probed, ServiceSpec, Shared,
    StatusSet,
};
use crate::forwarding::{BackendGonePolicy, FlowRules, PrefixSet};
use crate::wire::Protocol;

/// What is made of the cluster's services, and which names each of them has at the moment.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// Of each that is ours, be it served or not.
    names: HashMap<Key, Vec<String>>,
}

impl Forms {
    /// What is served of one service now, and the names that are no longer.
    pub fn update(&mut self, world: &World, key: &Key) -> (Vec<Form>, Vec<String>) {
        let forms = forms(world, key);
        let names: Vec<String> = forms.iter().map(|form| form.spec.name.clone()).collect();
        let before = self.names.remove(key).unwrap_or_default();
        let gone = before.into_iter().filter(|name| !names.contains(name)).collect();
        if is_ours(world, key) {
            self.names.insert(key.clone(), names);
        }
        (forms, gone)
    }

    /// What everything together consists of.
    pub fn all(&mut self, world: &World) -> Vec<Form> {
        self.names.clear();
        let keys: Vec<Key> = world.services().map(|(key, _)| key.clone()).collect();
        keys.iter().flat_map(|key| self.update(world, key).0).collect()
    }

    /// The names of all that is served, and whose they are.
    pub fn names(&self) -> impl Iterator<Item = (String, Key)> {
        let all = self.names.iter();
        all.flat_map(|(key, names)| names.iter().map(|name| (name.clone(), key.clone())))
    }

    /// How many services of the cluster are ours.
    pub fn ours(&self) -> usize {
        self.names.len()
    }

    /// How many services of the desired state there are.
    pub fn len(&self) -> usize {
        self.names.values().map(Vec::len).sum()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The services of the desired state for one Service. Addresses count once they are claimed, which all
/// replicas see alike; the status follows.
pub fn forms(world: &World, key: &Key) -> Vec<Form> {
    let Some(service) = world.service(key).filter(|_| is_ours(world, key)) else { return vec![] };
    let addresses = world.in_force(key, service);
    let way = world.way_of(service, addresses.first().copied());
    let rules = rules(service);
    let mut forms = vec![];
    for address in addresses {
        for port in &service.ports {
            // What cannot be sent there is told in the status.
            let Ok(protocol) = way.protocol(port) else { continue };
            let family = IpFamily::of(address);
            let backends = match way.target {
                Target::Pods => pods(world, key, port, family),
                Target::Nodes => nodes(world, (key, service), port, port.port, family),
                Target::NodePorts => {
                    let at_node = port.node_port.unwrap_or_default();
                    nodes(world, (key, service), port, at_node, family)
                }
            };
            let name = name(&world.options().prefix, key, (protocol, port.port), address);
            let mut spec = ServiceSpec::new(name, (address, port.port).into(), backends);
            spec.protocol = protocol;
            spec.rules = rules.clone();
            spec.mode = way.mode();
            spec.health_check = Some(check(service, way.target));
            // Where all checks disagree with Kubernetes, Kubernetes is right.
            spec.min_healthy_percent = 1;
            // A node that is silent for a moment must not cost its connections.
            spec.on_backend_gone = BackendGonePolicy::Keep;
            // A client that goes on with datagrams of one flow has no other way to another pod.
            spec.removed_time_ms = (protocol == Protocol::Udp).then_some(0);
            forms.push(Form { spec: Shared::from(spec), created_ms: service.created_ms });
        }
    }
    forms
}

fn is_ours(world: &World, key: &Key) -> bool {
    let standing = world.service(key).map(|service| world.standing(key, service));
    matches!(standing, Some(Standing::Ours | Standing::Orphaned))
}

/// `default.web.80.tcp`: namespaces and names have no dots, so this is unique. Status, metrics and
/// records show it.
pub fn name(prefix: &str, key: &Key, (protocol, port): (Protocol, u16), address: IpAddr) -> String {
    let family = if address.is_ipv4() { "" } else { ".v6" };
    format!("{prefix}{}.{}.{port}.{protocol}{family}", key.namespace, key.name)
}

fn rules(service: &Service) -> FlowRules {
    let ranges = service.source_ranges.iter().map(|range| (range.network, range.prefix_len));
    FlowRules {
        affinity_ms: service.affinity_s.map_or(0, |seconds| seconds.saturating_mul(1000)),
        // A list of one family closes the other one: that is what whoever wrote it means by a list.
        allow: (!service.source_ranges.is_empty()).then(|| Arc::new(PrefixSet::new(ranges))),
        ..FlowRules::default()
    }
}

/// Of a node, by the way that packets go: its own word where kube-proxy gives one, else an echo, one for
/// all of its pods. Kubernetes takes 50 s to notice that a node is dead.
fn check(service: &Service, target: Target) -> HealthCheckSpec {
    let kind = match target {
        Target::Pods => HealthCheckKind::Icmp,
        Target::Nodes | Target::NodePorts => HealthCheckKind::Http(HttpCheck {
            method: "GET".to_string(),
            path: "/healthz".to_string(),
            host: None,
            status: StatusSet(vec![200..=200]),
            body: None,
            tls: None,
        }),
    };
    // A node without endpoints of its own tells so at a port of the service; that it can forward at all,
    // at that of kube-proxy.
    let local = service.health_port.filter(|_| service.is_local);
    let port = matches!(kind, HealthCheckKind::Http(_)).then(|| local.unwrap_or(KUBE_PROXY));
    HealthCheckSpec {
        probed: Probed::Via,
        port,
        interval_ms: 500,
        timeout_ms: 400,
        rise: 1,
        fall: 3,
        ..HealthCheckSpec::new(kind)
    }
}

/// Where kube-proxy tells whether it is well.
const KUBE_PROXY: u16 = 10_256;

/// Endpoints by way of their nodes, which know their pods, so that no route to pod networks is needed.
/// Of a node that has no address in this family the kernel's routes decide.
fn pods(world: &World, key: &Key, port: &ServicePort, family: IpFamily) -> Vec<BackendSpec> {
    let backend = |target: Endpoint| {
        let node = target.node.as_ref().and_then(|name| world.node(name));
        let mut backend = BackendSpec::new(target.name, target.socket);
        backend.via = node.and_then(|node| node.address(family));
        // A pod in the node's own network is the node.
        backend.via = backend.via.filter(|via| *via != backend.address);
        backend.drain = target.drain;
        backend
    };
    targets(port, family, world.slices(key)).into_iter().map(backend).collect()
}

/// Nodes, whose kube-proxy sends packets on: all of them, or with `externalTrafficPolicy: Local` those
/// with endpoints of their own, by their number. `at_node` is the port there.
fn nodes(
    world: &World,
    (key, service): (&Key, &Service),
    port: &ServicePort,
    at_node: u16,
    family: IpFamily,
) -> Vec<BackendSpec> {
    let mut of_node: BTreeMap<Arc<str>, (u16, u16)> = BTreeMap::new();
    for target in targets(port, family, world.slices(key)) {
        let Some(node) = target.node else { continue };
        let (new, old) = of_node.entry(node).or_default();
        let count = if target.drain { old } else { new };
        *count = count.saturating_add(1);
    }
    let backend = |(name, node): (&Arc<str>, &Node)| {
        let address = node.address(family)?;
        let mut backend = BackendSpec::new(name.to_string(), (address, at_node).into());
        backend.drain = node.is_leaving;
        if service.is_local {
            let (new, _) = *of_node.get(name)?;
            // One whose endpoints are all about to end keeps its flows.
            backend.drain |= new == 0;
            backend.weight = new.max(1);
        }
        Some(backend)
    };
    world.all_nodes().filter_map(backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::Mode;
    use crate::source::kubernetes::testing::{claim, endpoint, service, slice, world};
    use crate::source::kubernetes::world::Change;

    fn told(form: &Form) -> String {
        let spec = &form.spec;
        let backends: Vec<String> = spec
            .backends
            .iter()
            .map(|b| {
                let via = b.via.map_or(String::new(), |via| format!(" via {via}"));
                let drain = if b.drain { " drain" } else { "" };
                format!("{} {}:{}{via}{drain}", b.name, b.address, b.port)
            })
            .collect();
        format!("{} {}:{} [{}]", spec.name, spec.address, spec.port, backends.join(", "))
    }

    #[test]
    fn what_is_served_follows_claims_slices_and_nodes() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        let mut forms = Forms::default();
        let mut update = |world: &World| {
            let (forms, gone) = forms.update(world, &key);
            (forms.iter().map(told).collect::<Vec<_>>(), gone)
        };
        world.apply(Change::Service(key.clone(), Some(service())));
        world.apply(slice("web-1", "web", [endpoint("p1", "10.244.1.5", "n1")]));
        assert_eq!(update(&world), (vec![], vec![]), "no address yet");
        let mut assumed = claim("web");
        assumed.version = String::new();
        let vip: IpAddr = "203.0.113.1".parse().unwrap();
        world.apply(Change::Claim(vip, Some(assumed)));
        assert_eq!(update(&world), (vec![], vec![]), "asked for, not taken yet");

        world.apply(Change::Claim(vip, Some(claim("web"))));
        let one = "shop.web.80.tcp 203.0.113.1:80 [p1 10.244.1.5:8080 via 10.210.0.11]";
        assert_eq!(update(&world).0, [one]);
        let draining =
            Endpoint { ready: false, terminating: true, ..endpoint("p2", "10.244.2.5", "n2") };
        world.apply(slice("web-2", "web", [draining, endpoint("n3", "10.210.0.13", "n3")]));
        let with_more = "shop.web.80.tcp 203.0.113.1:80 [n3 10.210.0.13:8080, \
                         p1 10.244.1.5:8080 via 10.210.0.11, \
                         p2 10.244.2.5:8080 via 10.210.0.12 drain]";
        assert_eq!(update(&world).0, [with_more], "a pod in its node's network, and one that ends");
        world.apply(Change::Slice(Key::new("shop", "web-2"), None));
        assert_eq!(update(&world).0, [one]);

        let six: IpAddr = "2001:db8::1".parse().unwrap();
        world.apply(Change::Claim(six, Some(claim("web"))));
        let (both, _) = update(&world);
        assert_eq!(both, [one, "shop.web.80.tcp.v6 2001:db8::1:80 []"]);
        world.apply(Change::Claim(six, None));
        assert_eq!(update(&world).1, ["shop.web.80.tcp.v6"]);

        let moving: IpAddr = "203.0.113.2".parse().unwrap();
        world.apply(Change::Claim(moving, Some(claim("web"))));
        let told = Service { status: vec![moving], ..service() };
        assert_eq!(update(&world).0, [one], "one of two of a family: they have one name");
        world.apply(Change::Service(key.clone(), Some(told)));
        assert_eq!(update(&world).0, [one.replace("113.1", "113.2")], "the one that clients know");

        world.apply(Change::Service(key.clone(), None));
        assert_eq!(update(&world), (vec![], vec!["shop.web.80.tcp".to_string()]));
    }

    use crate::source::kubernetes::objects::Endpoint;

    #[test]
    fn nodes_by_the_number_of_their_endpoints() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        let mut service = service();
        service.wishes.target = Some(Target::Nodes);
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        let ending =
            Endpoint { ready: false, terminating: true, ..endpoint("p4", "10.244.3.4", "n3") };
        let endpoints = [
            endpoint("p1", "10.244.1.5", "n1"),
            endpoint("p2", "10.244.1.6", "n1"),
            endpoint("p3", "10.244.2.3", "n2"),
            ending,
        ];
        world.apply(slice("web-1", "web", endpoints));
        let served = |world: &World| {
            let forms = forms(world, &key);
            let backends = forms[0].spec.backends.iter();
            let told = backends.map(|b| {
                let drain = if b.drain { " drain" } else { "" };
                format!("{} {}:{} {}{drain}", b.name, b.address, b.port, b.weight)
            });
            (forms[0].spec.mode, told.collect::<Vec<_>>().join(", "))
        };
        world.apply(Change::Service(key.clone(), Some(service.clone())));
        let all = "n1 10.210.0.11:80 1, n2 10.210.0.12:80 1, n3 10.210.0.13:80 1";
        assert_eq!(served(&world), (Mode::L2dsr, all.to_string()), "kube-proxy may hop");
        service.is_local = true;
        world.apply(Change::Service(key.clone(), Some(service.clone())));
        let own = "n1 10.210.0.11:80 2, n2 10.210.0.12:80 1, n3 10.210.0.13:80 1 drain";
        assert_eq!(served(&world).1, own);
        service.wishes.target = Some(Target::NodePorts);
        service.ports[0].node_port = Some(30_080);
        world.apply(Change::Service(key.clone(), Some(service.clone())));
        let at_ports = own.replace(":80", ":30080");
        assert_eq!(served(&world), (Mode::Nat, at_ports));
        service.ports[0].node_port = None;
        world.apply(Change::Service(key.clone(), Some(service.clone())));
        assert_eq!(forms(&world, &key), [], "told in its status");
        service.wishes.target = Some(Target::Nodes);
        world.apply(Change::Service(key.clone(), Some(service)));
        let leaving = Node { is_leaving: true, ..world.node("n1").unwrap().clone() };
        world.apply(Change::Node("n1".into(), Some(leaving)));
        assert!(
            served(&world).1.starts_with("n1 10.210.0.11:80 2 drain, n2"),
            "nothing new for it"
        );
    }

    #[test]
    fn what_a_service_says_becomes_rules() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        let mut service = service();
        service.affinity_s = Some(10_800);
        service.wishes.keep_source = Some(true);
        let network = "198.51.100.0".parse().unwrap();
        service.source_ranges = vec![super::super::objects::Range { network, prefix_len: 24 }];
        world.apply(Change::Service(key.clone(), Some(service)));
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        let forms = forms(&world, &key);
        let spec = &forms[0].spec;
        assert_eq!((spec.mode, spec.rules.affinity_ms), (Mode::Dnat, 10_800_000));
        let allows = |text: &str| spec.rules.allows(text.parse::<IpAddr>().unwrap().into());
        assert!(allows("198.51.100.9") && !allows("198.51.101.9"));
        assert!(!allows("2001:db8::1"), "a list of IPv4 closes IPv6");
    }
}
