//! What a desired state must be, whatever the machine is like.

mod addresses;
mod health_check;
#[cfg(test)]
mod mode_tests;
mod service;
mod sharing;
mod snat;
#[cfg(test)]
mod tests;
mod tunnel_sources;

use super::{DesiredState, Refusal};

/// Everything that is wrong with it; nothing when it can be compiled.
///
/// Paths count services and backends as they stand in the input.
pub fn validate(desired: &DesiredState) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    sharing::check(desired, &mut refusals);
    service::check(desired, &mut refusals);
    snat::check(desired, &mut refusals);
    tunnel_sources::check(desired, &mut refusals);
    addresses::check(desired, &mut refusals);
    refusals
}
