//! DNAT: the destination is translated, the client's address stays, and backends answer by us.

use guideway::dataplane::{DropReason, FlowState, ReplyKind, Verdict};
use guideway::forwarding::{Backend, BackendId, BackendState, Mode, ServiceIndex, SnapshotParts};
use guideway::wire::PortId;

use super::errors::error;
use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT};
use super::world::*;

/// The service `direct` becomes one of DNAT, its backends listen on 8080.
fn dnat(parts: &mut SnapshotParts) {
    parts.services[2].mode = Mode::Dnat;
    for backend in parts.backends.iter_mut().skip(3).take(2).flatten() {
        backend.mode = Mode::Dnat;
        backend.socket.set_port(8080);
    }
}

fn world() -> World {
    World::with(config(), dnat)
}

fn client(port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.60:{port}"), "10.1.0.101:80")
}

/// The client's packet as the backend gets it, and the backend's answer as it comes to us.
fn at_backend(client: Head, out: &[u8]) -> (Head, Head) {
    let last = out[5];
    let backend = socket(&format!("10.2.0.{}:8080", 10 + last - 0xb0));
    let sent =
        Head { from: mac(2), to: mac(last), destination: backend, ttl: client.ttl - 1, ..client };
    let answer =
        Head { from: mac(last), to: mac(2), source: backend, destination: client.source, ttl: 64 };
    (sent, answer)
}

/// The answer as the client gets it.
fn at_client(client: Head) -> Head {
    Head {
        from: client.to,
        to: client.from,
        source: client.destination,
        destination: client.source,
        ttl: 63,
    }
}

fn open(world: &mut World, client: Head) -> (Head, Head) {
    let out = world.expect("SYN", CLIENTS, &client.tcp(SYN), TO_BACKEND, CREATED);
    at_backend(client, &out)
}

fn state(world: &World) -> Vec<FlowState> {
    world.entries().iter().filter_map(FlowState::of).collect()
}

#[test]
fn both_ways_to_the_byte() {
    let mut world = world();
    let head = client(4000);
    let (sent, answer) = open(&mut world, head);
    let rows = [
        ("SYN-ACK", answer, SYN | ACK, FlowState::Opening),
        ("ACK", head, ACK, FlowState::Established),
        ("answer", answer, ACK, FlowState::Established),
        ("FIN", answer, FIN | ACK, FlowState::Closing),
        ("FIN", head, FIN | ACK, FlowState::Closing),
        ("last ACK", answer, ACK, FlowState::Closed),
    ];
    for (description, from, flags, wanted) in rows {
        let frame = from.tcp_data(flags, b"abc");
        let is_client = from.source == head.source;
        let (port, verdict, as_it_leaves) = match is_client {
            true => (CLIENTS, TO_BACKEND, sent),
            false => (BACKENDS, TO_CLIENT, at_client(head)),
        };
        let out = world.expect(description, port, &frame, verdict, &[]);
        assert_eq!(out, as_it_leaves.tcp_data(flags, b"abc"), "{description}");
        assert_eq!(state(&world), [wanted], "{description}");
    }
}

#[test]
fn what_is_no_flows_stays_where_it_was() {
    let mut world = World::with(config(), |parts| {
        dnat(parts);
        parts.own_addresses = vec![socket("10.2.0.1:0").ip().into()];
    });
    open(&mut world, client(4000));
    let from = |source: &str, destination: &str| Head::new(0xb3, 2, source, destination).tcp(ACK);
    let drop = Verdict::Drop;
    let rows: [(&str, PortId, Vec<u8>, Verdict); 5] = [
        (
            "an answer to the machine's own health check",
            BACKENDS,
            from("10.2.0.13:8080", "10.2.0.1:40000"),
            Verdict::NotOurs,
        ),
        (
            "another port of the backend",
            BACKENDS,
            from("10.2.0.13:22", "10.1.0.60:4000"),
            Verdict::NotOurs,
        ),
        (
            "UDP from the same port",
            BACKENDS,
            Head::new(0xb3, 2, "10.2.0.13:8080", "10.1.0.60:4000").udp(b"x"),
            Verdict::NotOurs,
        ),
        (
            "a client that has no flow",
            BACKENDS,
            from("10.2.0.13:8080", "10.1.0.61:4000"),
            drop(DropReason::NoDnatFlow),
        ),
        ("another host", BACKENDS, from("10.2.0.99:8080", "10.1.0.60:4000"), Verdict::NotOurs),
    ];
    for (description, port, frame, verdict) in rows {
        world.expect(description, port, &frame, verdict, &[]);
    }
}

/// The other backend of the service has no business in the flow.
#[test]
fn only_the_flows_own_backend_may_answer() {
    let mut world = world();
    let (_, answer) = open(&mut world, client(4000));
    let other = if answer.source.ip().to_string() == "10.2.0.13" { 14 } else { 13 };
    let frame = Head { source: socket(&format!("10.2.0.{other}:8080")), ..answer }.tcp(SYN | ACK);
    world.expect("from the other", BACKENDS, &frame, Verdict::Drop(DropReason::NoDnatFlow), &[]);
    world.expect("from its own", BACKENDS, &answer.tcp(SYN | ACK), TO_CLIENT, &[]);
}

