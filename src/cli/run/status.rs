//! What `guideway status` is told, put together from workers, control thread and probes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};

use super::clusters::ClusterView;
use super::dataplane::SteerPrograms;
use super::feeds::FeedView;
use super::records::RecordCounts;
use crate::admin::{
    ConfigurationStatus, Copies, CountersStatus, DataPlane, GenerationStatus, HealthStatus,
    InterfaceStatus, KubernetesReport, Measured, SnatStatus, StatusReport, StoppingStatus,
    TakePart, WorkerStatus, drains_of, services_of,
};
use crate::cli::moment::now_unix_ms;
use crate::control::{Drains, NodeSpec, Topology};
use crate::dataplane::{Counters, FlowWalk, TapCopy, TapFilter};
use crate::forwarding::Snapshot;
use crate::health::HealthEvent;
use crate::io::QueueStatistics;
use crate::runtime::{Capture, Controller, Event, Publisher, WorkerReport, walk_flows};

/// Longest wait for a worker's or the control thread's answer. Status shows what there is then.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

type SteerCounters = BTreeMap<String, BTreeMap<String, u64>>;

/// What was last heard of each backend, by the names of service and backend.
type HealthByName = HashMap<(Arc<str>, Arc<str>), HealthStatus>;

/// What only the control thread knows.
#[derive(Default)]
struct Told {
    topology: Topology,
    steer: SteerCounters,
    retired_cut: u64,
}

/// Everything status is made from.
pub struct StatusContext {
    pub node: NodeSpec,
    pub publisher: Arc<Publisher>,
    pub events: Sender<Event<SteerPrograms>>,
    pub configuration: Mutex<ConfigurationStatus>,
    pub health: Mutex<HealthByName>,
    /// In the order of the configuration.
    pub feeds: Vec<FeedView>,
    /// Kubernetes clusters.
    pub clusters: Vec<ClusterView>,
    pub drains: Mutex<Drains>,
    pub cluster_key_fingerprint: String,
    /// Of records of flows, where somebody gets them.
    pub record_counts: Option<Arc<RecordCounts>>,
    pub started_unix_ms: u64,
    /// Set once the end has begun.
    pub stopping: Mutex<Option<StoppingStatus>>,
}

