//! What is kept on disk of a cluster, to start with while its API is not there: what is served, and no
//! more. No secrets are in it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objects::{Claim, Key, Node, Service, Slice};
use super::pool::Pool;
use super::way::Target;
use super::world::{Change, Options, World};

/// The form that this version writes.
const FORMAT: u32 = 1;

/// A cluster as it was when it was served last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// When it was so, Unix milliseconds.
    pub taken_unix_ms: u64,
    services: Vec<(Key, Service)>,
    slices: Vec<(Key, Arc<str>, Slice)>,
    nodes: Vec<(Arc<str>, Node)>,
    claims: Vec<(IpAddr, Claim)>,
    /// The cluster's pools, as far as their services depend on them: where packets go.
    #[serde(default)]
    pools: Vec<(Arc<str>, Target, bool)>,
}

impl Kept {
    /// What is served of it, with all that it needs.
    pub fn of(world: &World, taken_unix_ms: u64) -> Kept {
        let is_served = |(key, service): &(&Key, &Service)| !world.held(key, service).is_empty();
        let services: Vec<(Key, Service)> = world
            .services()
            .filter(is_served)
            .map(|(key, service)| (key.clone(), service.clone()))
            .collect();
        let slices = services.iter().flat_map(|(key, _)| world.named_slices(key)).collect();
        let claims = world.claims().filter(|(_, claim)| !claim.version.is_empty());
        Kept {
            format: FORMAT,
            taken_unix_ms,
            slices,
            nodes: world.nodes(),
            claims: claims.map(|(address, claim)| (address, claim.clone())).collect(),
            pools: world
                .pools()
                .iter()
                .map(|p| (p.name.clone(), p.target, p.keep_source))
                .collect(),
            services,
        }
    }

    /// The cluster as far as it was kept. It counts as unknown, so nothing is written by it, and what
    /// the API says later takes its place whole.
    ///
    /// # Errors
    /// It was written by another version.
    pub fn world(self, options: Options) -> Result<World, String> {
        if self.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}", self.format));
        }
        let mut world = World::new(options);
        let services = self.services.into_iter().map(|(key, s)| Change::Service(key, Some(s)));
        let slices = self.slices.into_iter().map(|(key, of, s)| Change::Slice(key, Some((of, s))));
        let nodes = self.nodes.into_iter().map(|(name, node)| Change::Node(name, Some(node)));
        let claims = self.claims.into_iter().map(|(at, claim)| Change::Claim(at, Some(claim)));
        // Out of these no address is ever given: they have none.
        let pools = self.pools.into_iter().map(|(name, target, keep_source)| {
            let pool = Pool { target, keep_source, ..Pool::new(&name, vec![]) };
            Change::Pool(name, Some(Ok(pool)))
        });
        let claims = pools.chain(claims);
        let changes = claims.chain(nodes).chain(slices).chain(services);
        changes.for_each(|change| world.apply(change));
        Ok(world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::forms::Forms;
    use crate::source::kubernetes::testing::{claim, endpoint, service, slice, world};
    use crate::source::kubernetes::world::Kind;

    #[test]
    fn kept_and_read_again() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        world.apply(Change::Service(key.clone(), Some(service())));
        world.apply(Change::Service(Key::new("shop", "inside"), Some(Service::default())));
        world.apply(slice("web-1", "web", [endpoint("p1", "10.244.1.5", "n1")]));
        world.apply(slice("inside-1", "inside", [endpoint("p2", "10.244.1.6", "n1")]));
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        let kept = Kept::of(&world, 7);
        let text = serde_json::to_string(&kept).unwrap();
        let again: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!((again.services.len(), again.slices.len()), (1, 1), "only what is served");
        let restored = again.clone().world(world.options().clone()).unwrap();
        assert!(!restored.is_known());
        assert_eq!(Forms::default().all(&restored), Forms::default().all(&world));
        let newer = Kept { format: 9, ..again };
        assert!(newer.world(world.options().clone()).is_err());
    }

    #[test]
    fn a_store_that_was_set_back_is_believed() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        world.apply(Change::Service(key.clone(), Some(Service { version: 900, ..service() })));
        let older = Service { version: 30, class: Some("c".into()), ..service() };
        world.apply(Change::Service(key.clone(), Some(older.clone())));
        assert_eq!(world.service(&key).unwrap().version, 900, "a watch that lags behind");
        world.begin_list(Kind::Service);
        world.apply(Change::Service(key.clone(), Some(older)));
        assert_eq!(world.service(&key).unwrap().version, 30);
    }
}
