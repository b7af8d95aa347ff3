//! Writes what [`super::plan`] says. Each write may find that somebody else was faster; then the plan is
//! made anew from what is there by now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{self, AddressClaim};
use super::client::{code, told};
use super::crds::claim_name;
use super::events::Events;
use super::objects::{Claim, Holder, Key, PortTold, Service, Transport};
use super::plan::{Tidy, Told, Write, left, unsure};
use super::read::{self, CONDITION, OUR_FINALIZER, STANDARD_FINALIZER};
use super::usage::Usage;
use super::way::IpMode;
use super::world::{Change, World};
use crate::source::moment::now_unix_ms;

/// How often a claim that changes under the hand is read anew.
const TRIES: usize = 4;
/// For so long after an answer a service counts as it was then.
const SURE: Duration = Duration::from_millis(500);

/// Why a write was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Somebody else was faster: what is there now is told, and the next plan is another one.
    Beaten,
    /// The API did not take it.
    Refused(String),
}

/// A service as its writes were planned for it, and as the writes themselves have left it.
#[derive(Clone, Debug)]
pub struct Planned {
    key: Key,
    uid: Arc<str>,
    version: u64,
    /// When the API told last that it is so.
    seen: Option<Instant>,
    /// Addresses that may be its own already.
    unsure: Vec<IpAddr>,
}

impl Planned {
    /// Of what is known of it.
    pub fn of(world: &World, key: &Key, service: &Service) -> Planned {
        Planned {
            key: key.clone(),
            uid: service.uid.clone(),
            version: service.version,
            seen: None,
            unsure: unsure(world, key, service),
        }
    }

    /// What the API compares: it takes a write only of who has seen the service as it is.
    fn expected(&self) -> Option<String> {
        (self.version != 0).then(|| self.version.to_string())
    }
}

/// Writes as one of the cluster's Guideways.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    manager: String,
    events: Events,
}

impl Writer {
    /// `manager` is the field manager of all that it writes.
    pub fn new(client: Client, manager: &str, instance: &str) -> Writer {
        let events = Events::start(client.clone(), instance);
        Writer { client, manager: manager.to_string(), events }
    }

    /// Makes the writes of one service in their order, up to the first that fails: it is no longer as it
    /// was planned for, say. Gives what is there now, as far as it was told.
    pub async fn write(
        &self,
        mut planned: Planned,
        writes: Vec<Write>,
    ) -> (Vec<Change>, Result<(), Failure>) {
        let mut changes = vec![];
        for write in writes {
            match self.one(&mut planned, write, &mut changes).await {
                Ok(()) => {}
                Err(failure) => return (changes, Err(failure)),
            }
        }
        (changes, Ok(()))
    }

    async fn one(
        &self,
        planned: &mut Planned,
        write: Write,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        match write {
            Write::AddFinalizers => self.finalizers(planned, true, changes).await,
            Write::RemoveFinalizers => self.finalizers(planned, false, changes).await,
            Write::Take(address, claim) => {
                self.is_sure(planned, changes).await?;
                self.is_still(planned, changes).await?;
                self.take(address, claim, &planned.uid, changes).await
            }
            Write::Release(address) => {
                self.is_sure(planned, changes).await?;
                self.is_still(planned, changes).await?;
                let holder = Holder { service: planned.key.clone(), uid: planned.uid.clone() };
                self.release(address, &holder, changes).await
            }
            Write::Status(addresses, mode, told) => {
                self.is_sure(planned, changes).await?;
                self.status(planned, Some((&addresses, mode, &told)), changes).await
            }
            Write::ClearStatus => self.status(planned, None, changes).await,
            Write::Event(told) => {
                self.events.tell(&planned.key, &planned.uid, told);
                Ok(())
            }
        }
    }

    /// Is nothing its own that the plan did not know of? Then another one had given it an address, and
    /// the watch of claims comes behind.
    async fn is_sure(
        &self,
        planned: &mut Planned,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        while let Some(address) = planned.unsure.pop() {
            let there = self.look(address).await?;
            let is_its = there.as_ref().is_some_and(|claim| claim.is_of(&planned.uid));
            changes.push(Change::Claim(address, there));
            if is_its {
                return Err(Failure::Beaten);
            }
        }
        Ok(())
    }

