//! Deliveries of a cluster into the desired state: one is under way at a time, and what becomes
//! different meanwhile goes with the next one. Of one that is not taken, each service is tried by itself,
//! and what is not taken then, later and later.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Everything that the API has was delivered once.
    is_begun: bool,
    waiting: BTreeSet<Key>,
    /// Of a delivery that was not taken: one after the other, so that one service does not keep the
    /// others back.
    alone: BTreeSet<Key>,
    /// Not taken by itself: when again, and how long the next wait is.
    parked: BTreeMap<Key, (Instant, Duration)>,
    /// Names that are served no longer, of deliveries that were not taken, and whose they are: each goes
    /// with what takes its place.
    gone: BTreeMap<String, Key>,
    on_its_way: JoinSet<bool>,
    under_way: UnderWay,
}

/// A delivery of which it is not known what becomes of it.
#[derive(Default)]
struct UnderWay {
    keys: BTreeSet<Key>,
    gone: BTreeMap<String, Key>,
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

    /// These are different. What is parked may be fine by now, and is tried by itself.
    pub fn push(&mut self, keys: &[Key]) {
        for key in keys {
            let is_parked = self.parked.remove(key).is_some();
            let to = if is_parked { &mut self.alone } else { &mut self.waiting };
            to.insert(key.clone());
        }
    }

    /// When something is tried again that was not taken.
    pub fn again_at(&self) -> Option<Instant> {
        let first = self.parked.values().map(|(at, _)| *at).min();
        first.filter(|_| self.on_its_way.is_empty())
    }

    /// Sends what waits, if nothing is under way.
    pub fn start(&mut self, world: &World, asks: &mpsc::Sender<Ask>, source: usize) {
        while self.on_its_way.is_empty() {
            let Some(keys) = self.next_keys(Instant::now()) else { return };
            let Some((delivery, names)) = self.next(world, keys) else { continue };
            let asks = asks.clone();
            self.on_its_way.spawn(async move {
                let took = Ask::deliver(&asks, source, vec![delivery], names).await;
                took.is_some_and(|took| took.is_ok())
            });
        }
    }

    /// Whose turn it is; none: nobody's.
    fn next_keys(&mut self, now: Instant) -> Option<BTreeSet<Key>> {
        if !self.is_begun || !self.waiting.is_empty() {
            return Some(std::mem::take(&mut self.waiting));
        }
        let is_time = |key: &Key| self.parked.get(key).is_none_or(|(at, _)| *at <= now);
        let next = self.alone.pop_first();
        let next = next.or_else(|| self.parked.keys().find(|key| is_time(key)).cloned())?;
        Some(BTreeSet::from([next]))
    }

    /// A delivery for these, with the names that it is about; none: it would be empty.
    fn next(&mut self, world: &World, keys: BTreeSet<Key>) -> Option<(Delivery, Vec<String>)> {
        if !self.is_begun {
            let mut gone: BTreeMap<String, Key> = self.forms.names().collect();
            let forms = self.forms.all(world);
            let names: Vec<String> = names(&forms).collect();
            names.iter().for_each(|name| {
                gone.remove(name);
            });
            let keys = world.services().map(|(key, _)| key).chain(gone.values());
            let keys = keys.cloned().collect();
            self.under_way = UnderWay { keys, gone };
            self.is_begun = true;
            return Some((Delivery::Whole(Part::of(forms)), names));
        }
        let mut gone: BTreeMap<String, Key> =
            self.gone.extract_if(.., |_, key| keys.contains(key)).collect();
        let mut forms = vec![];
        for key in &keys {
            let (more, less) = self.forms.update(world, key);
            more.iter().for_each(|form| {
                gone.remove(&form.spec.name);
            });
            forms.extend(more);
            gone.extend(less.into_iter().map(|name| (name, key.clone())));
        }
        if forms.is_empty() && gone.is_empty() {
            keys.iter().for_each(|key| {
                self.parked.remove(key);
            });
            return None;
        }
        let names = names(&forms).chain(gone.keys().cloned()).collect();
        let delivery = Delivery::Some(forms, gone.keys().cloned().collect());
        self.under_way = UnderWay { keys, gone };
        Some((delivery, names))
    }

    /// Waits for what becomes of the one under way; none is, for ever. Was it taken?
    pub async fn done(&mut self) -> bool {
        let Some(taken) = self.on_its_way.join_next().await else {
            return std::future::pending().await;
        };
        let taken = taken.unwrap_or(false);
        self.settle(taken, Instant::now());
        taken
    }

