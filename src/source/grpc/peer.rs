//! The serving end of a feed: what one balancer has, and what it is sent next. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::proto::{Answer, Hello, Resource, Update};

/// Bytes of the resources in one message, give or take the last one.
const MESSAGE_BYTES: usize = 1 << 20;
/// Refused services of a balancer that are remembered.
const MOST_REFUSED: usize = 1_000;

/// What is served.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Served {
    /// Grows with each change.
    pub revision: u64,
    /// Balancers shall take it though they know a larger one.
    pub force: bool,
    /// By name.
    pub resources: BTreeMap<String, Arc<Resource>>,
}

/// What is known of one balancer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// Versions that it has, or has refused.
    known: BTreeMap<String, String>,
    waits_for: Option<Sent>,
    sent: u64,
    /// The revision that it has.
    pub revision: u64,
    /// Of the services it has refused, a line for each problem.
    pub refused: BTreeMap<String, Vec<String>>,
    /// Why it took nothing of the last update.
    pub refused_update: Option<String>,
    /// The revision of that.
    refused_revision: Option<u64>,
    /// The last update waits there to be confirmed.
    pub held: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Sent {
    nonce: String,
    revision: u64,
    is_last: bool,
    versions: Vec<(String, String)>,
    removed: Vec<String>,
}

impl Peer {
    /// A balancer that says what it has.
    pub fn new(hello: &Hello) -> Peer {
        let versions = hello.initial_versions.iter();
        let known = versions.map(|has| (has.name.clone(), has.version.clone())).collect();
        // What it has is of that revision, but whether that is all of it, it does not know.
        Peer { known, ..Peer::default() }
    }

    /// The next update, unless it has all of it or has not answered the last one.
    pub fn next(&mut self, served: &Served) -> Option<Update> {
        if self.waits_for.is_some() || self.refused_revision == Some(served.revision) {
            return None;
        }
        let has = |name: &String, resource: &Resource| {
            self.known.get(name).is_some_and(|version| *version == resource.version)
        };
        let mut others =
            served.resources.iter().filter(|(name, resource)| !has(name, resource)).peekable();
        let removed = self.known.keys().filter(|name| !served.resources.contains_key(*name));
        let removed: Vec<String> = removed.cloned().collect();
        if others.peek().is_none() && removed.is_empty() && self.revision == served.revision {
            return None;
        }
        let (mut resources, mut bytes) = (vec![], 0);
        while let Some((_, resource)) = others.peek()
            && bytes < MESSAGE_BYTES
        {
            bytes += resource.encoded_len();
            resources.push(Resource::clone(resource));
            others.next();
        }
        let is_last = others.peek().is_none();
        self.sent += 1;
        let update = Update {
            revision: served.revision,
            nonce: self.sent.to_string(),
            resources,
            removed,
            force: served.force,
            is_last,
        };
        let of = |resource: &Resource| (resource.name.clone(), resource.version.clone());
        self.waits_for = Some(Sent {
            nonce: update.nonce.clone(),
            revision: update.revision,
            is_last,
            versions: update.resources.iter().map(of).collect(),
            removed: update.removed.clone(),
        });
        Some(update)
    }

    /// Takes an answer; gives whether it is one to what was sent last.
    pub fn answered(&mut self, answer: &Answer) -> bool {
        let Some(sent) = self.waits_for.take_if(|sent| sent.nonce == answer.nonce) else {
            return false;
        };
        if !answer.refused.is_empty() {
            self.refused_update = Some(answer.refused.clone());
            self.refused_revision = Some(sent.revision);
            return true;
        }
        (self.refused_update, self.refused_revision) = (None, None);
        self.held = (!answer.held.is_empty()).then(|| answer.held.clone());
        for name in sent.removed {
            self.known.remove(&name);
            self.refused.remove(&name);
        }
        for (name, version) in sent.versions {
            self.refused.remove(&name);
            // A refused one is not sent again before it is another.
            self.known.insert(name, version);
        }
        for error in &answer.errors {
            if self.known.contains_key(&error.name) && self.refused.len() < MOST_REFUSED {
                self.refused.insert(error.name.clone(), error.problems.clone());
            }
        }
        if sent.is_last {
            self.revision = sent.revision;
        }
        true
    }

    /// Has it answered all that was sent?
    pub fn is_waited_for(&self) -> bool {
        self.waits_for.is_some()
    }
}
