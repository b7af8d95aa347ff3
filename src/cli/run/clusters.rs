//! Kubernetes clusters of a run: started from what was kept of them, followed for ever.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::cluster_services::{Beside, told};
use super::feeds::host_name;
use super::kept;
use super::last_good::ago;
use super::sources::{MOST_LINES, Sources};
use crate::admin::{
    ClusterReport, ClusterStatus, LastError, PoolFamily, PoolStatus, ServiceStatus,
};
use crate::cli::moment::now_unix_ms;
use crate::control::{Delivery, KubernetesSpec, NodeSpec, Part, Topology};
use crate::source::ask::Ask;
use crate::source::kubernetes::forms::Forms;
use crate::source::kubernetes::keep::Kept;
use crate::source::kubernetes::objects::IpFamily;
use crate::source::kubernetes::state::{ClusterState, Question};
use crate::source::kubernetes::usage::{Count, Usage};
use crate::source::kubernetes::world::{Options, World};
use crate::source::kubernetes::{Cluster, follow};

/// Longest wait for what each service is like: whoever follows the cluster may wait for a delivery.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Questions that may wait.
const MOST_QUESTIONS: usize = 4;

/// One cluster as status shows it.
pub struct ClusterView {
    name: String,
    state: Arc<Mutex<ClusterState>>,
    questions: mpsc::Sender<Question>,
    /// What is not in force of it, a line each.
    refused: Mutex<Vec<String>>,
}

impl ClusterView {
    /// What it is called.
    pub fn name(&self) -> &String {
        &self.name
    }

    /// What is not in force of it.
    pub fn refused(&self) -> &Mutex<Vec<String>> {
        &self.refused
    }

    /// How it is doing.
    pub fn status(&self) -> ClusterStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let writes = state.refused.iter().map(|(service, why)| format!("{service}: {why}"));
        let problems = state.problems.iter().map(|(what, why)| format!("{what}: {why}"));
        let last_error = state.last_error.clone();
        ClusterStatus {
            name: self.name.clone(),
            known_unix_ms: state.known_unix_ms,
            taken_unix_ms: state.taken_unix_ms,
            ours: state.ours,
            services: state.services,
            leads: state.leads,
            refused: refused.into_iter().chain(writes).take(MOST_LINES).collect(),
            problems: problems.collect(),
            last_error: last_error.map(|(at_unix_ms, error)| LastError { at_unix_ms, error }),
            pools: state.pools.iter().map(|(name, usage)| pool(name, usage)).collect(),
        }
    }

    /// How it is doing, with each of its services.
    pub fn report(&self, services: &HashMap<&str, &ServiceStatus>) -> ClusterReport {
        let (answer, answered) = sync_channel(1);
        let asked = self.questions.try_send(answer).ok();
        let views = asked.and_then(|()| answered.recv_timeout(ANSWER_WITHIN).ok());
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beside = Beside { services, refused: &refused, not_written: &state.refused };
        let services =
            views.map(|views| views.into_iter().map(|view| told(view, &beside)).collect());
        ClusterReport { cluster: self.status(), services }
    }
}

fn pool(name: &str, usage: &Usage) -> PoolStatus {
    let family = |(family, count): (IpFamily, Count)| {
        let Count { addresses, used, resting, free } = count;
        PoolFamily { family: family.to_string().to_lowercase(), addresses, used, resting, free }
    };
    PoolStatus {
        name: name.to_string(),
        families: usage.counts().map(family).collect(),
        problem: usage.problem.clone(),
    }
}

/// The clusters of a configuration, each with what was kept of it.
pub struct Clusters {
    node: NodeSpec,
    worlds: Vec<World>,
    states: Vec<Arc<Mutex<ClusterState>>>,
    questions: Vec<(mpsc::Sender<Question>, mpsc::Receiver<Question>)>,
}