    fn settle(&mut self, taken: bool, now: Instant) {
        let UnderWay { keys, gone } = std::mem::take(&mut self.under_way);
        if taken {
            keys.iter().for_each(|key| {
                self.parked.remove(key);
            });
            return;
        }
        self.gone.extend(gone);
        if keys.len() > 1 {
            self.alone.extend(keys);
            return;
        }
        for key in keys {
            let wait = self.parked.get(&key).map_or(FIRST_WAIT, |(_, next)| *next);
            self.parked.insert(key, (now + wait, (wait * 2).min(LONGEST_WAIT)));
        }
    }
}

fn names(forms: &[Form]) -> impl Iterator<Item = String> {
    forms.iter().map(|form| form.spec.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::objects::Service;
    use crate::source::kubernetes::testing::{claim, service, world};
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

    /// What is delivered next.
    fn next(deliveries: &mut Deliveries, world: &mut World, at: Instant) -> String {
        deliveries.push(&world.take_dirty());
        while let Some(keys) = deliveries.next_keys(at) {
            if let Some(next) = deliveries.next(world, keys) {
                return told(Some(next));
            }
        }
        "nothing".to_string()
    }

    fn put(world: &mut World, name: &str, address: &str, port: u16) {
        let mut service = Service { uid: format!("u-{name}").into(), ..service() };
        service.ports[0].port = port;
        world.apply(Change::Service(Key::new("shop", name), Some(service)));
        world.apply(Change::Claim(address.parse().unwrap(), Some(claim(name))));
    }

    #[test]
    fn what_is_not_taken_is_tried_again_and_keeps_nobody_back() {
        let (mut world, now) = (world(), Instant::now());
        let mut deliveries = Deliveries::new(&world);
        put(&mut world, "web", "203.0.113.1", 80);
        let next = |deliveries: &mut Deliveries, world: &mut World, after_s: u64| {
            next(deliveries, world, now + Duration::from_secs(after_s))
        };
        assert_eq!(next(&mut deliveries, &mut world, 0), r#"whole ["shop.web.80.tcp"]"#);
        deliveries.settle(true, now);
        assert_eq!(next(&mut deliveries, &mut world, 0), "nothing");

        put(&mut world, "web", "203.0.113.1", 81);
        put(&mut world, "dns", "203.0.113.2", 53);
        let both = r#"["shop.dns.53.tcp", "shop.web.81.tcp"] without ["shop.web.80.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, 0), both);
        deliveries.settle(false, now);
        let first = r#"["shop.dns.53.tcp"] without []"#;
        assert_eq!(next(&mut deliveries, &mut world, 0), first, "each by itself");
        deliveries.settle(true, now);
        let second = r#"["shop.web.81.tcp"] without ["shop.web.80.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, 0), second);
        deliveries.settle(false, now);
        assert_eq!(next(&mut deliveries, &mut world, 0), "nothing", "it waits");
        put(&mut world, "dns", "203.0.113.2", 54);
        let other = r#"["shop.dns.54.tcp"] without ["shop.dns.53.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, 0), other, "others do not");
        deliveries.settle(true, now);
        assert_eq!(next(&mut deliveries, &mut world, 2), second, "its time has come");
        deliveries.settle(false, now);
        assert_eq!(next(&mut deliveries, &mut world, 1), "nothing", "a longer wait");
        put(&mut world, "web", "203.0.113.1", 82);
        let changed = r#"["shop.web.82.tcp"] without ["shop.web.80.tcp", "shop.web.81.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, 0), changed, "it may be fine now");
        deliveries.settle(true, now);
        assert_eq!(next(&mut deliveries, &mut world, 100), "nothing");
    }

    #[test]
    fn a_first_delivery_that_is_not_taken_is_taken_in_parts() {
        let (mut world, now) = (world(), Instant::now());
        put(&mut world, "kept", "203.0.113.3", 80);
        let mut deliveries = Deliveries::new(&world);
        world.apply(Change::Service(Key::new("shop", "kept"), None));
        world.apply(Change::Claim("203.0.113.3".parse().unwrap(), None));
        put(&mut world, "dns", "203.0.113.2", 53);
        put(&mut world, "web", "203.0.113.1", 80);
        let whole = r#"whole ["shop.dns.53.tcp", "shop.web.80.tcp"]"#;
        assert_eq!(next(&mut deliveries, &mut world, now), whole);
        deliveries.settle(false, now);
        for part in [
            r#"["shop.dns.53.tcp"] without []"#,
            r#"[] without ["shop.kept.80.tcp"]"#,
            r#"["shop.web.80.tcp"] without []"#,
        ] {
            assert_eq!(next(&mut deliveries, &mut world, now), part);
            deliveries.settle(true, now);
        }
        assert_eq!(next(&mut deliveries, &mut world, now), "nothing");
    }
}
