//! What the one writer of a cluster has to write for a service to be as it should. Pure: from what is
//! known to the writes that are missing, so that whatever was written halfway is finished the next time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::objects::{Claim, Holder, IpFamily, Key, PortTold, Service, ServicePort};
use super::pool::{NoAddress, REUSE_AFTER_MS, choose};
use super::way::{IpMode, Way};
use super::world::{Standing, World, suits};

/// The reason of a service whose class the configuration has no more.
pub const ORPHANED: &str = "Orphaned";

/// Why pods do not see whom they talk to.
const HIDDEN: &str = "`externalTrafficPolicy: Local` asks for the client's address, and pods see that of \
                      Guideway: with `guideway.dev/target: nodes`, or where Guideway is the nodes' way \
                      out with `guideway.dev/source: keep`, they see the client's";

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Both finalizers, so that nothing of ours is forgotten when the service is deleted.
    AddFinalizers,
    /// Both, since nothing is ours any more.
    RemoveFinalizers,
    /// The address becomes this service's: by creating its claim, which is the lock, or by joining the
    /// one there is.
    Take(IpAddr, Claim),
    /// The service leaves the claim; the last one leaves it to rest.
    Release(IpAddr),
    /// The addresses in the status, and what our condition says.
    Status(Vec<IpAddr>, IpMode, Told),
    /// Nothing of ours is left in the status.
    ClearStatus,
    /// An event.
    Event(Told),
}

/// What users are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Nothing is to be done about it.
    pub is_good: bool,
    /// One word.
    pub reason: Arc<str>,
    /// What it is, and what to do.
    pub message: Arc<str>,
    /// What the status says of ports: of all, where one of them is not served.
    pub ports: Vec<PortTold>,
}

impl Told {
    fn good(reason: &str, message: String) -> Told {
        Told { is_good: true, reason: reason.into(), message: message.into(), ports: vec![] }
    }

    fn bad(reason: &str, message: String) -> Told {
        Told { is_good: false, ..Told::good(reason, message) }
    }
}

/// The writes that a service is waiting for, in the order in which they have to be made.
pub fn plan(world: &World, key: &Key) -> Vec<Write> {
    let Some(service) = world.service(key) else { return vec![] };
    match world.standing(key, service) {
        Standing::Foreign => vec![],
        Standing::Leaving => leave(world, key, service),
        Standing::Ours => keep(world, key, service),
        Standing::Orphaned => orphaned(world, key, service),
    }
}

/// Addresses in the status of a service that are not known to be its own. Its claims may be told later
/// than it is: the API has to be asked before anything is made of that.
pub fn unsure(world: &World, key: &Key, service: &Service) -> Vec<IpAddr> {
    let held = world.held(key, service);
    let is_unsure = |address: &&IpAddr| !held.iter().any(|(held, _)| held == *address);
    service.status.iter().filter(is_unsure).copied().collect()
}

/// A claim when this holder has left it; the last one leaves it to rest. None: it was none.
pub fn left(claim: &Claim, holder: &Holder, now_ms: u64) -> Option<Claim> {
    let mut left = claim.clone();
    left.holders.retain(|other| other.uid != holder.uid);
    if left.holders.len() == claim.holders.len() {
        return None;
    }
    if left.holders.is_empty() {
        left.released_ms = Some(now_ms);
        left.last = Some(holder.service.clone());
        left.share = None;
    }
    Some(left)
}

/// The writes that take all off a service that is ours in whatever way, its class notwithstanding.
pub fn release(world: &World, key: &Key) -> Vec<Write> {
    let Some(service) = world.service(key) else { return vec![] };
    leave(world, key, service)
}

/// It keeps what it has, and is told so once.
fn orphaned(world: &World, key: &Key, service: &Service) -> Vec<Write> {
    let message = format!(
        "Its class is none of Guideway's any more. It keeps its address and is served until \
         `guideway kubernetes release {key}`"
    );
    let held: Vec<IpAddr> = world.held(key, service).iter().map(|held| held.0).collect();
    let was_told = service.told.as_ref().is_some_and(|(reason, _)| &**reason == ORPHANED);
    let told = Told::good(ORPHANED, message);
    let event = (!was_told).then(|| Write::Event(told.clone()));
    let way = world.way_of(service, held.iter().min().copied());
    status(service, held, way.ip_mode, told).into_iter().chain(event).collect()
}

