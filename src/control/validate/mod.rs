//! What a desired state must be, whatever the machine is like.

mod addresses;
mod after;
mod health_check;
#[cfg(test)]
mod health_check_tests;
#[cfg(test)]
mod mode_tests;
mod service;
mod sharing;
mod snat;
#[cfg(test)]
mod tests;
mod tunnel_sources;

pub(super) use after::{claims_the_same, validate_after};
pub(super) use service::{needs_snat, needs_tunnel_source};

use super::{DesiredState, Refusal, ServiceSpec};

/// Everything that is wrong with a service in itself, whatever else there is. Paths name it:
/// `services[web].port`.
pub fn validate_service(service: &ServiceSpec) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    service::check_alone(&format!("services[{}]", service.name), service, &mut refusals);
    refusals
}

/// As [`validate`], of a part of a state: what a service needs may be in another part.
pub fn validate_part(desired: &DesiredState) -> Vec<Refusal> {
    all(desired, service::Beside { is_known: &|_| false, is_part: true })
}

/// Everything that is wrong with it; nothing when it can be compiled.
///
/// Paths count services and backends as they stand in the input.
pub fn validate(desired: &DesiredState) -> Vec<Refusal> {
    all(desired, service::Beside { is_known: &|_| false, is_part: false })
}

fn all(desired: &DesiredState, beside: service::Beside<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    sharing::check(desired, &mut refusals);
    service::check(desired, &beside, &mut refusals);
    snat::check(desired, &mut refusals);
    tunnel_sources::check(desired, &mut refusals);
    addresses::check(desired, &mut refusals);
    refusals
}