    /// Is the service as it was planned for? A claim is another object, whose version tells nothing of
    /// that, and who was stopped in between must not go on with what he had in mind.
    async fn is_still(
        &self,
        planned: &mut Planned,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        if planned.seen.is_some_and(|at| at.elapsed() < SURE) {
            return Ok(());
        }
        let there = self.look_at(&planned.key).await?;
        let is_same = there.as_ref().is_some_and(|service| {
            service.uid == planned.uid && service.version == planned.version
        });
        changes.push(Change::Service(planned.key.clone(), there));
        planned.seen = is_same.then(Instant::now);
        if is_same { Ok(()) } else { Err(Failure::Beaten) }
    }

    async fn look_at(&self, key: &Key) -> Result<Option<Service>, Failure> {
        let found = self.services(key).get_opt(&key.name).await;
        let found = found.map_err(|error| Failure::Refused(told(&error)))?;
        Ok(found.as_ref().map(read::service))
    }

    fn services(&self, key: &Key) -> Api<api::Service> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn claims(&self) -> Api<AddressClaim> {
        Api::all(self.client.clone())
    }

    /// By a strategic merge, which leaves those of others alone.
    async fn finalizers(
        &self,
        planned: &mut Planned,
        add: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let ours = [STANDARD_FINALIZER, OUR_FINALIZER];
        let what = if add { "finalizers" } else { "$deleteFromPrimitiveList/finalizers" };
        let patch = json!({ "metadata": { what: ours, "resourceVersion": planned.expected() } });
        let patch = Patch::Strategic(patch);
        let params =
            PatchParams { field_manager: Some(self.manager.clone()), ..PatchParams::default() };
        let key = &planned.key;
        let written = self.services(key).patch(&key.name, &params, &patch).await;
        self.taken(planned, written, changes).await
    }

