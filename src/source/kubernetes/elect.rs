//! The election over the API: reads the Lease, and writes it while it is ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::client::{code, told};
use super::lease::{DURATION_MS, EVERY_MS, Election, Record, Step};
use crate::control::KubernetesSpec;

/// A request that takes longer is as good as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Stands for election for ever. `until`: in milliseconds since `begin`, until when this one writes.
/// `tell` is told what is in the way, or that nothing is, and says whether that is new.
pub async fn elect(
    client: Client,
    spec: KubernetesSpec,
    instance: String,
    (begin, until): (Instant, Arc<AtomicU64>),
    tell: impl Fn(Option<&str>) -> bool,
) {
    let leases: Api<Lease> = Api::namespaced(client, &spec.lease_namespace);
    let mut election = Election::new(&instance);
    loop {
        let round = timeout(ANSWER_WITHIN, round(&leases, &spec.manager, &mut election, begin));
        let problem = match round.await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("no answer".to_string()),
        };
        let is_new = tell(problem.as_deref());
        if let Some(why) = problem.filter(|_| is_new) {
            let (cluster, lease) = (&spec.name, &spec.manager);
            tracing::warn!(%cluster, %lease, why, "the Lease could not be read or written");
        }
        until.store(election.leads_until().unwrap_or_default(), Ordering::Relaxed);
        sleep(Duration::from_millis(EVERY_MS)).await;
    }
}

async fn round(
    leases: &Api<Lease>,
    name: &str,
    election: &mut Election,
    begin: Instant,
) -> Result<(), String> {
    let now_ms = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let lease = leases.get_opt(name).await.map_err(|error| told(&error))?;
    let begun = now_ms();
    let step = election.read(lease.as_ref().map(record), begun);
    let me = election.me().to_string();
    let written = match (step, lease) {
        (Step::Wait, _) => return Ok(()),
        (Step::Create, _) | (_, None) => {
            let mut lease = Lease::default();
            lease.metadata.name = Some(name.to_string());
            lease.spec = Some(held(&me, None));
            leases.create(&Default::default(), &lease).await
        }
        (_, Some(mut lease)) => {
            // With the version that was read: of two that take it, one is refused.
            lease.spec = Some(held(&me, lease.spec.as_ref()));
            lease.metadata.managed_fields = None;
            leases.replace(name, &Default::default(), &lease).await
        }
    };
    match written {
        Ok(_) => {
            election.wrote(begun);
            Ok(())
        }
        Err(error) if code(&error) == 409 => {
            election.lost();
            Ok(())
        }
        Err(error) => Err(told(&error)),
    }
}

fn record(lease: &Lease) -> Record {
    let default = LeaseSpec::default();
    let spec = lease.spec.as_ref().unwrap_or(&default);
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.clone(),
        duration_ms: seconds.map_or(DURATION_MS, |seconds| seconds.saturating_mul(1000)),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn held(me: &str, before: Option<&LeaseSpec>) -> LeaseSpec {
    let is_mine = before.is_some_and(|before| before.holder_identity.as_deref() == Some(me));
    let now = MicroTime(Timestamp::now());
    let transitions = before.and_then(|before| before.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(me.to_string()),
        lease_duration_seconds: i32::try_from(DURATION_MS / 1000).ok(),
        renew_time: Some(now.clone()),
        acquire_time: match is_mine {
            true => before.and_then(|before| before.acquire_time.clone()),
            false => Some(now),
        },
        lease_transitions: Some(if is_mine { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }
}