impl StatusContext {
    /// Remembers what a probe said.
    pub fn note_health(&self, event: &HealthEvent) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (event.service.clone(), event.backend.clone());
        let (before, now) = (health.get(&key), now_unix_ms());
        let same_health = before.filter(|before| before.health == event.health);
        let same_reason = before.filter(|before| before.reason == event.reason);
        let status = HealthStatus {
            health: event.health,
            since_unix_ms: same_health.map_or(now, |before| before.since_unix_ms),
            reason: event.reason.clone(),
            reason_since_unix_ms: same_reason.map_or(now, |before| before.reason_since_unix_ms),
        };
        health.insert(key, status);
    }

    /// Forgets backends that are not probed any more.
    pub fn forget_health(&self, backends: &[(Arc<str>, Arc<str>)]) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        for backend in backends {
            health.remove(backend);
        }
    }

    /// The whole report. Takes up to half a second when a worker does not answer.
    pub fn report(&self) -> StatusReport {
        let snapshot = self.publisher.current();
        let told = self.ask_control();
        let reports = self.ask_workers();
        let mut measured = Measured::default();
        for report in &reports {
            measured.add(&report.live_flows, &report.traffic, &report.path_mtus);
        }
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let health_of = |service: &str, backend: &str| {
            health.get(&(Arc::from(service), Arc::from(backend))).cloned()
        };
        let services = services_of(&snapshot, &measured, health_of);
        let drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let configuration = self.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            now_unix_ms: now_unix_ms(),
            started_unix_ms: self.started_unix_ms,
            stopping: self.stopping(),
            configuration: configuration.clone(),
            generation: GenerationStatus {
                published: snapshot.generation,
                acknowledged: self.publisher.acknowledged(),
            },
            cluster_key_fingerprint: self.cluster_key_fingerprint.clone(),
            feeds: self.feeds.iter().map(FeedView::status).collect(),
            clusters: self.clusters.iter().map(ClusterView::status).collect(),
            interfaces: self.interfaces(&told.topology, &reports, &told.steer),
            workers: self.workers(&reports),
            drains: drains_of(drains.iter(), &services),
            services,
            snat: snat_of(&snapshot),
            counters: counters_of(&reports, told.retired_cut),
            flow_records: self.record_counts.as_ref().map(|counts| counts.status()),
        }
    }

    /// How clusters and their services are. Takes up to two seconds for each that does not answer.
    pub fn kubernetes(&self) -> KubernetesReport {
        // States of backends are in the snapshot: workers need not be asked.
        let services = services_of(&self.publisher.current(), &Measured::default(), |_, _| None);
        let by_name = services.iter().map(|service| (service.name.as_str(), service)).collect();
        let clusters = self.clusters.iter().map(|view| view.report(&by_name)).collect();
        KubernetesReport { now_unix_ms: now_unix_ms(), clusters }
    }

    /// What is known of the end, once it has begun.
    pub fn stopping(&self) -> Option<StoppingStatus> {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for people: what is in force.
    pub fn in_short(&self) -> String {
        let snapshot = self.publisher.current();
        let (services, workers) = (snapshot.services.len(), self.publisher.workers().len());
        let generation = snapshot.generation;
        format!("{services} services, {workers} workers, generation {generation}")
    }

    fn ask_workers(&self) -> Vec<WorkerReport> {
        let workers = self.publisher.workers();
        let asked: Vec<u64> = workers.iter().map(|worker| worker.ask_report()).collect();
        let deadline = Instant::now() + ANSWER_WITHIN;
        workers
            .iter()
            .zip(asked)
            .map(|(worker, number)| {
                while !worker.has_reported(number) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_micros(200));
                }
                worker.report()
            })
            .collect()
    }

    fn ask_control(&self) -> Told {
        let (answer, answered) = bounded(1);
        let look = Event::Look(Box::new(move |controller: &mut Controller<SteerPrograms>| {
            let told = Told {
                topology: controller.topology().clone(),
                steer: controller.steer_target().counters(),
                retired_cut: controller.retired_cut(),
            };
            // Whoever asked may have stopped waiting.
            let _ = answer.send(told);
        }));
        let sent = self.events.send(look);
        let answer = sent.ok().and_then(|()| answered.recv_timeout(ANSWER_WITHIN).ok());
        answer.unwrap_or_default()
    }

    fn interfaces(
        &self,
        topology: &Topology,
        reports: &[WorkerReport],
        steer: &SteerCounters,
    ) -> Vec<InterfaceStatus> {
        let queues_of = |name: &str| {
            let all = reports.iter().flat_map(|report| &report.device.queues);
            let mut queues: Vec<QueueStatistics> =
                all.filter(|queue| queue.interface == name).cloned().collect();
            queues.sort_by_key(|queue| queue.queue);
            queues
        };
        let specs = self.node.interfaces.iter().enumerate();
        let status = specs.map(|(place, spec)| {
            let link = topology.links.get(place);
            InterfaceStatus {
                name: spec.name.clone(),
                bridge: spec.bridge.clone(),
                mac: link.map(|link| link.mac.to_string()).unwrap_or_default(),
                mtu_bytes: link.map_or(0, |link| link.mtu_bytes),
                up: link.is_some_and(|link| link.up),
                queues: queues_of(&spec.name),
                steer: steer.get(&spec.name).cloned().unwrap_or_default(),
            }
        });
        status.collect()
    }

    fn workers(&self, reports: &[WorkerReport]) -> Vec<WorkerStatus> {
        let workers = self.publisher.workers().iter().zip(reports);
        let status = workers.map(|(worker, report)| WorkerStatus {
            worker: worker.number,
            core: report.core,
            idle: self.node.workers.idle,
            generation: report.generation,
            batches: report.batches,
            received: report.counters.received,
            received_bytes: report.counters.received_bytes,
            flows: report.live_flows.iter().map(|&flows| u64::from(flows)).sum(),
            flows_limit: self.node.limits.flows_per_worker as u64,
            forwarded: report.counters.forwarded,
            dropped: report.counters.dropped.iter().sum(),
            handed_over: report.counters.events.handed_over,
            restarts: worker.restarts(),
        });
        status.collect()
    }
}

impl DataPlane for StatusContext {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    fn walk_flows(&self, begin: &dyn Fn() -> FlowWalk, take: TakePart<'_>) -> Result<(), String> {
        walk_flows(self.publisher.workers(), begin, take).map_err(|error| error.to_string())
    }

    fn capture(&self, filter: &TapFilter) -> Result<Box<dyn Copies>, String> {
        let begun = Capture::begin(self.publisher.workers(), filter);
        begun.map(|capture| Box::new(Copied(capture)) as _).map_err(|error| error.to_string())
    }
}

/// A capture, as the admin API reads it.
struct Copied(Capture);

impl Copies for Copied {
    fn take(&mut self, give: &mut dyn FnMut(u8, &TapCopy)) -> usize {
        self.0.take(give)
    }

    fn lost(&self) -> u64 {
        self.0.lost()
    }
}

fn counters_of(reports: &[WorkerReport], retired_cut: u64) -> CountersStatus {
    let sum = reports.iter().fold(Counters::default(), |sum, report| sum.plus(&report.counters));
    let waiting = reports.iter().map(|report| report.waiting).sum();
    let queues = reports.iter().flat_map(|report| &report.device.queues);
    let mut counters = CountersStatus::new(&sum, queues, waiting, sum.events.announcements);
    counters.events.insert("retired_backends_cut".to_string(), retired_cut);
    counters
}

fn snat_of(snapshot: &Snapshot) -> Vec<SnatStatus> {
    let status = snapshot.snat.iter().map(|snat| SnatStatus {
        address: snat.address,
        first_port: *snat.ports.start(),
        last_port: *snat.ports.end(),
        interface: snat.port.and_then(|id| snapshot.port(id)).map(|port| port.name.to_string()),
        shared_address: snat.shared_address,
        in_use: None,
    });
    status.collect()
}
