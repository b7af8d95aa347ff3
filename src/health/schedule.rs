//! Which check is due when, and what its result means. Pure: time is an argument, chance has a seed.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::ProbeError;
use crate::control::{Health, HealthCheckSpec, HealthState};

/// One backend to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeTarget {
    /// Name of its service.
    pub service: Arc<str>,
    /// Its name in the service.
    pub backend: Arc<str>,
    /// Where it is probed.
    pub socket: SocketAddr,
    /// How.
    pub spec: Arc<HealthCheckSpec>,
}

/// The targets of one service. Whoever makes a new list takes over the groups that are as they were: by
/// that it is seen that there is nothing to look at.
pub type TargetGroup = Arc<[ProbeTarget]>;

fn place(group: &TargetGroup) -> usize {
    Arc::as_ptr(group).addr()
}

fn member(target: &ProbeTarget) -> Member {
    (target.service.clone(), target.backend.clone())
}

/// News about a backend: its health changed, or why it is as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthEvent {
    /// Name of its service.
    pub service: Arc<str>,
    /// Its name in the service.
    pub backend: Arc<str>,
    /// What is thought of it now; the same as in its last event when only the reason is new.
    pub health: Health,
    /// The last result: `ok`, or why it failed.
    pub reason: String,
}

/// Names a check for as long as it is there: a place is used again, its version is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct CheckId {
    pub place: u32,
    pub version: u32,
}

/// A check that is to be tried now.
pub(super) struct Due {
    pub id: CheckId,
    pub socket: SocketAddr,
    pub spec: Arc<HealthCheckSpec>,
}

/// What is asked, and of whom.
type Asked = (SocketAddr, Arc<HealthCheckSpec>);
/// Service and backend.
type Member = (Arc<str>, Arc<str>);

struct Check {
    asked: Asked,
    /// Who wants to know.
    members: BTreeSet<Member>,
    state: HealthState,
    /// Reason that members were told last; empty: none yet.
    told: String,
    begun_ms: u64,
    version: u32,
}

pub(super) struct Schedule {
    checks: Vec<Option<Check>>,
    free: Vec<u32>,
    by_asked: HashMap<Asked, u32>,
    /// Those of the last list, by where they lie.
    groups: HashMap<usize, TargetGroup>,
    /// One entry for each check that is not being tried; and some of checks that are gone.
    due: BinaryHeap<Reverse<(u64, CheckId)>>,
    versions: u32,
    rng: SmallRng,
}

impl Schedule {
    /// Nothing to do yet. `seed` gives phases and jitter.
    pub fn new(seed: u64) -> Schedule {
        Schedule {
            checks: vec![],
            free: vec![],
            by_asked: HashMap::new(),
            groups: HashMap::new(),
            due: BinaryHeap::new(),
            versions: 0,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Takes another list of targets, and looks only at the groups that are new or gone. Checks that
    /// somebody still wants go on as they were; a new one begins as unknown, at some moment of its
    /// interval, so that those of one list are spread over it. Gives the checks that nobody wants any
    /// more. Who joins a check is told what is known.
    pub fn follow(
        &mut self,
        groups: &[TargetGroup],
        now_ms: u64,
        events: &mut Vec<HealthEvent>,
    ) -> Vec<CheckId> {
        let wanted: HashSet<usize> = groups.iter().map(place).collect();
        let gone: Vec<TargetGroup> = self
            .groups
            .extract_if(|place, _| !wanted.contains(place))
            .map(|(_, group)| group)
            .collect();
        let new = groups
            .iter()
            .filter(|group| self.groups.insert(place(group), TargetGroup::clone(group)).is_none());
        let new: Vec<TargetGroup> = new.cloned().collect();
        let mut leaving: BTreeSet<(u32, Member)> = BTreeSet::new();
        for target in gone.iter().flat_map(|group| group.iter()) {
            let place = self.by_asked.get(&(target.socket, target.spec.clone()));
            leaving.extend(place.map(|place| (*place, member(target))));
        }
        let mut fresh: HashMap<Asked, Vec<Member>> = HashMap::new();
        for target in new.iter().flat_map(|group| group.iter()) {
            let asked = (target.socket, target.spec.clone());
            let member = member(target);
            match self.by_asked.get(&asked) {
                // It is there, and stays.
                Some(place) if leaving.remove(&(*place, member.clone())) => {}
                Some(place) => {
                    let check = self.checks.get_mut(*place as usize);
                    if let Some(check) = check.and_then(Option::as_mut) {
                        check.join(member, events);
                    }
                }
                None => fresh.entry(asked).or_default().push(member),
            }
        }
        let stopped = self.leave(leaving);
        fresh.into_iter().for_each(|(asked, members)| self.add(asked, members, now_ms));
        stopped
    }

    /// Gives the checks that were left by the last of their members.
    fn leave(&mut self, leaving: BTreeSet<(u32, Member)>) -> Vec<CheckId> {
        let mut stopped = vec![];
        for (place, member) in leaving {
            let Some(at) = self.checks.get_mut(place as usize) else { continue };
            let Some(check) = at else { continue };
            check.members.remove(&member);
            if check.members.is_empty() {
                stopped.push(CheckId { place, version: check.version });
                self.by_asked.remove(&check.asked);
                self.free.push(place);
                *at = None;
            }
        }
        stopped
    }

    fn add(&mut self, asked: Asked, members: Vec<Member>, now_ms: u64) {
        let place = self.free.pop().unwrap_or(self.checks.len() as u32);
        if place as usize == self.checks.len() {
            self.checks.push(None);
        }
        self.versions = self.versions.wrapping_add(1);
        let id = CheckId { place, version: self.versions };
        let check = Check::new(asked.clone(), members, id.version);
        let phase_ms = self.rng.random_range(0..check.interval_ms());
        self.due.push(Reverse((now_ms + phase_ms, id)));
        if let Some(at) = self.checks.get_mut(place as usize) {
            *at = Some(check);
        }
        self.by_asked.insert(asked, place);
    }

    fn check(&mut self, id: CheckId) -> Option<&mut Check> {
        let check = self.checks.get_mut(id.place as usize)?.as_mut()?;
        (check.version == id.version).then_some(check)
    }

    /// When there is something to do next.
    pub fn next_ms(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_ms, _))| *due_ms)
    }

    /// A check that has to be tried now; it is not given again before [`Schedule::finish`].
    pub fn begin(&mut self, now_ms: u64) -> Option<Due> {
        while self.next_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let Reverse((_, id)) = self.due.pop()?;
            if let Some(check) = self.check(id) {
                check.begun_ms = now_ms;
                let (socket, spec) = check.asked.clone();
                return Some(Due { id, socket, spec });
            }
        }
        None
    }

    /// Takes the result of a try that began by [`Schedule::begin`].
    pub fn finish(
        &mut self,
        id: CheckId,
        result: &Result<(), ProbeError>,
        now_ms: u64,
        events: &mut Vec<HealthEvent>,
    ) {
        let Some(check) = self.check(id) else { return };
        check.take(result, now_ms, events);
        let (begun_ms, interval_ms) = (check.begun_ms, check.interval_ms());
        let next_ms = begun_ms + jittered(interval_ms, &mut self.rng);
        self.due.push(Reverse((next_ms.max(now_ms), id)));
    }
}