/// Claims that nobody has: those whose service is gone are left to rest, those that have rested are
/// deleted. Gives them with the time at which the next one has.
pub fn tidy(world: &World, now_ms: u64) -> (Vec<(IpAddr, Tidy)>, Option<u64>) {
    let (mut found, mut next) = (vec![], None::<u64>);
    let pools = world.pools();
    let ours = |claim: &&Claim| claim.manager == world.options().manager;
    for (address, claim) in world.claims().filter(|(_, claim)| ours(claim)) {
        let is_there = |holder: &&Holder| {
            world.service(&holder.service).is_some_and(|service| service.uid == holder.uid)
        };
        if let Some(gone) = claim.holders.iter().find(|holder| !is_there(holder)) {
            found.push((address, Tidy::Forget(gone.clone())));
        } else if claim.holders.is_empty() {
            let pool = pools.iter().find(|pool| pool.name == claim.pool);
            let rest_ms = pool.map_or(REUSE_AFTER_MS, |pool| pool.reuse_after_ms);
            let free_ms = claim.released_ms.unwrap_or_default().saturating_add(rest_ms);
            if free_ms <= now_ms {
                found.push((address, Tidy::Delete));
            } else {
                next = Some(next.map_or(free_ms, |next| next.min(free_ms)));
            }
        }
    }
    (found, next)
}

/// What becomes of a claim that nobody needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tidy {
    /// This holder is gone, as far as is known: the API has to be asked, for claims may be told before
    /// the services that they are of.
    Forget(Holder),
    /// It has rested.
    Delete,
}

fn leave(world: &World, key: &Key, service: &Service) -> Vec<Write> {
    let held = world.held(key, service);
    let mut writes: Vec<Write> = held.iter().map(|(address, _)| Write::Release(*address)).collect();
    if !held.is_empty() {
        let addresses = list(held.iter().map(|held| held.0));
        let told = format!("{addresses} given back");
        writes.push(Write::Event(Told::good("AddressReleased", told)));
    }
    // The API takes the addresses out when the type changes, and leaves our words.
    if !service.is_deleted && (!service.status.is_empty() || service.told.is_some()) {
        writes.push(Write::ClearStatus);
    }
    // With a claim of ours on it, the other one is of our making, too.
    if service.has_our_finalizer || service.has_standard_finalizer && !held.is_empty() {
        writes.push(Write::RemoveFinalizers);
    }
    writes
}

