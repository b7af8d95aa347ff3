//! What is told of each service of ours when somebody asks. Pure, and made only then: changes do not
//! pay for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoints::name_of;
use super::forms::name;
use super::objects::{Key, Service};
use super::way::Target;
use super::world::{Standing, World};

/// A service of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceView {
    /// Namespace and name.
    pub key: Key,
    /// Ours, orphaned, or about to leave us.
    pub standing: Standing,
    /// The addresses that it has, each with the pool that it came from.
    pub addresses: Vec<(IpAddr, Arc<str>)>,
    /// Where packets go.
    pub target: Target,
    /// With the client's address in them.
    pub keeps_source: bool,
    /// The services of the desired state that are made of it.
    pub forms: Vec<String>,
    /// Its endpoints, as Kubernetes has them.
    pub endpoints: Endpoints,
    /// What its condition says: reason and message.
    pub told: Option<(Arc<str>, Arc<str>)>,
}

/// How many endpoints are what; one with addresses of both families counts once, at its best.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoints {
    /// They take new flows.
    pub ready: usize,
    /// They answer, and are to get nothing new.
    pub draining: usize,
    /// They do not answer.
    pub down: usize,
}

/// All of them, by namespace and name.
pub fn views(world: &World) -> Vec<ServiceView> {
    world.services().filter_map(|(key, service)| view(world, key, service)).collect()
}

fn view(world: &World, key: &Key, service: &Service) -> Option<ServiceView> {
    let standing = world.standing(key, service);
    if standing == Standing::Foreign {
        return None;
    }
    let held = world.held(key, service);
    let sure = held.iter().filter(|(_, claim)| !claim.version.is_empty());
    let addresses: Vec<(IpAddr, Arc<str>)> =
        sure.map(|(address, claim)| (*address, claim.pool.clone())).collect();
    let way = world.way_of(service, addresses.iter().map(|(address, _)| *address).min());
    let ports = service.ports.iter().filter_map(|port| Some((way.protocol(port).ok()?, port.port)));
    let prefix = &world.options().prefix;
    let names = |address: IpAddr| {
        let ports = ports.clone();
        ports.map(move |port| name(prefix, key, port, address)).collect::<Vec<_>>()
    };
    let is_served = standing != Standing::Leaving;
    let served = addresses.iter().filter(|_| is_served);
    Some(ServiceView {
        key: key.clone(),
        standing,
        forms: served.flat_map(|(address, _)| names(*address)).collect(),
        addresses,
        target: way.target,
        keeps_source: !way.hides_clients(),
        endpoints: endpoints(world, key),
        told: service.told.clone(),
    })
}

fn endpoints(world: &World, key: &Key) -> Endpoints {
    let mut best: BTreeMap<String, u8> = BTreeMap::new();
    for endpoint in world.slices(key).flat_map(|slice| &slice.endpoints) {
        let state = if endpoint.ready { 2 } else { u8::from(endpoint.serving) };
        let known = best.entry(name_of(endpoint)).or_default();
        *known = state.max(*known);
    }
    let count = |wanted| best.values().filter(|state| **state == wanted).count();
    Endpoints { ready: count(2), draining: count(1), down: count(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::Endpoint;
    use crate::source::kubernetes::testing::{claim, endpoint, service, slice, world};
    use crate::source::kubernetes::world::Change;

    /// A line: standing, addresses, names in the desired state, endpoints.
    fn told(world: &World) -> Vec<String> {
        let line = |view: ServiceView| {
            let ServiceView { key, standing, addresses, forms, endpoints, .. } = view;
            let addresses: Vec<String> =
                addresses.iter().map(|(address, pool)| format!("{address} of {pool}")).collect();
            let Endpoints { ready, draining, down } = endpoints;
            format!(
                "{key} {standing:?} [{}] {forms:?} {ready} {draining} {down}",
                addresses.join(", ")
            )
        };
        views(world).into_iter().map(line).collect()
    }

    #[test]
    fn what_is_told_of_services() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        world.apply(Change::Service(Key::new("shop", "inside"), Some(Service::default())));
        world.apply(Change::Service(key.clone(), Some(service())));
        assert_eq!(told(&world), ["shop/web Ours [] [] 0 0 0"], "no address, no endpoint");
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        let down = Endpoint { ready: false, serving: false, ..endpoint("p2", "10.244.2.5", "n2") };
        let ends = Endpoint { ready: false, ..endpoint("p3", "10.244.3.5", "n3") };
        world.apply(slice("web-1", "web", [endpoint("p1", "10.244.1.5", "n1"), down.clone()]));
        let twice = endpoint("p1", "10.244.1.6", "n1");
        world.apply(slice("web-2", "web", [ends, twice, down]));
        let served = "shop/web Ours [203.0.113.1 of web] [\"shop.web.80.tcp\"] 1 1 1";
        assert_eq!(told(&world), [served]);

        let left = Service { class: Some("old".into()), ..service() };
        world.apply(Change::Service(key.clone(), Some(left)));
        assert_eq!(told(&world), [served.replace("Ours", "Orphaned")], "and served as before");
        let gone = Service { is_deleted: true, has_our_finalizer: true, ..service() };
        world.apply(Change::Service(key, Some(gone)));
        assert_eq!(told(&world), ["shop/web Leaving [203.0.113.1 of web] [] 1 1 1"]);
    }
}
