//! Deliveries of a cluster into the desired state: one is under way at a time, and what becomes
//! different meanwhile goes with the next one. What is not taken is delivered again, later and later.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::forms::Forms;
use super::objects::Key;
use super::world::World;
use crate::control::{Delivery, Form, Part};
use crate::source::ask::Ask;

/// First wait after a delivery that was not taken, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be delivered, and what is on its way.
#[derive(Default)]
pub struct Deliveries {
    forms: Forms,
    /// Everything that the API has was taken once.
    is_whole: bool,
    waiting: BTreeSet<Key>,
    /// Names that are served no longer, of deliveries that were not taken.
    gone: BTreeSet<String>,
    on_its_way: JoinSet<bool>,
    /// The services and names of that.
    under_way: (BTreeSet<Key>, BTreeSet<String>),
    /// Not before, and how long the next wait is.
    wait: Option<(Instant, Duration)>,
}

impl Deliveries {
    /// What is served already is in `world`.
    pub fn new(world: &World) -> Deliveries {
        let mut forms = Forms::default();
        let _ = forms.all(world);
        Deliveries { forms, ..Deliveries::default() }
    }

    /// What is made of the cluster.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// These are different.
    pub fn push(&mut self, keys: &[Key]) {
        self.waiting.extend(keys.iter().cloned());
    }

    /// When something waits that was not taken.
    pub fn again_at(&self) -> Option<Instant> {
        let is_needed = self.on_its_way.is_empty() && (!self.is_whole || !self.waiting.is_empty());
        self.wait.filter(|_| is_needed).map(|(at, _)| at)
    }

    /// Sends what waits, if nothing is under way.
    pub fn start(&mut self, world: &World, asks: &mpsc::Sender<Ask>, source: usize) {
        let is_early = self.wait.is_some_and(|(at, _)| Instant::now() < at);
        if !self.on_its_way.is_empty() || is_early {
            return;
        }
        let Some((delivery, names)) = self.next(world) else { return };
        let asks = asks.clone();
        self.on_its_way.spawn(async move {
            let took = Ask::deliver(&asks, source, vec![delivery], names).await;
            took.is_some_and(|took| took.is_ok())
        });
    }

    /// What is delivered next, with the names that it is about.
    fn next(&mut self, world: &World) -> Option<(Delivery, Vec<String>)> {
        let keys = std::mem::take(&mut self.waiting);
        if !self.is_whole {
            let forms = self.forms.all(world);
            let names = names(&forms).collect();
            self.under_way = (keys, BTreeSet::new());
            return Some((Delivery::Whole(Part::of(forms)), names));
        }
        let mut gone = std::mem::take(&mut self.gone);
        let mut forms = vec![];
        for key in &keys {
            let (more, less) = self.forms.update(world, key);
            more.iter().for_each(|form| {
                gone.remove(&form.spec.name);
            });
            forms.extend(more);
            gone.extend(less);
        }
        if forms.is_empty() && gone.is_empty() {
            return None;
        }
        let names = names(&forms).chain(gone.iter().cloned()).collect();
        let delivery = Delivery::Some(forms, gone.iter().cloned().collect());
        self.under_way = (keys, gone);
        Some((delivery, names))
    }

    /// Waits for what becomes of the one under way; none is, for ever. Was it taken?
    pub async fn done(&mut self) -> bool {
        let Some(taken) = self.on_its_way.join_next().await else {
            return std::future::pending().await;
        };
        let taken = taken.unwrap_or(false);
        self.settle(taken);
        taken
    }

    fn settle(&mut self, taken: bool) {
        let (keys, gone) = std::mem::take(&mut self.under_way);
        if taken {
            self.is_whole = true;
            self.wait = None;
            return;
        }
        self.waiting.extend(keys);
        self.gone.extend(gone);
        let wait = self.wait.map_or(FIRST_WAIT, |(_, next)| next);
        self.wait = Some((Instant::now() + wait, (wait * 2).min(LONGEST_WAIT)));
    }
}

fn names(forms: &[Form]) -> impl Iterator<Item = String> {
    forms.iter().map(|form| form.spec.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::testing::{claim, endpoint, service, slice, world};
    use crate::source::kubernetes::world::Change;

    fn told(next: Option<(Delivery, Vec<String>)>) -> String {
        match next {
            None => "nothing".to_string(),
            Some((Delivery::Some(forms, gone), _)) => {
                format!("{:?} without {gone:?}", names(&forms).collect::<Vec<_>>())
            }
            Some((_, names)) => format!("whole {names:?}"),
        }
    }

    #[test]
    fn what_is_not_taken_is_delivered_again() {
        let (mut world, key) = (world(), Key::new("shop", "web"));
        let mut deliveries = Deliveries::new(&world);
        let next = |deliveries: &mut Deliveries, world: &mut World, change: Option<Change>| {
            change.into_iter().for_each(|change| world.apply(change));
            deliveries.push(&world.take_dirty());
            told(deliveries.next(world))
        };
        assert_eq!(next(&mut deliveries, &mut world, None), "whole []");
        deliveries.settle(false);
        world.apply(Change::Claim("203.0.113.1".parse().unwrap(), Some(claim("web"))));
        world.apply(slice("web-1", "web", [endpoint("p1", "10.244.1.5", "n1")]));
        let new = Change::Service(key.clone(), Some(service()));
        assert_eq!(next(&mut deliveries, &mut world, Some(new)), r#"whole ["shop.web.80.tcp"]"#);
        deliveries.settle(true);
        assert_eq!(next(&mut deliveries, &mut world, None), "nothing");

        let mut other = service();
        other.ports[0].port = 81;
        let other = Change::Service(key.clone(), Some(other));
        let wanted = r#"["shop.web.81.tcp"] without ["shop.web.80.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, Some(other)), wanted);
        deliveries.settle(false);
        assert_eq!(next(&mut deliveries, &mut world, None), wanted, "the same once more");
        deliveries.settle(false);
        let before = Change::Service(key, Some(service()));
        let wanted = r#"["shop.web.80.tcp"] without ["shop.web.81.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, Some(before)), wanted, "it is back");
        deliveries.settle(true);
        assert_eq!(next(&mut deliveries, &mut world, None), "nothing");
    }
}
