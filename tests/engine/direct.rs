//! L2 DSR: only MACs change, and one half of the connection is seen.

use guideway::dataplane::{EngineConfig, FlowState, Verdict};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND};
use super::world::*;

fn client(port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.60:{port}"), "10.1.0.101:80")
}

fn state(world: &World) -> Vec<FlowState> {
    world.entries().iter().filter_map(FlowState::of).collect()
}

/// The frame with the MACs it has to leave with, to the backend that the engine chose.
fn with_macs(mut frame: Vec<u8>, out: &[u8]) -> Vec<u8> {
    frame[..6].copy_from_slice(&out[..6]);
    frame[6..12].copy_from_slice(&mac(2).0);
    frame
}

#[test]
fn only_macs_change() {
    let mut world = World::new();
    let head = Head { ttl: 1, ..client(4000) };
    let steps = [
        (SYN, CREATED, FlowState::Opening),
        (ACK, &[], FlowState::Established),
        (ACK, &[], FlowState::Established),
        (FIN | ACK, &[], FlowState::Closing),
        (ACK, &[], FlowState::Closing),
        (RST, &[], FlowState::Reset),
        (SYN, &[("flows_created", 1), ("flows_closed", 1)], FlowState::Opening),
    ];
    for (flags, events, wanted) in steps {
        let frame = head.tcp_data(flags, b"abc");
        let out = world.expect("to the backend", CLIENTS, &frame, TO_BACKEND, events);
        assert!([mac(0xb3).0, mac(0xb4).0].iter().any(|mac| out[..6] == mac[..]));
        assert_eq!(out, with_macs(frame, &out));
        assert_eq!(state(&world), [wanted]);
    }
    let datagram = Head { destination: socket("10.1.0.101:53"), ..head }.udp(b"question");
    let out = world.expect("UDP", CLIENTS, &datagram, TO_BACKEND, CREATED);
    assert_eq!(out[..6], mac(0xb5).0);
    assert_eq!(out, with_macs(datagram, &out));
}

#[test]
fn after_a_restart_a_flow_goes_to_the_same_backend() {
    let mut world = World::new();
    let frames: Vec<_> = (4000..4100).map(|port| client(port).tcp(SYN)).collect();
    let before: Vec<_> = frames
        .iter()
        .map(|frame| world.expect("SYN", CLIENTS, frame, TO_BACKEND, CREATED))
        .collect();
    let mut restarted = World::with(EngineConfig { flow_hash_key: [9; 16], ..config() }, |_| ());
    for (port, before) in (4000..4100).zip(before) {
        let segment = client(port).tcp(ACK);
        let out = restarted.expect("ACK", CLIENTS, &segment, TO_BACKEND, CREATED);
        assert_eq!(out[..6], before[..6]);
    }
    assert_eq!(state(&restarted), vec![FlowState::Opening; 100]);
}

#[test]
fn a_full_table_forwards_by_maglev_alone() {
    let small = || World::with(EngineConfig { max_flows: 3, ..config() }, |_| ());
    let (mut world, mut large) = (small(), World::new());
    for port in 4000..4050 {
        let frame = client(port).tcp(SYN);
        let event = if port < 4003 { "flows_created" } else { "forwarded_stateless" };
        let out = world.expect("SYN", CLIENTS, &frame, TO_BACKEND, &[(event, 1)]);
        assert_eq!(out, large.expect("SYN", CLIENTS, &frame, TO_BACKEND, CREATED));
    }
    assert_eq!(world.live(), 3);
    world.expect("a known one", CLIENTS, &client(4001).tcp(ACK), TO_BACKEND, &[]);
    world.wait(u64::from(TIMEOUTS.tcp_opening_ms) + 1);
    let gone = [("flows_created", 1), ("flows_expired", 1)];
    world.expect(
        "too old: a new flow in its place",
        CLIENTS,
        &client(4000).tcp(SYN),
        TO_BACKEND,
        &gone,
    );
}

#[test]
fn a_backend_answers_the_client_itself() {
    let mut world = World::new();
    world.expect("SYN", CLIENTS, &client(4000).tcp(SYN), TO_BACKEND, CREATED);
    let answer = Head::new(0xb3, 2, "10.1.0.101:80", "10.1.0.60:4000").tcp(SYN | ACK);
    world.expect("the client is none of ours", BACKENDS, &answer, Verdict::NotOurs, &[]);
}