impl Clusters {
    /// Puts into the desired state what was kept of each cluster; it is in force at once.
    ///
    /// # Errors
    /// What is wrong with a pool, which the configuration's reader has judged already.
    pub fn open(
        node: &NodeSpec,
        sources: &mut Sources,
        topology: &Topology,
    ) -> anyhow::Result<Clusters> {
        let (worlds, states, questions) = (vec![], vec![], vec![]);
        let mut clusters = Clusters { node: node.clone(), worlds, states, questions };
        for (number, spec) in node.kubernetes.iter().enumerate() {
            let options = Options::of(spec, node.kubernetes.len() > 1);
            let options =
                options.map_err(|why| anyhow::anyhow!("kubernetes {}: {why}", spec.name))?;
            let file = kept_file(&node.state_dir, &spec.name);
            let mut state = ClusterState::default();
            let mut world = World::new(options.clone());
            if let Some(kept) = read_kept(&file) {
                let taken_unix_ms = kept.taken_unix_ms;
                match kept.world(options) {
                    Ok(kept) => world = kept,
                    Err(why) => {
                        tracing::warn!(file = %file.display(), why, "the kept state of a cluster is not used")
                    }
                }
                let forms = Forms::default().all(&world);
                let services = forms.len();
                let whole = Delivery::Whole(Part::of(forms));
                sources.take_feed(node.feeds.len() + number, vec![whole], node, topology);
                let taken = ago(now_unix_ms(), taken_unix_ms);
                tracing::info!(cluster = %spec.name, services, taken, "kept state of the cluster");
                (state.services, state.taken_unix_ms) = (services, Some(taken_unix_ms));
            }
            clusters.worlds.push(world);
            clusters.states.push(Arc::new(Mutex::new(state)));
            clusters.questions.push(mpsc::channel(MOST_QUESTIONS));
        }
        Ok(clusters)
    }

    /// For status.
    pub fn states(&self) -> Vec<ClusterView> {
        let parts = self.node.kubernetes.iter().zip(&self.states).zip(&self.questions);
        type Channel = (mpsc::Sender<Question>, mpsc::Receiver<Question>);
        type Follows<'a> = (&'a KubernetesSpec, &'a Arc<Mutex<ClusterState>>);
        let view = |((spec, state), (questions, _)): (Follows<'_>, &Channel)| ClusterView {
            name: spec.name.clone(),
            state: state.clone(),
            questions: questions.clone(),
            refused: Mutex::default(),
        };
        parts.map(view).collect()
    }

    /// Follows all of them, each by a task.
    pub fn follow(self, asks: &mpsc::Sender<Ask>) {
        let Clusters { node, worlds, states, questions } = self;
        let parts = node.kubernetes.iter().zip(worlds).zip(states.into_iter().zip(questions));
        for (number, ((spec, world), (state, (_, questions)))) in parts.enumerate() {
            let file = kept_file(&node.state_dir, &spec.name);
            let cluster = Cluster {
                number: node.feeds.len() + number,
                spec: spec.clone(),
                instance: instance(),
                asks: asks.clone(),
                state,
                keep: Arc::new(move |kept| keep(&file, &kept)),
            };
            tokio::spawn(follow(cluster, world, questions));
        }
    }
}

/// A name that no other replica has, and that this one has not after a restart: what it wrote before is
/// not its own then.
fn instance() -> String {
    format!("{}_{:016x}", host_name(), rand::random::<u64>())
}

fn kept_file(state_dir: &Path, cluster: &str) -> PathBuf {
    state_dir.join("kubernetes").join(format!("{cluster}.json"))
}

fn read_kept(file: &Path) -> Option<Kept> {
    let decode = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
    kept::read(file, "a cluster", decode)
}

fn keep(file: &Path, kept: &Kept) {
    match serde_json::to_vec(kept) {
        Ok(bytes) => kept::keep(file, "a cluster", &bytes),
        Err(error) => tracing::warn!(%error, "the state of a cluster is not kept"),
    }
}
