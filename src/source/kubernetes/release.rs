//! Takes off a cluster what is Guideway's: of services whose class is ours no more, and of all of them
//! before an uninstall, so that no finalizer waits for somebody who has gone.

use std::borrow::Cow;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::api::{self, AddressClaim};
use super::client::{code, connect, told};
use super::lease::EVERY_MS;
use super::objects::{Key, Service};
use super::plan::{ORPHANED, Tidy, release};
use super::read::{key, service};
use super::world::{Change, Options, World};
use super::write::{Failure, Planned, Writer};
use crate::control::KubernetesSpec;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Services that are written to at a time.
const AT_A_TIME: usize = 16;
/// How often a plan that met something else is made anew.
const TRIES: usize = 5;
/// Whoever writes has renewed its Lease within this time.
const RENEWED_WITHIN: Duration = Duration::from_millis(2 * EVERY_MS + 1000);

/// What there is of Guideway's in a cluster.
pub struct Leaving {
    world: World,
    writer: Writer,
    /// The Guideway that writes for the cluster now.
    pub leader: Option<String>,
}

/// A service of Guideway's, and what would become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Released {
    /// Namespace and name.
    pub key: Key,
    /// What it has.
    pub addresses: Vec<IpAddr>,
    /// A Guideway that runs would take it back at once.
    pub is_taken_back: bool,
}

impl Leaving {
    /// Looks at the cluster of `spec`, for some seconds at its Lease.
    ///
    /// # Errors
    /// What the API said, or what is in the way of it.
    pub async fn look(spec: &KubernetesSpec) -> Result<Leaving, String> {
        let client = connect(spec.kubeconfig.as_deref(), spec.context.as_deref()).await?;
        let mut world =
            World::new(Options { manager: spec.manager.as_str().into(), ..Options::default() });
        for object in list::<api::Service>(&client).await? {
            world.apply(Change::Service(key(&object), Some(service(&object))));
        }
        let claims = list::<AddressClaim>(&client).await?;
        for (address, claim) in claims.iter().filter_map(AddressClaim::claim) {
            world.apply(Change::Claim(address, Some(claim)));
        }
        let leader = leader(&client, spec).await?;
        let writer = Writer::new(client, &spec.manager, "guideway-kubernetes-release");
        Ok(Leaving { world, writer, leader })
    }

    /// All services that are Guideway's.
    pub fn services(&self) -> Vec<Released> {
        let all = self.world.services().filter(|(key, service)| is_ours(&self.world, key, service));
        let one = |(key, service): (&Key, &Service)| Released {
            key: key.clone(),
            addresses: self.world.held(key, service).iter().map(|held| held.0).collect(),
            is_taken_back: self.leader.is_some() && !is_let_go(service),
        };
        all.map(one).collect()
    }

    /// Is there such a service, Guideway's or not?
    pub fn has(&self, key: &Key) -> bool {
        self.world.service(key).is_some()
    }

    /// Claims of Guideway's. While one runs, it puts them in order itself.
    pub fn claims(&self) -> Vec<IpAddr> {
        let manager = &self.world.options().manager;
        let ours = self.world.claims().filter(|(_, claim)| claim.manager == *manager);
        ours.map(|(address, _)| address).collect()
    }

    /// Takes finalizers, status and claims off these services. Gives those of which the API did not take
    /// it, with the reason.
    pub async fn release(&mut self, keys: &[Key]) -> Vec<(Key, String)> {
        let (world, writer) = (&self.world, &self.writer);
        let writes = keys.iter().map(|key| one(world, writer, key));
        let done: Vec<(Key, Vec<Change>, Option<String>)> =
            futures::stream::iter(writes).buffer_unordered(AT_A_TIME).collect().await;
        let mut failed = vec![];
        for (key, changes, why) in done {
            changes.into_iter().for_each(|change| self.world.apply(change));
            failed.extend(why.map(|why| (key, why)));
        }
        failed
    }

    /// Deletes the claims of Guideway's that no service has. Gives those of which the API did not take
    /// it, with the reason, and how many it was.
    pub async fn delete_claims(&self) -> (usize, Vec<(IpAddr, String)>) {
        let is_left = |holder: &super::objects::Holder| {
            let service = self.world.service(&holder.service);
            service.is_none_or(|service| service.uid != holder.uid)
        };
        let (mut count, mut failed) = (0, vec![]);
        for address in self.claims() {
            let Some(claim) = self.world.claim(address) else { continue };
            if !claim.holders.iter().all(is_left) {
                continue;
            }
            match self.writer.tidy(address, claim, Tidy::Delete).await.1 {
                Ok(()) => count += 1,
                Err(Failure::Refused(why)) => failed.push((address, why)),
                Err(Failure::Beaten) => failed.push((address, "it has just changed".to_string())),
            }
        }
        (count, failed)
    }
}

