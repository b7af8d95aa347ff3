//! A desired state beside one that is known to be fine.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::super::{BackendSpec, DesiredState, Refusal, ServiceSpec};
use super::service::Beside;
use super::{all, validate_service};
use crate::forwarding::Mode;
use crate::wire::Address;

/// As [`super::validate`], where `before` was found to be fine: what is as it was there is not looked
/// at again. `is_ours`: may this be an address of a service or for translation?
pub fn validate_after(
    desired: &DesiredState,
    before: &DesiredState,
    is_ours: impl Fn(IpAddr) -> bool,
) -> Vec<Refusal> {
    if is_still_fine(desired, before, is_ours) {
        return vec![];
    }
    let known: HashSet<*const ServiceSpec> =
        before.services.iter().map(|service| service.place()).collect();
    let is_known = |place: usize| known.contains(&desired.services[place].place());
    all(desired, Beside { is_known: &is_known, is_part: false })
}

/// Nothing new is claimed, and what has changed is good in itself: then all of it is fine. May say no
/// of what is.
fn is_still_fine(
    desired: &DesiredState,
    before: &DesiredState,
    is_ours: impl Fn(IpAddr) -> bool,
) -> bool {
    let is_fine = |old: &ServiceSpec, new: &ServiceSpec| {
        claims_the_same(old, new)
            && !new.backends.iter().any(|backend| is_ours(backend.address))
            && validate_service(new).is_empty()
    };
    desired.services.len() == before.services.len()
        && desired.snat == before.snat
        && desired.tunnel_sources == before.tunnel_sources
        && before
            .services
            .iter()
            .zip(&desired.services)
            .all(|(old, new)| old.is_same(new) || is_fine(old, new))
}

/// Does a service want nothing for itself that it did not want before, and need nothing else? Other
/// backends of it may have any address but one of ours.
pub fn claims_the_same(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let socket = |spec: &ServiceSpec| (spec.address, spec.port, spec.last_port, spec.protocol);
    let sockets = |spec: &ServiceSpec| -> Vec<SocketAddr> {
        spec.backends.iter().map(|b| SocketAddr::new(b.address, b.port)).collect()
    };
    let is_v4 = |backend: &BackendSpec| Address::from(backend.address).is_v4();
    let families = |spec: &ServiceSpec| {
        let has = |wanted| spec.backends.iter().any(|backend| is_v4(backend) == wanted);
        (has(true), has(false))
    };
    old.name == new.name
        && socket(old) == socket(new)
        && (old.shared_address, old.mode) == (new.shared_address, new.mode)
        && (old.mode != Mode::Dnat || sockets(old) == sockets(new))
        && (old.mode.tunnel().is_none() || families(old) == families(new))
}
