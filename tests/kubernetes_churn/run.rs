//! One run: some rounds of churn, a rest after each, and at the end everything is deleted.

use guideway::source::kubernetes::objects::Key;
use guideway::source::kubernetes::world::{Change, KINDS, Options};

use super::api::{Api, CLASS, MANAGER};
use super::chance::Chance;
use super::checks::{self, InUse};
use super::pools::PlainPool;
use super::replica::Replica;
use super::users;
use super::writer::{Fault, Step};

const ROUNDS: u64 = 6;
/// Longest churn before a rest.
const MOST_STEPS: u64 = 400;
/// After so many turns without a rest there is none.
const MOST_TURNS: usize = 300;

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub taken: u64,
    pub shared: u64,
    pub beaten: u64,
    pub killed: u64,
    pub stopped: u64,
    /// Writes that were planned before a stop.
    pub stale: u64,
    pub listed: u64,
    pub lost_answers: u64,
    pub forgotten: u64,
    pub waiting: u64,
    pub served: u64,
}

impl Summary {
    pub fn add(&mut self, other: &Summary) {
        self.taken += other.taken;
        self.shared += other.shared;
        self.beaten += other.beaten;
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.stale += other.stale;
        self.listed += other.listed;
        self.lost_answers += other.lost_answers;
        self.forgotten += other.forgotten;
        self.waiting += other.waiting;
        self.served += other.served;
    }
}

