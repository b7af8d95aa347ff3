//! A cluster as it was last seen, and what is ours in it. Pure: changes come from outside, and what
//! they touch is told by [`World::take_dirty`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::objects::{Claim, IpFamily, Key, Node, Service, Slice};
use super::pool::Pool;
use super::usage::Usage;
use super::way::Way;

/// What a configuration says of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Classes whose services are ours.
    pub classes: Vec<Arc<str>>,
    /// Services without a class are ours, too.
    pub default: bool,
    /// Tells several Guideways of one cluster apart: addresses are held in this name.
    pub manager: Arc<str>,
    /// Pools beside those that are objects of the cluster.
    pub pools: Vec<Pool>,
    /// In front of the names of its services, where there are several clusters.
    pub prefix: String,
}

/// What is watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    Slice,
    /// Nodes.
    Node,
    /// AddressPools.
    Pool,
    /// AddressClaims.
    Claim,
}

/// All that has to be known before anything is decided.
pub const KINDS: [Kind; 5] = [Kind::Service, Kind::Slice, Kind::Node, Kind::Pool, Kind::Claim];

/// One object as it is now; none: it is gone.
#[expect(clippy::large_enum_variant, reason = "nobody keeps many of them")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A Service.
    Service(Key, Option<Service>),
    /// An EndpointSlice by its own key, and the Service it is of.
    Slice(Key, Option<(Arc<str>, Slice)>),
    /// A node.
    Node(Arc<str>, Option<Node>),
    /// An AddressPool, or what is wrong with it.
    Pool(Arc<str>, Option<Result<Pool, String>>),
    /// What the status of an AddressPool says.
    PoolTold(Arc<str>, Option<Usage>),
    /// An AddressClaim.
    Claim(IpAddr, Option<Claim>),
    /// All objects of a kind have been told, at the first time and after each loss of a watch: what is
    /// not in this list, by [`Change::name`], is gone.
    Listed(Kind, BTreeSet<String>),
}

impl Change {
    /// What the object is called among those of its kind.
    pub fn name(&self) -> String {
        match self {
            Change::Service(key, _) | Change::Slice(key, _) => key.to_string(),
            Change::Node(name, _) | Change::Pool(name, _) | Change::PoolTold(name, _) => {
                name.to_string()
            }
            Change::Claim(address, _) => address.to_string(),
            Change::Listed(kind, _) => format!("{kind:?}"),
        }
    }
}

/// Whose a service is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not ours: nothing of it is ever written.
    Foreign,
    /// Ours.
    Ours,
    /// It was ours when the configuration had its class; it stays until it is released by hand.
    Orphaned,
    /// It was ours, and is deleted or of another type now: what it has is given back.
    Leaving,
}

/// A cluster as it was last seen.
#[derive(Clone, Debug, Default)]
pub struct World {
    options: Options,
    services: BTreeMap<Key, Service>,
    /// By the key of the Service, then by name.
    slices: HashMap<Key, BTreeMap<Arc<str>, Slice>>,
    /// The Service of each slice.
    slice_of: HashMap<Key, Arc<str>>,
    nodes: BTreeMap<Arc<str>, Node>,
    pools: BTreeMap<Arc<str>, Result<Pool, String>>,
    /// Those of the configuration, then those.
    all_pools: Vec<Pool>,
    /// What their status says.
    pools_told: BTreeMap<Arc<str>, Usage>,
    claims: BTreeMap<IpAddr, Claim>,
    /// Addresses that a Service holds, or seems to.
    held: HashMap<Key, BTreeSet<IpAddr>>,
    /// Services that ask for an address, and are told who has it.
    wished: HashMap<IpAddr, BTreeSet<Key>>,
    listed: BTreeSet<Kind>,
    /// Being told anew: what is known of them is older than that.
    listing: BTreeSet<Kind>,
    dirty: BTreeSet<Key>,
    /// There may be an address by now for somebody who waits.
    has_room: bool,
}

impl World {
    /// One of which nothing is known.
    pub fn new(options: Options) -> World {
        let all_pools = options.pools.clone();
        World { options, all_pools, ..World::default() }
    }

    /// What the configuration says.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Has everything been listed once?
    pub fn is_known(&self) -> bool {
        KINDS.iter().all(|kind| self.listed.contains(kind))
    }

