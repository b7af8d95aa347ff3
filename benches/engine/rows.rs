//! The rows: what is measured, over which flows.

use std::time::Instant;

use guideway::dataplane::{Arrival, Engine, Outcome, Prepared, Ticks, Verdict};
use guideway::forwarding::{Mode, Snapshot};
use guideway::wire::encap::{Dscp, Tunnel};
use guideway::wire::{Body, FlowKey, ParseOutcome, parse};

use super::frames::{Family, Frames};
use super::{table, world};

/// Frames in a batch, as the worker takes them when there is enough traffic.
const BATCH: usize = 64;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// How long it may take.
pub struct Effort {
    rounds: usize,
    /// Packets a round; flows are visited at least once.
    packets: usize,
    flows: &'static [u32],
    /// With rows of many services.
    many: bool,
}

impl Effort {
    pub const FULL: Effort =
        Effort { rounds: 7, packets: 1 << 20, flows: &[1, 1024, 65_536, 1 << 20], many: true };
    pub const SHORT: Effort =
        Effort { rounds: 3, packets: 1 << 17, flows: &[1, 1024, 65_536], many: false };
    pub const TINY: Effort = Effort { rounds: 1, packets: 1 << 14, flows: &[1024], many: false };
}

/// Which packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From clients, of known flows.
    Forward,
    /// From backends, of known flows.
    Back,
    /// From clients, the first of each flow.
    New,
    /// From clients, of known flows, all of one service among many.
    Busy,
    /// From clients, of known flows, of many services in turn.
    Spread,
    /// From clients, of known flows, of a service of several ports.
    Ports,
}

/// Services of [`Direction::Busy`] and [`Direction::Spread`].
const MANY_SERVICES: u32 = 10_000;

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Back => "back",
            Direction::New => "new",
            Direction::Busy => "busy",
            Direction::Spread => "spread",
            Direction::Ports => "ports",
        }
    }

    /// Services that there are.
    fn services(self) -> u32 {
        match self {
            Direction::Busy | Direction::Spread => MANY_SERVICES,
            _ => 1,
        }
    }

    fn last_port(self) -> Option<u16> {
        (self == Direction::Ports).then_some(world::LAST_PORT)
    }

    /// What is the same in each mode or family is measured in one of them.
    fn is_measured(self, mode: Mode, family: Family, effort: &Effort) -> bool {
        match self {
            Direction::Forward | Direction::New => true,
            Direction::Back => mode.is_translated(),
            Direction::Busy | Direction::Spread => {
                mode == Mode::L2dsr && family == Family::V4 && effort.many
            }
            Direction::Ports => mode == Mode::Nat && family == Family::V4,
        }
    }
}

const DIRECTIONS: [Direction; 6] = [
    Direction::Forward,
    Direction::Back,
    Direction::New,
    Direction::Busy,
    Direction::Spread,
    Direction::Ports,
];

/// One result: nanoseconds a packet.
pub struct Row {
    pub mode: &'static str,
    pub direction: &'static str,
    pub family: u8,
    pub services: u32,
    pub flows: u32,
    pub batch: usize,
    pub ns_min: f64,
    pub ns_median: f64,
    pub ns_max: f64,
}

struct Bench {
    mode: (&'static str, Mode),
    family: Family,
    direction: Direction,
}

/// Everything that is measured, or those rows whose mode, direction and family have all of these
/// names, and these numbers of flows.
pub fn run(effort: &Effort, only: &[String]) -> Vec<Row> {
    let by = |tunnel| Mode::Tunnel(tunnel, Dscp::Copied);
    let modes = [
        ("l2dsr", Mode::L2dsr),
        ("dscp", Mode::Dscp(10)),
        ("nat", Mode::Nat),
        ("dnat", Mode::Dnat),
        ("ipip", by(Tunnel::Ipip)),
        ("gre", by(Tunnel::Gre { key: None })),
        ("gue", by(Tunnel::GUE)),
    ];
    let asked_flows: Vec<u32> = only.iter().filter_map(|name| name.parse().ok()).collect();
    let mut rows = Vec::new();
    table::head();
    for family in [Family::V4, Family::V6] {
        for mode in modes {
            for direction in DIRECTIONS {
                let is_asked = only.iter().all(|name| {
                    let names = [mode.0, direction.name(), family.name()];
                    names.contains(&&**name) || name.parse::<u32>().is_ok()
                });
                if !is_asked || !direction.is_measured(mode.1, family, effort) {
                    continue;
                }
                let bench = Bench { mode, family, direction };
                for &flows in effort.flows {
                    if !asked_flows.is_empty() && !asked_flows.contains(&flows) {
                        continue;
                    }
                    let row = bench.run(effort, flows);
                    table::print(&row);
                    rows.push(row);
                }
            }
        }
    }
    rows
}

impl Bench {
    fn run(&self, effort: &Effort, flows: u32) -> Row {
        let services = self.direction.services();
        let last_port = self.direction.last_port();
        let snapshot = world::snapshot(self.mode.1, self.family, services, 100, last_port);
        let mut frames = Frames::new(self.family, flows);
        if self.direction == Direction::Spread {
            frames.spread_over(services);
        }
        let backends = services as usize * 100;
        let mut engine = world::engine(flows as usize, backends);
        let mut sent = vec![FlowKey::default(); flows as usize];
        open(&mut engine, &snapshot, &mut frames, Some(&mut sent));
        if self.mode.1.is_translated() {
            // A segment of its backend's establishes a flow.
            let back: Vec<FlowKey> = sent.iter().map(|key| key.reversed()).collect();
            frames.turn_round(Some(&back));
            let (packets, arrival) = (flows as usize, Arrival::Received(world::BACKENDS));
            pass_all(&mut engine, &snapshot, &mut frames, (packets, ACK), arrival);
        }
        let (port, flags) = match self.direction {
            Direction::Back => (world::BACKENDS, ACK),
            Direction::New => (world::CLIENTS, SYN),
            _ => (world::CLIENTS, ACK),
        };
        if self.direction != Direction::Back {
            frames.turn_round(None);
        }
        let packets = match self.direction {
            Direction::New => flows as usize,
            _ => effort.packets.max(flows as usize),
        };
        let (mut made, mut passed) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            if self.direction == Direction::New {
                engine = world::engine(flows as usize, backends);
            }
            made.push(time(|| make_all(&mut frames, packets, flags)));
            let arrival = Arrival::Received(port);
            let pass = || pass_all(&mut engine, &snapshot, &mut frames, (packets, flags), arrival);
            passed.push(time(pass));
        }
        made.sort_by(f64::total_cmp);
        passed.sort_by(f64::total_cmp);
        // Each round's own difference would have the noise of both.
        let net = |round: usize| (passed[round] - made[round]) / packets as f64;
        Row {
            mode: self.mode.0,
            direction: self.direction.name(),
            family: self.family.number(),
            services,
            flows,
            batch: BATCH,
            ns_min: net(0),
            ns_median: net(passed.len() / 2),
            ns_max: net(passed.len() - 1),
        }
    }
}