/// Under DNAT the backend knows the client, so that a connection goes on over a restart.
#[test]
fn a_connection_goes_on_after_a_restart() {
    let mut world = world();
    let (_, answer) = open(&mut world, client(4000));
    let mut restarted = self::world();
    let out = restarted.expect("ACK", CLIENTS, &client(4000).tcp(ACK), TO_BACKEND, CREATED);
    assert_eq!(at_backend(client(4000), &out).1.source, answer.source, "Maglev's choice again");
    restarted.expect("and back", BACKENDS, &answer.tcp(ACK), TO_CLIENT, &[]);
    restarted.expect("ACK", CLIENTS, &client(4000).tcp(ACK), TO_BACKEND, &[]);
    assert_eq!(state(&restarted), [FlowState::Established]);
}

/// The socket of a removed service is another's now: each flow's answers come from its own VIP.
#[test]
fn a_backend_that_went_to_another_service_still_answers_for_the_old_one() {
    let mut world = world();
    let (_, answer) = open(&mut world, client(4000));
    world.publish(|parts| {
        dnat(parts);
        let mut new = parts.services[2].clone();
        new.vip = socket("10.1.0.102:80");
        parts.services[2].gone = true;
        parts.services[2].slots = [].into();
        let old: Vec<Backend> = parts.backends.iter().skip(3).take(2).flatten().cloned().collect();
        for backend in parts.backends.iter_mut().skip(3).take(2).flatten() {
            backend.state = BackendState::Retired;
        }
        new.slots = [BackendId(6), BackendId(7)].into();
        for (id, backend) in (6..).zip(old) {
            parts.backends.push(Some(Backend {
                id: BackendId(id),
                service: ServiceIndex(4),
                ..backend
            }));
        }
        parts.services.push(new);
    });
    let answered = world.expect("the old one", BACKENDS, &answer.tcp(SYN | ACK), TO_CLIENT, &[]);
    assert_eq!(answered, at_client(client(4000)).tcp(SYN | ACK));
    // The same client by the same port, to the new service.
    let second = Head { destination: socket("10.1.0.102:80"), ..client(4001) };
    let (_, answer) = open(&mut world, second);
    let answered = world.expect("the new one", BACKENDS, &answer.tcp(SYN | ACK), TO_CLIENT, &[]);
    assert_eq!(answered, at_client(second).tcp(SYN | ACK));
}

#[test]
fn errors_both_ways() {
    let mut world = world();
    let (sent, answer) = open(&mut world, client(4000));
    world.expect("SYN-ACK", BACKENDS, &answer.tcp(SYN | ACK), TO_CLIENT, &[]);
    // About a packet to the backend: for the client, whose own packet it has to quote.
    let data = sent.tcp_data(ACK, &[7; 600]);
    let narrow = error("10.2.0.254", &data, 60, (3, 4, 1300));
    let out = world.expect("to the client", BACKENDS, &narrow, TO_CLIENT, &[]);
    let quoted = client(4000).tcp_data(ACK, &[7; 600]);
    assert_eq!(out[26..34], [10, 1, 0, 101, 10, 1, 0, 60], "from the VIP");
    assert_eq!(out[54..62], quoted[26..34], "addresses in the quote");
    assert_eq!(out[62..66], quoted[34..38], "ports in the quote");
    // About a packet to the client: for the backend.
    let data = at_client(client(4000)).tcp_data(ACK, &[7; 600]);
    let narrow = error("10.1.0.254", &data, 60, (3, 4, 1300));
    let out = world.expect("to the backend", CLIENTS, &narrow, TO_BACKEND, &[]);
    let quoted = answer.tcp_data(ACK, &[7; 600]);
    assert_eq!(out[30..34], quoted[26..30], "to the backend");
    assert_eq!(out[54..62], quoted[26..34]);
    assert_eq!(out[62..66], quoted[34..38]);
    let stranger = Head { source: client(5000).source, ..sent };
    let narrow = error("10.2.0.254", &stranger.tcp_data(ACK, &[7; 600]), 60, (3, 4, 1300));
    let none = Verdict::Drop(DropReason::NoFlowForError);
    world.expect("about no flow", BACKENDS, &narrow, none, &[]);
}

#[test]
fn a_full_table_refuses_new_ones() {
    let small = guideway::dataplane::EngineConfig { max_flows: 1, ..config() };
    let mut world = World::with(small, dnat);
    open(&mut world, client(4000));
    let full = Verdict::Drop(DropReason::FlowTableFull);
    world.expect("no way back without an entry", CLIENTS, &client(4001).tcp(SYN), full, &[]);
    let last_hop = Head { ttl: 1, ..client(4000) }.tcp(ACK);
    let exceeded = Verdict::Reply(CLIENTS, ReplyKind::TimeExceeded);
    world.expect("it is a hop", CLIENTS, &last_hop, exceeded, &[]);
}