fn keep(world: &World, key: &Key, service: &Service) -> Vec<Write> {
    let mut writes = vec![];
    if !service.has_our_finalizer || !service.has_standard_finalizer {
        writes.push(Write::AddFinalizers);
    }
    let held = world.held(key, service);
    let (mut addresses, mut problems, mut new) = (vec![], vec![], vec![]);
    let pool_of = |(address, claim): &(IpAddr, &Claim)| (*address, claim.pool.clone());
    let mut pools: BTreeMap<IpAddr, Arc<str>> = held.iter().map(pool_of).collect();
    let wrong = service.wishes.wrong.iter();
    problems.extend(wrong.map(|wrong| Told::bad("AnnotationIgnored", wrong.clone())));
    for &family in &service.families {
        match address_of(world, key, service, family, &held) {
            Ok(Found::Held(address)) => addresses.push(address),
            Ok(Found::New(address, claim)) => {
                if !held.iter().any(|(held, _)| *held == address) {
                    new.push(address);
                }
                addresses.push(address);
                pools.insert(address, claim.pool.clone());
                writes.push(Write::Take(address, claim));
            }
            Err(why) => problems.push(Told::bad(why.reason(), why.to_string())),
        }
    }
    if addresses.len() < service.families.len() && service.needs_both_families {
        // Half of it would look as if all were well. What it has had stays its own.
        writes.retain(|write| !matches!(write, Write::Take(..)));
        addresses.retain(|address| held.iter().any(|(held, _)| held == address));
        new.clear();
    }
    // An address that is asked for and cannot be had leaves the service where it is.
    let in_force = world.in_force(key, service);
    let stays = |address: &IpAddr| {
        addresses.contains(address)
            || !addresses.iter().any(|a| IpFamily::of(*a) == IpFamily::of(*address))
                && service.families.contains(&IpFamily::of(*address))
                && in_force.contains(address)
    };
    let (kept, left): (Vec<IpAddr>, Vec<IpAddr>) =
        held.iter().map(|held| held.0).partition(|address| stays(address));
    for address in kept {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // As `World::way_of`, of addresses that are not claimed yet, too.
    let pool = addresses.iter().min().and_then(|lowest| pools.get(lowest));
    let way = world.way(service, pool.map(|pool| &**pool));
    problems.extend(unserved(service, way));
    let told = told(service, way, &addresses, &problems);
    writes.extend(status(service, addresses, way.ip_mode, told.clone()));
    writes.extend(left.iter().map(|address| Write::Release(*address)));
    if !new.is_empty() {
        let message = format!("{} assigned", list(new.into_iter()));
        writes.push(Write::Event(Told::good("AddressAssigned", message)));
    }
    if !left.is_empty() {
        let message = format!("{} given back", list(left.into_iter()));
        writes.push(Write::Event(Told::good("AddressReleased", message)));
    }
    let before = service.told.as_ref().map(|told| &*told.1);
    if before != Some(&*told.message) {
        writes.extend(problems.into_iter().map(Write::Event));
    }
    if told.message.contains(HIDDEN) && !before.is_some_and(|before| before.contains(HIDDEN)) {
        writes.push(Write::Event(Told::bad("ClientAddressHidden", HIDDEN.to_string())));
    }
    writes
}

/// Ports whose packets cannot be sent where the service's go.
fn unserved(service: &Service, way: Way) -> Option<Told> {
    let unable: Vec<(&str, Arc<str>)> =
        service.ports.iter().filter_map(|port| way.protocol(port).err()).collect();
    let (reason, _) = unable.first()?;
    let messages: Vec<&str> = unable.iter().map(|(_, message)| &**message).collect();
    Some(Told::bad(reason, messages.join("; ")))
}

/// The address of one family.
enum Found {
    Held(IpAddr),
    New(IpAddr, Claim),
}

fn address_of(
    world: &World,
    key: &Key,
    service: &Service,
    family: IpFamily,
    held: &[(IpAddr, &Claim)],
) -> Result<Found, NoAddress> {
    let wishes = &service.wishes;
    let of_family = held.iter().filter(|(address, _)| IpFamily::of(*address) == family);
    let fine = of_family.clone().filter(|(address, claim)| suits(service, *address, claim));
    // Of two, which somebody who was stopped in between may have left, the one that clients know.
    let known_first = |(address, _): &&(IpAddr, &Claim)| !service.status.contains(address);
    if let Some((address, _)) = fine.min_by_key(known_first) {
        return Ok(Found::Held(*address));
    }
    if let Some((address, claim)) =
        of_family.clone().find_map(|held| renamed(world, key, service, held))
    {
        return Ok(Found::New(address, claim));
    }
    let known = || shared(world, key, service, family);
    if let Some((address, claim)) = earlier(world, key, service, family).or_else(known) {
        return Ok(Found::New(address, claim));
    }
    let taken = |address| taken(world, service, address);
    let (address, pool) = choose(world.pools(), (key, service), family, &taken)?;
    let mut claim = Claim {
        manager: world.options().manager.clone(),
        pool,
        share: wishes.share.clone(),
        ..Claim::default()
    };
    join(&mut claim, key, service);
    Ok(Found::New(address, claim))
}

/// An address that it holds alone, and that the pool it asks for has by now: pools are renamed, and their
/// addresses move from one to another.
fn renamed(
    world: &World,
    key: &Key,
    service: &Service,
    (address, claim): &(IpAddr, &Claim),
) -> Option<(IpAddr, Claim)> {
    let pool =
        world.pools().iter().find(|pool| Some(&pool.name) == service.wishes.pool.as_ref())?;
    let is_its = service.wishes.address(IpFamily::of(*address)).is_none()
        && claim.holders.len() == 1
        && pool.has(*address)
        && pool.admits(key, service);
    is_its.then(|| (*address, Claim { pool: pool.name.clone(), ..Claim::clone(claim) }))
}

/// The address that a service of this name had before, and that rests: who deletes a service and makes
/// it again, or changes its type and back, gets what clients know.
fn earlier(
    world: &World,
    key: &Key,
    service: &Service,
    family: IpFamily,
) -> Option<(IpAddr, Claim)> {
    let wishes = &service.wishes;
    let wanted = wishes.address(family);
    let pools = world.pools();
    let fits = |(address, claim): &(IpAddr, &Claim)| {
        let pool = pools.iter().find(|pool| pool.name == claim.pool);
        IpFamily::of(*address) == family
            && claim.holders.is_empty()
            && claim.last.as_ref() == Some(key)
            && wanted.is_none_or(|wanted| wanted == *address)
            && wishes.pool.as_ref().is_none_or(|pool| *pool == claim.pool)
            && pool.is_some_and(|pool| pool.admits(key, service) && pool.has(*address))
    };
    let (address, claim) = world.claims().find(fits)?;
    let mut claim = Claim { share: wishes.share.clone(), ..claim.clone() };
    join(&mut claim, key, service);
    Some((address, claim))
}

/// A claim with the same key to share by, and room for the service's ports.
fn shared(
    world: &World,
    key: &Key,
    service: &Service,
    family: IpFamily,
) -> Option<(IpAddr, Claim)> {
    let wishes = &service.wishes;
    let share = wishes.share.as_ref()?;
    let wanted = wishes.address(family);
    let pool_of = |claim: &Claim| world.pools().iter().find(|pool| pool.name == claim.pool);
    let across = |claim: &Claim| pool_of(claim).is_some_and(|pool| pool.share_across_namespaces);
    let fits = |(address, claim): &(IpAddr, &Claim)| {
        let is_near = |holder: &Holder| holder.service.namespace == key.namespace || across(claim);
        IpFamily::of(*address) == family
            && wanted.is_none_or(|wanted| wanted == *address)
            && claim.share.as_ref() == Some(share)
            && !claim.version.is_empty()
            && !claim.holders.is_empty()
            && wishes.pool.as_ref().is_none_or(|pool| *pool == claim.pool)
            && pool_of(claim).is_none_or(|pool| pool.admits(key, service))
            && claim.holders.iter().all(is_near)
            && has_room(world, claim, service)
    };
    let (address, claim) = world.claims().find(fits)?;
    let mut claim = claim.clone();
    join(&mut claim, key, service);
    Some((address, claim))
}

/// No port of the service is one of those that share the address. Of one that is not known, or not any
/// more under this name, nobody can say.
fn has_room(world: &World, claim: &Claim, service: &Service) -> bool {
    let ports = |service: &Service| -> BTreeSet<_> {
        service.ports.iter().map(|port| (port.transport, port.port)).collect()
    };
    let own = ports(service);
    claim.holders.iter().all(|holder| {
        let other = world.service(&holder.service).filter(|other| other.uid == holder.uid);
        other.is_some_and(|other| ports(other).is_disjoint(&own))
    })
}

fn join(claim: &mut Claim, key: &Key, service: &Service) {
    claim.released_ms = None;
    let (service, uid) = (key.clone(), service.uid.clone());
    claim.holders.push(Holder { service, uid });
}

/// Who has an address.
fn taken(world: &World, service: &Service, address: IpAddr) -> Option<String> {
    let claim = world.claim(address)?;
    let Some(holder) = claim.holders.first() else {
        return Some("at rest, since it was given back a moment ago".to_string());
    };
    let share = claim.share.as_ref();
    let how = match (share, service.wishes.share.as_ref()) {
        (Some(a), Some(b)) if a == b => ", and its ports or its namespace do not fit beside it",
        (Some(_), _) => " by another key to share",
        (None, _) => "",
    };
    Some(format!("that of {}{how}", holder.service))
}

/// What its condition says, and its ports.
fn told(service: &Service, way: Way, addresses: &[IpAddr], problems: &[Told]) -> Told {
    let mut messages: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
    let assigned = format!("{} assigned", list(addresses.iter().copied()));
    let is_good = match problems.first() {
        Some(first) => !addresses.is_empty() && &*first.reason == "AnnotationIgnored",
        None => {
            messages.push(&assigned);
            true
        }
    };
    if service.is_local && way.hides_clients() {
        messages.push(HIDDEN);
    }
    let reason = problems.first().map_or("Ready".into(), |first| first.reason.clone());
    let port = |port: &ServicePort| PortTold {
        port: port.port,
        transport: port.transport,
        is_refused: way.protocol(port).is_err(),
    };
    let ports: Vec<PortTold> = service.ports.iter().map(port).collect();
    let says_of_ports = ports.iter().any(|port| port.is_refused);
    let ports = if says_of_ports { ports } else { vec![] };
    Told { is_good, reason, message: messages.join("; ").into(), ports }
}

/// The status, if it is not so already.
fn status(service: &Service, addresses: Vec<IpAddr>, mode: IpMode, told: Told) -> Option<Write> {
    let same_words = service
        .told
        .as_ref()
        .is_some_and(|(reason, message)| *reason == told.reason && *message == told.message);
    let same_mode = service.status_mode == Some(mode) || addresses.is_empty();
    let same_ports = service.status_ports == told.ports || addresses.is_empty();
    let is_same = service.status == addresses && same_mode && same_ports && same_words;
    (!is_same).then_some(Write::Status(addresses, mode, told))
}

fn list(addresses: impl Iterator<Item = IpAddr>) -> String {
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