/// Bytes that flow table, index and SNAT ports hold once so many NAT flows are open.
pub fn memory(family: Family, flows: u32) -> u64 {
    let snapshot = world::snapshot(Mode::Nat, family, 1, 100, None);
    let mut frames = Frames::new(family, flows);
    // Not all zero, so that it is touched here and not counted.
    let mut sent = vec![FlowKey { protocol: 1, ..FlowKey::default() }; flows as usize];
    let before = resident_bytes();
    let mut engine = world::engine(flows as usize, 100);
    open(&mut engine, &snapshot, &mut frames, Some(&mut sent));
    resident_bytes().saturating_sub(before)
}

/// What the kernel says of this process.
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * PAGE
}

fn time(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_nanos() as f64
}

fn make_all(frames: &mut Frames, packets: usize, flags: u8) {
    for turn in (0..packets).step_by(BATCH) {
        frames.make(turn as u32, BATCH.min(packets - turn), flags);
    }
}

fn pass_all(
    engine: &mut Engine,
    snapshot: &Snapshot,
    frames: &mut Frames,
    (packets, flags): (usize, u8),
    arrival: Arrival,
) {
    let mut prepared = [Prepared::NONE; BATCH];
    for turn in (0..packets).step_by(BATCH) {
        let count = BATCH.min(packets - turn);
        frames.make(turn as u32, count, flags);
        let forwarded =
            batch(engine, snapshot, frames, (turn, count), arrival, &mut prepared, |_, _| ());
        assert_eq!(forwarded, count, "a packet was not forwarded");
    }
}

/// One batch as the worker does it; gives how many were forwarded.
#[inline(never)]
fn batch(
    engine: &mut Engine,
    snapshot: &Snapshot,
    frames: &mut Frames,
    (turn, count): (usize, usize),
    arrival: Arrival,
    prepared: &mut [Prepared; BATCH],
    mut look: impl FnMut(usize, &[u8]),
) -> usize {
    let now = Ticks(1_000_000);
    let batch = &mut prepared[..count];
    for (number, prepared) in batch.iter_mut().enumerate() {
        engine.prepare(snapshot, arrival, frames.bytes(turn + number), prepared);
    }
    engine.look_ahead(snapshot, batch);
    let mut forwarded = 0;
    for (number, prepared) in batch.iter().enumerate() {
        let mut view = frames.view(turn + number);
        let outcome = engine.finish(snapshot, now, prepared, &mut view);
        forwarded += usize::from(matches!(outcome, Outcome::Verdict(Verdict::Forward(_))));
        look(turn + number, view.bytes());
    }
    engine.tick(snapshot, now);
    forwarded
}

/// Opens all flows; writes down what each one's first packet became.
fn open(
    engine: &mut Engine,
    snapshot: &Snapshot,
    frames: &mut Frames,
    mut sent: Option<&mut Vec<FlowKey>>,
) {
    let mut prepared = [Prepared::NONE; BATCH];
    let flows = sent.as_ref().map_or(0, |sent| sent.len());
    for turn in (0..flows).step_by(BATCH) {
        let count = BATCH.min(flows - turn);
        frames.make(turn as u32, count, SYN);
        let order: Vec<u32> =
            (0..count).map(|number| frames.flow_of((turn + number) as u32)).collect();
        let arrival = Arrival::Received(world::CLIENTS);
        let forwarded = batch(
            engine,
            snapshot,
            frames,
            (turn, count),
            arrival,
            &mut prepared,
            |number, out| {
                let ParseOutcome::Parsed(packet) = parse(out) else { return };
                if let (Body::Ip(ip), Some(sent)) = (packet.body, sent.as_mut()) {
                    sent[order[number - turn] as usize] = ip.key;
                }
            },
        );
        assert_eq!(forwarded, count, "a flow was not opened");
    }
}
