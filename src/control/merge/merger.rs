//! The merged state of sources that change one at a time.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::source::Taken;
use super::{Delivery, Drains, Form, HeldChange, Merged, Refused, Source, accept, collect};
use crate::control::validate::claims_the_same;
use crate::control::{BackendSpec, ServiceSpec};

/// Sources and what they want together: at all times what [`super::merge`] says of them, but a
/// service that only gets other backends, weights or rules is put in its place at once; and with the
/// backends draining that somebody drains by hand.
#[derive(Clone, Debug, Default)]
pub struct Merger {
    sources: Vec<Source>,
    drains: Drains,
    merged: Merged,
    /// Source, part and place in the merged state of each service that is served, by name.
    served: HashMap<String, (usize, Arc<str>, usize)>,
    /// Those that lost a claim or lack something: what is refused beside what sources refuse.
    losers: Vec<Refused>,
    /// Addresses of what is served, and those that losers want.
    ours: HashSet<IpAddr>,
    wanted: HashSet<IpAddr>,
}

/// What a delivery did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The change waits to be confirmed, and nothing of it is in the merged state.
    pub held: Option<HeldChange>,
    /// The merged state is another one.
    pub is_new: bool,
    /// All services were looked at.
    pub was_merged_anew: bool,
}

impl Merger {
    /// Of these sources, in the order they are configured in.
    pub fn new(sources: Vec<Source>) -> Merger {
        let mut merger = Merger { sources, ..Merger::default() };
        merger.merge_anew();
        merger
    }

    /// What is wanted now.
    pub fn merged(&self) -> &Merged {
        &self.merged
    }

    /// The sources as they are.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Backends that are drained by hand.
    pub fn drains(&self) -> &Drains {
        &self.drains
    }

    /// From now on these are drained by hand, and no others.
    pub fn set_drains(&mut self, drains: Drains) {
        if drains != self.drains {
            self.drains = drains;
            self.merge_anew();
        }
    }

    /// Takes what a source delivers at once.
    ///
    /// # Panics
    /// When there is no such source: a mistake of the caller's.
    pub fn take(&mut self, source: usize, deliveries: Vec<(Arc<str>, Delivery)>) -> Outcome {
        let taken = self.sources[source].take(deliveries);
        let mut outcome = Outcome { held: self.sources[source].held(), ..Outcome::default() };
        outcome.is_new = taken.is_more || !taken.swapped.is_empty();
        match self.swaps(source, &taken) {
            Some(swaps) => {
                for (place, form) in swaps {
                    self.merged.desired.services[place] = self.drains.applied_to(form.spec);
                }
                self.tell();
            }
            None => {
                outcome.was_merged_anew = true;
                self.merge_anew();
            }
        }
        outcome
    }

    /// The change of this source that waits is meant. Was there one?
    pub fn confirm(&mut self, source: usize) -> bool {
        let was_held = self.sources.get_mut(source).is_some_and(Source::confirm);
        if was_held {
            self.merge_anew();
        }
        was_held
    }

    /// The change of this source that waits is not meant. Was there one?
    pub fn forget_held(&mut self, source: usize) -> bool {
        let was_held = self.sources.get_mut(source).is_some_and(Source::forget_held);
        self.tell();
        was_held
    }

    /// Places and new forms, when that is all that becomes of the change.
    fn swaps(&self, source: usize, taken: &Taken) -> Option<Vec<(usize, Form)>> {
        if taken.is_more {
            return None;
        }
        let swap = |(part, old, new): &(Arc<str>, Form, Form)| {
            let (owner, of, place) = self.served.get(&old.spec.name)?;
            let is_its = *owner == source && of == part && old.created_ms == new.created_ms;
            let fits = is_its && self.stands_for(&old.spec, &new.spec);
            fits.then(|| (*place, new.clone()))
        };
        taken.swapped.iter().map(swap).collect()
    }

    /// Would every service be served or refused as it is, were the one in the other's place?
    fn stands_for(&self, old: &ServiceSpec, new: &ServiceSpec) -> bool {
        // A backend at an address of ours, or at one that somebody wants, changes who is served.
        let is_apart = |backend: &BackendSpec| {
            !self.ours.contains(&backend.address) && !self.wanted.contains(&backend.address)
        };
        claims_the_same(old, new) && old.backends.iter().chain(&new.backends).all(is_apart)
    }

    fn merge_anew(&mut self) {
        let (order, excluded) = accept(&self.sources);
        self.served.clear();
        self.ours.clear();
        self.wanted.clear();
        let mut place = 0;
        for (item, excluded) in order.items.iter().zip(&excluded) {
            let (addresses, is_served) = match excluded {
                Some(_) => (&mut self.wanted, false),
                None => (&mut self.ours, true),
            };
            addresses.extend(item.address());
            if let (Some(form), true) = (item.form(), is_served) {
                let owner = (item.source, item.part.clone(), place);
                self.served.insert(form.spec.name.clone(), owner);
                place += 1;
            }
        }
        (self.merged.desired, self.losers) = collect(&order, excluded);
        for service in &mut self.merged.desired.services {
            *service = self.drains.applied_to(service.clone());
        }
        self.tell();
    }

    /// What is refused and what waits, as it is now.
    fn tell(&mut self) {
        self.merged.tell(&self.sources, self.losers.clone());
    }
}
