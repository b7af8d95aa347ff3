//! Damaged and made-up frames: each gets one verdict, none a panic, and the engine stays sound.

use guideway::dataplane::{Arrival, EngineConfig, Outcome};
use proptest::prelude::*;

use super::frames::*;
use super::world::*;

fn good() -> Vec<Vec<u8>> {
    let web = Head::new(0xc1, 1, "10.1.0.60:4000", "10.1.0.100:80");
    let to = |destination| Head { destination: socket(destination), ..web };
    let mut frames = [SYN, ACK, FIN | ACK, RST].map(|flags| web.tcp_data(flags, b"data")).to_vec();
    frames.extend([SYN, ACK, RST].map(|flags| to("10.1.0.101:80").tcp(flags)));
    frames.extend([to("10.1.0.100:53").udp(b"?"), to("10.1.0.101:53").udp(b"?"), web.echo()]);
    frames.extend([web.icmp_other(), web.protocol(47), fragment(web.tcp(ACK))]);
    frames.extend([1, 2].map(|operation| arp(operation, 0xc1, "10.1.0.60", "10.1.0.100")));
    let back = Head::new(0xb0, 1, "10.2.0.10:8080", "10.1.0.10:2000");
    frames.extend([back.tcp(SYN | ACK), back.tcp(ACK)]);
    frames
}

#[derive(Clone, Debug)]
struct Damage {
    which: usize,
    bytes: Vec<(usize, u8)>,
    len: Option<usize>,
    sum_right: bool,
    wait_ms: u64,
    port: u8,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec((0usize..80, any::<u8>()), 0..4);
    let len = prop::option::weighted(0.2, 0usize..90);
    (any::<usize>(), bytes, len, any::<bool>(), 0u64..5000, 0u8..3).prop_map(
        |(which, bytes, len, sum_right, wait_ms, port)| Damage {
            which,
            bytes,
            len,
            sum_right,
            wait_ms,
            port,
        },
    )
}

fn damaged(frames: &[Vec<u8>], damage: &Damage) -> Vec<u8> {
    let mut frame = frames[damage.which % frames.len()].clone();
    for &(at, byte) in &damage.bytes {
        if let Some(place) = frame.get_mut(at) {
            *place = byte;
        }
    }
    if damage.sum_right {
        fix_header(&mut frame);
    }
    frame.resize(damage.len.unwrap_or(frame.len()), 0);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn one_verdict_each(damages in prop::collection::vec(damage(), 1..100)) {
        let limits = EngineConfig { max_flows: 20, max_snat_blocks: 8, ..config() };
        let mut world = World::with(limits, |_| ());
        let frames = good();
        for damage in &damages {
            let frame = damaged(&frames, damage);
            let arrival = Arrival::Received(guideway::wire::PortId(damage.port));
            let outcome = world.run(arrival, &frame).0;
            prop_assert!(matches!(outcome, Outcome::Verdict(_) | Outcome::Held));
            world.send_held();
            world.wait(damage.wait_ms);
            world.engine.tick(&world.snapshot, world.now);
        }
        let counters = world.engine.counters();
        prop_assert_eq!(counters.received, damages.len() as u64);
        let held = world.engine.held_frames() as u64;
        prop_assert_eq!(counters.verdicts() + held, counters.received);
        let events = counters.events;
        let ended = events.flows_expired + events.flows_closed + events.flows_cut;
        prop_assert_eq!(events.flows_created, ended + u64::from(world.live()));
        prop_assert_eq!(world.entries().len(), world.live() as usize);
    }
}