pub struct Run {
    chance: Chance,
    api: Api,
    options: Options,
    replicas: Vec<Replica>,
    in_use: InUse,
    /// Steps so far.
    now: u64,
    is_shown: bool,
    summary: Summary,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut chance = Chance::new(seed);
        let own_pools = vec![PlainPool::new("config", 2)];
        let options = Options {
            classes: vec![CLASS.into()],
            default: true,
            manager: MANAGER.into(),
            pools: own_pools.iter().map(|pool| pool.pool.clone()).collect(),
            prefix: String::new(),
        };
        let api = Api { now_ms: 1_000_000, own_pools, ..Api::default() };
        let count = chance.between(1, 3);
        let new = |_| Replica::new(options.clone(), &api, &mut chance);
        let replicas = (0..count).map(new).collect();
        let is_shown = std::env::var_os("GUIDEWAY_CHURN_TRACE").is_some();
        let (in_use, summary) = (InUse::new(), Summary::default());
        Run { chance, api, options, replicas, in_use, now: 0, is_shown, summary }
    }

    pub fn run(mut self) -> Summary {
        for round in 0..ROUNDS {
            for _ in 0..self.chance.between(20, MOST_STEPS) {
                self.now += 1;
                self.step();
                self.tell();
                checks::at_once(&self.api);
            }
            self.rest(&format!("rest {round}"));
        }
        self.delete_all();
        self.summary
    }

    fn show(&self, what: impl FnOnce() -> String) {
        if self.is_shown {
            println!("[{}] {}", self.now, what());
        }
    }

    /// What the API has told goes on its way to everybody.
    fn tell(&mut self) {
        for change in std::mem::take(&mut self.api.news) {
            if let Change::Claim(_, Some(claim)) = &change {
                self.summary.taken += u64::from(claim.holders.len() == 1);
                self.summary.shared += u64::from(claim.holders.len() > 1);
            }
            self.replicas.iter_mut().for_each(|replica| replica.tell(&change));
        }
    }

    fn step(&mut self) {
        let who = self.chance.place(self.replicas.len());
        let is_awake = self.replicas[who].stopped_until <= self.now;
        match self.chance.between(1, 40) {
            1..=6 => {
                let done = users::act(&mut self.api, &mut self.chance);
                self.show(|| done);
            }
            7 => self.api.now_ms += self.chance.between(0, 20_000),
            8..=18 if is_awake => self.hear(who),
            19..=25 if is_awake => {
                self.replicas[who].deliver();
                self.replicas[who].start();
            }
            26..=34 if is_awake => self.write(who),
            35 if is_awake => {
                let leads = !self.replicas[who].leads;
                self.replicas[who].lead(leads);
                self.show(|| format!("{who} leads: {leads}"));
            }
            36 if is_awake => {
                let kind = KINDS[self.chance.place(KINDS.len())];
                self.replicas[who].list(kind, &self.api, &mut self.chance);
                self.summary.listed += 1;
                self.show(|| format!("{who} lists {kind:?} anew"));
            }
            37 if is_awake => self.replicas[who].look_through(self.api.now_ms),
            38 if is_awake => {
                self.put_in_order(who);
            }
            39 if is_awake && self.chance.one_in(3) => {
                // Some stop for longer than the next rest.
                self.replicas[who].stopped_until = self.now + self.chance.between(10, 600);
                self.summary.stopped += 1;
                self.summary.stale += self.replicas[who].under_way.len() as u64;
                self.show(|| format!("{who} is stopped"));
            }
            40 if self.chance.one_in(4) => {
                self.replicas[who].restart(&self.api, &mut self.chance);
                self.summary.killed += 1;
                self.show(|| format!("{who} is killed, and begins anew"));
            }
            _ => {}
        }
    }

    fn hear(&mut self, who: usize) {
        let kind = KINDS[self.chance.place(KINDS.len())];
        for _ in 0..self.chance.between(1, 12) {
            let twice = self.chance.one_in(10);
            self.replicas[who].hear(kind, twice);
        }
    }

    fn write(&mut self, who: usize) {
        let count = self.replicas[who].under_way.len();
        if count == 0 {
            return;
        }
        let place = self.chance.place(count);
        let fault = match self.chance.between(1, 30) {
            1 => Fault::Lost,
            2 => Fault::AnswerLost,
            _ => Fault::None,
        };
        self.make(who, place, fault);
    }

    fn make(&mut self, who: usize, place: usize, fault: Fault) {
        let key = self.replicas[who].under_way[place].key.clone();
        let step = self.replicas[who].write(place, &mut self.api, fault);
        self.summary.beaten += u64::from(step == Step::Beaten);
        self.summary.lost_answers += u64::from(fault == Fault::AnswerLost);
        self.show(|| format!("{who} writes for {key}: {step:?} {fault:?}: {:?}", self.api.news));
    }

    fn put_in_order(&mut self, who: usize) -> bool {
        let next = self.replicas[who].tidying.front().cloned();
        let did = self.replicas[who].put_in_order(&mut self.api);
        self.summary.forgotten += u64::from(did && !self.api.news.is_empty());
        self.show(|| format!("{who} puts {next:?} in order: {:?}", self.api.news));
        did
    }

    /// Everybody who is awake hears all, and writes what is missing; then all has to be as it should.
    fn rest(&mut self, name: &str) {
        let is_awake = |replica: &Replica| replica.stopped_until <= self.now;
        if !self.replicas.iter().any(is_awake) {
            self.replicas[0].stopped_until = 0;
        }
        let now = self.now;
        let awake = |replica: &Replica| replica.stopped_until <= now;
        if !self.replicas.iter().any(|replica| awake(replica) && replica.leads) {
            let first = self.replicas.iter_mut().find(|replica| awake(replica)).unwrap();
            first.lead(true);
        }
        for turn in 0.. {
            assert!(turn < MOST_TURNS, "{name}: it does not come to rest");
            if !self.turn() {
                break;
            }
            checks::at_once(&self.api);
        }
        self.show(|| name.to_string());
        let awake: Vec<&Replica> =
            self.replicas.iter().filter(|replica| replica.stopped_until <= now).collect();
        checks::served_alike(&self.api, &self.options, &awake);
        self.summary.served += awake[0].served.len() as u64;
        self.summary.waiting += checks::have_addresses(&self.api);
        checks::claims_are_tidy(&self.api);
        let is_alone = self.replicas.len() == 1;
        checks::nothing_moved(&mut self.api, &mut self.in_use, is_alone);
    }

    /// Each that is awake does all that it can. Was there something?
    fn turn(&mut self) -> bool {
        let mut did = false;
        for who in 0..self.replicas.len() {
            if self.replicas[who].stopped_until > self.now {
                continue;
            }
            for kind in KINDS {
                while self.replicas[who].hear(kind, false) {
                    did = true;
                }
            }
            self.replicas[who].deliver();
            while self.replicas[who].start() {
                did = true;
            }
            while !self.replicas[who].under_way.is_empty() {
                let place = self.chance.place(self.replicas[who].under_way.len());
                self.make(who, place, Fault::None);
                did = true;
                self.tell();
            }
            self.replicas[who].look_through(self.api.now_ms);
            while self.put_in_order(who) {
                did = true;
                self.tell();
            }
            self.replicas[who].deliver();
        }
        did
    }

    /// Nothing of ours is left, and no deletion waits for us.
    fn delete_all(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.stopped_until = 0);
        let keys: Vec<Key> = self.api.services.keys().cloned().collect();
        keys.iter().for_each(|key| self.api.delete(key));
        self.tell();
        self.rest("all deleted");
        assert!(self.api.services.is_empty(), "left: {:?}", self.api.services);
        let held = self.api.claims.values().find(|claim| !claim.holders.is_empty());
        assert!(held.is_none(), "held: {held:?}");
        self.api.now_ms += 60_000;
        self.rest("all rested");
        assert!(self.api.claims.is_empty(), "left: {:?}", self.api.claims);
        let is_empty = |replica: &Replica| replica.served.is_empty();
        assert!(self.replicas.iter().all(is_empty), "something is served");
    }
}
