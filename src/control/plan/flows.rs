//! What becomes of live flows when another snapshot takes over.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::FlowFates;
use crate::control::LiveFlows;
use crate::forwarding::{Backend, BackendState, Mode, Snapshot};

/// What becomes of the flows of one backend.
enum Fate {
    Keep,
    Drain,
    Lose,
    /// Those of one SNAT address that goes; which those are, nobody has counted.
    Unsure,
}

/// The flows of each service of `running`, by its place there.
pub(super) fn fates(running: &Snapshot, next: &Snapshot, live: &LiveFlows) -> Vec<FlowFates> {
    let mut fates = vec![FlowFates::default(); running.services.len()];
    for backend in running.backends.iter().flatten() {
        let flows = u64::from(live.of(backend.id));
        let Some(sum) = fates.get_mut(backend.service.index()).filter(|_| flows > 0) else {
            continue;
        };
        let of_fate = match fate(backend, running, next) {
            Fate::Keep => &mut sum.keep,
            Fate::Drain => &mut sum.drain,
            Fate::Lose => &mut sum.lose,
            Fate::Unsure => &mut sum.unsure,
        };
        *of_fate += flows;
    }
    fates
}

/// Only what the change does: flows of a backend that is retired already go on as they do.
fn fate(old: &Backend, running: &Snapshot, next: &Snapshot) -> Fate {
    let Some(new) = next.backend(old.id) else { return Fate::Lose };
    let is_service_gone = |snapshot: &Snapshot, backend: &Backend| {
        snapshot.service_of(backend).is_none_or(|service| service.gone)
    };
    let is_newly_gone = is_service_gone(next, new) && !is_service_gone(running, old);
    if is_newly_gone || (new.gone && !old.gone) {
        return Fate::Lose;
    }
    match snat_that_stays(old, running, next) {
        Stays::None => return Fate::Lose,
        Stays::Some => return Fate::Unsure,
        Stays::All => {}
    }
    let gets_no_more =
        |backend: &Backend| matches!(backend.state, BackendState::Draining | BackendState::Retired);
    if gets_no_more(new) && !gets_no_more(old) { Fate::Drain } else { Fate::Keep }
}

enum Stays {
    None,
    Some,
    All,
}

/// Answers of a NAT flow come to its SNAT address and port, and to nowhere else.
fn snat_that_stays(old: &Backend, running: &Snapshot, next: &Snapshot) -> Stays {
    if old.mode != Mode::Nat {
        return Stays::All;
    }
    let pools = old.snat.iter().filter_map(|&place| running.snat.get(usize::from(place)));
    let (mut stay, mut go) = (0, 0);
    for pool in pools {
        if is_owned(next, pool.address, &pool.ports) { stay += 1 } else { go += 1 }
    }
    match (stay, go) {
        (_, 0) => Stays::All,
        (0, _) => Stays::None,
        _ => Stays::Some,
    }
}

/// Are all of these ports still ours?
fn is_owned(next: &Snapshot, address: IpAddr, ports: &RangeInclusive<u16>) -> bool {
    next.snat.iter().any(|pool| {
        pool.address == address
            && pool.ports.start() <= ports.start()
            && ports.end() <= pool.ports.end()
    })
}