impl Check {
    fn new(asked: Asked, members: Vec<Member>, version: u32) -> Check {
        let state = HealthState::new(&asked.1);
        let members = members.into_iter().collect();
        Check { asked, members, state, told: String::new(), begun_ms: 0, version }
    }

    fn interval_ms(&self) -> u64 {
        let spec = &self.asked.1;
        let fast_ms = spec.fast_interval_ms.filter(|_| self.state.is_changing());
        fast_ms.unwrap_or(spec.interval_ms).max(1).into()
    }

    fn join(&mut self, member: Member, events: &mut Vec<HealthEvent>) {
        if !self.told.is_empty() && !self.members.contains(&member) {
            events.push(self.event(&member));
        }
        self.members.insert(member);
    }

    fn take(
        &mut self,
        result: &Result<(), ProbeError>,
        now_ms: u64,
        events: &mut Vec<HealthEvent>,
    ) {
        let (changed, reason) = match result {
            Ok(()) => {
                let changed = self.state.observe(true, now_ms);
                (changed.is_some(), self.good(now_ms))
            }
            Err(ProbeError::Failed(reason)) => {
                let changed = self.state.observe(false, now_ms);
                (changed.is_some(), Cow::Borrowed(reason.as_str()))
            }
            // Says nothing about the backend, but why nothing is known of it.
            Err(error @ ProbeError::NotTried(_)) => (false, Cow::Owned(error.to_string())),
        };
        if !changed && self.told == reason {
            return;
        }
        self.told = reason.into_owned();
        events.extend(self.members.iter().map(|member| self.event(member)));
    }

    fn good(&self, now_ms: u64) -> Cow<'static, str> {
        match self.state.held_ms(now_ms) {
            None => Cow::Borrowed("ok"),
            Some(_) => {
                let seconds = self.state.wait_ms().div_ceil(1_000);
                Cow::Owned(format!("ok, but it flapped: has to be good for {seconds} s"))
            }
        }
    }

    fn event(&self, (service, backend): &Member) -> HealthEvent {
        HealthEvent {
            service: service.clone(),
            backend: backend.clone(),
            health: self.state.health(),
            reason: self.told.clone(),
        }
    }
}

/// The interval, 10 % more or less, so that checks do not fall into step.
fn jittered(interval_ms: u64, rng: &mut SmallRng) -> u64 {
    let tenth_ms = interval_ms / 10;
    interval_ms - tenth_ms + rng.random_range(0..=2 * tenth_ms)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
