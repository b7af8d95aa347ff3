//! How a cluster that is followed is doing, for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::usage::Usage;
use super::view::ServiceView;

/// Whoever asks what each service of ours is like gets it here. It is made only when it is asked for.
pub type Question = SyncSender<Vec<ServiceView>>;

/// How a cluster is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterState {
    /// Since when all of it is known.
    pub known_unix_ms: Option<u64>,
    /// When something was taken last; after a start, when the kept state was.
    pub taken_unix_ms: Option<u64>,
    /// Services of the cluster that are ours.
    pub ours: usize,
    /// Services of the desired state that were made of them.
    pub services: usize,
    /// It is this one that writes.
    pub leads: bool,
    /// Writes that the API did not take, by service.
    pub refused: BTreeMap<String, String>,
    /// What is in the way, by kind of object.
    pub problems: BTreeMap<String, String>,
    /// How many addresses of each pool are used.
    pub pools: Vec<(Arc<str>, Usage)>,
    /// What was in the way last, and when that began; it may be over.
    pub last_error: Option<(u64, String)>,
}

impl ClusterState {
    /// Something is in the way of what is named, or nothing any more. Has that changed?
    pub fn problem(&mut self, what: &str, problem: Option<&str>, now_unix_ms: u64) -> bool {
        let before = match problem {
            Some(why) => self.problems.insert(what.to_string(), why.to_string()),
            None => self.problems.remove(what),
        };
        let is_new = before.as_deref() != problem;
        if let Some(why) = problem.filter(|_| is_new) {
            self.last_error = Some((now_unix_ms, format!("{what}: {why}")));
        }
        is_new
    }

    /// The API did not take a write of a service. Is that new?
    pub fn refuse(&mut self, service: String, why: &str, now_unix_ms: u64) -> bool {
        let is_new = self.refused.get(&service).is_none_or(|before| before != why);
        if is_new {
            self.last_error = Some((now_unix_ms, format!("{service}: {why}")));
            self.refused.insert(service, why.to_string());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_stays_and_is_told_once() {
        let mut state = ClusterState::default();
        assert!(state.problem("nodes", Some("no answer"), 1));
        assert!(!state.problem("nodes", Some("no answer"), 2));
        assert!(state.problem("nodes", None, 3) && !state.problem("nodes", None, 4));
        assert!(state.problems.is_empty());
        assert_eq!(state.last_error, Some((1, "nodes: no answer".to_string())));
        assert!(state.refuse("shop/web".to_string(), "forbidden", 5));
        assert!(!state.refuse("shop/web".to_string(), "forbidden", 6));
        assert_eq!(state.last_error, Some((5, "shop/web: forbidden".to_string())));
    }
}
