//! What has to hold. At each rest: all that is awake has heard everything, and has nothing to write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use guideway::source::kubernetes::forms::Forms;
use guideway::source::kubernetes::objects::{IpFamily, Key, Service};
use guideway::source::kubernetes::plan::{Write, plan};
use guideway::source::kubernetes::world::{Change, KINDS, Options, World};

use super::api::{Api, is_of_our_class};
use super::asked::{could_have, suiting};
use super::replica::Replica;
use super::served::{line_of, lines};

/// The addresses that were in use at a rest, with how often their service had changed its mind by then.
pub type InUse = BTreeMap<Arc<str>, (u64, BTreeSet<IpAddr>)>;

/// Nothing was written that must not be: at every step.
pub fn at_once(api: &Api) {
    assert!(api.wrongs.is_empty(), "{}", api.wrongs.join("\n"));
}

/// Each replica serves what a slow function makes of the API, and so does one that starts now.
pub fn served_alike(api: &Api, options: &Options, awake: &[&Replica]) {
    let wanted = lines(api);
    for (number, replica) in awake.iter().enumerate() {
        let found: BTreeSet<String> = replica.served.values().map(line_of).collect();
        same(&wanted, &found, &format!("the {number}. replica that is awake"));
        for (key, service) in &api.services {
            let mut left = plan(&replica.world, key);
            left.retain(|write| !is_about_words(write, service));
            assert!(left.is_empty(), "{key} waits for {left:?}");
        }
    }
    let mut world = World::new(options.clone());
    for kind in KINDS {
        let all = api.list(kind);
        let names = all.iter().map(Change::name).collect();
        all.into_iter().for_each(|change| world.apply(change));
        world.apply(Change::Listed(kind, names));
    }
    let found: BTreeSet<String> = Forms::default().all(&world).iter().map(line_of).collect();
    same(&wanted, &found, "a fresh start");
}

/// Why there is nothing for a service can change with each address that others take: that is told when
/// it is looked at the next time.
fn is_about_words(write: &Write, service: &Service) -> bool {
    match write {
        Write::Status(addresses, _, told) => !told.is_good && service.status == *addresses,
        Write::Event(told) => !told.is_good,
        _ => false,
    }
}

fn same(wanted: &BTreeSet<String>, found: &BTreeSet<String>, who: &str) {
    let missing: Vec<&String> = wanted.difference(found).collect();
    let more: Vec<&String> = found.difference(wanted).collect();
    assert!(missing.is_empty() && more.is_empty(), "{who}: missing {missing:#?}, more {more:#?}");
}

/// Each service of ours has its addresses, if there are some for it. Gives how many wait.
pub fn have_addresses(api: &Api) -> u64 {
    let mut waiting = 0;
    for (key, service) in &api.services {
        let held: BTreeSet<IpAddr> = api.held(&service.uid).map(|(address, _)| address).collect();
        let status: BTreeSet<IpAddr> = service.status.iter().copied().collect();
        if !service.is_balanced || service.is_deleted {
            assert!(held.is_empty(), "{key} has left, and has {held:?}");
            assert!(!service.has_our_finalizer, "{key} has left, and has a finalizer");
            continue;
        }
        if !is_of_our_class(service) {
            // What it has had stays.
            assert!(held.is_empty() || status == held, "{key} has {held:?}: {service:?}");
            continue;
        }
        assert!(service.has_our_finalizer && service.has_standard_finalizer, "{key}");
        assert_eq!(status, held, "the status of {key}");
        assert_eq!(status.len(), service.status.len(), "an address twice in {key}");
        let fours = held.iter().filter(|address| address.is_ipv4()).count();
        assert!(fours < 2 && held.len() - fours < 2, "{key} has more than it needs: {held:?}");
        waiting += u64::from(!has_all(api, key, service));
    }
    waiting
}

fn has_all(api: &Api, key: &Key, service: &Service) -> bool {
    let lacks = |family: &&IpFamily| suiting(api, service, **family).is_empty();
    let lacking: Vec<IpFamily> = service.families.iter().filter(lacks).copied().collect();
    let can = |family: &IpFamily| could_have(api, key, service, *family);
    let reason = service.told.as_ref().map_or("", |told| &*told.0);
    let is_well =
        ["Ready", "ProtocolNotSupported", "NoNodePort", "AnnotationIgnored"].contains(&reason);
    if lacking.is_empty() {
        assert!(is_well, "{key} has all, and is told {:?}", service.told);
        return true;
    }
    assert!(
        !is_well || !service.wishes.wrong.is_empty(),
        "{key} lacks {lacking:?}: {:?}",
        service.told
    );
    // Half of it would look as if all were well.
    if service.needs_both_families && !lacking.iter().all(|family| can(family).is_some()) {
        return false;
    }
    for family in &lacking {
        let could = can(family);
        assert!(could.is_none(), "{key} could have {could:?}: {service:?}\n{:#?}", api.claims);
    }
    false
}

/// Claims are of services that are there, and those that have rested are gone.
pub fn claims_are_tidy(api: &Api) {
    for (address, claim) in &api.claims {
        for holder in &claim.holders {
            let service = api.services.get(&holder.service);
            let is_there = service.is_some_and(|service| service.uid == holder.uid);
            assert!(is_there, "{address} is of somebody who is gone: {claim:?}");
        }
        let is_marked = claim.released_ms.is_some() == claim.holders.is_empty();
        assert!(is_marked, "{address}: {claim:?}");
        let pool = api.readable_pools().find(|pool| pool.name == claim.pool);
        let rest_ms = pool.map_or(60_000, |pool| pool.reuse_after_ms);
        let is_over = claim.released_ms.is_some_and(|since| since + rest_ms <= api.now_ms);
        assert!(!is_over, "{address} has rested since {:?}: {claim:?}", claim.released_ms);
    }
}

/// No address in use has moved, not even for a moment, but by what its own service asks for. One
/// exception: where somebody else has written over the status, a second writer whose watch of claims comes
/// behind cannot know what the service has had.
pub fn nothing_moved(api: &mut Api, in_use: &mut InUse, is_alone: bool) {
    let times = |api: &Api, uid: &Arc<str>| api.asked.get(uid).copied().unwrap_or_default();
    for (uid, (asked, addresses)) in in_use.iter() {
        let lost = addresses.iter().find(|at| api.losses.contains(&(uid.clone(), **at)));
        let has_changed = times(api, uid) != *asked;
        let is_contested = !is_alone && api.contested.contains(uid);
        assert!(lost.is_none() || has_changed || is_contested, "{uid} has lost {lost:?}");
    }
    api.losses.clear();
    api.contested.clear();
    in_use.clear();
    for service in api.services.values() {
        let all = service.families.iter().flat_map(|family| suiting(api, service, *family));
        let told = all.filter(|address| service.status.contains(address)).collect();
        in_use.insert(service.uid.clone(), (times(api, &service.uid), told));
    }
}
