//! One run: hosts, network, workers and control side in one thread, on a clock that is a number.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use guideway::control::LiveFlows;
use guideway::dataplane::{Engine, Ticks};
use guideway::forwarding::Mode;
use guideway::io::memory::FarEnd;
use guideway::runtime::{HandOver, Idle, Publisher, Worker, WorkerShared};
use guideway::wire::MacAddress;

use super::balancer::{SimWorker, device, engine_config};
use super::chance::{CHECKSUM_START, Chance, checksum};
use super::control::Control;
use super::desired::MAX_BACKENDS;
use super::history::History;
use super::model::Model;
use super::network::{self, Network};
use super::plan::{Change, Plan};
use super::pool::Pool;
use super::site::{Machine, NARROW_BYTES, machines};
use super::station::{Flow, Station, stations};
use super::summary::Summary;
use super::tap::OnPurpose;

/// Flows that have not ended by then never will.
const END_MS: u64 = 1_200_000;
/// Workers have house-keeping to do even when nothing arrives.
const LONGEST_PAUSE_MS: u64 = 50;
/// How often the control side looks at backends that leave.
const LOOK_EVERY_MS: u64 = 1_000;
/// Batches until the model looks at all flows again.
const MODEL_EVERY: u64 = 64;

pub struct World {
    pub(super) plan: Plan,
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    pub(super) stations: Vec<Station>,
    pub(super) network: Network,
    pub(super) machines: Vec<Machine>,
    pub(super) workers: Vec<SimWorker>,
    pub(super) shared: Vec<Arc<WorkerShared>>,
    pub(super) far_ends: Vec<Vec<FarEnd>>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) control: Control,
    pub(super) model: Model,
    pub(super) history: History,
    /// Machines that health checks have still to find dead, and when they will.
    pub(super) dying: Vec<(u64, Pool, u16)>,
    /// When the control side looks next at backends that leave.
    pub(super) next_look_ms: u64,
    pub(super) next_flow: usize,
    pub(super) next_change: usize,
    pub(super) rounds: u64,
    pub(super) summary: Summary,
}

fn may_be_narrow(mode: Mode) -> bool {
    mode.is_hop() && !matches!(mode, Mode::Dscp(_))
}

