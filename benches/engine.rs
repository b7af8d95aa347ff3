//! Nanoseconds a packet in the engine alone, frames in memory. Each figure has the copy of the
//! frame into its chunk in it (a few nanoseconds), since the engine rewrites frames in place.

#[path = "../tests/engine/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "../tests/engine/world.rs"]
#[allow(dead_code)]
mod world;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use guideway::dataplane::{Arrival, EngineConfig, Outcome, Verdict};
use guideway::wire::{FrameView, PortId};
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::SmallRng};

use frames::*;
use world::*;

fn bench_world(flows: usize) -> World {
    let max_flows = flows + flows / 4;
    World::with(EngineConfig { max_flows, max_snat_blocks: 4096, ..config() }, |_| ())
}

fn client(number: usize, vip: &str) -> Head {
    let source = format!("192.0.{}.{}:{}", number >> 14 & 255, number & 63, 1024 + (number >> 6));
    Head::new(0xc1, 1, &source, vip)
}

/// One frame through the engine.
#[inline]
fn process(world: &mut World, chunk: &mut [u8], port: PortId, frame: &[u8]) -> Outcome {
    chunk[256..256 + frame.len()].copy_from_slice(frame);
    let mut view = FrameView::new(chunk, 256, frame.len());
    world.engine.process(&world.snapshot, world.now, Arrival::Received(port), &mut view)
}

/// Frames of known flows, in random order.
fn known(criterion: &mut Criterion, name: &str, vip: &str, back: bool) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for flows in [1024, 65_536] {
        let mut world = bench_world(flows);
        let mut chunk = vec![0; 2048];
        let mut sent = Vec::with_capacity(flows);
        for number in 0..flows {
            let head = client(number, vip);
            let (_, out) = world.run(Arrival::Received(CLIENTS), &head.tcp(SYN));
            sent.push(if back {
                let port = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
                let ip = |at: usize| {
                    format!("{}.{}.{}.{}", out[at], out[at + 1], out[at + 2], out[at + 3])
                };
                let (source, destination) =
                    (format!("{}:{}", ip(30), port(36)), format!("{}:{}", ip(26), port(34)));
                Head::new(0xb0, 2, &source, &destination).tcp(ACK)
            } else {
                head.tcp(ACK)
            });
        }
        sent.shuffle(&mut SmallRng::seed_from_u64(1));
        let port = if back { BACKENDS } else { CLIENTS };
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                next = (next + 1) & (flows - 1);
                let outcome = process(&mut world, &mut chunk, port, &sent[next]);
                debug_assert!(matches!(outcome, Outcome::Verdict(Verdict::Forward(_))));
                black_box(outcome)
            });
        });
    }
    group.finish();
}

/// First packets: a miss, Maglev, and a new entry (with a SNAT port under NAT).
fn new(criterion: &mut Criterion, name: &str, vip: &str) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for flows in [1024usize, 65_536] {
        let mut sent: Vec<_> = (0..flows).map(|number| client(number, vip).tcp(SYN)).collect();
        sent.shuffle(&mut SmallRng::seed_from_u64(1));
        let mut chunk = vec![0; 2048];
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter_custom(|iterations| {
                let (mut spent, mut left) = (Duration::ZERO, iterations as usize);
                while left > 0 {
                    let mut world = bench_world(flows);
                    let begin = Instant::now();
                    for frame in &sent[..left.min(flows)] {
                        black_box(process(&mut world, &mut chunk, CLIENTS, frame));
                    }
                    spent += begin.elapsed();
                    left = left.saturating_sub(flows);
                }
                spent
            });
        });
    }
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    known(criterion, "l2dsr", "10.1.0.101:80", false);
    known(criterion, "nat to backend", "10.1.0.100:80", false);
    known(criterion, "nat to client", "10.1.0.100:80", true);
    new(criterion, "new l2dsr", "10.1.0.101:80");
    new(criterion, "new nat", "10.1.0.100:80");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(10)
        .nresamples(1001)
        .without_plots();
    targets = engine
}
criterion_main!(benches);
