//! Looking ahead, and the plain way of packets that it opens, change nothing but the time it takes:
//! two engines get the same frames, and one of them never looks ahead.

use guideway::dataplane::{Arrival, Outcome, Prepared, Verdict};
use guideway::wire::FrameView;
use proptest::prelude::*;

use super::families;
use super::frames::*;
use super::nat::{self, Ends, ends};
use super::world::*;

/// One frame by the thorough way.
fn run_thoroughly(world: &mut World, arrival: Arrival, frame: &[u8]) -> (Outcome, Vec<u8>) {
    let mut chunk = [0; 2048];
    chunk[256..256 + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(&mut chunk, 256, frame.len());
    let mut prepared = Prepared::NONE;
    world.engine.prepare(&world.snapshot, arrival, view.bytes(), &mut prepared);
    let outcome = world.engine.finish(&world.snapshot, world.now, &prepared, &mut view);
    (outcome, view.bytes().to_vec())
}

/// A flow of one of few clients: TCP or UDP under NAT, or TCP under DSR.
#[derive(Clone, Copy, Debug)]
struct Step {
    client: u16,
    kind: u8,
    from_backend: bool,
    flags: u8,
    hop_limit: u8,
    len: usize,
    wait_ms: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        4 => Just(ACK),
        2 => Just(SYN),
        1 => Just(SYN | ACK),
        1 => Just(FIN | ACK),
        1 => Just(RST),
    ];
    let hop_limit = prop_oneof![8 => Just(64u8), 1 => 0u8..3];
    let len = prop_oneof![8 => 0usize..40, 1 => Just(1473usize)];
    let wait_ms = prop_oneof![6 => 0u64..100, 1 => 19_000u64..52_000];
    (0u16..3, 0u8..3, any::<bool>(), flags, hop_limit, len, wait_ms).prop_map(
        |(client, kind, from_backend, flags, hop_limit, len, wait_ms)| Step {
            client,
            kind,
            from_backend,
            flags,
            hop_limit,
            len,
            wait_ms,
        },
    )
}

fn head(is_v4: bool, step: &Step) -> Head {
    let head = match is_v4 {
        true => nat::client(60, 4000 + step.client),
        false => families::client(4000 + step.client),
    };
    let port = if step.kind == 1 { 53 } else { 80 };
    let vip = match (is_v4, step.kind) {
        (true, 2) => "10.1.0.101".parse().unwrap(),
        (false, 2) => "2001:db8:1::101".parse().unwrap(),
        _ => head.destination.ip(),
    };
    Head { destination: std::net::SocketAddr::new(vip, port), ..head }
}

fn frame(head: Head, step: &Step) -> Vec<u8> {
    let (head, data) = (Head { ttl: step.hop_limit, ..head }, vec![7; step.len]);
    if step.kind == 1 { head.udp(&data) } else { head.tcp_data(step.flags, &data) }
}

fn check(is_v4: bool, steps: &[Step]) {
    let world = || if is_v4 { World::new() } else { families::world() };
    let (mut ahead, mut thorough) = (world(), world());
    let mut seen: std::collections::HashMap<(u16, u8), Ends> = Default::default();
    for (number, step) in steps.iter().enumerate() {
        for world in [&mut ahead, &mut thorough] {
            world.wait(step.wait_ms);
            world.engine.tick(&world.snapshot, world.now);
        }
        let client = head(is_v4, step);
        let known = seen.get(&(step.client, step.kind));
        let (port, sent) = match known.filter(|_| step.from_backend) {
            Some(ends) => (BACKENDS, frame(ends.backend, step)),
            None => (CLIENTS, frame(client, step)),
        };
        let arrival = Arrival::Received(port);
        let (outcome, out) = ahead.run(arrival, &sent);
        let wanted = run_thoroughly(&mut thorough, arrival, &sent);
        assert_eq!((outcome, &out), (wanted.0, &wanted.1), "step {number}: {step:?}");
        if port == CLIENTS && outcome == Outcome::Verdict(Verdict::Forward(BACKENDS)) {
            seen.insert((step.client, step.kind), ends(client, &out));
        }
        assert_eq!(ahead.engine.counters(), thorough.engine.counters(), "step {number}");
        assert_eq!(ahead.engine.traffic(), thorough.engine.traffic(), "step {number}");
        assert_eq!(ahead.entries(), thorough.entries(), "step {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn looking_ahead_changes_nothing(
        steps in prop::collection::vec(step(), 1..80), is_v4 in any::<bool>(),
    ) {
        check(is_v4, &steps);
    }
}

/// A batch is prepared as a whole: what its first frames do to the flow of a later one counts.
#[test]
fn a_flow_that_ends_within_a_batch_is_not_followed() {
    let mut world = World::new();
    let ends = nat::establish(&mut world, nat::client(60, 4000));
    let frames = [ends.client.tcp(RST), ends.client.tcp(SYN), ends.client.tcp(ACK)];
    let mut prepared = [Prepared::NONE; 3];
    for (frame, prepared) in frames.iter().zip(&mut prepared) {
        world.engine.prepare(&world.snapshot, Arrival::Received(CLIENTS), frame, prepared);
    }
    world.engine.look_ahead(&world.snapshot, &mut prepared);
    let mut out = Vec::new();
    for (mut frame, prepared) in frames.into_iter().zip(&prepared) {
        let len = frame.len();
        let mut view = FrameView::new(&mut frame, 0, len);
        let outcome = world.engine.finish(&world.snapshot, world.now, prepared, &mut view);
        assert_eq!(outcome, Outcome::Verdict(Verdict::Forward(BACKENDS)));
        out.push(view.bytes().to_vec());
    }
    let port = |frame: &[u8]| u16::from_be_bytes([frame[34], frame[35]]);
    assert_ne!(port(&out[0]), port(&out[1]), "the SYN began a flow with another port");
    assert_eq!(port(&out[1]), port(&out[2]), "and the segment behind it is that flow's");
}
