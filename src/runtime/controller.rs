//! The control loop's heart: events in, snapshots out, in the order that loses no packet.
//!
//! What leaves the snapshot leaves the XDP programs' tables first; what is new enters them only
//! after every worker runs the snapshot that knows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Message, Publisher, SteerTarget, Steering};
use crate::announce::Announcer;
use crate::control::{
    CompileInput, DesiredState, Health, HealthView, LimitsSpec, LiveFlows, Note, Refusal, Topology,
    compile_next,
};
use crate::forwarding::{AddressRole, ClusterKey, Snapshot, Spare, SteerTable};

/// How long a publication waits for the workers before the control loop goes on with other things.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(2);

/// How often backends and services that leave are looked at: each look compiles.
const LEAVERS_EVERY_MS: u64 = 1_000;

/// How often the XDP programs' tables are tried again after a refusal.
const STEER_AGAIN_MS: u64 = 1_000;

/// What happened in one step.
#[derive(Debug, Default)]
pub struct Step {
    /// Another desired state was taken over.
    pub taken_over: bool,
    /// The new snapshot, when one was published.
    pub published: Option<Arc<Snapshot>>,
    /// Things an operator wants to know about it.
    pub notes: Vec<Note>,
    /// What the XDP programs' tables refused, when that is another than last time; it is tried again
    /// every second.
    pub steer_refused: Vec<String>,
}

/// What runs, and everything that another state would be compiled with.
#[derive(Clone, Debug)]
pub struct Running {
    /// Published last.
    pub snapshot: Arc<Snapshot>,
    /// As known now.
    pub health: HealthView,
    /// As known now.
    pub topology: Topology,
    /// Counted for this question.
    pub live: LiveFlows,
    /// Fixed at start.
    pub limits: LimitsSpec,
}

/// Desired state, health and topology as they are now, and the way from them to the workers.
pub struct Controller<T> {
    publisher: Arc<Publisher>,
    steering: Steering<T>,
    /// What the XDP programs are to take.
    wanted_steer: SteerTable,
    /// They do.
    is_steered: bool,
    /// Arrays of a snapshot that no worker runs any more, for the next one.
    spare: Option<Spare>,
    announcer: Announcer,
    /// The announcer knows the addresses of the newest snapshot.
    is_announced: bool,
    limits: LimitsSpec,
    cluster_key: ClusterKey,
    desired: DesiredState,
    health: HealthView,
    topology: Topology,
    /// The kernel's numbers of the interfaces that were opened, by port.
    opened: Vec<u32>,
    live: LiveFlows,
    /// Something changed since the last compile.
    dirty: bool,
    /// A publication that not every worker has acknowledged yet: its new steer entries wait.
    unacknowledged: bool,
    /// What the XDP programs' tables refused last, and when they are tried again.
    steer_refused: Vec<String>,
    steer_again_ms: u64,
    /// Retired backends that had to leave before their flows ended.
    retired_cut: u64,
    /// When backends and services that leave are looked at next.
    look_at_leavers_ms: u64,
}

impl<T: SteerTarget> Controller<T> {
    /// Begins with no service.
    pub fn new(
        publisher: Arc<Publisher>,
        target: T,
        limits: LimitsSpec,
        cluster_key: ClusterKey,
        topology: Topology,
    ) -> Controller<T> {
        Controller {
            publisher,
            steering: Steering::new(target),
            wanted_steer: SteerTable::default(),
            is_steered: false,
            spare: None,
            announcer: Announcer::default(),
            is_announced: true,
            limits,
            cluster_key,
            desired: DesiredState::default(),
            health: HealthView::default(),
            opened: topology.links.iter().map(|link| link.ifindex).collect(),
            topology,
            live: LiveFlows::default(),
            dirty: true,
            unacknowledged: false,
            steer_refused: vec![],
            steer_again_ms: 0,
            retired_cut: 0,
            look_at_leavers_ms: 0,
        }
    }

    /// Takes a new desired state over if it compiles; what is refused changes nothing.
    ///
    /// # Errors
    /// Why `compile` refuses it.
    pub fn set_desired(
        &mut self,
        desired: DesiredState,
        now_ms: u64,
    ) -> Result<Step, Vec<Refusal>> {
        let before = std::mem::replace(&mut self.desired, desired);
        self.dirty = true;
        let mut step = match self.step(now_ms) {
            Ok(step) => step,
            Err(refusals) => {
                self.desired = before;
                // What else has changed was not published either.
                self.dirty = true;
                return Err(refusals);
            }
        };
        self.forget_unprobed(&before);
        step.taken_over = true;
        Ok(step)
    }

