//! A small model of the API server: objects, versions, finalizers, and who may write what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use guideway::source::kubernetes::objects::{Claim, Holder, Key, Node, Service, Slice};
use guideway::source::kubernetes::world::{Change, Kind};

use super::pools::PlainPool;

/// What is ours: services of this class, and those without one.
pub const CLASS: &str = "guideway.dev/external";
pub const MANAGER: &str = "guideway";

/// Why a write was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is there already, or is not what the writer had seen.
    Conflict,
    /// There is none.
    NotFound,
    /// It is not allowed.
    Invalid,
}

/// All objects. Each change has a version of its own, and is told to whoever watches.
#[derive(Default)]
pub struct Api {
    pub version: u64,
    pub now_ms: u64,
    pub services: BTreeMap<Key, Service>,
    pub slices: BTreeMap<Key, (Arc<str>, Slice)>,
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// One that cannot be read is none.
    pub pools: BTreeMap<Arc<str>, Option<PlainPool>>,
    /// Of the configuration, which is the same everywhere.
    pub own_pools: Vec<PlainPool>,
    pub claims: BTreeMap<IpAddr, Claim>,
    /// Services as they were when somebody deleted them, status and finalizers and all: a namespace may
    /// be restored.
    pub saved: BTreeMap<Key, Service>,
    /// Not told yet.
    pub news: Vec<Change>,
    /// How often what a service asks for has been changed, by uid.
    pub asked: BTreeMap<Arc<str>, u64>,
    /// Services whose status somebody else has written since the last rest, by uid.
    pub contested: BTreeSet<Arc<str>>,
    /// Who has lost which address since the last rest.
    pub losses: BTreeSet<(Arc<str>, IpAddr)>,
    /// What must not have been written.
    pub wrongs: Vec<String>,
}

impl Api {
    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Somebody makes a service; the older one of that name is gone.
    pub fn make(&mut self, key: &Key, mut service: Service) {
        assert!(!self.services.contains_key(key));
        service.version = self.next_version();
        service.uid = format!("u{}", service.version).into();
        service.created_ms = self.now_ms / 1000 * 1000;
        self.put(key, service);
    }

    /// Somebody changes a service. `asks`: what it wants of us is another thing by then.
    pub fn edit(&mut self, key: &Key, asks: bool, change: impl FnOnce(&mut Service)) {
        let Some(mut service) = self.services.get(key).cloned() else { return };
        change(&mut service);
        if asks {
            *self.asked.entry(service.uid.clone()).or_default() += 1;
        }
        self.put(key, service);
    }

    /// Somebody deletes a service: it stays until its finalizers are gone.
    pub fn delete(&mut self, key: &Key) {
        if let Some(service) = self.services.get(key).filter(|service| !service.is_deleted) {
            self.saved.insert(key.clone(), service.clone());
        }
        self.edit(key, true, |service| service.is_deleted = true);
    }

    fn put(&mut self, key: &Key, mut service: Service) {
        if self.services.get(key) == Some(&service) {
            return;
        }
        service.version = self.next_version();
        let is_held = service.has_our_finalizer || service.has_standard_finalizer;
        if service.is_deleted && !is_held {
            self.services.remove(key);
            self.news.push(Change::Service(key.clone(), None));
        } else {
            self.services.insert(key.clone(), service.clone());
            self.news.push(Change::Service(key.clone(), Some(service)));
        }
    }

    /// A Guideway changes a service that it has seen at a version.
    pub fn patch(
        &mut self,
        key: &Key,
        seen: u64,
        change: impl FnOnce(&mut Service),
    ) -> Result<Option<Service>, Refusal> {
        let before = self.services.get(key).cloned().ok_or(Refusal::NotFound)?;
        if before.version != seen {
            return Err(Refusal::Conflict);
        }
        let mut after = before.clone();
        change(&mut after);
        let adds = after.has_our_finalizer && !before.has_our_finalizer;
        if before.is_deleted && adds {
            return Err(Refusal::Invalid);
        }
        if after != before && !self.may_write(&before) {
            self.wrongs.push(format!("{key} is not ours, and was written to: {before:?}"));
        }
        self.put(key, after);
        Ok(self.services.get(key).cloned())
    }

    /// Is it ours, or has it something of ours?
    fn may_write(&self, service: &Service) -> bool {
        let has_claim = self.held(&service.uid).next().is_some();
        if service.is_balanced && !service.is_deleted {
            return is_of_our_class(service) || has_claim;
        }
        service.has_our_finalizer || has_claim || service.told.is_some()
    }

    /// What a service has, by its uid.
    pub fn held(&self, uid: &str) -> impl Iterator<Item = (IpAddr, &Claim)> {
        let has = move |claim: &Claim| claim.holders.iter().any(|holder| &*holder.uid == uid);
        self.claims.iter().filter(move |(_, claim)| has(claim)).map(|(at, claim)| (*at, claim))
    }

