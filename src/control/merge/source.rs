//! What one source wants: the last good form of each service, and a change that waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Owner, Refused};
use crate::control::{Refusal, ServiceSpec, Shared, SnatSpec, TunnelSourceSpec, validate_service};

/// A source with fewer services may lose them all without being asked: nobody counts on a rule in
/// so small a world, and whoever tries something out would only meet it.
const LEAST_HELD: usize = 10;

/// What is refused of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// The file: its reader has judged it whole, and delivers it whole or refused.
    File,
    /// The service: one that is not good keeps its last good form, and all others go on.
    Service,
}

/// One service as its owner wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Form {
    /// What is wanted.
    pub spec: Shared<ServiceSpec>,
    /// When its owner made it, by any clock that all sources share; 0 where nobody says, as in YAML.
    pub created_ms: u64,
}

impl From<Shared<ServiceSpec>> for Form {
    fn from(spec: Shared<ServiceSpec>) -> Form {
        Form { spec, created_ms: 0 }
    }
}

/// All that a part of a source wants: a file, or everything a feed delivers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// By name.
    pub services: BTreeMap<String, Form>,
    /// Source addresses for NAT.
    pub snat: Vec<SnatSpec>,
    /// Outer source addresses of tunnels.
    pub tunnel_sources: Vec<TunnelSourceSpec>,
}

impl Part {
    /// A part of these services.
    pub fn of(forms: impl IntoIterator<Item = Form>) -> Part {
        let named = forms.into_iter().map(|form| (form.spec.name.clone(), form));
        Part { services: named.collect(), ..Part::default() }
    }
}

/// What arrives of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The part as it is now: what it no longer names is removed.
    Whole(Part),
    /// Some services that are new or have changed, and names of those that are removed.
    Some(Vec<Form>, Vec<String>),
    /// The part is no longer there.
    Gone,
    /// It could not be read at all: it stays as it was.
    Refused(Vec<Refusal>),
    /// Services, by name, that could not be read or cannot work here: each stays as it was.
    Unfit(Vec<(String, Vec<Refusal>)>),
}

/// A change that removes most of what a source had, and waits for somebody to confirm it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldChange {
    /// The source.
    pub source: Arc<str>,
    /// Services it would remove.
    pub removes: usize,
    /// Of so many.
    pub of: usize,
}

impl std::fmt::Display for HeldChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HeldChange { source, removes, of } = self;
        write!(
            f,
            "{source}: a change that removes {removes} of {of} services waits to be confirmed"
        )
    }
}

/// What became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Services that have another form now: part, what it was and what it is.
    pub(super) swapped: Vec<(Arc<str>, Form, Form)>,
    /// More than that has changed.
    pub(super) is_more: bool,
}

type Parts = BTreeMap<Arc<str>, Part>;

/// One source with what it was delivered.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    unit: Unit,
    parts: Parts,
    /// What the parts would be, were the change confirmed that waits. Later changes go here, too.
    held: Option<Parts>,
    /// By part and service; a service without a name stands for the part as a whole.
    refused: BTreeMap<(Arc<str>, String), Vec<Refusal>>,
}

