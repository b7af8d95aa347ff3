//! Everything together, over loopback.

use super::*;
use crate::control::{Exchange, Health};
use crate::health::ProbeTarget;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

fn groups(targets: &[ProbeTarget]) -> Arc<Vec<TargetGroup>> {
    Arc::new(vec![targets.into()])
}

fn target(backend: &str, socket: SocketAddr, kind: HealthCheckKind) -> ProbeTarget {
    let spec = HealthCheckSpec {
        interval_ms: 20,
        timeout_ms: 2_000,
        rise: 1,
        flap_window_ms: 0,
        ..HealthCheckSpec::new(kind)
    };
    let (service, backend) = ("web".into(), backend.into());
    ProbeTarget { service, backend, socket, spec: Arc::new(spec) }
}

/// A bare connect, and one that goes the other way.
fn kinds() -> [HealthCheckKind; 2] {
    let exchange = Exchange { send: Some(b"x".to_vec()), expect: None };
    [HealthCheckKind::TCP, HealthCheckKind::Tcp(exchange)]
}

async fn next(events: &mut mpsc::Receiver<HealthEvent>) -> (String, Health, String) {
    let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
    let event = event.expect("an event in time").expect("prober runs");
    (event.backend.to_string(), event.health, event.reason)
}

#[tokio::test]
async fn follows_backends_and_targets() {
    for kind in kinds() {
        let target = |name, socket| target(name, socket, kind.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let other = TcpListener::bind("[::1]:0").await.unwrap();
        let at_other = other.local_addr().unwrap();
        let (targets, watched) = watch::channel(groups(&[target("b1", address)]));
        let (sender, mut events) = mpsc::channel(16);
        let prober = tokio::spawn(Prober::new(7, 8).run(watched, sender));
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, "ok".into()));

        drop(listener);
        let refused = || "connect: connection refused".to_string();
        let (_, health, reason) = next(&mut events).await;
        assert_eq!(health, Health::Up);
        // The last connection may have been on its way: then it is reset.
        if reason != refused() {
            assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, refused()));
        }
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Down, refused()));

        targets.send_replace(groups(&[target("b1", address), target("b2", at_other)]));
        assert_eq!(next(&mut events).await, ("b2".into(), Health::Up, "ok".into()));

        // The same name at another address joins the check that is there, and is told at once.
        targets.send_replace(groups(&[target("b1", at_other), target("b2", at_other)]));
        assert_eq!(next(&mut events).await, ("b1".into(), Health::Up, "ok".into()));
        drop(targets);
        prober.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn nobody_answers_a_bare_connect() {
    // A backlog that is full answers no SYN more.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _fills = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut silent = target("b1", address, HealthCheckKind::TCP);
    let spec = HealthCheckSpec { timeout_ms: 50, interval_ms: 60, ..(*silent.spec).clone() };
    silent.spec = Arc::new(spec);
    let (targets, watched) = watch::channel(groups(&[silent]));
    let (sender, mut events) = mpsc::channel(16);
    let prober = tokio::spawn(Prober::new(7, 8).run(watched, sender));
    let timed_out = || "timed out after 50 ms".to_string();
    assert_eq!(next(&mut events).await, ("b1".into(), Health::Unknown, timed_out()));
    assert_eq!(next(&mut events).await, ("b1".into(), Health::Down, timed_out()));
    drop(targets);
    prober.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_targets_share_few_descriptors() {
    for kind in kinds() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        // Loopback has addresses enough for a check each.
        let at = |i: u16| SocketAddr::from(([127, 1, (i >> 8) as u8, i as u8], port));
        let rare = |mut target: ProbeTarget| {
            let spec = HealthCheckSpec { interval_ms: 60_000, ..(*target.spec).clone() };
            target.spec = Arc::new(spec);
            target
        };
        let all = (0..10_000).map(|i| target(&format!("b{i}"), at(0), kind.clone()));
        let mut all: Vec<_> = all.map(rare).collect();
        for (i, one) in (0..50).zip(&mut all) {
            *one = target(&format!("b{i}"), at(i), kind.clone());
        }
        let (targets, watched) = watch::channel(groups(&all));
        let (sender, mut events) = mpsc::channel(64);
        let prober = tokio::spawn(Prober::new(7, 4).run(watched, sender));
        let mut up = std::collections::BTreeSet::new();
        while up.len() < 50 {
            let (backend, health, _) = next(&mut events).await;
            assert_eq!(health, Health::Up);
            up.insert(backend);
        }
        targets.send_replace(groups(&[]));
        drop(targets);
        prober.await.unwrap().unwrap();
    }
}