    /// Makes a claim, or changes one that was seen as it is.
    pub fn claim(&mut self, address: IpAddr, mut claim: Claim) -> Result<Claim, Refusal> {
        let before = self.claims.get(&address);
        match (claim.version.is_empty(), before) {
            (true, Some(_)) => return Err(Refusal::Conflict),
            (false, None) => return Err(Refusal::NotFound),
            (false, Some(before)) if before.version != claim.version => {
                return Err(Refusal::Conflict);
            }
            _ => {}
        }
        let before = before.map(|claim| claim.holders.clone()).unwrap_or_default();
        let lost = before.iter().filter(|holder| !claim.holders.contains(holder));
        self.losses.extend(lost.map(|holder| (holder.uid.clone(), address)));
        claim.version = self.next_version().to_string();
        self.wrongs.extend(wrong_sharing(&self.services, address, &claim));
        self.claims.insert(address, claim.clone());
        self.news.push(Change::Claim(address, Some(claim.clone())));
        Ok(claim)
    }

    /// Deletes a claim that was seen as it is.
    pub fn unclaim(&mut self, address: IpAddr, seen: &str) -> Result<(), Refusal> {
        let claim = self.claims.get(&address).ok_or(Refusal::NotFound)?;
        if claim.version != seen {
            return Err(Refusal::Conflict);
        }
        let lost = claim.holders.iter().map(|holder| (holder.uid.clone(), address));
        self.losses.extend(lost);
        self.claims.remove(&address);
        self.next_version();
        self.news.push(Change::Claim(address, None));
        Ok(())
    }

    pub fn set_slice(&mut self, key: &Key, slice: Option<(Arc<str>, Slice)>) {
        match &slice {
            Some(slice) => self.slices.insert(key.clone(), slice.clone()),
            None => self.slices.remove(key),
        };
        self.news.push(Change::Slice(key.clone(), slice));
    }

    pub fn set_node(&mut self, name: &Arc<str>, node: Option<Node>) {
        match &node {
            Some(node) => self.nodes.insert(name.clone(), node.clone()),
            None => self.nodes.remove(name),
        };
        self.news.push(Change::Node(name.clone(), node));
    }

    /// `None` inside: it cannot be read.
    pub fn set_pool(&mut self, name: &Arc<str>, pool: Option<Option<PlainPool>>) {
        match &pool {
            Some(pool) => self.pools.insert(name.clone(), pool.clone()),
            None => self.pools.remove(name),
        };
        self.news.push(Change::Pool(name.clone(), pool.as_ref().map(read)));
    }

    /// All of a kind as it is now.
    pub fn list(&self, kind: Kind) -> Vec<Change> {
        match kind {
            Kind::Service => {
                let all = self.services.iter();
                all.map(|(key, one)| Change::Service(key.clone(), Some(one.clone()))).collect()
            }
            Kind::Slice => {
                let all = self.slices.iter();
                all.map(|(key, one)| Change::Slice(key.clone(), Some(one.clone()))).collect()
            }
            Kind::Node => {
                let all = self.nodes.iter();
                all.map(|(name, one)| Change::Node(name.clone(), Some(one.clone()))).collect()
            }
            Kind::Pool => {
                let all = self.pools.iter();
                all.map(|(name, one)| Change::Pool(name.clone(), Some(read(one)))).collect()
            }
            Kind::Claim => {
                let all = self.claims.iter();
                all.map(|(at, one)| Change::Claim(*at, Some(one.clone()))).collect()
            }
        }
    }

    /// Those that can be read, the configuration's first.
    pub fn readable_pools(&self) -> impl Iterator<Item = &PlainPool> {
        self.own_pools.iter().chain(self.pools.values().flatten())
    }
}

fn read(pool: &Option<PlainPool>) -> Result<guideway::source::kubernetes::pool::Pool, String> {
    pool.as_ref().map(|pool| pool.pool.clone()).ok_or_else(|| "it cannot be read".to_string())
}

/// Without a class it is ours, too: we are the default.
pub fn is_of_our_class(service: &Service) -> bool {
    service.class.as_deref().is_none_or(|class| class == CLASS)
}

/// Of what kind the object is that has changed.
pub fn kind_of(change: &Change) -> Kind {
    match change {
        Change::Service(..) => Kind::Service,
        Change::Slice(..) => Kind::Slice,
        Change::Node(..) => Kind::Node,
        Change::Pool(..) | Change::PoolTold(..) => Kind::Pool,
        Change::Claim(..) => Kind::Claim,
        Change::Listed(kind, _) => *kind,
    }
}

/// An address is of two services only if both want that, and no port is of both.
fn wrong_sharing<'a>(
    services: &'a BTreeMap<Key, Service>,
    address: IpAddr,
    claim: &'a Claim,
) -> Option<String> {
    let find = |holder: &'a Holder| -> Option<(&'a Key, &'a Service)> {
        let service = services.get(&holder.service);
        Some((&holder.service, service.filter(|service| service.uid == holder.uid)?))
    };
    let holders: Vec<(&Key, &Service)> = claim.holders.iter().filter_map(find).collect();
    let mut wrong = None;
    for (place, (key, one)) in holders.iter().enumerate() {
        for (other_key, other) in &holders[..place] {
            let share = one.wishes.share.is_some() && one.wishes.share == other.wishes.share;
            let near = key.namespace == other_key.namespace || &*claim.pool == "wide";
            let same_port = one.ports.iter().any(|a| {
                other.ports.iter().any(|b| (a.transport, a.port) == (b.transport, b.port))
            });
            if !share || !near || same_port || one.uid == other.uid {
                wrong = Some(format!("{address} is {key}'s and {other_key}'s: {claim:?}"));
            }
        }
    }
    wrong
}