impl Source {
    /// A source that has delivered nothing.
    pub fn new(name: &str, unit: Unit) -> Source {
        let (parts, refused) = (Parts::new(), BTreeMap::new());
        Source { name: name.into(), unit, parts, held: None, refused }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A service as it is in force.
    pub fn form(&self, part: &str, name: &str) -> Option<Form> {
        self.parts.get(part)?.services.get(name).cloned()
    }

    /// What is in force.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Takes what arrived at once, or holds it when it would remove more than half of the services.
    pub fn take(&mut self, deliveries: Vec<(Arc<str>, Delivery)>) -> Taken {
        let deliveries = self.judge(deliveries);
        let mut parts = self.held.take();
        if parts.is_none() && self.is_too_much(removals(&self.parts, &deliveries)) {
            parts = Some(self.parts.clone());
        }
        let Some(mut parts) = parts else {
            return apply(&mut self.parts, deliveries);
        };
        apply(&mut parts, deliveries);
        let is_held = self.is_too_much(missing(&self.parts, &parts));
        if is_held {
            self.held = Some(parts);
        } else {
            self.parts = parts;
        }
        Taken { swapped: vec![], is_more: !is_held }
    }

    /// The change that waits, if one does.
    pub fn held(&self) -> Option<HeldChange> {
        let removes = missing(&self.parts, self.held.as_ref()?);
        Some(HeldChange { source: self.name.clone(), removes, of: count(&self.parts) })
    }

    /// Somebody says that the change which waits is meant. Was there one?
    pub fn confirm(&mut self) -> bool {
        let Some(parts) = self.held.take() else { return false };
        self.parts = parts;
        true
    }

    /// The change that waits was a mistake: forgets it. Was there one?
    pub fn forget_held(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// What is refused of it by itself.
    pub(super) fn refused(&self) -> impl Iterator<Item = Refused> + '_ {
        self.refused.iter().map(|((part, service), refusals)| {
            let has = |name: &String| self.parts.get(part).map(|p| p.services.contains_key(name));
            let (what, keeps_last_good) = match service.is_empty() {
                true => (String::new(), self.parts.contains_key(part)),
                false => (format!("service {service}"), has(service) == Some(true)),
            };
            let owner = Owner { source: self.name.clone(), part: part.clone(), what };
            Refused { owner, refusals: refusals.clone(), keeps_last_good }
        })
    }

    fn is_too_much(&self, removes: usize) -> bool {
        let of = count(&self.parts);
        of >= LEAST_HELD && removes * 2 > of
    }

    /// Takes out what is not good in itself, and notes why; what was wrong before is forgotten.
    fn judge(&mut self, deliveries: Vec<(Arc<str>, Delivery)>) -> Vec<(Arc<str>, Delivery)> {
        let mut good = Vec::with_capacity(deliveries.len());
        for (part, delivery) in deliveries {
            let delivery = match delivery {
                Delivery::Refused(refusals) => {
                    self.refused.insert((part, String::new()), refusals);
                    continue;
                }
                Delivery::Unfit(unfit) => {
                    let refused = unfit.into_iter().map(|(name, why)| ((part.clone(), name), why));
                    self.refused.extend(refused);
                    continue;
                }
                Delivery::Gone => {
                    self.refused.retain(|(of, _), _| *of != part);
                    Delivery::Gone
                }
                Delivery::Whole(mut whole) => {
                    self.refused.retain(|(of, _), _| *of != part);
                    if self.unit == Unit::Service {
                        self.judge_whole(&part, &mut whole);
                    }
                    Delivery::Whole(whole)
                }
                Delivery::Some(mut forms, removed) => {
                    let names = forms.iter().map(|form| &form.spec.name).chain(&removed);
                    for name in names {
                        self.refused.remove(&(part.clone(), name.clone()));
                    }
                    forms.retain(|form| self.is_good(&part, form));
                    Delivery::Some(forms, removed)
                }
            };
            good.push((part, delivery));
        }
        good
    }

    /// Services that are not good stay as they were, if they were.
    fn judge_whole(&mut self, part: &Arc<str>, whole: &mut Part) {
        let forms = std::mem::take(&mut whole.services);
        for (name, form) in forms {
            if self.is_good(part, &form) {
                whole.services.insert(name, form);
            } else if let Some(last) = self.last_good(part, &name) {
                whole.services.insert(name, last);
            }
        }
    }

    /// As it was delivered last, be that in force or waiting.
    fn last_good(&self, part: &Arc<str>, name: &str) -> Option<Form> {
        let parts = self.held.as_ref().unwrap_or(&self.parts);
        parts.get(part)?.services.get(name).cloned()
    }

    fn is_good(&mut self, part: &Arc<str>, form: &Form) -> bool {
        let refusals = validate_service(&form.spec);
        let is_good = refusals.is_empty();
        if !is_good {
            self.refused.insert((part.clone(), form.spec.name.clone()), refusals);
        }
        is_good
    }
}

fn count(parts: &Parts) -> usize {
    parts.values().map(|part| part.services.len()).sum()
}

/// Names that are in `before` and not in `after`: one that moved to another part is still there.
fn missing(before: &Parts, after: &Parts) -> usize {
    let is_there = |name: &str| after.values().any(|part| part.services.contains_key(name));
    let names: BTreeSet<&str> =
        before.values().flat_map(|part| part.services.keys().map(String::as_str)).collect();
    names.into_iter().filter(|name| !is_there(name)).count()
}

/// How many names these deliveries take away.
fn removals(parts: &Parts, deliveries: &[(Arc<str>, Delivery)]) -> usize {
    let (mut removed, mut added) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
    for (name, delivery) in deliveries {
        let old = parts.get(name).map(|part| &part.services);
        let old = old.into_iter().flat_map(|services| services.keys().map(String::as_str));
        match delivery {
            Delivery::Whole(whole) => {
                removed.extend(old.filter(|name| !whole.services.contains_key(*name)));
                added.extend(whole.services.keys().map(String::as_str));
            }
            Delivery::Some(forms, names) => {
                removed.extend(names.iter().map(String::as_str));
                added.extend(forms.iter().map(|form| form.spec.name.as_str()));
            }
            Delivery::Gone => removed.extend(old),
            Delivery::Refused(_) | Delivery::Unfit(_) => {}
        }
    }
    removed.difference(&added).count()
}

fn apply(parts: &mut Parts, deliveries: Vec<(Arc<str>, Delivery)>) -> Taken {
    let mut taken = Taken::default();
    for (name, delivery) in deliveries {
        match delivery {
            Delivery::Whole(whole) => {
                taken.is_more |= !parts.contains_key(&name);
                let part = parts.entry(name.clone()).or_default();
                replace(part, &name, whole, &mut taken);
            }
            Delivery::Some(forms, removed) => {
                let part = parts.entry(name.clone()).or_default();
                for removed in &removed {
                    taken.is_more |= part.services.remove(removed).is_some();
                }
                forms.into_iter().for_each(|form| put(part, &name, form, &mut taken));
            }
            Delivery::Gone => taken.is_more |= parts.remove(&name).is_some(),
            Delivery::Refused(_) | Delivery::Unfit(_) => {}
        }
    }
    taken
}

fn replace(part: &mut Part, name: &Arc<str>, whole: Part, taken: &mut Taken) {
    let Part { services, snat, tunnel_sources } = whole;
    taken.is_more |= part.snat != snat || part.tunnel_sources != tunnel_sources;
    (part.snat, part.tunnel_sources) = (snat, tunnel_sources);
    let before = part.services.len();
    part.services.retain(|name, _| services.contains_key(name));
    taken.is_more |= part.services.len() < before;
    services.into_values().for_each(|form| put(part, name, form, taken));
}

/// What has not changed stays the very same one, so that nobody has to look into it.
fn put(part: &mut Part, name: &Arc<str>, form: Form, taken: &mut Taken) {
    match part.services.get_mut(&form.spec.name) {
        Some(old) if *old == form => {}
        Some(old) => {
            let before = std::mem::replace(old, form.clone());
            taken.swapped.push((name.clone(), before, form));
        }
        None => {
            part.services.insert(form.spec.name.clone(), form);
            taken.is_more = true;
        }
    }
}