    /// What a probe said that is no longer made must not count for ever.
    fn forget_unprobed(&mut self, before: &DesiredState) {
        let known = self.health.clone();
        let (gone, new) = self.desired.changes_since(before);
        let probed = new.into_iter().filter(|service| service.health_check.is_some());
        let probed: HashMap<&str, _> = probed.map(|s| (s.name.as_str(), s)).collect();
        for old in gone.iter().filter(|service| service.health_check.is_some()) {
            let now = probed.get(old.name.as_str());
            self.health.retain_of(&old.name, |backend| {
                now.is_some_and(|now| now.backends.iter().any(|b| b.name == backend))
            });
        }
        self.dirty |= self.health != known;
    }

    /// A backend came up or went down.
    pub fn set_health(&mut self, service: &str, backend: &str, health: Health) {
        self.dirty |= self.health.set(service, backend, health) != health;
    }

    /// Links, routes or neighbours changed.
    pub fn set_topology(&mut self, mut topology: Topology) {
        self.take_down_strangers(&mut topology);
        for (link, before) in topology.links.iter().zip(&self.topology.links) {
            let is_new = link.mac != before.mac && link.mac.is_station();
            if is_new && let Err(why) = self.steering.target().set_mac(&link.name, link.mac) {
                tracing::error!(interface = link.name, why, "the new MAC is not steered");
            }
        }
        self.tell_claimed(&topology);
        self.dirty |= topology != self.topology;
        self.topology = topology;
    }

    /// A VIP or SNAT address that is ours alone must not become the machine's own as well: the
    /// machine would talk to itself under it, and nobody else would hear its kernel answer.
    fn tell_claimed(&self, topology: &Topology) {
        let snapshot = self.publisher.current();
        for own in &topology.own_addresses {
            let role = snapshot.address_role(own.address.into());
            let is_ours_alone = matches!(role, Some(AddressRole::Vip | AddressRole::Snat));
            if is_ours_alone && !self.topology.is_own(own.address) {
                let address = own.address;
                tracing::error!(
                    %address,
                    "the machine has now an address of the configuration: remove it (`ip address \
                     del`), or set `shared_address: true` where it stands"
                );
            }
        }
    }

    /// An interface that was removed took its sockets and its XDP program with it. One that was made
    /// anew under its name has neither: nothing may be sent there, and somebody has to be told.
    fn take_down_strangers(&self, topology: &mut Topology) {
        let before = self.topology.links.iter().map(|link| link.ifindex);
        for ((link, before), &opened) in topology.links.iter_mut().zip(before).zip(&self.opened) {
            if link.ifindex == opened {
                continue;
            }
            link.up = false;
            let (name, is_news) = (&link.name, link.ifindex != before);
            if is_news && link.ifindex == 0 {
                tracing::error!(interface = name, "the interface is gone, and its traffic with it");
            } else if is_news {
                tracing::error!(
                    interface = name,
                    "the interface was removed and made anew: it has no sockets and no XDP \
                     program until Guideway is restarted"
                );
            }
        }
    }

    /// Compiles and publishes if anything changed, and does what time brings.
    ///
    /// # Errors
    /// Why `compile` refuses; the running snapshot stays.
    pub fn step(&mut self, now_ms: u64) -> Result<Step, Vec<Refusal>> {
        let mut step = Step::default();
        let previous = self.publisher.current();
        let is_time = self.steer_refused.is_empty() || now_ms >= self.steer_again_ms;
        if (self.unacknowledged || !self.steer_refused.is_empty()) && is_time {
            self.finish_publication(now_ms, &mut step);
        }
        // Backends and services that only wait for their flows to end, ids that rest, and backends
        // whose drain is over.
        let is_over = previous.next_change_ms().is_some_and(|change_ms| now_ms >= change_ms);
        let waits = !previous.is_settled() || previous.has_resting_ids() || is_over;
        if waits && now_ms >= self.look_at_leavers_ms {
            self.look_at_leavers_ms = now_ms + LEAVERS_EVERY_MS;
            self.read_live_flows();
            self.dirty = true;
        }
        if std::mem::take(&mut self.dirty) {
            let next = compile_next(&CompileInput {
                desired: &self.desired,
                health: &self.health,
                topology: &self.topology,
                live: &self.live,
                previous: &previous,
                limits: &self.limits,
                cluster_key: self.cluster_key,
                now_ms,
            })?;
            // The next compile is told by the ledger of the published snapshot which ids rest.
            if previous.generation == 0 || next.is_new {
                step.notes = next.notes.clone();
                let is_cut = |note: &&Note| matches!(note, Note::RetiredCut { .. });
                self.retired_cut += step.notes.iter().filter(is_cut).count() as u64;
                let snapshot = next.build(&previous, self.spare.take());
                self.publish(Arc::new(snapshot), &previous, now_ms, &mut step);
            }
        }
        self.announce(now_ms);
        drop(previous);
        if let Some(old) = self.publisher.take_old().pop().and_then(Arc::into_inner) {
            self.spare = Some(old.into_spare());
        }
        Ok(step)
    }

