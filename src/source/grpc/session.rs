//! The balancer's end of a feed: what it knows, and what it answers. Pure.

use std::collections::BTreeMap;

use super::proto::follow_request::Message;
use super::proto::{
    Answer, FollowRequest, Hello, KeptState, Resource, ResourceError, ResourceVersion, Update,
};
use super::resource::{form_of, used_twice};
use crate::control::{Delivery, Form, Refusal};
use crate::source::ask::Took;
use crate::source::yaml::values::features;

/// Of what is kept on disk. One release back reads it.
const FORMAT: u32 = 1;
/// Services of a feed.
const MOST_SERVICES: usize = 65_536;
/// Bytes of a service's name, a version and a nonce: what is longer is none.
const MOST_NAME_BYTES: usize = 256;

/// What was taken of a feed.
#[derive(Clone, Debug)]
pub struct Session {
    revision: u64,
    /// Good ones by name, refused ones not.
    known: BTreeMap<String, Resource>,
    /// Backends that all of them may have together.
    most_backends: usize,
}

/// An update that was read: to be delivered, and told of by [`Session::took`].
#[derive(Clone, Debug, Default)]
pub struct Change {
    nonce: String,
    revision: u64,
    forms: Vec<Form>,
    unfit: Vec<(String, Vec<Refusal>)>,
    removed: Vec<String>,
    resources: Vec<Resource>,
}

impl Change {
    /// For the source of the feed, which is one piece.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let mut deliveries = vec![Delivery::Some(self.forms.clone(), self.removed.clone())];
        if !self.unfit.is_empty() {
            deliveries.push(Delivery::Unfit(self.unfit.clone()));
        }
        deliveries
    }

    /// The services that it is about.
    pub fn names(&self) -> Vec<String> {
        let resources = self.resources.iter().map(|resource| &resource.name);
        resources.chain(&self.removed).cloned().collect()
    }
}

impl Session {
    /// Nothing was taken yet.
    pub fn new(most_backends: usize) -> Session {
        Session { revision: 0, known: BTreeMap::new(), most_backends }
    }

    /// What was taken by an earlier run, and the change that makes it wanted again.
    pub fn of_kept(kept: KeptState, most_backends: usize) -> Option<(Session, Change)> {
        if kept.format != FORMAT {
            return None;
        }
        let session = Session::new(most_backends);
        let KeptState { revision, resources, .. } = kept;
        let change = session.read(Update { revision, resources, ..Update::default() }).ok()?;
        Some((session, change))
    }

    /// To be kept on disk.
    pub fn to_keep(&self, url: &str, taken_unix_ms: u64) -> KeptState {
        KeptState {
            format: FORMAT,
            url: url.to_string(),
            taken_unix_ms,
            revision: self.revision,
            resources: self.known.values().cloned().collect(),
        }
    }

    /// Revision of the last update that was taken.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Is it one of the services that were taken?
    pub fn knows(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// How many services were taken.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// None was taken.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The first message of a stream.
    pub fn hello(&self, node: &str) -> FollowRequest {
        let version = |resource: &Resource| ResourceVersion {
            name: resource.name.clone(),
            version: resource.version.clone(),
        };
        let hello = Hello {
            node: node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            features: features(),
            initial_versions: self.known.values().map(version).collect(),
            revision: self.revision,
        };
        FollowRequest { message: Some(Message::Hello(hello)) }
    }

    /// Reads an update. Nothing is taken by that.
    ///
    /// # Errors
    /// The answer, when nothing of it can be taken.
    pub fn read(&self, update: Update) -> Result<Change, FollowRequest> {
        if let Some(why) = self.refuse(&update) {
            let nonce: String = update.nonce.chars().take(MOST_NAME_BYTES).collect();
            let answer =
                Answer { nonce, revision: self.revision, refused: why, ..Answer::default() };
            return Err(FollowRequest { message: Some(Message::Answer(answer)) });
        }
        let Update { revision, nonce, resources, removed, .. } = update;
        let mut change = Change { nonce, revision, removed, ..Change::default() };
        let of = |name: &String| self.known.get(name).map_or(0, backends_of);
        let mut backends: usize = self.known.values().map(backends_of).sum();
        backends -= change.removed.iter().map(of).sum::<usize>();
        for resource in &resources {
            let with = backends - of(&resource.name) + backends_of(resource);
            if with > self.most_backends {
                let refusal = Refusal {
                    path: format!("services[{}].backends", resource.name),
                    problem: format!("with them the feed has {with} backends"),
                    wanted: format!("at most {}: see `limits.backends`", self.most_backends),
                };
                change.unfit.push((resource.name.clone(), vec![refusal]));
                continue;
            }
            match form_of(resource) {
                Ok(form) => {
                    change.forms.push(form);
                    backends = with;
                }
                Err(refusals) => change.unfit.push((resource.name.clone(), refusals)),
            }
        }
        change.resources = resources;
        Ok(change)
    }

    fn refuse(&self, update: &Update) -> Option<String> {
        let Update { revision, nonce, resources, removed, force, .. } = update;
        if *revision < self.revision && !force {
            let known = self.revision;
            return Some(format!(
                "revision {revision} is older than {known}, which is in force; wanted: a newer one, \
                 or `force`"
            ));
        }
        let names =
            || resources.iter().map(|r| r.name.as_str()).chain(removed.iter().map(|n| &**n));
        let texts = names().chain(resources.iter().map(|r| r.version.as_str())).chain([&**nonce]);
        if texts.into_iter().any(|text| text.len() > MOST_NAME_BYTES) {
            return Some(format!("a name, version or nonce of over {MOST_NAME_BYTES} bytes"));
        }
        // They are shown to people, on terminals, too.
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        if !names().all(is_name) {
            return Some("a name that is none: empty, or with blanks or the like".to_string());
        }
        if let Some(name) = used_twice(names()) {
            return Some(format!("`{name}` is there twice"));
        }
        let new = resources.iter().filter(|resource| !self.knows(&resource.name)).count();
        let gone = removed.iter().filter(|name| self.knows(name)).count();
        let services = self.known.len() + new - gone;
        if services > MOST_SERVICES {
            return Some(format!("{services} services; wanted: at most {MOST_SERVICES}"));
        }
        None
    }

    /// Notes what became of a change; gives the answer.
    pub fn took(&mut self, change: Change, took: Result<Took, String>) -> FollowRequest {
        let Change { nonce, revision, removed, resources, .. } = change;
        let mut answer = Answer { nonce, revision: self.revision, ..Answer::default() };
        match took {
            Err(why) => answer.refused = why,
            Ok(took) => {
                self.revision = revision;
                answer.revision = revision;
                answer.held = took.held.unwrap_or_default();
                removed.iter().for_each(|name| _ = self.known.remove(name));
                for resource in resources {
                    match took.refused.get(&resource.name) {
                        Some(problems) => answer.errors.push(ResourceError {
                            name: resource.name,
                            version: resource.version,
                            problems: problems.clone(),
                        }),
                        None => _ = self.known.insert(resource.name.clone(), resource),
                    }
                }
            }
        }
        FollowRequest { message: Some(Message::Answer(answer)) }
    }
}

fn backends_of(resource: &Resource) -> usize {
    resource.service.as_ref().map_or(0, |service| service.backends.len())
}
