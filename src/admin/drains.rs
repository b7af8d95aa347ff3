//! Backends that are drained by hand: what is asked, and how far each drain is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::flows::AskError;
use super::{ServiceStatus, proto};
use crate::control::Drain;

/// What somebody wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainAsk {
    /// What is done.
    pub verb: DrainVerb,
    /// Name of a backend.
    pub backend: String,
    /// Only in this service.
    pub service: Option<String>,
    /// Who asks.
    pub uid: Option<u32>,
}

/// What is done about a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainVerb {
    /// No new flow from now on, until then.
    Begin {
        /// None: until somebody ends it.
        until_unix_ms: Option<u64>,
    },
    /// New flows again.
    End,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DrainDone {
    /// Begun or ended.
    pub drains: Vec<Drain>,
    /// Services in which the backend drains all the same, since their configuration says so.
    pub still_drains_in: Vec<String>,
}

/// Why it was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DrainError {
    /// What was asked makes no sense here.
    Wrong(AskError),
    /// It could not be done.
    Failed(String),
}

/// Does it, and answers once all workers know.
pub type DrainSource = Arc<dyn Fn(DrainAsk) -> Result<DrainDone, DrainError> + Send + Sync>;

/// A drain and how far it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Who is drained, by whom and until when.
    #[serde(flatten)]
    pub drain: Drain,
    /// Services that have the backend now.
    pub services: Vec<String>,
    /// Flows it still has.
    pub flows: u64,
}

/// How far drains are, by what status says of services.
pub fn drains_of<'a>(
    drains: impl Iterator<Item = &'a Drain>,
    services: &[ServiceStatus],
) -> Vec<DrainStatus> {
    let status = drains.map(|drain| {
        let (mut names, mut flows) = (Vec::new(), 0);
        for service in services.iter().filter(|service| drain.is_in(&service.name)) {
            let of_it = service.backends.iter().find(|backend| backend.name == drain.backend);
            if let Some(backend) = of_it {
                names.push(service.name.clone());
                flows += backend.flows;
            }
        }
        DrainStatus { drain: drain.clone(), services: names, flows }
    });
    status.collect()
}

impl From<DrainStatus> for proto::Drain {
    fn from(status: DrainStatus) -> proto::Drain {
        let DrainStatus { drain, services, flows } = status;
        proto::Drain { services, flows, ..drain.into() }
    }
}

impl From<Drain> for proto::Drain {
    fn from(drain: Drain) -> proto::Drain {
        proto::Drain {
            backend: drain.backend,
            service: drain.service.unwrap_or_default(),
            uid: drain.uid,
            user: drain.user.unwrap_or_default(),
            since_unix_ms: drain.since_unix_ms,
            until_unix_ms: drain.until_unix_ms.unwrap_or(0),
            services: vec![],
            flows: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample_report;
    use super::*;

    #[test]
    fn flows_of_the_backends_that_are_meant() {
        let mut services = sample_report().services;
        let mut dns = services[0].clone();
        dns.name = "dns".into();
        services.push(dns);
        let drain = |backend: &str, service: Option<&str>| Drain {
            backend: backend.into(),
            service: service.map(str::to_string),
            uid: Some(0),
            user: Some("root".into()),
            since_unix_ms: 7,
            until_unix_ms: None,
        };
        let all = [drain("b1", None), drain("b2", Some("web")), drain("b9", None)];
        let told: Vec<_> = drains_of(all.iter(), &services)
            .into_iter()
            .map(|status| (status.drain.backend, status.services.join(" "), status.flows))
            .collect();
        let row = |backend: &str, services: &str, flows| (backend.into(), services.into(), flows);
        assert_eq!(told, [row("b1", "web dns", 42), row("b2", "web", 21), row("b9", "", 0)]);
    }
}