    fn publish(&mut self, new: Arc<Snapshot>, previous: &Snapshot, now_ms: u64, step: &mut Step) {
        if !new.takes_the_same_as(previous) || previous.generation == 0 {
            self.wanted_steer = SteerTable::of(&new);
            self.is_steered = false;
            self.is_announced = false;
            // What is refused here is tried again, and told, by `finish_publication`.
            let _ = self.steering.shrink_to(&self.wanted_steer);
        }
        self.publisher.publish(new.clone());
        self.unacknowledged = true;
        let deadline = Instant::now() + ACKNOWLEDGE_WITHIN;
        while self.publisher.acknowledged() < new.generation && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        for worker in self.publisher.workers() {
            if worker.acknowledged() < new.generation {
                let (worker, generation) = (worker.number, new.generation);
                tracing::error!(worker, generation, "the worker does not take the snapshot over");
            }
        }
        self.finish_publication(now_ms, step);
        step.published = Some(new);
    }

    /// Takes new traffic from the kernel, once every worker knows what to do with it.
    fn finish_publication(&mut self, now_ms: u64, step: &mut Step) {
        let newest = self.publisher.current();
        if self.publisher.acknowledged() < newest.generation {
            return;
        }
        self.unacknowledged = false;
        if self.is_steered {
            return;
        }
        let mut refused = self.steering.shrink_to(&self.wanted_steer);
        refused.extend(self.steering.grow_to(&self.wanted_steer));
        self.is_steered = refused.is_empty();
        self.steer_again_ms = now_ms + STEER_AGAIN_MS;
        if refused != self.steer_refused {
            step.steer_refused.clone_from(&refused);
            self.steer_refused = refused;
        }
    }

    /// Sends what the announcer wants sent by now, through worker 0, which has a queue of every
    /// port. Not before the VIPs are taken, so that nobody is called too early.
    fn announce(&mut self, now_ms: u64) {
        let Some(worker) = self.publisher.workers().first() else { return };
        if self.unacknowledged {
            return;
        }
        if !self.is_announced {
            self.announcer.follow(&self.publisher.current(), now_ms);
            self.is_announced = true;
        }
        for (port, frame) in self.announcer.due(now_ms).frames {
            // A full queue is not bad: each announcement is repeated.
            let _ = worker.send(Message::Transmit(port, frame));
        }
    }

    /// Flows by backend over all workers, from reports no older than this call.
    fn read_live_flows(&mut self) {
        let workers = self.publisher.workers();
        let asked: Vec<u64> = workers.iter().map(|worker| worker.ask_report()).collect();
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut live = LiveFlows { generation: u64::MAX, counts: vec![] };
        for (worker, number) in workers.iter().zip(asked) {
            while !worker.has_reported(number) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
            // A worker that does not answer reports an old generation: nothing is retired by it.
            worker.with_report(|report| {
                live.generation = live.generation.min(report.generation);
                live.counts.resize(live.counts.len().max(report.live_flows.len()), 0);
                let counts = live.counts.iter_mut().zip(&report.live_flows);
                counts.for_each(|(sum, flows)| *sum += flows);
            });
        }
        self.live = live;
    }

    /// What runs, with its flows counted now.
    pub fn running(&mut self) -> Running {
        self.read_live_flows();
        Running {
            snapshot: self.publisher.current(),
            health: self.health.clone(),
            topology: self.topology.clone(),
            live: self.live.clone(),
            limits: self.limits.clone(),
        }
    }

    /// The snapshot that was published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// What the operator wants, as taken over last.
    pub fn desired(&self) -> &DesiredState {
        &self.desired
    }

    /// Health as known now.
    pub fn health(&self) -> &HealthView {
        &self.health
    }

    /// Links, routes and neighbours as known now.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Retired backends that were cut at a limit so far.
    pub fn retired_cut(&self) -> u64 {
        self.retired_cut
    }

    /// The XDP programs, for their counters.
    pub fn steer_target(&mut self) -> &mut T {
        self.steering.target()
    }

    /// Ends: gives the XDP programs back, to be detached or left as they are.
    pub fn into_steer_target(self) -> T {
        self.steering.into_target()
    }
}
