//! One run: hosts, network, workers and control side in one thread, on a clock that is a number.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use guideway::control::LiveFlows;
use guideway::dataplane::{
    Engine, EngineConfig, FlowEventKind, FragmentLimits, NicHash, ShardMap, Ticks,
};
use guideway::io::fault::{FaultInjector, FaultOptions, FaultRates};
use guideway::io::memory::{FarEnd, MemoryDevice, MemoryOptions};
use guideway::runtime::{HandOver, Idle, Publisher, Worker, WorkerShared};
use guideway::wire::MacAddress;
use guideway::wire::toeplitz::Toeplitz;

use super::chance::{CHECKSUM_START, Chance, checksum};
use super::client::End;
use super::control::{Control, MAX_BACKENDS, TIMEOUTS};
use super::model::Model;
use super::network::{self, Network};
use super::plan::{Change, Fate, FlowPlan, Plan, Pool};
use super::station::{Flow, Station, machines, stations};
use super::tap::{OnPurpose, Tap};

/// Flows that have not ended by then never will.
const END_MS: u64 = 1_200_000;
/// Workers have house-keeping to do even when nothing arrives.
const LONGEST_PAUSE_MS: u64 = 50;
/// Batches until the model looks at all flows again.
const MODEL_EVERY: u64 = 64;

type SimWorker = Worker<Tap<FaultInjector<MemoryDevice>>>;

/// What a run shows: equal for equal seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Of all frames that left the balancer, and when.
    pub trace: u64,
    pub ended_ms: u64,
    pub frames: u64,
    pub flows: u64,
    pub generations: u64,
    pub handed_over: u64,
    /// Fragments that waited for their first one.
    pub held: u64,
    pub lost: u64,
    /// Panics of workers.
    pub restarts: u64,
    /// Streams reset by the exception that [`World::may_have_moved`] tells of.
    pub moved: u64,
}

