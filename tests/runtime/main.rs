//! Workers, control loop and supervision over in-memory devices: threads and clocks are real, the
//! network is not.

#![cfg(feature = "program")]

mod panics;
mod plane;
mod tap;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use guideway::control::Health;
use guideway::forwarding::{BackendState, SteerEntry};
use plane::{Plane, VIP, desired, is_reset, to_vip, topology};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_vip_is_taken_after_the_workers_know_it_and_given_back_before_they_forget_it() {
    let mut plane = Plane::start(2);
    plane.controller.set_desired(desired(&["b1", "b2"]), 1).unwrap();
    plane.controller.set_desired(Default::default(), 2).unwrap();
    // Without a flow, nothing keeps the service; with the next step it is gone.
    plane.step_until(|plane| plane.publisher.current().services.is_empty());
    let log = plane.controller.steer_target().log.clone();
    let vip = SteerEntry::Whole(address("10.1.0.100"));
    let taken = log.iter().find(|row| row.added && row.entry == vip).unwrap();
    let given_back = log.iter().find(|row| !row.added && row.entry == vip).unwrap();
    let known = |row: &plane::SteerRow| row.known_to_workers;
    assert!(known(taken), "every worker had acknowledged a snapshot with the VIP");
    assert!(known(given_back), "no worker had a snapshot without it yet");
    plane.stop();
}

#[test]
fn what_is_not_steered_is_told_once_and_tried_again_every_second() {
    let mut plane = Plane::start(1);
    plane.controller.steer_target().broken = true;
    let told = |step: guideway::runtime::Step| step.steer_refused.len();
    assert_eq!(told(plane.controller.set_desired(desired(&["b1"]), 1).unwrap()), 2);
    assert_eq!(told(plane.controller.step(1_100).unwrap()), 0, "the same once more");
    plane.controller.steer_target().broken = false;
    plane.controller.step(1_200).unwrap();
    assert!(plane.controller.steer_target().log.is_empty(), "not before a second is over");
    plane.controller.step(2_100).unwrap();
    assert_eq!(plane.controller.steer_target().log.len(), 2, "VIP and SNAT address");
    // The other way round: what could not be given back is tried again, too.
    plane.controller.steer_target().broken = true;
    plane.controller.set_desired(Default::default(), 3_000).unwrap();
    plane.controller.step(4_000).unwrap();
    plane.controller.steer_target().broken = false;
    plane.controller.step(5_000).unwrap();
    assert!(plane.controller.steer_target().log.iter().any(|row| !row.added));
    plane.stop();
}

#[test]
fn packets_find_their_flow_whatever_worker_they_arrive_at() {
    let mut plane = Plane::start(3);
    plane.controller.set_desired(desired(&["b1", "b2"]), 1).unwrap();
    for client_port in 2000..2090u16 {
        let before = plane.forwarded();
        plane.push(usize::from(client_port) % 3, &to_vip(client_port, plane::SYN));
        plane.wait(|plane| plane.forwarded() == before + 1);
        plane.push(usize::from(client_port + 1) % 3, &to_vip(client_port, plane::ACK));
        plane.wait(|plane| plane.forwarded() == before + 2);
    }
    let counters = plane.counters();
    assert_eq!((counters.events.flows_created, counters.forwarded), (90, 180));
    assert_eq!(counters.events.handed_over, counters.events.taken_over);
    assert!(counters.events.handed_over > 60, "{}", counters.events.handed_over);
    assert_eq!(counters.verdicts(), counters.received);
    plane.stop();
}

#[test]
fn a_retired_backend_leaves_once_no_flow_of_it_lives() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    plane.push(0, &to_vip(4000, plane::SYN));
    plane.wait(|plane| plane.forwarded() == 1);
    plane.controller.set_desired(desired(&["b2"]), 2).unwrap();
    let state = |plane: &Plane, name: &str| {
        let snapshot = plane.publisher.current();
        snapshot.backends.iter().flatten().find(|b| &*b.name == name).map(|b| b.state)
    };
    for _ in 0..5 {
        plane.controller.step(3).unwrap();
        assert_eq!(state(&plane, "b1"), Some(BackendState::Retired), "its flow lives");
    }
    // The client resets: the flow ends after its linger (at most 10 s by the configured timeouts).
    plane.push(0, &to_vip(4000, plane::RST));
    plane.step_until(|plane| state(plane, "b1").is_none());
    assert_eq!(state(&plane, "b2"), Some(BackendState::Active));
    plane.stop();
}

