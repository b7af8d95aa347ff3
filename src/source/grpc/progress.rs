//! What goes back to a feed: health and flows of its backends, as far as they have changed.

use std::collections::{HashMap, HashSet};

use super::proto::follow_request::Message;
use super::proto::{FollowRequest, Progress, ServiceProgress};

/// Services told of in one message: the rest follows with the next.
const MOST_TOLD: usize = 1_000;

/// What was told last.
#[derive(Debug, Default)]
pub struct Sent(HashMap<String, ServiceProgress>);

impl Sent {
    /// What is new of it, if anything is.
    pub fn changes(&mut self, now: Vec<ServiceProgress>) -> Option<FollowRequest> {
        let names: HashSet<&str> = now.iter().map(|service| &*service.name).collect();
        self.0.retain(|name, _| names.contains(&**name));
        let is_new = |service: &ServiceProgress| self.0.get(&service.name) != Some(service);
        let new = now.into_iter().filter(is_new).take(MOST_TOLD);
        let services: Vec<ServiceProgress> = new.collect();
        if services.is_empty() {
            return None;
        }
        for service in &services {
            self.0.insert(service.name.clone(), service.clone());
        }
        Some(FollowRequest { message: Some(Message::Progress(Progress { services })) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::grpc::proto::BackendProgress;

    fn service(name: &str, flows: u64) -> ServiceProgress {
        let backend = BackendProgress { name: "b1".to_string(), flows, ..Default::default() };
        ServiceProgress { name: name.to_string(), backends: vec![backend] }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut sent = Sent::default();
        let mut told = |now: &[ServiceProgress]| match sent.changes(now.to_vec()) {
            Some(FollowRequest { message: Some(Message::Progress(progress)) }) => {
                progress.services.into_iter().map(|service| service.name).collect()
            }
            _ => Vec::<String>::new(),
        };
        assert_eq!(told(&[service("a", 1), service("b", 1)]), ["a", "b"]);
        assert!(told(&[service("a", 1), service("b", 1)]).is_empty());
        assert_eq!(told(&[service("a", 1), service("b", 2)]), ["b"]);
        assert!(told(&[service("a", 1)]).is_empty(), "b is gone");
        assert_eq!(told(&[service("a", 1), service("b", 2)]), ["b"], "and back");
    }
}
