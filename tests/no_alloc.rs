//! No allocation on the packet path: not for new flows, known ones, drops, answers, expiry, nor
//! when everything is full.

#[path = "engine/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "engine/world.rs"]
#[allow(dead_code)]
mod world;

use guideway::dataplane::{Arrival, EngineConfig, FragmentLimits, Outcome};
use guideway::wire::FrameView;

use frames::*;
use world::*;

/// All frames once by each port, each with a tick after it.
fn run(world: &mut World, chunk: &mut [u8], frames: &[Vec<u8>], step_ms: u64) {
    for frame in frames {
        chunk[256..256 + frame.len()].copy_from_slice(frame);
        for port in [CLIENTS, BACKENDS] {
            let mut view = FrameView::new(chunk, 256, frame.len());
            let (engine, snapshot) = (&mut world.engine, &world.snapshot);
            let outcome = engine.process(snapshot, world.now, Arrival::Received(port), &mut view);
            assert!(matches!(outcome, Outcome::Verdict(_) | Outcome::Held));
            send_held(world, chunk);
        }
        world.now.0 += step_ms;
        world.engine.tick(&world.snapshot, world.now);
        while world.engine.take_flow_event().is_some() {}
    }
}

/// Fragments that were held and may go on now.
fn send_held(world: &mut World, chunk: &mut [u8]) {
    let mut held = None;
    while world.engine.take_held(|arrival, frame| {
        chunk[256..256 + frame.len()].copy_from_slice(frame);
        held = Some((arrival, frame.len()));
    }) {
        let Some((arrival, len)) = held else { continue };
        let mut view = FrameView::new(chunk, 256, len);
        let outcome = world.engine.process(&world.snapshot, world.now, arrival, &mut view);
        assert!(matches!(outcome, Outcome::Verdict(_)));
    }
}

#[test]
fn the_packet_path_asks_for_no_memory() {
    let limits = EngineConfig {
        max_flows: 500,
        max_snat_blocks: 64,
        flow_events: 16,
        flow_meters: true,
        max_replies_per_second: 5,
        max_new_flows_per_second: 100_000_000,
        fragments: FragmentLimits { datagrams: 16, held: 8, ..FragmentLimits::default() },
        ..config()
    };
    let mut world = World::with(limits, |_| ());
    let mut chunk = vec![0; 2048];
    let seen = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 9])));
    assert_eq!(seen.count_total, 1, "the count sees nothing");
    let mut frames = Vec::new();
    for port in 1000..2000u16 {
        let web = Head::new(0xc1, 1, &format!("192.0.2.1:{port}"), "10.1.0.100:80");
        let direct = Head { destination: socket("10.1.0.101:80"), ..web };
        let dns = Head { destination: socket("10.1.0.100:53"), ..web };
        frames.extend([SYN, SYN, ACK, FIN | ACK, RST, SYN].map(|flags| web.tcp(flags)));
        frames.extend([SYN, ACK].map(|flags| direct.tcp(flags)));
        frames.extend([dns.udp(b"?"), web.echo(), web.icmp_other(), fragment(web.tcp(ACK))]);
        // In order, turned round, and without the first one.
        let [first, last] = <[_; 2]>::try_from(cut(&dns.udp(&[7; 100]), port.into(), 64)).unwrap();
        frames.extend([first.clone(), last.clone(), last.clone(), first, last]);
        frames.push(arp(1, 0xc1, "10.1.0.60", "10.1.0.100"));
        frames.push(Head::new(0xb0, 2, "10.2.0.10:8080", &format!("10.1.0.10:{port}")).tcp(ACK));
    }
    for step_ms in [0, 1, 40, 7000] {
        let asked = allocation_counter::measure(|| run(&mut world, &mut chunk, &frames, step_ms));
        assert_eq!(asked.count_total, 0, "{step_ms} ms a frame");
    }
    let reached = named(world.engine.counters());
    for name in [
        "forwarded",
        "flow_table_full",
        "forwarded_stateless",
        "flows_expired",
        "flows_closed",
        "snat_blocks_exhausted",
        "reply_rate_limited",
        "tcp_reset",
        "flows_created",
        "fragments_held",
        "fragments_forgotten",
        "fragment_hold_full",
        "fragment_timeout",
        "not_ours",
    ] {
        assert!(reached.contains_key(name), "{name} was not reached: {reached:?}");
    }
}
