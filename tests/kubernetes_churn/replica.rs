//! One Guideway: a view of its own, which lags, and what it serves and writes by it. What it does between
//! news and writes is what `source/kubernetes/follow.rs` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use guideway::control::Form;
use guideway::source::kubernetes::forms::Forms;
use guideway::source::kubernetes::objects::{Claim, Key};
use guideway::source::kubernetes::plan::{Tidy, Write, plan, tidy};
use guideway::source::kubernetes::world::{Change, KINDS, Kind, Options, World};

use super::api::{Api, kind_of};
use super::chance::Chance;
use super::writer::{Fault, Step, Work};

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum News {
    /// All of this kind follow.
    Begin(Kind),
    Change(Box<Change>),
}

pub struct Replica {
    options: Options,
    pub world: World,
    forms: Forms,
    is_whole: bool,
    /// What is in force, by name.
    pub served: BTreeMap<String, Form>,
    /// What it has not heard yet: kinds are watched apart, and lag apart.
    pub streams: BTreeMap<Kind, VecDeque<News>>,
    waiting: VecDeque<Key>,
    /// Became different while it was written to.
    again: BTreeSet<Key>,
    pub under_way: Vec<Work>,
    pub tidying: VecDeque<(IpAddr, Claim, Tidy)>,
    pub leads: bool,
    /// It goes on no earlier than at this step.
    pub stopped_until: u64,
}

impl Replica {
    pub fn new(options: Options, api: &Api, chance: &mut Chance) -> Replica {
        let mut replica = Replica {
            world: World::new(options.clone()),
            options,
            forms: Forms::default(),
            is_whole: false,
            served: BTreeMap::new(),
            streams: BTreeMap::new(),
            waiting: VecDeque::new(),
            again: BTreeSet::new(),
            under_way: vec![],
            tidying: VecDeque::new(),
            leads: false,
            stopped_until: 0,
        };
        KINDS.iter().for_each(|kind| replica.list(*kind, api, chance));
        replica
    }

    /// Killed and started again: nothing is remembered.
    pub fn restart(&mut self, api: &Api, chance: &mut Chance) {
        *self = Replica::new(self.options.clone(), api, chance);
    }

    /// Its watch of a kind is lost: all is told anew, in any order.
    pub fn list(&mut self, kind: Kind, api: &Api, chance: &mut Chance) {
        let mut all = api.list(kind);
        let names = all.iter().map(Change::name).collect();
        let mut stream = VecDeque::from([News::Begin(kind)]);
        while !all.is_empty() {
            let next = all.swap_remove(chance.place(all.len()));
            stream.push_back(News::Change(Box::new(next)));
        }
        stream.push_back(News::Change(Box::new(Change::Listed(kind, names))));
        self.streams.insert(kind, stream);
    }

    pub fn tell(&mut self, change: &Change) {
        let stream = self.streams.entry(kind_of(change)).or_default();
        stream.push_back(News::Change(Box::new(change.clone())));
    }

    /// Hears the next news of a kind. Was there any?
    pub fn hear(&mut self, kind: Kind, twice: bool) -> bool {
        let Some(news) = self.streams.get_mut(&kind).and_then(VecDeque::pop_front) else {
            return false;
        };
        for _ in 0..if twice { 2 } else { 1 } {
            match news.clone() {
                News::Begin(kind) => self.world.begin_list(kind),
                News::Change(change) => self.world.apply(*change),
            }
        }
        true
    }

    /// Puts into force what has become different, and has it written.
    pub fn deliver(&mut self) {
        if !self.world.is_known() {
            return;
        }
        let dirty = self.world.take_dirty();
        if self.is_whole {
            for key in &dirty {
                let (forms, gone) = self.forms.update(&self.world, key);
                let names: BTreeSet<&String> = forms.iter().map(|form| &form.spec.name).collect();
                assert_eq!(names.len(), forms.len(), "{key}: two of one name");
                gone.iter().for_each(|name| drop(self.served.remove(name)));
                self.served.extend(forms.into_iter().map(|form| (form.spec.name.clone(), form)));
            }
        } else {
            let all = self.forms.all(&self.world).into_iter();
            self.served = all.map(|form| (form.spec.name.clone(), form)).collect();
            self.is_whole = true;
        }
        dirty.into_iter().for_each(|key| self.push(key));
    }

    fn push(&mut self, key: Key) {
        if self.under_way.iter().any(|work| work.key == key) {
            self.again.insert(key);
        } else if !self.waiting.contains(&key) {
            self.waiting.push_back(key);
        }
    }

    pub fn lead(&mut self, leads: bool) {
        if self.leads != leads {
            self.leads = leads;
            self.world.all_are_dirty();
        }
    }

    /// Plans for the next service that waits. Was there one?
    pub fn start(&mut self) -> bool {
        if !self.leads || !self.world.is_known() || self.world.is_listing() {
            return false;
        }
        let Some(key) = self.waiting.pop_front() else { return false };
        let writes = plan(&self.world, &key);
        let Some(service) = self.world.service(&key).filter(|_| !writes.is_empty()) else {
            return true;
        };
        let work = Work::new(&self.world, &key, service, writes.clone());
        for write in writes {
            if let Write::Take(address, claim) = write
                && claim.version.is_empty()
            {
                self.world.apply(Change::Claim(address, Some(claim)));
            }
        }
        self.under_way.push(work);
        true
    }

    /// Makes one more write of those under way. How did it go?
    pub fn write(&mut self, place: usize, api: &mut Api, fault: Fault) -> Step {
        let step = self.under_way[place].step(api, fault);
        if step == Step::More {
            return step;
        }
        let work = self.under_way.swap_remove(place);
        work.changes.into_iter().for_each(|change| self.world.answer(change));
        for address in work.assumed {
            if self.world.claim(address).is_some_and(|claim| claim.version.is_empty()) {
                self.world.apply(Change::Claim(address, None));
            }
        }
        if self.again.remove(&work.key) || step != Step::Done {
            self.push(work.key);
        }
        step
    }

    /// Looks for claims that nobody needs.
    pub fn look_through(&mut self, now_ms: u64) {
        let may = self.leads && self.world.is_known() && !self.world.is_listing();
        if !may || !self.tidying.is_empty() {
            return;
        }
        let (found, _) = tidy(&self.world, now_ms);
        let claim = |address| self.world.claim(address).cloned();
        let found = found.into_iter().filter_map(|(at, what)| Some((at, claim(at)?, what)));
        self.tidying = found.collect();
    }

    /// Puts the next of them in order. Was there one?
    pub fn put_in_order(&mut self, api: &mut Api) -> bool {
        let Some((address, claim, what)) = self.tidying.pop_front() else { return false };
        let changes = super::writer::tidy(api, address, &claim, &what);
        changes.into_iter().for_each(|change| self.world.answer(change));
        true
    }
}