    /// Are services or claims being listed anew? Nothing is written meanwhile: their versions are not known.
    pub fn is_listing(&self) -> bool {
        !self.listing.is_empty()
    }

    /// Takes over a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Service(key, service) => {
                let before = self.services.get(&key);
                if service.as_ref().zip(before).is_some_and(|(now, before)| {
                    now.uid == before.uid && now.version < before.version
                }) {
                    // What we wrote has been answered already, and the watch comes behind.
                    return;
                }
                // Who shares leaves room for others, or takes it.
                let shares = |service: &Service| service.wishes.share.is_some();
                self.has_room |= before.is_some_and(shares) || service.as_ref().is_some_and(shares);
                for address in before.iter().flat_map(|service| &service.wishes.addresses) {
                    if let Some(keys) = self.wished.get_mut(address) {
                        keys.remove(&key);
                    }
                }
                for address in service.iter().flat_map(|service| &service.wishes.addresses) {
                    self.wished.entry(*address).or_default().insert(key.clone());
                }
                put(&mut self.services, key.clone(), service);
                self.dirty.insert(key);
            }
            Change::Slice(key, slice) => self.apply_slice(key, slice),
            Change::Node(name, node) => {
                if put(&mut self.nodes, name, node) {
                    self.all_are_dirty();
                }
            }
            Change::PoolTold(name, usage) => {
                put(&mut self.pools_told, name, usage);
            }
            Change::Pool(name, pool) => {
                if pool.is_none() {
                    self.pools_told.remove(&name);
                }
                if put(&mut self.pools, name, pool) {
                    let of_cluster = self.pools.values().filter_map(|pool| pool.as_ref().ok());
                    self.all_pools = self.options.pools.iter().chain(of_cluster).cloned().collect();
                    self.all_are_dirty();
                }
            }
            Change::Claim(address, claim) => self.apply_claim(address, claim),
            Change::Listed(kind, names) => {
                self.forget_all_but(kind, &names);
                self.listed.insert(kind);
                self.listing.remove(&kind);
            }
        }
    }

    /// Takes over what the API has answered to a write. The watch tells that, too, and in order: so what
    /// it has told to be gone meanwhile stays gone, and what is gone it will tell.
    pub fn answer(&mut self, change: Change) {
        let is_known = match &change {
            Change::Service(key, Some(now)) => {
                self.services.get(key).is_some_and(|known| known.uid == now.uid)
            }
            // One that is only asked for is not yet that of somebody who had the address before.
            Change::Claim(address, Some(now)) => self
                .claims
                .get(address)
                .is_some_and(|known| !known.version.is_empty() || known.holders == now.holders),
            _ => false,
        };
        if is_known {
            self.apply(change);
        }
    }

    fn apply_slice(&mut self, key: Key, slice: Option<(Arc<str>, Slice)>) {
        let owner = slice.as_ref().map(|(owner, _)| owner.clone());
        // Its label may name another service than before.
        if let Some(before) = self.slice_of.remove(&key) {
            let service = Key { namespace: key.namespace.clone(), name: before.clone() };
            if owner.as_ref() != Some(&before)
                && let Some(slices) = self.slices.get_mut(&service)
            {
                slices.remove(&key.name);
                if slices.is_empty() {
                    self.slices.remove(&service);
                }
            }
            self.dirty.insert(service);
        }
        let Some((owner, slice)) = slice else { return };
        let service = Key { namespace: key.namespace.clone(), name: owner.clone() };
        self.slices.entry(service.clone()).or_default().insert(key.name.clone(), slice);
        self.slice_of.insert(key, owner);
        self.dirty.insert(service);
    }

    fn apply_claim(&mut self, address: IpAddr, claim: Option<Claim>) {
        let before = self.claims.get(&address);
        if claim.as_ref().zip(before).is_some_and(|(now, old)| now.number() < old.number()) {
            return;
        }
        let before = before.map(|claim| claim.holders.clone()).unwrap_or_default();
        let is_left = claim.as_ref().is_none_or(|claim| {
            claim.holders.is_empty()
                || claim.share.is_some()
                || before.iter().any(|holder| !claim.holders.contains(holder))
        });
        self.has_room |= is_left;
        for holder in before {
            if let Some(held) = self.held.get_mut(&holder.service) {
                held.remove(&address);
                if held.is_empty() {
                    self.held.remove(&holder.service);
                }
            }
            self.dirty.insert(holder.service);
        }
        for holder in claim.iter().flat_map(|claim| &claim.holders) {
            self.held.entry(holder.service.clone()).or_default().insert(address);
            self.dirty.insert(holder.service.clone());
        }
        if put(&mut self.claims, address, claim) {
            self.dirty.extend(self.wished.get(&address).into_iter().flatten().cloned());
        }
    }

    /// An address has become free: whoever has none, or not the one that it asks for, may get it.
    fn waiting_are_dirty(&mut self) {
        let waits = |(key, service): &(&Key, &Service)| {
            let held = self.held(key, service);
            let suits = |family: &IpFamily| {
                let mut of_family = held.iter().filter(|(at, _)| IpFamily::of(*at) == *family);
                of_family.any(|(address, claim)| suits(service, *address, claim))
            };
            service.is_balanced && !service.families.iter().all(suits)
        };
        let waiting = self.services.iter().filter(waits).map(|(key, _)| key.clone());
        let waiting: Vec<Key> = waiting.collect();
        self.dirty.extend(waiting);
    }

    /// All of them are to be looked at again.
    pub fn all_are_dirty(&mut self) {
        let balanced = self.services.iter().filter(|(_, service)| service.is_balanced);
        self.dirty.extend(balanced.map(|(key, _)| key.clone()));
    }

    fn forget_all_but(&mut self, kind: Kind, names: &BTreeSet<String>) {
        let is_gone = |name: &dyn ToString| !names.contains(&name.to_string());
        let gone: Vec<Change> = match kind {
            Kind::Service => {
                let gone = self.services.keys().filter(|key| is_gone(key)).cloned();
                gone.map(|key| Change::Service(key, None)).collect()
            }
            Kind::Slice => {
                let gone = self.slice_of.keys().filter(|key| is_gone(key)).cloned();
                gone.map(|key| Change::Slice(key, None)).collect()
            }
            Kind::Node => {
                let gone = self.nodes.keys().filter(|name| is_gone(name)).cloned();
                gone.map(|name| Change::Node(name, None)).collect()
            }
            Kind::Pool => {
                let gone = self.pools.keys().filter(|name| is_gone(name)).cloned();
                gone.map(|name| Change::Pool(name, None)).collect()
            }
            Kind::Claim => {
                let gone = self.claims.keys().filter(|address| is_gone(address)).copied();
                gone.map(|address| Change::Claim(address, None)).collect()
            }
        };
        gone.into_iter().for_each(|change| self.apply(change));
    }

    /// The services that may be different since this was asked last, the older first.
    pub fn take_dirty(&mut self) -> Vec<Key> {
        if std::mem::take(&mut self.has_room) {
            self.waiting_are_dirty();
        }
        let mut dirty: Vec<Key> = std::mem::take(&mut self.dirty).into_iter().collect();
        dirty.sort_by_key(|key| self.services.get(key).map_or(0, |service| service.created_ms));
        dirty
    }

    /// A service.
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = (&Key, &Service)> {
        self.services.iter()
    }

    /// The slices of a service.
    pub fn slices(&self, key: &Key) -> impl Iterator<Item = &Slice> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// The slices of a service with their keys.
    pub(super) fn named_slices(&self, key: &Key) -> Vec<(Key, Arc<str>, Slice)> {
        let slices = self.slices.get(key).into_iter().flatten();
        let named = slices.map(|(name, slice)| {
            let namespace = key.namespace.clone();
            (Key { namespace, name: name.clone() }, key.name.clone(), slice.clone())
        });
        named.collect()
    }

    /// All nodes by name.
    pub fn all_nodes(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.nodes.iter()
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> Vec<(Arc<str>, Node)> {
        self.nodes.iter().map(|(name, node)| (name.clone(), node.clone())).collect()
    }

    /// All of a kind are going to be told. What is not among them will be gone, and versions begin anew:
    /// the API's store may have been set back.
    pub fn begin_list(&mut self, kind: Kind) {
        if matches!(kind, Kind::Service | Kind::Claim) {
            self.listing.insert(kind);
        }
        match kind {
            Kind::Service => self.services.values_mut().for_each(|service| service.version = 0),
            Kind::Claim => {
                let there = self.claims.values_mut().filter(|claim| !claim.version.is_empty());
                there.for_each(|claim| claim.version = "0".to_string());
            }
            Kind::Slice | Kind::Node | Kind::Pool => {}
        }
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All pools, those of the configuration first.
    pub fn pools(&self) -> &[Pool] {
        &self.all_pools
    }

    /// AddressPools that cannot be read, and why.
    pub fn wrong_pools(&self) -> impl Iterator<Item = (&Arc<str>, &String)> {
        let wrong = |(name, pool)| Some((name, Result::as_ref(pool).err()?));
        self.pools.iter().filter_map(wrong)
    }

    /// What the status of an AddressPool says.
    pub fn told_of_pool(&self, name: &str) -> Option<&Usage> {
        self.pools_told.get(name)
    }

    /// All that is claimed.
    pub fn claims(&self) -> impl Iterator<Item = (IpAddr, &Claim)> {
        self.claims.iter().map(|(address, claim)| (*address, claim))
    }

    /// Who has an address.
    pub fn claim(&self, address: IpAddr) -> Option<&Claim> {
        self.claims.get(&address)
    }

    /// The addresses that are this very service's, in order.
    pub fn held<'a>(&'a self, key: &Key, service: &'a Service) -> Vec<(IpAddr, &'a Claim)> {
        let held = self.held.get(key).into_iter().flatten();
        let is_its = |claim: &&Claim| {
            claim.holders.iter().any(|holder| holder.service == *key && holder.uid == service.uid)
        };
        held.filter_map(|&a| Some((a, self.claims.get(&a).filter(is_its)?))).collect()
    }

    /// Where packets of a service go whose address is of this pool.
    pub fn way(&self, service: &Service, pool: Option<&str>) -> Way {
        let pool = pool.and_then(|name| self.all_pools.iter().find(|pool| &*pool.name == name));
        Way::of(&service.wishes, pool)
    }

    /// Where packets of a service go whose lowest address is this one: the words of its pool count, so that
    /// a service is served in one way.
    pub fn way_of(&self, service: &Service, lowest: Option<IpAddr>) -> Way {
        let claim = lowest.and_then(|address| self.claim(address));
        self.way(service, claim.map(|claim| &*claim.pool))
    }

    /// Of each family the one address that is served. There are two while a service moves, or was left in
    /// the middle of that: the one that clients know then.
    pub fn in_force(&self, key: &Key, service: &Service) -> Vec<IpAddr> {
        let held = self.held(key, service).into_iter();
        let sure = held.filter(|(_, claim)| !claim.version.is_empty());
        let mut addresses: Vec<IpAddr> = sure.map(|(address, _)| address).collect();
        addresses.sort_by_key(|at| (IpFamily::of(*at), !service.status.contains(at)));
        addresses.dedup_by_key(|address| IpFamily::of(*address));
        addresses
    }

    /// Whose it is.
    pub fn standing(&self, key: &Key, service: &Service) -> Standing {
        let has_class = match &service.class {
            None => self.options.default,
            Some(class) => self.options.classes.contains(class),
        };
        if !service.is_balanced || service.is_deleted {
            let held = self.held(key, service);
            let by_others = held.iter().any(|(_, claim)| claim.manager != self.options.manager);
            // Somebody may have taken the finalizer off.
            let was_ours = (service.has_our_finalizer || !held.is_empty()) && !by_others;
            return if was_ours { Standing::Leaving } else { Standing::Foreign };
        }
        if has_class {
            return Standing::Ours;
        }
        let held = self.held(key, service);
        let is_held = held.iter().any(|(_, claim)| claim.manager == self.options.manager);
        if is_held { Standing::Orphaned } else { Standing::Foreign }
    }
}

/// Is an address that a service holds what it asks for? Pools may change under it; only what the service
/// itself asks for moves it.
pub fn suits(service: &Service, address: IpAddr, claim: &Claim) -> bool {
    match service.wishes.address(IpFamily::of(address)) {
        Some(wanted) => wanted == address,
        None => service.wishes.pool.as_ref().is_none_or(|pool| *pool == claim.pool),
    }
}

/// Was it another one?
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        None => map.remove(&key).is_some(),
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
