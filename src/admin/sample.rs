//! A report with a bit of everything, for tests.

use std::net::Ipv4Addr;

use super::*;
use crate::control::{Drain, Health, IdlePolicy};
use crate::dataplane::{Counters, DropReason, ReplyKind};
use crate::forwarding::BackendState;
use crate::io::QueueStatistics;
use crate::wire::Protocol;

/// See above; its sums agree.
pub fn sample_report() -> StatusReport {
    let queue = |interface: &str, queue| QueueStatistics {
        interface: interface.into(),
        queue,
        mode: "native copy".into(),
        received: 1000,
        transmitted: 990,
        transmit_full: 2,
        ..QueueStatistics::default()
    };
    let interface = |name: &str, last: u8, up| InterfaceStatus {
        name: name.into(),
        bridge: None,
        mac: format!("02:00:00:00:00:{last:02x}"),
        mtu_bytes: 1500,
        up,
        queues: vec![queue(name, 0), queue(name, 1)],
        steer: [("steer_passed".to_string(), 12), ("steer_no_worker".to_string(), 0)].into(),
    };
    let worker = |worker: u8| WorkerStatus {
        worker,
        core: Some(worker.into()),
        idle: IdlePolicy::Auto,
        generation: 7,
        batches: 5000,
        received: 2000,
        received_bytes: 200_000,
        flows: 21,
        flows_limit: 1_048_576,
        forwarded: 1980,
        dropped: 17,
        handed_over: 3,
        restarts: worker.into(),
    };
    let mut counters = Counters { received: 4000, forwarded: 3960, ..Counters::default() };
    counters.received_bytes = 400_000;
    counters.replied[ReplyKind::Arp as usize] = 5;
    counters.dropped[DropReason::NoService as usize] = 34;
    counters.events.flows_created = 42;
    let interfaces = vec![interface("eth1", 1, true), interface("eth2", 2, false)];
    let queues = interfaces.iter().flat_map(|i| &i.queues);
    StatusReport {
        version: "0.1.0".into(),
        pid: 4242,
        now_unix_ms: 1_700_000_192_000,
        started_unix_ms: 1_700_000_000_000,
        stopping: None,
        configuration: ConfigurationStatus {
            reloads: ReloadsStatus { taken_over: 3, refused: 1, ..ReloadsStatus::default() },
            file: "/etc/guideway/guideway.yaml".into(),
            loaded_in_generation: 5,
            loaded_unix_ms: 1_700_000_100_000,
            refused: Some(RefusedReload {
                at_unix_ms: 1_700_000_187_000,
                error: "guideway.yaml:3:9: unknown key `nam`\n 3 |   nam: web\n   |   ^^^".into(),
            }),
        },
        generation: GenerationStatus { published: 8, acknowledged: 7 },
        cluster_key_fingerprint: "6f1ed002ab559585".into(),
        feeds: vec![],
        clusters: vec![sample_cluster()],
        counters: CountersStatus::new(&counters, queues, 1, 3),
        flow_records: Some(FlowRecordsStatus { written: 7, sent: 6, lost: 1 }),
        interfaces,
        workers: vec![worker(0), worker(1)],
        services: vec![sample_service()],
        drains: vec![DrainStatus {
            drain: Drain {
                backend: "b3".into(),
                service: None,
                uid: Some(0),
                user: Some("root".into()),
                since_unix_ms: 1_700_000_160_000,
                until_unix_ms: Some(1_700_003_600_000),
            },
            services: vec![],
            flows: 0,
        }],
        snat: vec![SnatStatus {
            address: Ipv4Addr::new(10, 1, 0, 10).into(),
            first_port: 1024,
            last_port: 65535,
            interface: Some("eth2".into()),
            shared_address: false,
            in_use: Some(42),
        }],
    }
}

fn sample_cluster() -> ClusterStatus {
    let family = |family: &str, addresses| PoolFamily {
        family: family.into(),
        addresses,
        used: 3,
        resting: 1,
        free: addresses - 4,
    };
    ClusterStatus {
        name: "main".into(),
        known_unix_ms: Some(1_700_000_010_000),
        taken_unix_ms: Some(1_700_000_180_000),
        ours: 3,
        services: 4,
        leads: true,
        refused: vec!["shop/web: forbidden".into()],
        problems: vec!["nodes: no answer".into()],
        last_error: Some(LastError {
            at_unix_ms: 1_700_000_170_000,
            error: "nodes: no answer".into(),
        }),
        pools: vec![PoolStatus {
            name: "web".into(),
            families: vec![family("ipv4", 256), family("ipv6", i64::MAX as u64)],
            problem: None,
        }],
    }
}

fn sample_service() -> ServiceStatus {
    let backend = |name: &str, state, health, reason: &str, share, next_hop| BackendStatus {
        name: name.into(),
        socket: "10.2.0.11:80".parse().unwrap(),
        last_port: Some(90),
        weight: 1,
        state,
        health: Some(HealthStatus {
            health,
            since_unix_ms: 1_700_000_150_000,
            reason: reason.into(),
            reason_since_unix_ms: 1_700_000_147_000,
        }),
        share,
        promised_share: share,
        flows: 21,
        traffic: TrafficStatus {
            packets_in: 2000,
            bytes_in: 200_000,
            packets_out: 1980,
            bytes_out: 2_900_000,
        },
        path_mtu_bytes: Some(1400).filter(|_| share < 1.0),
        next_hop,
    };
    let known = NextHopStatus::Known { interface: "eth2".into(), mac: "02:00:00:00:00:0b".into() };
    let missing = NextHopStatus::Missing("no MAC for 10.2.0.12 on eth2".into());
    ServiceStatus {
        name: "web".into(),
        vip: "10.1.0.100:80".parse().unwrap(),
        last_port: Some(90),
        protocol: Protocol::Tcp,
        mode: "nat".into(),
        state: ServiceState::Serving,
        table_size: 65537,
        flows: 42,
        backends: vec![
            backend("b1", BackendState::Active, Health::Up, "ok", 1.0, known),
            backend(
                "b2",
                BackendState::Unhealthy,
                Health::Down,
                "connect: connection refused",
                0.0,
                missing,
            ),
        ],
    }
}