    async fn status(
        &self,
        planned: &mut Planned,
        wanted: Option<(&[IpAddr], IpMode, &Told)>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let none = (&[][..], IpMode::Proxy, None);
        let (addresses, mode, told) = wanted.map_or(none, |(a, mode, told)| (a, mode, Some(told)));
        let ports: Vec<Value> = told.iter().flat_map(|told| &told.ports).map(port).collect();
        let one = |address: &IpAddr| {
            let mut one = json!({ "ip": address.to_string(), "ipMode": mode.word() });
            if !ports.is_empty() {
                one["ports"] = json!(ports);
            }
            one
        };
        let ingress: Vec<Value> = addresses.iter().map(one).collect();
        let conditions: Vec<_> = told
            .into_iter()
            .map(|told| {
                json!({
                    "type": CONDITION,
                    "status": if told.is_good { "True" } else { "False" },
                    "reason": &*told.reason,
                    "message": &*told.message,
                    "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                })
            })
            .collect();
        let key = &planned.key;
        let status = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": &*key.name,
                "namespace": &*key.namespace,
                "resourceVersion": planned.expected(),
            },
            // Left out it would stay as it is.
            "status": { "loadBalancer": { "ingress": ingress }, "conditions": conditions },
        });
        let params = PatchParams::apply(&self.manager).force();
        let written =
            self.services(key).patch_status(&key.name, &params, &Patch::Apply(&status)).await;
        self.taken(planned, written, changes).await
    }

    /// A service that is gone needs nothing more.
    async fn taken(
        &self,
        planned: &mut Planned,
        written: Result<api::Service, kube::Error>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        match written {
            Ok(object) => {
                let service = read::service(&object);
                (planned.version, planned.seen) = (service.version, Some(Instant::now()));
                changes.push(Change::Service(planned.key.clone(), Some(service)));
                Ok(())
            }
            Err(error) if code(&error) == 404 => Ok(()),
            Err(error) if code(&error) == 409 => {
                planned.seen = None;
                let there = self.look_at(&planned.key).await?;
                changes.push(Change::Service(planned.key.clone(), there));
                Err(Failure::Beaten)
            }
            Err(error) => Err(Failure::Refused(told(&error))),
        }
    }

    /// What the status of an AddressPool is to say.
    pub async fn pool_status(&self, name: Arc<str>, usage: Usage) -> Result<Change, String> {
        let status = json!({
            "apiVersion": "guideway.dev/v1alpha1",
            "kind": "AddressPool",
            "metadata": { "name": &*name },
            "status": usage,
        });
        let pools: Api<api::AddressPool> = Api::all(self.client.clone());
        let params = PatchParams::apply(&self.manager).force();
        match pools.patch_status(&name, &params, &Patch::Apply(&status)).await {
            Ok(_) => Ok(Change::PoolTold(name, Some(usage))),
            Err(error) => Err(told(&error)),
        }
    }

    /// Making the claim is the lock; one that is there is changed only as it was read.
    async fn take(
        &self,
        address: IpAddr,
        claim: Claim,
        uid: &str,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let object = AddressClaim::of(address, &claim);
        let params = self.posting();
        let written = match claim.version.is_empty() {
            true => self.claims().create(&params, &object).await,
            false => self.claims().replace(&claim_name(address), &params, &object).await,
        };
        match written {
            Ok(written) => {
                changes.push(Change::Claim(address, written.claim().map(|found| found.1)));
                Ok(())
            }
            Err(error) => {
                // What was asked for is not so: the world has to know what is.
                let there = self.look(address).await;
                let is_ours =
                    there.as_ref().is_ok_and(|there| there.iter().any(|claim| claim.is_of(uid)));
                if let Ok(there) = there {
                    changes.push(Change::Claim(address, there));
                }
                match code(&error) {
                    409 if is_ours => Ok(()),
                    409 => Err(Failure::Beaten),
                    _ => Err(Failure::Refused(told(&error))),
                }
            }
        }
    }

    async fn look(&self, address: IpAddr) -> Result<Option<Claim>, Failure> {
        let found = self.claims().get_opt(&claim_name(address)).await;
        let found = found.map_err(|error| Failure::Refused(told(&error)))?;
        Ok(found.and_then(|object| object.claim()).map(|found| found.1))
    }

    async fn release(
        &self,
        address: IpAddr,
        holder: &Holder,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Some(claim) = self.look(address).await? else { return Ok(()) };
            let Some(left) = left(&claim, holder, now_unix_ms()) else {
                changes.push(Change::Claim(address, Some(claim)));
                return Ok(());
            };
            let object = AddressClaim::of(address, &left);
            let name = claim_name(address);
            match self.claims().replace(&name, &self.posting(), &object).await {
                Ok(written) => {
                    changes.push(Change::Claim(address, written.claim().map(|found| found.1)));
                    return Ok(());
                }
                Err(error) if matches!(code(&error), 404 | 409) => {}
                Err(error) => return Err(Failure::Refused(told(&error))),
            }
        }
        Err(Failure::Beaten)
    }

    /// Of a service that is gone, if it is.
    async fn forget(
        &self,
        address: IpAddr,
        holder: &Holder,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let there = self.look_at(&holder.service).await?;
        let is_there = there.as_ref().is_some_and(|service| service.uid == holder.uid);
        changes.push(Change::Service(holder.service.clone(), there));
        if is_there { Ok(()) } else { self.release(address, holder, changes).await }
    }

    /// What [`super::plan::tidy`] has found.
    pub async fn tidy(
        &self,
        address: IpAddr,
        claim: &Claim,
        tidy: Tidy,
    ) -> (Vec<Change>, Result<(), Failure>) {
        let mut changes = vec![];
        let done = match tidy {
            Tidy::Forget(holder) => self.forget(address, &holder, &mut changes).await,
            Tidy::Delete => {
                let conditions = kube::api::Preconditions {
                    resource_version: Some(claim.version.clone()),
                    uid: None,
                };
                let params =
                    DeleteParams { preconditions: Some(conditions), ..DeleteParams::default() };
                match self.claims().delete(&claim_name(address), &params).await {
                    Err(error) if !matches!(code(&error), 404 | 409) => {
                        Err(Failure::Refused(told(&error)))
                    }
                    _ => Ok(()),
                }
            }
        };
        (changes, done)
    }

    fn posting(&self) -> PostParams {
        PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() }
    }
}

fn port(told: &PortTold) -> Value {
    let mut port = json!({ "port": told.port, "protocol": told.transport.word().to_uppercase() });
    if told.is_refused {
        let is_sctp = told.transport == Transport::Sctp;
        let reason = if is_sctp { "ProtocolNotSupported" } else { "NoNodePort" };
        port["error"] = json!(format!("guideway.dev/{reason}"));
    }
    port
}
