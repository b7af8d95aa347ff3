//! Time to compile: all new, one backend's health changed, nothing changed.

use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use guideway::control::{
    BackendSpec, CompileInput, DesiredState, Health, HealthCheckKind, HealthCheckSpec, HealthView,
    LimitsSpec, LiveFlows, ServiceSpec, SnatSpec, Topology, compile,
};
use guideway::forwarding::{ClusterKey, Snapshot};

fn service(place: u32, backends: u32) -> ServiceSpec {
    let backend = |number: u32| {
        let address = Ipv4Addr::from_bits(0x0b00_0000 + (place * backends + number) % 200_000);
        BackendSpec::new(format!("backend-{number}"), (address, 80).into())
    };
    let vip = (Ipv4Addr::from_bits(0x0a00_0001 + place), 80).into();
    ServiceSpec {
        // Small, so that what is measured is not Maglev (which has a benchmark of its own).
        table_size: Some(1_021),
        health_check: Some(HealthCheckSpec::new(HealthCheckKind::TCP)),
        ..ServiceSpec::new(format!("service-{place}"), vip, (0..backends).map(backend).collect())
    }
}

fn desired(services: u32, backends: u32) -> DesiredState {
    let snat = SnatSpec {
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        ports: 1_024..=65_535,
        interface: None,
        shared_address: false,
    };
    let services = (0..services).map(|place| service(place, backends).into()).collect();
    DesiredState { services, snat: vec![snat], tunnel_sources: vec![] }
}

const LIMITS: LimitsSpec = LimitsSpec {
    flows_per_worker: 1 << 20,
    backends: 1 << 21,
    retired_backends: 4_096,
    service_gone_linger_ms: 60_000,
    snat_hold_down_ms: 60_000,
    snat_blocks_per_worker: 65_536,
    new_flows_per_second: 1_000_000,
    replies_per_second: 10_000,
    fragmented_packets: 64,
    fragments_held: 16,
    fragment_hold_ms: 2_000,
    frames_per_queue: 4_096,
    frame_bytes: 2_048,
    hand_over_ring: 1_024,
};

fn compile_times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    let (topology, live) = (Topology::default(), LiveFlows::default());
    let run = |desired: &DesiredState, health: &HealthView, previous: &Snapshot| {
        let cluster_key = ClusterKey([7; 16]);
        let (topology, live, limits) = (&topology, &live, &LIMITS);
        let input = CompileInput {
            desired,
            health,
            topology,
            live,
            previous,
            limits,
            cluster_key,
            now_ms: 0,
        };
        compile(&input).map(|compiled| compiled.snapshot).unwrap_or_else(|_| Snapshot::empty())
    };
    for (services, backends) in [(100, 100), (1_000, 100), (10_000, 100)] {
        let desired = desired(services, backends);
        let size = format!("{services}x{backends}");
        let healthy = HealthView::new();
        let first = run(&desired, &healthy, &Snapshot::empty());
        assert_eq!(first.services.len(), services as usize);
        let mut health = HealthView::new();
        health.set("service-7", "backend-7", Health::Down);
        let empty = Snapshot::empty();
        let rows = [
            ("all_new", &healthy, &empty),
            ("one_unhealthy", &health, &first),
            ("nothing_new", &healthy, &first),
        ];
        for (what, health, previous) in rows {
            group.bench_function(BenchmarkId::new(what, &size), |bencher| {
                bencher.iter(|| run(&desired, health, previous));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, compile_times);
criterion_main!(benches);
