//! Fragments at their limits: datagrams, held frames, time; over workers, and after a panic.

use guideway::dataplane::{EngineConfig, FragmentLimits};

use super::fragments::{check_sum, counted, families, pass};
use super::frames::*;
use super::hand_over::Workers;
use super::nat::ends;
use super::world::*;

fn world(limits: FragmentLimits) -> World {
    World::with(EngineConfig { fragments: limits, ..config() }, |_| ())
}

/// First and second half of a datagram.
fn halves(id: u32) -> [Vec<u8>; 2] {
    cut(&families()[0].dns.udp(&[7; 1200]), id, 800).try_into().unwrap()
}

/// Each frame and what becomes of it.
fn check(world: &mut World, steps: &[(&Vec<u8>, &[&str])]) {
    for (at, (frame, wanted)) in steps.iter().enumerate() {
        assert_eq!(pass(world, CLIENTS, std::slice::from_ref(*frame)).0, *wanted, "step {at}");
        check_sum(world);
    }
}

#[test]
fn when_there_are_too_many_the_oldest_is_forgotten() {
    let mut world = world(FragmentLimits { datagrams: 2, ..FragmentLimits::default() });
    let [[a, a2], [b, b2], [c, c2]] = [halves(1), halves(2), halves(3)];
    let then: &[&str] = &["forwarded", "then forwarded"];
    check(
        &mut world,
        &[(&a2, &["held"]), (&b2, &["held"]), (&c2, &["held"]), (&b, then), (&c, then)],
    );
    let wanted = [
        ("forwarded", 4),
        ("flows_created", 1),
        ("fragments_held", 3),
        ("fragments_forgotten", 1),
        ("fragment_table_full", 1),
    ];
    assert_eq!(counted(&world), Named::from(wanted));
    check(&mut world, &[(&a, &["forwarded"])]);
    assert_eq!(world.engine.held_frames(), 0);
}

#[test]
fn a_table_of_nothing_takes_nothing() {
    let mut world = world(FragmentLimits { datagrams: 0, held: 0, ..FragmentLimits::default() });
    let [a, b] = halves(1);
    check(&mut world, &[(&a, &["fragment_table_full"]), (&b, &["fragment_table_full"])]);
}

#[test]
fn what_cannot_be_held_is_given_up() {
    let mut world = world(FragmentLimits { held: 1, ..FragmentLimits::default() });
    let ([a, a2], [b, b2]) = (halves(1), halves(2));
    let full = &["fragment_hold_full"][..];
    check(&mut world, &[(&a2, &["held"]), (&b2, full), (&b, full), (&b2, full)]);
    // Its place is free again.
    check(&mut world, &[(&a, &["forwarded", "then forwarded"])]);
    let [c, c2] = halves(3);
    check(&mut world, &[(&c2, &["held"]), (&c, &["forwarded", "then forwarded"])]);
    let short = FragmentLimits { frame_bytes: 100, ..FragmentLimits::default() };
    check(&mut self::world(short), &[(&a2, full)]);
}

#[test]
fn one_that_waits_too_long_is_dropped() {
    let mut world = world(FragmentLimits { hold_ms: 500, ..FragmentLimits::default() });
    let [a, b] = halves(1);
    check(&mut world, &[(&b, &["held"])]);
    world.wait(500);
    world.engine.tick(&world.snapshot, world.now);
    assert_eq!(world.engine.held_frames(), 1, "just in time");
    world.wait(1);
    world.engine.tick(&world.snapshot, world.now);
    let wanted = Named::from([("fragments_held", 1), ("fragment_timeout", 1)]);
    assert_eq!((counted(&world), world.engine.held_frames()), (wanted, 0));
    check(&mut world, &[(&a, &["forwarded"])]);
    // Too old and not yet swept: the next one is of a new datagram.
    world.wait(501);
    check(&mut world, &[(&b, &["held"])]);
    world.wait(501);
    check(&mut world, &[(&b, &["held"])]);
    assert_eq!(counted(&world)["fragment_timeout"], 2);
}

#[test]
fn after_a_panic_what_was_held_is_counted() {
    let mut world = World::new();
    let ([_, a2], [b, b2]) = (halves(1), halves(2));
    check(&mut world, &[(&a2, &["held"]), (&b2, &["held"])]);
    // Not fetched yet when the panic comes.
    world.run(guideway::dataplane::Arrival::Received(CLIENTS), &b);
    world.engine = world.engine.recover();
    check_sum(&world);
    assert_eq!(counted(&world)["worker_restarted"], 2);
    assert!(!world.engine.has_fragments() && world.send_held().is_empty());
    check(&mut world, &[(&b2, &["held"])]);
}

/// Fragments of a datagram and of its answer arrive at any worker, go to the one that keeps their
/// datagram, and from there to the one that has the flow.
#[test]
fn over_several_workers_all_meet_at_the_flows_owner() {
    for (family, count) in families().iter().flat_map(|family| [2, 3, 16].map(|n| (family, n))) {
        let mut workers = Workers::of(family.world, count);
        for number in 0..100u16 {
            let mut source = family.dns.source;
            source.set_port(3000 + number);
            let client = Head { source, ..family.dns };
            let at = |n: usize| (usize::from(number) * 7 + n * 3) % count;
            let run = |workers: &mut Workers, port, head: &Head| {
                let frames = cut(&head.udp(&[number as u8; 2000]), number.into(), 800);
                let mut left = vec![];
                for (n, frame) in [1, 0, 2].map(|n| (n, &frames[n])) {
                    left.extend(workers.run_all(at(n), port, frame));
                }
                let owners: Vec<_> = left.iter().map(|&(owner, ..)| owner).collect();
                assert!(owners.len() == 3 && owners.iter().all(|&o| o == owners[0]), "{owners:?}");
                let out: Vec<_> = left.into_iter().map(|(.., out)| out).collect();
                (owners[0], join(&out).unwrap())
            };
            let (owner, out) = run(&mut workers, CLIENTS, &client);
            let ends = ends(client, &out);
            assert_eq!(out, ends.at_backend().udp(&[number as u8; 2000]));
            let shard = ends.backend.destination.port() as u8;
            assert_eq!(usize::from(owner), usize::from(shard) % count);
            let (back, out) = run(&mut workers, BACKENDS, &ends.backend);
            assert_eq!((back, out), (owner, ends.at_client().udp(&[number as u8; 2000])));
        }
        workers.check_sums();
        let sum = |of: fn(&guideway::dataplane::EventCounters) -> u64| -> u64 {
            workers.all.iter().map(|world| of(&world.engine.counters().events)).sum()
        };
        assert_eq!(sum(|events| events.flows_created), 100);
        assert_eq!(sum(|events| events.handed_over), sum(|events| events.taken_over));
        assert!(
            sum(|events| events.handed_over) > 200 && sum(|events| events.fragments_held) == 200
        );
    }
}
