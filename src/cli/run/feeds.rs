//! Feeds of a run: started from what was kept of them, followed for ever, and taken over like files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tokio::sync::mpsc;

use super::kept;
use super::last_good::ago;
use super::reload::Reloader;
use super::sources::{MOST_LINES, Sources};
use super::status::StatusContext;
use crate::admin::{FeedStatus, HealthStatus};
use crate::cli::moment::now_unix_ms;
use crate::control::{FeedSpec, Health, NodeSpec, Topology};
use crate::source::ask::{Ask, Took};
use crate::source::grpc::proto::{BackendProgress, KeptState, ServiceProgress};
use crate::source::grpc::session::Session;
use crate::source::grpc::{FeedState, Follower, follow};

/// Deliveries that may wait: each feed and each cluster has one under way at most.
pub const MOST_WAITING: usize = 16;

/// One feed as status shows it.
pub struct FeedView {
    spec: FeedSpec,
    state: Arc<Mutex<FeedState>>,
    /// What is not in force of it, a line each.
    refused: Mutex<Vec<String>>,
}

impl FeedView {
    /// How it is doing.
    pub fn status(&self) -> FeedStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        FeedStatus {
            name: self.spec.name.clone(),
            url: self.spec.url.clone(),
            connected_unix_ms: state.connected_unix_ms,
            taken_unix_ms: state.taken_unix_ms,
            revision: state.revision,
            services: state.services,
            refused,
            problem: state.problem,
        }
    }
}

/// The feeds of a configuration, each with what was kept of it.
pub struct Feeds {
    node: NodeSpec,
    sessions: Vec<Session>,
    states: Vec<Arc<Mutex<FeedState>>>,
}

impl Feeds {
    /// Puts into the desired state what was kept of each feed; it is in force at once.
    pub fn open(node: &NodeSpec, sources: &mut Sources, topology: &Topology) -> Feeds {
        let mut feeds = Feeds { node: node.clone(), sessions: vec![], states: vec![] };
        for (number, spec) in node.feeds.iter().enumerate() {
            let most = node.limits.backends;
            let kept = read_kept(&kept_file(&node.state_dir, &spec.name));
            let taken_unix_ms = kept.as_ref().map(|kept| kept.taken_unix_ms);
            let mut state = FeedState { taken_unix_ms, ..FeedState::default() };
            let session = match kept.and_then(|kept| Session::of_kept(kept, most)) {
                None => Session::new(most),
                Some((mut session, change)) => {
                    let deliveries = change.deliveries();
                    sources.take_feed(number, deliveries, node, topology);
                    let refused = sources.refused_of(number);
                    // What is no good any more has to be sent again.
                    let _ = session.took(change, Ok(Took { refused, held: None }));
                    let revision = session.revision();
                    let taken = taken_unix_ms.map(|then| ago(now_unix_ms(), then));
                    let (feed, services) = (&spec.name, session.len());
                    tracing::info!(%feed, services, revision, taken, "kept state of the feed");
                    (state.revision, state.services) = (revision, services);
                    session
                }
            };
            feeds.sessions.push(session);
            feeds.states.push(Arc::new(Mutex::new(state)));
        }
        feeds
    }

    /// For status.
    pub fn states(&self) -> Vec<FeedView> {
        let views = self.node.feeds.iter().zip(&self.states);
        let view = |(spec, state): (&FeedSpec, &Arc<Mutex<FeedState>>)| FeedView {
            spec: spec.clone(),
            state: state.clone(),
            refused: Mutex::default(),
        };
        views.map(view).collect()
    }

    /// Follows all of them, each by a task.
    pub fn follow(self, context: &Arc<StatusContext>, asks: &mpsc::Sender<Ask>) {
        let Feeds { node, sessions, states } = self;
        let parts = node.feeds.iter().zip(sessions).zip(states).enumerate();
        for (number, ((spec, session), state)) in parts {
            let file = kept_file(&node.state_dir, &spec.name);
            let context = context.clone();
            let follower = Follower {
                number,
                spec: spec.clone(),
                node: spec.node.clone().unwrap_or_else(host_name),
                asks: asks.clone(),
                state,
                progress: Arc::new(move || progress(&context)),
                keep: Arc::new(move |kept| keep(&file, &kept)),
            };
            tokio::spawn(follow(follower, session));
        }
    }
}