pub struct World {
    plan: Plan,
    chance: Chance,
    now_ms: u64,
    stations: Vec<Station>,
    network: Network,
    workers: Vec<SimWorker>,
    shared: Vec<Arc<WorkerShared>>,
    far_ends: Vec<Vec<FarEnd>>,
    publisher: Arc<Publisher>,
    control: Control,
    model: Model,
    next_flow: usize,
    next_change: usize,
    rounds: u64,
    summary: Summary,
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
        let control = Control::new(&plan, machines, balancer, publisher.clone());
        let mut world = World {
            plan,
            chance,
            now_ms: 1,
            stations,
            network,
            workers,
            shared,
            far_ends,
            publisher,
            control,
            model: Model::default(),
            next_flow: 0,
            next_change: 0,
            rounds: 0,
            summary: Summary { trace: CHECKSUM_START, ..Summary::default() },
        };
        world.publish();
        world
    }

    /// Runs until all flows have ended as they must, and no entry is left.
    pub fn run(mut self) -> Summary {
        while !self.is_done() {
            assert!(self.now_ms < END_MS, "flows hang: {}", self.open_flows());
            self.step();
            self.now_ms = self.next_ms();
        }
        self.check_ends();
        self.summary.ended_ms = self.now_ms;
        self.drain();
        self.summary
    }

    /// Everything that happens at this millisecond.
    fn step(&mut self) {
        self.begin_flows();
        self.make_changes();
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
            && self.flows().all(|(_, flow)| flow.end().is_some())
    }

    fn flows(&self) -> impl Iterator<Item = &(FlowPlan, Flow)> {
        self.stations.iter().flat_map(|station| &station.flows)
    }

    fn open_flows(&self) -> String {
        let open = self.flows().filter(|(_, flow)| flow.end().is_none());
        open.map(|(plan, _)| format!("\n  {plan:?}")).collect()
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
        for station in &mut self.stations {
            next = next.min(station.next_ms(now));
        }
        if self.links_hold_frames() {
            next = now + 1;
        }
        next.max(now + 1)
    }

    fn links_hold_frames(&mut self) -> bool {
        self.workers.iter_mut().any(|worker| worker.device_mut().device.has_waiting())
    }

    fn begin_flows(&mut self) {
        while let Some(plan) = self.plan.flows.get(self.next_flow) {
            if plan.at_ms > self.now_ms {
                return;
            }
            self.stations[plan.client].begin(self.plan.family, plan.clone());
            self.next_flow += 1;
        }
    }

    fn make_changes(&mut self) {
        while let Some(&(at, change)) = self.plan.changes.get(self.next_change) {
            if at > self.now_ms {
                return;
            }
            self.next_change += 1;
            self.network.note(self.now_ms, &format_args!("{change:?}"));
            if change == Change::Restart {
                let place = self.chance.place(self.workers.len());
                self.workers[place].device_mut().will_panic = true;
            } else {
                self.control.change(change, &mut self.chance);
                self.publish();
            }
        }
    }

    /// As the control thread does it: live flows as all workers have them, then compile, publish.
    fn publish(&mut self) {
        let mut live =
            LiveFlows { generation: self.publisher.acknowledged(), counts: vec![0; MAX_BACKENDS] };
        for worker in &self.workers {
            let counts = live.counts.iter_mut().zip(worker.engine().live_flows());
            counts.for_each(|(sum, flows)| *sum += flows);
        }
        if let Some(snapshot) = self.control.publish(self.now_ms, &live) {
            self.summary.generations = snapshot.generation;
            self.model.published(snapshot);
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
                let Station { host, server, .. } = &mut self.stations[station];
                let is_repeated = server
                    .as_ref()
                    .is_some_and(|s| s.is_repeated_syn(&host.sockets, &flight.frame));
                if !is_repeated {
                    host.deliver(flight.frame);
                    self.work(station);
                }
            }
        }
    }

    /// Lets a station's applications and stack work, and sends what they send.
    fn work(&mut self, place: usize) {
        let station = &mut self.stations[place];
        station.work(self.now_ms);
        let mut sent = station.host.poll(self.now_ms);
        // What has come in now may be answered at once.
        station.work(self.now_ms);
        sent.extend(station.host.poll(self.now_ms));
        let segment = station.segment;
        sent.iter().for_each(|f| self.network.send(self.now_ms, segment, Some(place), f));
    }

    /// Each worker takes turns until none has anything to do.
    fn turn_workers(&mut self) {
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
                self.summary.trace = checksum(self.summary.trace, &self.now_ms.to_be_bytes());
                self.summary.trace = checksum(self.summary.trace, &frame);
                self.network.send(self.now_ms, far_end.port(), None, &frame);
            }
        }
    }

    /// Every frame has exactly one verdict, or waits in a ring between two workers or for the first
    /// fragment of its datagram.
    fn check_verdicts(&self) {
        let all = self.workers.iter().map(|worker| worker.engine().counters());
        let all = all.fold(guideway::dataplane::Counters::default(), |sum, next| sum.plus(next));
        let between = all.events.handed_over - all.events.taken_over;
        let held = self.workers.iter().map(|worker| worker.engine().held_frames());
        let waiting = between + held.sum::<usize>() as u64;
        assert_eq!(all.received, all.verdicts() + waiting, "{all:?}");
    }

    /// When nothing moves: all the counts that have to agree, and the model.
    fn check_quiet(&mut self) {
        let mut received = 0;
        for (worker, shared) in self.workers.iter_mut().zip(&self.shared) {
            let number = shared.ask_report();
            assert!(!worker.turn(Ticks(self.now_ms)) && shared.has_reported(number));
            let report = shared.report();
            let held = worker.engine().held_frames() as u64;
            assert_eq!((report.waiting, report.census.in_hand), (held, 0));
            assert!(report.census.is_conserved());
            assert_eq!(report.generation, self.publisher.current().generation);
            let counters = &report.counters;
            let replied: u64 = counters.replied.iter().sum();
            let seen = worker.device_mut().seen;
            assert_eq!(seen.received, counters.received);
            assert_eq!(seen.sent, counters.forwarded + replied);
            received += seen.bad_received;
        }
        let sent: u64 = self.workers.iter_mut().map(|w| w.device_mut().seen.bad_sent).sum();
        assert!(sent <= received, "{sent} unsound frames left, {received} came in");
        for worker in &mut self.workers {
            while let Some(event) = worker.engine_mut().take_flow_event() {
                if event.kind == FlowEventKind::Ended {
                    self.model.ended(event.entry.key);
                }
            }
            assert_eq!(worker.engine().counters().events.flow_events_lost, 0);
        }
        self.model.check(self.workers.iter().map(|worker| worker.engine()));
    }

    fn check_ends(&mut self) {
        let mut moved = 0;
        for (plan, flow) in self.flows() {
            let is_of_pool = |number: u16| {
                let server = self.stations[usize::from(number)].server.as_ref();
                server.is_some_and(|server| server.pool == plan.pool)
            };
            match (plan.fate, flow.end()) {
                (Fate::Whole, Some(End::Whole(number))) if is_of_pool(*number) => {}
                (Fate::Reset, Some(End::Reset(_))) => {}
                (Fate::Whole, Some(End::Reset(0))) if self.may_have_moved(plan) => moved += 1,
                (_, other) => panic!("{plan:?} ended with {other:?}"),
            }
        }
        self.summary.moved = moved;
    }

    /// The one exception. Under L2DSR the balancer does not see what a backend answers. A client
    /// that asks again after its backend was found down is given another one; if the first was alive
    /// and has answered after all, the client is reset, before its first byte.
    fn may_have_moved(&self, flow: &FlowPlan) -> bool {
        let failed = |&(at, change): &(u64, Change)| {
            at >= flow.at_ms && change == Change::Health(Pool::L2dsr)
        };
        flow.pool == Pool::L2dsr && self.plan.changes.iter().any(failed)
    }

    /// The hosts fall silent. When all times have run out, no flow is left.
    fn drain(&mut self) {
        for worker in &mut self.workers {
            worker.device_mut().device.set_rates(FaultRates::default(), FaultRates::default());
        }
        let until = self.now_ms + u64::from(TIMEOUTS.tcp_established_ms) + 120_000;
        while self.now_ms < until {
            self.now_ms += 1000;
            self.turn_workers();
        }
        self.check_quiet();
        let mut counts = guideway::dataplane::Counters::default();
        for worker in &mut self.workers {
            counts = counts.plus(worker.engine().counters());
            assert!(worker.engine().live_flows().iter().all(|&flows| flows == 0));
            assert!(!worker.engine().has_flows(), "entries are left after all times");
            assert!(!worker.engine().has_fragments(), "fragments are left after all times");
            let (receive, transmit) = worker.device_mut().device.faults();
            self.summary.lost += receive.lost + transmit.lost;
        }
        let events = counts.events;
        let ended = events.flows_expired + events.flows_closed + events.flows_cut;
        assert_eq!(events.flows_created, ended, "{events:?}");
        self.summary.flows = events.flows_created;
        self.summary.handed_over = events.handed_over;
        self.summary.held = events.fragments_held;
        // With the last flows gone, retired backends leave the snapshot.
        self.publish();
        self.turn_workers();
        self.publish();
        assert!(self.publisher.current().is_settled(), "retired backends without flows");
    }
}