impl World {
    /// A run that is drawn from its seed.
    pub fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        World::with(plan, chance)
    }

    /// Everything in its place, the first snapshot published.
    pub fn with(plan: Plan, mut chance: Chance) -> World {
        let ports = if plan.two_arms { 2 } else { 1 };
        let balancer: Vec<MacAddress> =
            (0..ports).map(|port| MacAddress([2, 0, 0, 0, port, 0xfe])).collect();
        let machines = machines(&plan);
        let trunks = balancer.iter().copied().zip(plan.vlans.iter().cloned()).collect();
        let mut network = Network::new(trunks, plan.workers, plan.wander, chance.fork());
        let stations = stations(&plan, &machines, &mut chance, &mut network);

        let shared: Vec<Arc<WorkerShared>> = (0..plan.workers)
            .map(|worker| Arc::new(WorkerShared::new(worker as u8, Arc::new(|| ()))))
            .collect();
        let publisher = Arc::new(Publisher::new(shared.clone()));
        let hand_over = HandOver::mesh(plan.workers, plan.hand_over_ring, 2048);
        let mut workers = Vec::new();
        let mut far_ends = Vec::new();
        for (hand_over, shared) in hand_over.into_iter().zip(&shared) {
            let (device, ends) = device(&plan, ports.into(), chance.bits());
            let engine = Engine::new(engine_config(&plan, shared.number));
            let border = (publisher.clone(), shared.clone());
            workers.push(Worker::new(device, engine, hand_over, border, Idle::Sleep, None));
            far_ends.push(ends);
        }
        let control = Control::new(&plan, machines.clone(), balancer, publisher.clone());
        let model = Model::new(plan.max_flows < 100);
        let mut world = World {
            plan,
            chance,
            now_ms: 1,
            stations,
            network,
            machines,
            workers,
            shared,
            far_ends,
            publisher,
            control,
            model,
            history: History::default(),
            dying: vec![],
            next_look_ms: 0,
            next_flow: 0,
            next_change: 0,
            rounds: 0,
            summary: Summary { trace: CHECKSUM_START, ..Summary::default() },
        };
        world.network.note(0, &format_args!("{:?}", world.plan));
        world.publish();
        world
    }

    /// Runs until all flows have ended as they must, and no entry is left.
    pub fn run(mut self) -> Summary {
        while !self.is_done() {
            let pools = &self.plan.pools;
            assert!(
                self.now_ms < END_MS,
                "flows hang: {} of {pools:?}, {}",
                self.open_flows(),
                self.drops()
            );
            self.step();
            self.now_ms = self.next_ms();
        }
        self.summary.ended_ms = self.now_ms;
        self.drain();
        self.check_ends();
        self.check_hosts();
        self.summary
    }

    /// Everything that happens at this millisecond.
    fn step(&mut self) {
        self.begin_flows();
        self.make_changes();
        self.look_at_backends();
        while let Some(flight) = self.network.arrived(self.now_ms) {
            self.arrive(flight);
        }
        for station in 0..self.stations.len() {
            self.work(station);
        }
        self.turn_workers();
    }

    fn is_done(&self) -> bool {
        let all_begun = self.next_flow == self.plan.flows.len();
        all_begun
            && self.next_change == self.plan.changes.len()
            && self.flows().all(|flow| flow.end().is_some())
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.stations.iter().flat_map(|station| &station.flows)
    }

    fn open_flows(&self) -> String {
        let open = self.flows().filter(|flow| flow.end().is_none());
        open.map(|flow| format!("\n  {:?}", flow.plan)).collect()
    }

    fn next_ms(&mut self) -> u64 {
        let now = self.now_ms;
        let flow = self.plan.flows.get(self.next_flow).map(|flow| flow.at_ms);
        let change = self.plan.changes.get(self.next_change).map(|&(at, _)| at);
        let mut next = [self.network.next_ms(), flow, change]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
            .min(now + LONGEST_PAUSE_MS);
        for station in self.stations.iter_mut().filter(|station| !station.is_dead) {
            next = next.min(station.next_ms(now));
        }
        if self.links_hold_frames() {
            next = now + 1;
        }
        next.max(now + 1)
    }

    pub(super) fn links_hold_frames(&mut self) -> bool {
        self.workers.iter_mut().any(|worker| worker.device_mut().device.has_waiting())
    }

    fn make_changes(&mut self) {
        while let Some(&(at, change)) = self.plan.changes.get(self.next_change) {
            if at > self.now_ms {
                return;
            }
            self.next_change += 1;
            self.network.note(self.now_ms, &format_args!("{change:?}"));
            match change {
                Change::Restart => {
                    let place = self.chance.place(self.workers.len());
                    self.workers[place].device_mut().will_panic = true;
                }
                Change::Die(pool) => self.kill(pool),
                Change::Narrow(pool) => self.make_narrow(pool),
                _ => {
                    self.control.change(change, &mut self.chance);
                    self.next_look_ms = self.now_ms + LOOK_EVERY_MS;
                    self.publish();
                }
            }
        }
    }

    /// The way to a machine of the pool becomes narrow. Under L2 DSR there is no router on it; and under
    /// `dscp` what a router tells is lost, so that its ways must not be narrow (docs/decisions/dscp.md).
    fn make_narrow(&mut self, pool: Pool) {
        let all = self.machines.iter().filter(|machine| machine.pool == pool);
        let routed: Vec<&Machine> = all.filter(|machine| may_be_narrow(machine.mode)).collect();
        if routed.is_empty() {
            return;
        }
        let machine = routed[self.chance.place(routed.len())];
        let mtu = self.chance.between(*NARROW_BYTES.start(), *NARROW_BYTES.end()) as usize;
        self.network.make_narrow((machine.port, machine.mac), mtu);
    }

    /// A machine of the pool falls silent, if the pool can do without it.
    fn kill(&mut self, pool: Pool) {
        let Some(number) = self.control.kill(pool, &mut self.chance) else { return };
        self.stations[usize::from(number)].is_dead = true;
        self.history.died(number, self.now_ms);
        let found_ms = self.now_ms + self.chance.between(1, 4_000);
        self.dying.push((found_ms, pool, number));
    }

    /// What time alone changes: dead machines are found, drains are over, backends have left.
    fn look_at_backends(&mut self) {
        let now_ms = self.now_ms;
        let (found, dying) = std::mem::take(&mut self.dying)
            .into_iter()
            .partition(|&(found_ms, ..)| found_ms <= now_ms);
        self.dying = dying;
        let found: Vec<(u64, Pool, u16)> = found;
        for &(_, pool, number) in &found {
            self.control.found_dead(pool, number);
        }
        let current = self.publisher.current();
        let is_over = current.next_change_ms().is_some_and(|gone_ms| gone_ms <= now_ms);
        let waits = !current.is_settled() || current.has_resting_ids() || is_over;
        if !found.is_empty() || (waits && now_ms >= self.next_look_ms) {
            self.next_look_ms = now_ms + LOOK_EVERY_MS;
            self.publish();
        }
    }

    /// As the control thread does it: live flows as all workers have them, then compile, publish.
    pub(super) fn publish(&mut self) {
        let mut live =
            LiveFlows { generation: self.publisher.acknowledged(), counts: vec![0; MAX_BACKENDS] };
        for worker in &self.workers {
            let counts = live.counts.iter_mut().zip(worker.engine().live_flows());
            counts.for_each(|(sum, flows)| *sum += flows);
        }
        if let Some(snapshot) = self.control.publish(self.now_ms, &live) {
            self.summary.generations = snapshot.generation;
            self.history.published(&snapshot, self.now_ms);
            self.model.published(snapshot);
            self.follow_maglev(&self.stateless_keys());
        }
        self.publisher.free_old();
    }

    fn arrive(&mut self, flight: network::Flight) {
        match flight.to {
            network::End::Queue(worker, port) => {
                // A full queue loses frames, as a real one does.
                let _ = self.far_ends[worker][port.index()].push(&flight.frame);
            }
            network::End::Host(station) => {
                let Station { host, server, is_dead, .. } = &mut self.stations[station];
                if *is_dead {
                    return;
                }
                let Some(frame) = host.open(flight.frame) else { return };
                let is_repeated =
                    server.as_ref().is_some_and(|s| s.is_repeated_syn(&host.sockets, &frame));
                if !is_repeated {
                    host.deliver(frame);
                    self.work(station);
                }
            }
        }
    }

    /// Lets a station's applications and stack work, and sends what they send.
    fn work(&mut self, place: usize) {
        let station = &mut self.stations[place];
        if station.is_dead {
            return;
        }
        station.work(self.now_ms);
        let mut sent = station.host.poll(self.now_ms);
        // What has come in now may be answered at once.
        station.work(self.now_ms);
        sent.extend(station.host.poll(self.now_ms));
        let segment = station.segment;
        sent.iter().for_each(|f| self.network.send(self.now_ms, segment, Some(place), f));
    }

    /// Each worker takes turns until none has anything to do.
    pub(super) fn turn_workers(&mut self) {
        let mut has_worked = true;
        while has_worked {
            has_worked = false;
            for place in 0..self.workers.len() {
                has_worked |= self.turn(place);
                self.check_verdicts();
                self.take_from(place);
                self.rounds += 1;
            }
        }
        if self.rounds >= MODEL_EVERY && !self.links_hold_frames() {
            self.rounds = 0;
            self.check_quiet();
        }
    }

    /// One turn, and what the supervisor does when the worker panics in it. Conservation of frames
    /// is asserted in each turn.
    fn turn(&mut self, place: usize) -> bool {
        let now = Ticks(self.now_ms);
        match catch_unwind(AssertUnwindSafe(|| self.workers[place].turn(now))) {
            Ok(has_worked) => has_worked,
            Err(panic) if panic.is::<OnPurpose>() => {
                self.network.note(self.now_ms, &format_args!("worker {place} panics"));
                let worker = self.workers.remove(place).recover();
                self.workers.insert(place, worker);
                self.summary.restarts += 1;
                true
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn take_from(&mut self, worker: usize) {
        for far_end in &self.far_ends[worker] {
            while let Some(frame) = far_end.take() {
                self.summary.frames += 1;
                self.summary.bytes += frame.len() as u64;
                self.summary.trace = checksum(self.summary.trace, &self.now_ms.to_be_bytes());
                self.summary.trace = checksum(self.summary.trace, &frame);
                self.network.send(self.now_ms, far_end.port(), None, &frame);
            }
        }
    }
}
