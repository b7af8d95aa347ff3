//! Writes what [`super::plan`] says. Each write may find that somebody else was faster; then the plan is
//! made anew from what is there by now.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::api::{self, AddressClaim};
use super::client::{code, told};
use super::crds::claim_name;
use super::objects::{Claim, Holder, IpMode, Key, PortTold};
use super::plan::{Tidy, Told, Write};
use super::read::{self, CONDITION, OUR_FINALIZER, STANDARD_FINALIZER};
use super::usage::Usage;
use super::world::Change;
use crate::source::moment::now_unix_ms;

/// How often a claim that changes under the hand is read anew.
const TRIES: usize = 4;

/// Why a write was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Somebody else was faster: what is there now is told, and the next plan is another one.
    Beaten,
    /// The API did not take it.
    Refused(String),
}

/// Writes as one of the cluster's Guideways.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    manager: String,
    recorder: Recorder,
}

impl Writer {
    /// `manager` is the field manager of all that it writes.
    pub fn new(client: Client, manager: &str, instance: &str) -> Writer {
        let reporter =
            Reporter { controller: "guideway".to_string(), instance: Some(instance.to_string()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Writer { client, manager: manager.to_string(), recorder }
    }

    /// Makes the writes of one service in their order, up to the first that fails. Gives what is there
    /// now, as far as it was told.
    pub async fn write(
        &self,
        key: &Key,
        uid: &str,
        writes: Vec<Write>,
    ) -> (Vec<Change>, Result<(), Failure>) {
        let mut changes = vec![];
        for write in writes {
            match self.one(key, uid, write, &mut changes).await {
                Ok(()) => {}
                Err(failure) => return (changes, Err(failure)),
            }
        }
        (changes, Ok(()))
    }

    async fn one(
        &self,
        key: &Key,
        uid: &str,
        write: Write,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        match write {
            Write::AddFinalizers => self.finalizers(key, true, changes).await,
            Write::RemoveFinalizers => self.finalizers(key, false, changes).await,
            Write::Take(address, claim) => self.take(address, claim, uid, changes).await,
            Write::Release(address) => self.release(address, key, uid, changes).await,
            Write::Status(addresses, mode, told) => {
                self.status(key, Some((&addresses, mode, &told)), changes).await
            }
            Write::ClearStatus => self.status(key, None, changes).await,
            Write::Event(told) => {
                self.event(key, uid, &told).await;
                Ok(())
            }
        }
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
        key: &Key,
        add: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let ours = [STANDARD_FINALIZER, OUR_FINALIZER];
        let what = if add { "finalizers" } else { "$deleteFromPrimitiveList/finalizers" };
        let patch = Patch::Strategic(json!({ "metadata": { what: ours } }));
        let params =
            PatchParams { field_manager: Some(self.manager.clone()), ..PatchParams::default() };
        let written = self.services(key).patch(&key.name, &params, &patch).await;
        taken(key, written, changes)
    }

    async fn status(
        &self,
        key: &Key,
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
        let status = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": &*key.name, "namespace": &*key.namespace },
            // Left out it would stay as it is.
            "status": { "loadBalancer": { "ingress": ingress }, "conditions": conditions },
        });
        let params = PatchParams::apply(&self.manager).force();
        let written =
            self.services(key).patch_status(&key.name, &params, &Patch::Apply(&status)).await;
        taken(key, written, changes)
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
                let is_ours = there.as_ref().is_ok_and(|there| {
                    there.iter().flat_map(|claim| &claim.holders).any(|holder| &*holder.uid == uid)
                });
                if let Ok(there) = there {
                    changes.push(Change::Claim(address, None));
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
        key: &Key,
        uid: &str,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Some(mut claim) = self.look(address).await? else {
                changes.push(Change::Claim(address, None));
                return Ok(());
            };
            let before = claim.holders.len();
            claim.holders.retain(|holder: &Holder| &*holder.uid != uid);
            if claim.holders.len() == before {
                changes.push(Change::Claim(address, Some(claim)));
                return Ok(());
            }
            if claim.holders.is_empty() {
                claim.released_ms = Some(now_unix_ms());
                claim.last = Some(key.clone());
                claim.share = None;
            }
            let object = AddressClaim::of(address, &claim);
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

    /// What [`super::plan::tidy`] has found.
    pub async fn tidy(
        &self,
        address: IpAddr,
        claim: &Claim,
        tidy: Tidy,
    ) -> (Vec<Change>, Result<(), Failure>) {
        let mut changes = vec![];
        let done = match tidy {
            Tidy::Forget(service, uid) => self.release(address, &service, &uid, &mut changes).await,
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

    /// Told if it can be: an event is a comfort, and nothing waits for it.
    async fn event(&self, key: &Key, uid: &str, told: &Told) {
        let event = Event {
            type_: if told.is_good { EventType::Normal } else { EventType::Warning },
            reason: told.reason.to_string(),
            note: Some(told.message.chars().take(1000).collect()),
            action: "Balance".to_string(),
            secondary: None,
        };
        let object = ObjectReference {
            api_version: Some("v1".to_string()),
            kind: Some("Service".to_string()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.recorder.publish(&event, &object).await {
            let error = super::client::told(&error);
            tracing::debug!(service = %key, error, "an event was not taken");
        }
    }

    fn posting(&self) -> PostParams {
        PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() }
    }
}

fn port(told: &PortTold) -> Value {
    let mut port = json!({ "port": told.port, "protocol": told.transport.word().to_uppercase() });
    if told.is_refused {
        port["error"] = json!("guideway.dev/ProtocolNotSupported");
    }
    port
}

/// A service that is gone needs nothing more.
fn taken(
    key: &Key,
    written: Result<api::Service, kube::Error>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    match written {
        Ok(object) => {
            // The last finalizer takes a deleted service with it; the watch tells that.
            let is_there = object.metadata.deletion_timestamp.is_none()
                || object.metadata.finalizers.as_ref().is_some_and(|left| !left.is_empty());
            changes.push(Change::Service(key.clone(), is_there.then(|| read::service(&object))));
            Ok(())
        }
        Err(error) if code(&error) == 404 => Ok(()),
        Err(error) if code(&error) == 409 => Err(Failure::Beaten),
        Err(error) => Err(Failure::Refused(told(&error))),
    }
}
