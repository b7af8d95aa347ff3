//! What a service asks for, and whether it could have it: slow and obvious, over all addresses that
//! there are.

use std::net::IpAddr;

use guideway::source::kubernetes::objects::{Claim, IpFamily, Key, Service};

use super::api::{Api, MANAGER};
use super::pools::PlainPool;

/// Is an address that it has what it asks for?
pub fn suits(service: &Service, address: IpAddr, claim: &Claim) -> bool {
    let mut wished = service.wishes.addresses.iter().filter(|a| a.is_ipv4() == address.is_ipv4());
    match wished.next() {
        Some(wished) => *wished == address,
        None => service.wishes.pool.as_ref().is_none_or(|pool| *pool == claim.pool),
    }
}

/// The addresses of a family that it has and that suit it.
pub fn suiting(api: &Api, service: &Service, family: IpFamily) -> Vec<IpAddr> {
    let of_family = |address: &IpAddr| IpFamily::of(*address) == family;
    let held = api.held(&service.uid).filter(|(address, _)| of_family(address));
    held.filter(|(address, claim)| suits(service, *address, claim)).map(|held| held.0).collect()
}

/// An address of a family that it could have at once.
pub fn could_have(api: &Api, key: &Key, service: &Service, family: IpFamily) -> Option<IpAddr> {
    let all = api.readable_pools().flat_map(|pool| pool.addresses.iter().copied());
    let all = all.chain(api.claims.keys().copied());
    let mut of_family = all.filter(|address| IpFamily::of(*address) == family);
    of_family.find(|address| may_have(api, key, service, *address))
}

fn may_have(api: &Api, key: &Key, service: &Service, address: IpAddr) -> bool {
    let wishes = &service.wishes;
    let mut wished = wishes.addresses.iter().filter(|a| a.is_ipv4() == address.is_ipv4());
    let is_wished = wished.next().map(|wished| *wished == address);
    if is_wished == Some(false) {
        return false;
    }
    // Out of a pool that is for it, and that it asks for, or has not to ask for.
    let may_use = |pool: &PlainPool| {
        let by_itself = is_wished.is_some() || pool.auto_assign;
        let is_chosen = wishes.pool.as_ref().map_or(by_itself, |name| *name == pool.name);
        pool.addresses.contains(&address) && pool.admits(key, service) && is_chosen
    };
    let is_in_pool = api.readable_pools().any(may_use);
    let Some(claim) = api.claims.get(&address) else { return is_in_pool };
    if &*claim.manager != MANAGER {
        return false;
    }
    let of_claim = api.readable_pools().find(|pool| pool.name == claim.pool);
    let is_chosen = wishes.pool.as_ref().is_none_or(|name| *name == claim.pool);
    if claim.holders.is_empty() {
        // It rests for whoever had it last.
        let is_its = claim.last.as_ref() == Some(key);
        let has = of_claim
            .is_some_and(|pool| pool.addresses.contains(&address) && pool.admits(key, service));
        return is_its && is_chosen && has;
    }
    let is_alone = claim.holders.len() == 1 && claim.holders[0].uid == service.uid;
    if is_alone {
        // A pool of another name has it by now.
        return is_wished.is_none() && is_in_pool;
    }
    let fits = claim.holders.iter().all(|holder| {
        let other = api.services.get(&holder.service).filter(|other| other.uid == holder.uid);
        let near = holder.service.namespace == key.namespace
            || of_claim.is_some_and(|pool| pool.shares_across);
        near && other.is_some_and(|other| {
            other.uid != service.uid
                && other.ports.iter().all(|a| {
                    service.ports.iter().all(|b| (a.transport, a.port) != (b.transport, b.port))
                })
        })
    });
    let admits = of_claim.is_none_or(|pool| pool.admits(key, service));
    wishes.share.is_some() && wishes.share == claim.share && is_chosen && admits && fits
}