/// By its finalizer, or by a claim; not what another Guideway of the cluster holds.
fn is_ours(world: &World, key: &Key, service: &Service) -> bool {
    let (held, manager) = (world.held(key, service), &world.options().manager);
    let by_others = held.iter().any(|(_, claim)| claim.manager != *manager);
    !by_others && (service.has_our_finalizer || !held.is_empty())
}

/// No Guideway would take it back: it is nobody's by its class, or no balancer's at all.
fn is_let_go(service: &Service) -> bool {
    let is_orphaned = service.told.as_ref().is_some_and(|(reason, _)| &**reason == ORPHANED);
    is_orphaned || service.is_deleted || !service.is_balanced
}

async fn one(world: &World, writer: &Writer, key: &Key) -> (Key, Vec<Change>, Option<String>) {
    let mut changes = vec![];
    // Of its own from the first time that somebody else was faster.
    let mut world = Cow::Borrowed(world);
    for _ in 0..TRIES {
        let Some(service) = world.service(key) else { return (key.clone(), changes, None) };
        let planned = Planned::of(&world, key, service);
        // All of it again is no harm: what is done already is found done.
        let (more, result) = writer.write(planned, release(&world, key)).await;
        changes.extend(more.iter().cloned());
        match result {
            Ok(()) => return (key.clone(), changes, None),
            Err(Failure::Refused(why)) => return (key.clone(), changes, Some(why)),
            Err(Failure::Beaten) => more.into_iter().for_each(|one| world.to_mut().answer(one)),
        }
    }
    (key.clone(), changes, Some("it changes all the time".to_string()))
}

/// All objects of a kind, by pages; none where the API does not know the kind.
async fn list<K>(client: &Client) -> Result<Vec<K>, String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (api, mut params, mut all) =
        (Api::<K>::all(client.clone()), ListParams::default().limit(PAGE), vec![]);
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(error) if code(&error) == 404 => return Ok(all),
            Err(error) => return Err(told(&error)),
        };
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Who renews the Lease. Clocks of machines are not compared: it has to change while it is looked at.
async fn leader(client: &Client, spec: &KubernetesSpec) -> Result<Option<String>, String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &spec.lease_namespace);
    let (until, mut first) = (Instant::now() + RENEWED_WITHIN, None);
    loop {
        let lease = leases.get_opt(&spec.manager).await.map_err(|error| told(&error))?;
        let Some(lease) = lease else { return Ok(None) };
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        let Some(holder) = holder.filter(|holder| !holder.is_empty()) else { return Ok(None) };
        let version = lease.metadata.resource_version;
        if *first.get_or_insert_with(|| version.clone()) != version {
            return Ok(Some(holder));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::Claim;
    use crate::source::kubernetes::testing::{claim, service, world};

    #[test]
    fn whose_it_is_and_who_would_take_it_back() {
        fn finalized(service: &mut Service) {
            service.has_our_finalizer = true;
        }
        type Row = (&'static str, fn(&mut Service), &'static str, (bool, bool));
        let rows: [Row; 8] = [
            ("never ours", |_| {}, "", (false, false)),
            ("waits for an address", finalized, "", (true, false)),
            ("has an address", finalized, "guideway", (true, false)),
            ("somebody took its finalizers off", |_| {}, "guideway", (true, false)),
            ("another Guideway's", finalized, "other", (false, false)),
            (
                "orphaned",
                |s| s.told = Some(("Orphaned".into(), "as it says".into())),
                "guideway",
                (true, true),
            ),
            ("deleted", |s| s.is_deleted = true, "guideway", (true, true)),
            ("of another type", |s| s.is_balanced = false, "guideway", (true, true)),
        ];
        for (description, change, manager, wanted) in rows {
            let (mut world, key, mut service) = (world(), Key::new("shop", "web"), service());
            change(&mut service);
            if !manager.is_empty() {
                let claim = Claim { manager: manager.into(), ..claim("web") };
                world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim)));
            }
            let found = (is_ours(&world, &key, &service), is_let_go(&service));
            assert_eq!(found, wanted, "{description}");
        }
    }
}