fn device(plan: &Plan, ports: usize, seed: u64) -> (Tap<FaultInjector<MemoryDevice>>, Vec<FarEnd>) {
    let ports = (0..ports).map(|port| format!("port{port}")).collect();
    let (memory, far_ends) = MemoryDevice::new(MemoryOptions { ports, ..Default::default() });
    let options = FaultOptions {
        seed,
        receive: plan.receive_faults,
        transmit: plan.transmit_faults,
        reorder_span: plan.reorder_span,
    };
    (Tap::new(FaultInjector::new(memory, options)), far_ends)
}

/// Owners by the keyed hash, or by that of a NIC with an indirection table of 128 places.
fn shards(plan: &Plan) -> ShardMap {
    if !plan.nic_hash {
        return ShardMap::even(plan.workers);
    }
    let toeplitz = Toeplitz::new(&std::array::from_fn(|place| (place * 37 + 11) as u8));
    let indirection: Vec<u32> = (0..128).map(|place| place % plan.workers as u32).collect();
    let nic = NicHash { toeplitz, tcp_ports: true, udp_ports: false };
    ShardMap::of_nic(nic, &indirection, plan.workers).expect("128 divides 256")
}

fn engine_config(plan: &Plan, worker: u8) -> EngineConfig {
    EngineConfig {
        worker,
        shards: shards(plan),
        max_flows: 4096,
        max_backends: MAX_BACKENDS,
        snat_hold_down_ms: 60_000,
        max_snat_blocks: 4096,
        max_replies_per_second: 1000,
        max_new_flows_per_second: 100_000_000,
        fragments: FragmentLimits::default(),
        flow_events: 4 * 4096,
        flow_hash_key: *b"a key of the sim",
    }
}
