//! What is counted: batches of packets through the engine, as the worker passes them, in the worlds
//! of `benches/engine`. Making frames and opening flows is not counted.

// Both are written for times too, and not all of them is used here.
#[allow(dead_code)]
#[path = "../engine/frames.rs"]
mod frames;
#[allow(dead_code)]
#[path = "../engine/world.rs"]
mod world;

use guideway::dataplane::{Arrival, Engine, Outcome, Prepared, Ticks, Verdict};
use guideway::forwarding::Snapshot;
use guideway::wire::{Body, FlowKey, Headers, ParseOutcome, parse, parse_into};

pub use frames::Family;
use frames::{Frames, RING};
pub use guideway::forwarding::Mode;
use guideway::wire::encap::{Dscp, Tunnel};

/// IP in IP, as most tunnels.
pub const IPIP: Mode = Mode::Tunnel(Tunnel::Ipip, Dscp::Copied);
/// The backend by its address, the service by a DSCP.
pub const DSCP: Mode = Mode::Dscp(10);
/// Over UDP, the longest of envelopes.
pub const GUE: Mode = Mode::Tunnel(Tunnel::GUE, Dscp::Copied);

/// Packets in a row: a batch after the other, each packet of another flow. `scripts/instructions`
/// reads this line.
pub const PACKETS: usize = 1024;
const _: () = assert!(PACKETS <= RING);
const BATCH: usize = 64;
const NOW: Ticks = Ticks(1_000_000);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Which packets of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From clients, of known flows.
    Forward,
    /// From backends, of known flows.
    Back,
    /// From clients, the first of each flow.
    New,
    /// From clients, of known flows, of a service of several ports.
    Ports,
}

/// Frames in memory, and an engine that waits for them.
pub struct Ready {
    engine: Engine,
    snapshot: Snapshot,
    frames: Frames,
    arrival: Arrival,
}

impl Ready {
    /// Everything up to the first packet that is counted.
    pub fn new(mode: Mode, direction: Direction, family: Family) -> Ready {
        let last_port = (direction == Direction::Ports).then_some(world::LAST_PORT);
        let mut ready = Ready {
            engine: world::engine(PACKETS, 100),
            snapshot: world::snapshot(mode, family, 1, 100, last_port),
            frames: Frames::new(family, PACKETS as u32),
            arrival: Arrival::Received(world::CLIENTS),
        };
        ready.frames.make(0, PACKETS, SYN);
        if direction == Direction::New {
            return ready;
        }
        assert_eq!(ready.pass(), PACKETS, "flows to open");
        if mode.is_translated() {
            // A segment of its backend's establishes a flow.
            let keys = ready.answers();
            ready.frames.turn_round(Some(&keys));
            ready.arrival = Arrival::Received(world::BACKENDS);
            ready.frames.make(0, PACKETS, ACK);
            assert_eq!(ready.pass(), PACKETS, "flows to establish");
        }
        if direction != Direction::Back {
            ready.frames.turn_round(None);
            ready.arrival = Arrival::Received(world::CLIENTS);
        }
        // The first segment behind the SYN changes a flow's state; later ones are what is counted.
        ready.frames.make(0, PACKETS, ACK);
        assert_eq!(ready.pass(), PACKETS, "flows to go on");
        ready.frames.make(0, PACKETS, ACK);
        ready
    }

    /// By flow, what its backend answers to the packet that was sent to it.
    fn answers(&self) -> Vec<FlowKey> {
        let mut keys = vec![FlowKey::default(); PACKETS];
        for turn in 0..PACKETS {
            let ParseOutcome::Parsed(packet) = parse(self.frames.bytes(turn)) else { continue };
            if let Body::Ip(ip) = packet.body {
                keys[self.frames.flow_of(turn as u32) as usize] = ip.key.reversed();
            }
        }
        keys
    }

    /// All packets once; gives how many were forwarded.
    pub fn pass(&mut self) -> usize {
        let Ready { engine, snapshot, frames, arrival } = self;
        let mut prepared = [Prepared::NONE; BATCH];
        let mut forwarded = 0;
        for turn in (0..PACKETS).step_by(BATCH) {
            for (number, prepared) in prepared.iter_mut().enumerate() {
                engine.prepare(snapshot, *arrival, frames.bytes(turn + number), prepared);
            }
            engine.look_ahead(snapshot, &mut prepared);
            for (number, prepared) in prepared.iter().enumerate() {
                let mut view = frames.view(turn + number);
                let outcome = engine.finish(snapshot, NOW, prepared, &mut view);
                forwarded += usize::from(matches!(outcome, Outcome::Verdict(Verdict::Forward(_))));
            }
            engine.tick(snapshot, NOW);
        }
        forwarded
    }

    /// The headers of all packets; gives how many could be read.
    pub fn parse(&self) -> usize {
        let mut headers = Headers::NONE;
        let reads = |&turn: &usize| parse_into(self.frames.bytes(turn), &mut headers).is_ok();
        (0..PACKETS).filter(reads).count()
    }
}
