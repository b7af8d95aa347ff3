//! Several workers: both directions of a flow meet at one owner, whatever queue they arrive on.

use guideway::dataplane::{Arrival, Engine, EngineConfig, Outcome, ShardMap, Verdict};
use guideway::wire::PortId;

use super::frames::*;
use super::nat::{TO_BACKEND, TO_CLIENT, client, ends};
use super::world::*;

pub struct Workers {
    pub all: Vec<World>,
}

impl Workers {
    fn new(count: usize) -> Workers {
        Workers::of(World::new, count)
    }

    /// Workers in a network such as this one.
    pub fn of(world: fn() -> World, count: usize) -> Workers {
        let shards = ShardMap::even(count);
        let worker = |number| {
            let config = EngineConfig { worker: number as u8, shards: shards.clone(), ..config() };
            World { engine: Engine::new(config), ..world() }
        };
        Workers { all: (0..count).map(worker).collect() }
    }

    /// A frame that arrives at one worker, and all frames that leave by it, of whichever worker, with
    /// what was handed over or held on the way.
    pub fn run_all(
        &mut self,
        at: usize,
        port: PortId,
        frame: &[u8],
    ) -> Vec<(u8, Verdict, Vec<u8>)> {
        let (mut settled, mut done) = (vec![], 0);
        let mut waiting = vec![(at, self.all[at].run(Arrival::Received(port), frame))];
        while let Some((worker, (outcome, out))) = waiting.get(done).cloned() {
            done += 1;
            assert!(done < 100, "it goes round");
            match outcome {
                Outcome::Verdict(verdict) => settled.push((worker as u8, verdict, out)),
                Outcome::Held => {}
                Outcome::HandOver { worker: owner, arrival } => {
                    self.all[worker].engine.counters_mut().events.handed_over += 1;
                    let owner = usize::from(owner);
                    waiting.push((owner, self.all[owner].run(arrival, &out)));
                }
            }
            waiting.extend(self.all[worker].send_held().into_iter().map(|sent| (worker, sent)));
        }
        settled
    }

    /// For each worker, what came and what went.
    pub fn check_sums(&self) {
        for world in &self.all {
            let (counters, held) = (world.engine.counters(), world.engine.held_frames() as u64);
            let came = counters.received + counters.events.taken_over;
            assert_eq!(came, counters.verdicts() + counters.events.handed_over + held);
        }
    }

    /// A frame that arrives at one worker, and what its owner makes of it.
    fn run(&mut self, at: usize, port: PortId, frame: &[u8]) -> (u8, Verdict, Vec<u8>) {
        match self.all[at].run(Arrival::Received(port), frame) {
            (Outcome::Verdict(verdict), out) => (at as u8, verdict, out),
            (Outcome::HandOver { worker, arrival }, same) => {
                assert!(usize::from(worker) != at && same == frame);
                self.all[at].engine.counters_mut().events.handed_over += 1;
                match self.all[usize::from(worker)].run(arrival, &same) {
                    (Outcome::Verdict(verdict), out) => (worker, verdict, out),
                    (other, _) => panic!("handed over, and then {other:?}"),
                }
            }
            (Outcome::Held, _) => panic!("not of this test"),
        }
    }
}

#[test]
fn both_directions_meet_at_one_owner() {
    for count in [1, 2, 3, 5, 16] {
        let mut workers = Workers::new(count);
        for number in 0..300usize {
            let port = 3000 + number as u16;
            // Where a frame arrives has nothing to do with who owns it.
            let [first, second, third] = [number, number * 7 + 1, number / 3].map(|n| n % count);
            let client = if number % 3 == 0 {
                Head { destination: socket("10.1.0.100:53"), ..client(60, port) }
            } else {
                client(60, port)
            };
            let make = |head: &Head, flags| {
                if number % 3 == 0 { head.udp(b"x") } else { head.tcp(flags) }
            };
            let (owner, verdict, out) = workers.run(first, CLIENTS, &make(&client, SYN));
            assert_eq!(verdict, TO_BACKEND);
            let ends = ends(client, &out);
            let shard = ends.backend.destination.port() as u8;
            assert_eq!(usize::from(owner), usize::from(shard) % count, "a port's low byte tells");
            let back = workers.run(second, BACKENDS, &make(&ends.backend, SYN | ACK));
            assert_eq!((back.0, back.1), (owner, TO_CLIENT), "{count} workers, flow {number}");
            let on = workers.run(third, CLIENTS, &make(&client, ACK));
            assert_eq!((on.0, on.1), (owner, TO_BACKEND));
        }
        let live: u32 = workers.all.iter().map(World::live).sum();
        assert_eq!(live, 300);
        workers.check_sums();
        for world in &workers.all {
            assert_eq!(world.engine.counters().events.handed_over > 0, count > 1);
        }
    }
}

#[test]
fn what_belongs_to_no_flow_stays_where_it_arrived() {
    let mut workers = Workers::new(4);
    let head = client(60, 4000);
    let frames = [
        head.echo(),
        arp(1, 0xc1, "10.1.0.60", "10.1.0.100"),
        head.protocol(47),
        Head { destination: socket("10.1.0.100:99"), ..head }.tcp(SYN),
    ];
    for (at, frame) in (0..4).flat_map(|at| frames.iter().map(move |frame| (at, frame))) {
        let (outcome, _) = workers.all[at].run(Arrival::Received(CLIENTS), frame);
        assert!(matches!(outcome, Outcome::Verdict(_)), "{frame:x?}");
    }
}

#[test]
fn a_frame_taken_over_is_counted_as_that() {
    let mut world =
        World::with(EngineConfig { worker: 1, shards: ShardMap::even(1), ..config() }, |_| ());
    let frame = client(60, 4000).tcp(SYN);
    assert_eq!(
        world.run(Arrival::Received(CLIENTS), &frame).0,
        Outcome::HandOver { worker: 0, arrival: Arrival::TakenOver(CLIENTS) }
    );
    let after = named(world.engine.counters());
    assert_eq!(after, Named::from([("received", 1), ("received_bytes", frame.len() as u64)]));
    // Whoever hands it to us, it is not handed on: it must not go round.
    let (outcome, _) = world.run(Arrival::TakenOver(CLIENTS), &frame);
    assert_eq!(outcome, Outcome::Verdict(TO_BACKEND));
    let wanted = [("taken_over", 1), ("forwarded", 1), ("flows_created", 1)];
    let after: Named = named(world.engine.counters())
        .into_iter()
        .filter(|(name, _)| !name.starts_with("received"))
        .collect();
    assert_eq!(after, Named::from(wanted));
}
