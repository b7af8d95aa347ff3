//! A connection's life: states, what a SYN does when, idle times, SNAT ports given back.

use guideway::dataplane::{
    DropReason, EngineConfig, FlowEventKind, FlowState, ReplyKind, Verdict, entry_flags,
};
use guideway::forwarding::BackendState;

use super::frames::*;
use super::nat::{CREATED, Ends, TO_BACKEND, TO_CLIENT, client, ends, establish, open};
use super::world::*;

const REPLACED: &[(&str, u64)] = &[("flows_created", 1), ("flows_closed", 1)];

/// The backend closes first, as a web server does.
fn close(world: &mut World, ends: &Ends) {
    world.expect("FIN", BACKENDS, &ends.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
    world.expect("FIN", CLIENTS, &ends.client.tcp(FIN | ACK), TO_BACKEND, &[]);
    world.expect("last ACK", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
}

fn state(world: &World) -> FlowState {
    FlowState::of(&world.entries()[0]).unwrap()
}

#[test]
fn what_a_syn_does_in_each_state() {
    type Reach = fn(&mut World, &Ends);
    let rows: [(&str, FlowState, bool, Reach); 6] = [
        ("a retransmission", FlowState::Opening, false, |_, _| ()),
        ("maybe forged: the backend is asked", FlowState::Established, false, |world, ends| {
            world.expect("data", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
        }),
        ("late: the answer is on its way", FlowState::Closing, false, |world, ends| {
            world.expect("SYN-ACK", BACKENDS, &ends.backend.tcp(SYN | ACK), TO_CLIENT, &[]);
            world.expect("ACK", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
            world.expect("FIN", BACKENDS, &ends.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
        }),
        ("half closed", FlowState::Closing, true, |world, ends| {
            world.expect("FIN", CLIENTS, &ends.client.tcp(FIN | ACK), TO_BACKEND, &[]);
        }),
        ("closed", FlowState::Closed, true, close),
        ("refused by the backend", FlowState::Reset, true, |world, ends| {
            world.expect("RST", BACKENDS, &ends.backend.tcp(RST | ACK), TO_CLIENT, &[]);
        }),
    ];
    for (description, wanted, anew, reach) in rows {
        let mut world = World::new();
        let before = open(&mut world, client(60, 4000));
        reach(&mut world, &before);
        assert_eq!(state(&world), wanted, "{description}");
        let events = if anew { REPLACED } else { &[] };
        let syn = before.client.tcp(SYN);
        let out = world.expect(description, CLIENTS, &syn, TO_BACKEND, events);
        let after = ends(before.client, &out);
        let same = before.backend.destination == after.backend.destination;
        assert_eq!(same, !anew, "{description}: SNAT port");
        assert_eq!(world.live(), 1, "{description}");
    }
}

#[test]
fn an_unanswered_syn_leaves_a_backend_that_is_down() {
    let mut world = World::new();
    let first = open(&mut world, client(60, 4000));
    let syn = first.client.tcp(SYN);
    let id = world.entries()[0].backend;
    let down = |parts: &mut guideway::forwarding::SnapshotParts, state| {
        parts.backends[id as usize].as_mut().unwrap().state = state;
        parts.services[0].slots = [guideway::forwarding::BackendId(1 - id)].into();
    };
    world.publish(|parts| down(parts, BackendState::Draining));
    world.expect("draining: it may yet answer", CLIENTS, &syn, TO_BACKEND, &[]);
    world.publish(|parts| down(parts, BackendState::Unhealthy));
    world.expect("unhealthy", CLIENTS, &syn, TO_BACKEND, REPLACED);
    assert_eq!(world.entries()[0].backend, 1 - id);

    let mut world = World::new();
    let answered = open(&mut world, first.client);
    world.expect("SYN-ACK", BACKENDS, &answered.backend.tcp(SYN | ACK), TO_CLIENT, &[]);
    world.publish(|parts| down(parts, BackendState::Unhealthy));
    world.expect("it has answered", CLIENTS, &syn, TO_BACKEND, &[]);
}

#[test]
fn a_connection_keeps_its_backend_whatever_that_becomes() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    for state in [BackendState::Unhealthy, BackendState::Draining, BackendState::Retired] {
        world.publish(|parts| {
            parts.backends.iter_mut().flatten().for_each(|backend| backend.state = state);
            parts.services.iter_mut().for_each(|service| service.slots = [].into());
        });
        world.sweep();
        let out = world.expect("to it", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
        assert_eq!(out[..6], ends.backend.from.0, "{state:?}");
        world.expect("from it", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
    }
}

#[test]
fn late_packets_of_a_closed_flow_pass_until_it_has_lingered() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    close(&mut world, &ends);
    assert!(world.entries()[0].has(entry_flags::PORT_RELEASED));
    for _ in 0..3 {
        world.wait(9_000);
        world.expect("FIN again", CLIENTS, &ends.client.tcp(FIN | ACK), TO_BACKEND, &[]);
        world.expect("its ACK", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
    }
    world.wait(10_001);
    let (none, closed) = (Verdict::Drop(DropReason::NoSnatBinding), [("flows_closed", 1)]);
    world.expect("too late", BACKENDS, &ends.backend.tcp(ACK), none, &closed);
    let reset = Verdict::Reply(CLIENTS, ReplyKind::Reset);
    world.expect("too late", CLIENTS, &ends.client.tcp(FIN | ACK), reset, &[]);
}

#[test]
fn a_forged_reset_does_not_end_a_connection() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    world.expect("RST", CLIENTS, &ends.client.tcp(RST), TO_BACKEND, &[]);
    assert_eq!(state(&world), FlowState::Reset);
    world.wait(9_999);
    world.expect("data", BACKENDS, &ends.backend.tcp_data(ACK, b"x"), TO_CLIENT, &[]);
    assert_eq!(state(&world), FlowState::Established);
    world.wait(u64::from(TIMEOUTS.tcp_established_ms));
    world.expect("much later", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
}

#[test]
fn every_state_has_its_idle_time() {
    type Reach = fn(&mut World) -> Ends;
    let dns = |world: &mut World| {
        let client = Head { destination: socket("10.1.0.100:53"), ..client(60, 4000) };
        ends(client, &world.expect("question", CLIENTS, &client.udp(b"?"), TO_BACKEND, CREATED))
    };
    let rows: [(&str, Reach, u64, &str); 6] = [
        (
            "reset",
            |world| {
                let ends = establish(world, client(60, 4000));
                world.expect("RST", CLIENTS, &ends.client.tcp(RST), TO_BACKEND, &[]);
                ends
            },
            40_000,
            "flows_closed",
        ),
        ("opening", |world| open(world, client(60, 4000)), 20_000, "flows_expired"),
        ("established", |world| establish(world, client(60, 4000)), 1_000_000, "flows_expired"),
        (
            "closing",
            |world| {
                let ends = establish(world, client(60, 4000));
                world.expect("FIN", CLIENTS, &ends.client.tcp(FIN | ACK), TO_BACKEND, &[]);
                ends
            },
            30_000,
            "flows_closed",
        ),
        (
            "closed",
            |world| {
                let ends = establish(world, client(60, 4000));
                close(world, &ends);
                ends
            },
            10_000,
            "flows_closed",
        ),
        ("udp", dns, 50_000, "flows_expired"),
    ];
    for (description, reach, idle_ms, counter) in rows {
        // By the sweep.
        let mut world = World::new();
        reach(&mut world);
        let created = world.engine.counters().events.flows_created;
        world.wait(idle_ms);
        world.engine.tick(&world.snapshot, world.now);
        assert_eq!(world.live(), 1, "{description}: not yet");
        world.sweep();
        assert_eq!((world.live(), world.entries().len()), (0, 0), "{description}");
        let events = named(world.engine.counters());
        assert_eq!((events[counter], events["flows_created"]), (1, created), "{description}");
        // By a look-up before the sweep.
        let mut world = World::new();
        let ends = reach(&mut world);
        world.wait(idle_ms + 1);
        let none = Verdict::Drop(DropReason::NoSnatBinding);
        let late = match description {
            "udp" => ends.backend.udp(b"!"),
            _ => ends.backend.tcp(ACK),
        };
        world.expect(description, BACKENDS, &late, none, &[(counter, 1)]);
    }
}

#[test]
fn events_tell_of_a_flow_and_are_bounded() {
    let mut world = World::with(EngineConfig { flow_events: 3, ..config() }, |_| ());
    let ends = establish(&mut world, client(60, 4000));
    close(&mut world, &ends);
    world.expect(
        "SYN",
        CLIENTS,
        &ends.client.tcp(SYN),
        TO_BACKEND,
        &[("flows_created", 1), ("flows_closed", 1), ("flow_events_lost", 1)],
    );
    let events: Vec<_> = std::iter::from_fn(|| world.engine.take_flow_event()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [FlowEventKind::Created, FlowEventKind::Established, FlowEventKind::Ended]);
}