#[test]
fn the_ids_of_cut_backends_are_given_to_others_in_the_end() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    plane.push(0, &to_vip(4100, plane::SYN));
    plane.wait(|plane| plane.forwarded() == 1);
    plane.controller.set_desired(Default::default(), 2).unwrap();
    // Told for as long as it lingers, then cut: its id rests until no worker counts a flow of it.
    plane.step_until(|plane| plane.publisher.current().services.is_empty());
    assert_eq!(plane.controller.retired_cut(), 1);
    plane.step_until(|plane| !plane.publisher.current().has_resting_ids());
    plane.controller.set_desired(desired(&["b2"]), 3).unwrap();
    let snapshot = plane.publisher.current();
    assert_eq!(&*snapshot.backend(guideway::forwarding::BackendId(0)).unwrap().name, "b2");
    plane.stop();
}

#[test]
fn health_moves_new_flows_and_a_removed_service_answers_with_resets() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1", "b2"]), 1).unwrap();
    plane.controller.set_health("web", "b1", Health::Down);
    plane.controller.step(2).unwrap();
    let snapshot = plane.publisher.current();
    let down = snapshot.backends.iter().flatten().find(|b| &*b.name == "b1").unwrap();
    assert_eq!(down.state, BackendState::Unhealthy);
    assert!(snapshot.services[0].slots.iter().all(|&id| id != down.id));
    plane.push(0, &to_vip(5000, plane::SYN));
    plane.wait(|plane| plane.forwarded() == 1);
    plane.take(0);
    plane.controller.set_desired(Default::default(), 3).unwrap();
    plane.push(0, &to_vip(5000, plane::ACK));
    let answer = plane.take(0);
    assert!(is_reset(&answer), "{answer:02x?}");
    assert_eq!(*VIP.ip(), address("10.1.0.100"));
    plane.stop();
}

#[test]
fn a_refused_configuration_loses_no_other_change() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    let mut moved = topology();
    moved.neighbours[0].mac.0[5] = 0x99;
    plane.controller.set_topology(moved);
    let mut wrong = desired(&["b1"]);
    wrong.services[0].port = 0;
    assert!(plane.controller.set_desired(wrong, 2).is_err());
    assert!(plane.controller.step(3).unwrap().published.is_some());
    plane.push(0, &to_vip(6100, plane::SYN));
    assert_eq!(plane.take(0)[5], 0x99);
    plane.stop();
}

#[test]
fn an_interface_made_anew_is_down_since_its_sockets_are_gone() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    for (ifindex, up) in [(0, false), (7, false), (2, true)] {
        let mut changed = topology();
        changed.links[0].ifindex = ifindex;
        plane.controller.set_topology(changed);
        plane.controller.step(2).unwrap();
        assert_eq!(plane.publisher.current().ports[0].up, up, "interface number {ifindex}");
    }
    plane.stop();
}

#[test]
fn a_topology_change_alone_moves_the_next_hop() {
    let mut plane = Plane::start(1);
    plane.controller.set_desired(desired(&["b1"]), 1).unwrap();
    let generation = plane.publisher.current().generation;
    plane.controller.set_topology(topology());
    assert!(plane.controller.step(2).unwrap().published.is_none(), "nothing changed");
    let mut moved = topology();
    moved.neighbours[0].mac.0[5] = 0x99;
    plane.controller.set_topology(moved);
    plane.controller.step(3).unwrap();
    assert_eq!(plane.publisher.current().generation, generation + 1);
    plane.push(0, &to_vip(6000, plane::SYN));
    let frame = plane.take(0);
    assert_eq!(frame[5], 0x99);
    let deadline = Instant::now() + Duration::from_secs(5);
    while plane.publisher.free_old() > 1 {
        assert!(Instant::now() < deadline, "old snapshots are freed");
    }
    plane.stop();
}
