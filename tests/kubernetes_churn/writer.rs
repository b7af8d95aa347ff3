//! Writes of a plan, one at a time, as `source/kubernetes/write.rs` makes them of the real API. Between
//! two of them anything may happen.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use guideway::source::kubernetes::objects::{Claim, Holder, Key, Service};
use guideway::source::kubernetes::plan::{Tidy, Write, left, unsure};
use guideway::source::kubernetes::world::{Change, World};

use super::api::{Api, Refusal};

/// What befalls a request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// It does not arrive.
    Lost,
    /// It is done, and nobody hears of it.
    AnswerLost,
}

/// How writing ended, or that there is more of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    More,
    Done,
    /// Somebody was faster.
    Beaten,
    /// The API did not take it, or did not say so.
    Refused,
}

/// The writes of one service under way.
pub struct Work {
    pub key: Key,
    uid: Arc<str>,
    version: u64,
    writes: VecDeque<Write>,
    /// Claims that are taken for made until the answer is there.
    pub assumed: Vec<IpAddr>,
    /// Addresses that may be its own already.
    unsure: Vec<IpAddr>,
    /// What the answers told.
    pub changes: Vec<Change>,
}

impl Work {
    pub fn new(world: &World, key: &Key, service: &Service, writes: Vec<Write>) -> Work {
        let assumed = writes.iter().filter_map(|write| match write {
            Write::Take(address, claim) if claim.version.is_empty() => Some(*address),
            _ => None,
        });
        Work {
            key: key.clone(),
            uid: service.uid.clone(),
            version: service.version,
            assumed: assumed.collect(),
            unsure: unsure(world, key, service),
            writes: writes.into(),
            changes: vec![],
        }
    }

    /// Makes the next write.
    pub fn step(&mut self, api: &mut Api, fault: Fault) -> Step {
        let Some(write) = self.writes.pop_front() else { return Step::Done };
        if fault == Fault::Lost {
            return Step::Refused;
        }
        let step = self.one(api, write, fault);
        match step {
            Step::More if fault == Fault::AnswerLost => Step::Refused,
            Step::More if self.writes.is_empty() => Step::Done,
            step => step,
        }
    }

    fn one(&mut self, api: &mut Api, write: Write, fault: Fault) -> Step {
        match write {
            Write::AddFinalizers => self.patch(api, fault, |service| {
                (service.has_our_finalizer, service.has_standard_finalizer) = (true, true);
            }),
            Write::RemoveFinalizers => self.patch(api, fault, |service| {
                (service.has_our_finalizer, service.has_standard_finalizer) = (false, false);
            }),
            Write::Status(..) if !self.is_sure(api) => Step::Beaten,
            Write::Status(addresses, mode, told) => self.patch(api, fault, |service| {
                service.status_mode = Some(mode).filter(|_| !addresses.is_empty());
                let is_told = !addresses.is_empty();
                service.status_ports = if is_told { told.ports.clone() } else { vec![] };
                service.status = addresses;
                service.told = Some((told.reason, told.message));
            }),
            Write::ClearStatus => self.patch(api, fault, |service| {
                (service.status, service.status_mode, service.told) = (vec![], None, None);
                service.status_ports = vec![];
            }),
            Write::Event(_) => Step::More,
            Write::Take(..) | Write::Release(_) if !self.is_sure(api) => Step::Beaten,
            Write::Take(address, claim) if self.is_still(api) => {
                self.take(api, address, claim, fault)
            }
            Write::Release(address) if self.is_still(api) => {
                let holder = Holder { service: self.key.clone(), uid: self.uid.clone() };
                let changes = release(api, address, &holder);
                if fault == Fault::None {
                    self.changes.extend(changes);
                }
                Step::More
            }
            Write::Take(..) | Write::Release(_) => Step::Beaten,
        }
    }

    fn is_sure(&mut self, api: &Api) -> bool {
        let is_its = |at: &IpAddr| api.claims.get(at).is_some_and(|claim| claim.is_of(&self.uid));
        !std::mem::take(&mut self.unsure).iter().any(is_its)
    }

    fn is_still(&mut self, api: &Api) -> bool {
        let there = api.services.get(&self.key);
        let is_same = there.is_some_and(|now| now.uid == self.uid && now.version == self.version);
        self.changes.push(Change::Service(self.key.clone(), there.cloned()));
        is_same
    }

    fn patch(&mut self, api: &mut Api, fault: Fault, change: impl FnOnce(&mut Service)) -> Step {
        match api.patch(&self.key, self.version, change) {
            Ok(_) if fault == Fault::AnswerLost => Step::More,
            Ok(service) => {
                self.version = service.as_ref().map_or(0, |service| service.version);
                self.changes.push(Change::Service(self.key.clone(), service));
                Step::More
            }
            Err(Refusal::NotFound) => Step::More,
            Err(Refusal::Conflict) => {
                let there = api.services.get(&self.key).cloned();
                self.changes.push(Change::Service(self.key.clone(), there));
                Step::Beaten
            }
            Err(Refusal::Invalid) => Step::Refused,
        }
    }

    fn take(&mut self, api: &mut Api, address: IpAddr, claim: Claim, fault: Fault) -> Step {
        let done = api.claim(address, claim);
        if let (Ok(claim), Fault::None) = (&done, fault) {
            self.changes.push(Change::Claim(address, Some(claim.clone())));
            return Step::More;
        }
        let there = api.claims.get(&address).cloned();
        let is_ours = there.as_ref().is_some_and(|claim| claim.is_of(&self.uid));
        self.changes.push(Change::Claim(address, there));
        match done {
            Err(Refusal::Conflict) if !is_ours => Step::Beaten,
            Ok(_) | Err(Refusal::Conflict) => Step::More,
            Err(_) => Step::Refused,
        }
    }
}

/// Takes a holder out of a claim as it is by now.
fn release(api: &mut Api, address: IpAddr, holder: &Holder) -> Vec<Change> {
    let Some(claim) = api.claims.get(&address).cloned() else { return vec![] };
    let now = match left(&claim, holder, api.now_ms) {
        Some(left) => api.claim(address, left).expect("it was read just now"),
        None => claim,
    };
    vec![Change::Claim(address, Some(now))]
}

/// What was found to tidy; gives what the answers told.
pub fn tidy(api: &mut Api, address: IpAddr, claim: &Claim, tidy: &Tidy) -> Vec<Change> {
    match tidy {
        Tidy::Delete => {
            // Gone, or somebody's again: the watch tells.
            let _ = api.unclaim(address, &claim.version);
            vec![]
        }
        Tidy::Forget(holder) => {
            let there = api.services.get(&holder.service).cloned();
            let is_there = there.as_ref().is_some_and(|service| service.uid == holder.uid);
            let mut changes = vec![Change::Service(holder.service.clone(), there)];
            if !is_there {
                changes.extend(release(api, address, holder));
            }
            changes
        }
    }
}