impl Reloader {
    /// Takes over what a feed delivers, and answers what became of it.
    pub fn take_feed(&mut self, ask: Ask, topology: &Topology) {
        let Ask { source: feed, deliveries, names, answer } = ask;
        let mark = self.sources.mark(&Default::default());
        let outcome = self.sources.take_feed(feed, deliveries, &self.node, topology);
        let desired = self.sources.merged().desired.clone();
        let took = match self.publish(desired) {
            Ok(()) => {
                let mut refused = self.sources.refused_of(feed);
                refused.retain(|name, _| names.contains(name));
                let held = outcome.held.as_ref();
                Ok(Took { refused, held: held.map(|held| format!("{held}: by SIGHUP there")) })
            }
            Err(error) => {
                self.sources.back_to(mark);
                Err(error.to_string())
            }
        };
        self.tell(feed, &took);
        // The feed's task may have ended.
        let _ = answer.send(took);
    }

    fn tell(&self, feed: usize, took: &Result<Took, String>) {
        let (name, view) = match self.context.feeds.get(feed) {
            Some(view) => (&view.spec.name, &view.refused),
            None => {
                let cluster = feed.saturating_sub(self.context.feeds.len());
                let Some(view) = self.context.clusters.get(cluster) else { return };
                (view.name(), view.refused())
            }
        };
        match took {
            Err(error) => tracing::error!(feed = %name, "an update is refused:\n{error}"),
            Ok(took) => {
                let lines = took.refused.values().flatten().take(MOST_LINES);
                lines.for_each(|line| tracing::error!(feed = %name, "refused: {line}"));
                if let Some(held) = &took.held {
                    tracing::warn!(feed = %name, "{held}");
                }
            }
        }
        let held = took.as_ref().ok().and_then(|took| took.held.clone());
        let all = self.sources.refused_of(feed).into_values().flatten().chain(held);
        let all = all.take(MOST_LINES).collect();
        *view.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// What all services' backends are like.
fn progress(context: &StatusContext) -> Vec<ServiceProgress> {
    let health = |health: &HealthStatus| {
        let word = match health.health {
            Health::Up => "up",
            Health::Down => "down",
            Health::Unknown => "",
        };
        (word.to_string(), health.reason.clone())
    };
    let services = context.report().services.into_iter().map(|service| ServiceProgress {
        name: service.name,
        backends: service
            .backends
            .into_iter()
            .map(|backend| {
                let (health, reason) = backend.health.as_ref().map(health).unwrap_or_default();
                let state = serde_json::to_value(backend.state).ok();
                let state = state.and_then(|state| state.as_str().map(str::to_string));
                let (name, state) = (backend.name, state.unwrap_or_default());
                BackendProgress { name, health, reason, state, flows: backend.flows }
            })
            .collect(),
    });
    services.collect()
}

/// What the machine calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kept_file(state_dir: &Path, feed: &str) -> PathBuf {
    state_dir.join("feeds").join(format!("{feed}.state"))
}

fn read_kept(file: &Path) -> Option<KeptState> {
    let decode = |bytes: &[u8]| KeptState::decode(bytes).map_err(|error| error.to_string());
    kept::read(file, "a feed", decode)
}

fn keep(file: &Path, kept: &KeptState) {
    kept::keep(file, "a feed", &kept.encode_to_vec());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn kept_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = kept_file(directory.path(), "main");
        assert_eq!(read_kept(&file), None);
        let kept = Session::new(1).to_keep("https://feed:1", 7);
        keep(&file, &kept);
        assert_eq!(read_kept(&file), Some(kept));
        fs::write(&file, [0xff; 9]).unwrap();
        assert_eq!(read_kept(&file), None, "garbage is not used");
    }
}
