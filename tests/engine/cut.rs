//! A backend, a service or a SNAT address leaves the snapshot while flows hold it.

use guideway::dataplane::{DropReason, ReplyKind, Verdict};
use guideway::forwarding::{Backend, ServiceGonePolicy, SnapshotParts};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT, client, ends, establish};
use super::world::*;

const RESET: Verdict = Verdict::Reply(CLIENTS, ReplyKind::Reset);
const CUT: &[(&str, u64)] = &[("flows_cut", 1)];
const MOVED: &[(&str, u64)] = &[("flows_cut", 1), ("flows_created", 1)];

fn direct() -> Head {
    Head { destination: socket("10.1.0.101:80"), ..client(60, 4000) }
}

fn dns() -> Head {
    Head { destination: socket("10.1.0.100:53"), ..client(60, 4000) }
}

/// Ids 0 to 5 leave; others at the same places of the same services are there as 6 to 11.
fn replaced(parts: &mut SnapshotParts) {
    let moved = parts.backends.to_vec();
    parts.backends = vec![None; 6];
    parts.backends.extend(moved.into_iter().map(|backend| {
        let backend = backend?;
        let id = guideway::forwarding::BackendId(backend.id.0 + 6);
        Some(Backend { id, ..backend })
    }));
    for service in &mut parts.services {
        service.slots =
            service.slots.iter().map(|id| guideway::forwarding::BackendId(id.0 + 6)).collect();
    }
}

/// The ids stay, but now stand for other sockets.
fn reused(parts: &mut SnapshotParts) {
    for backend in parts.backends.iter_mut().flatten() {
        backend.socket.set_port(backend.socket.port() + 1);
    }
}

#[test]
fn a_flow_whose_backend_left_ends_with_the_next_packet() {
    for change in [replaced, reused] {
        let mut world = World::new();
        let web = establish(&mut world, client(60, 4000));
        world.expect("DSR", CLIENTS, &direct().tcp(SYN), TO_BACKEND, CREATED);
        world.expect("UDP", CLIENTS, &dns().udp(b"?"), TO_BACKEND, CREATED);
        world.publish(change);
        world.expect("a connection", CLIENTS, &web.client.tcp(ACK), RESET, CUT);
        world.expect("again: unknown", CLIENTS, &web.client.tcp(ACK), RESET, &[]);
        world.expect("in DSR too", CLIENTS, &direct().tcp(ACK), RESET, CUT);
        world.expect("UDP finds another", CLIENTS, &dns().udp(b"?"), TO_BACKEND, MOVED);
        assert_eq!(world.live(), 1);
    }
}

#[test]
fn what_a_cut_flows_other_packets_get() {
    let after = |change: fn(&mut SnapshotParts)| {
        let mut world = World::new();
        let web = establish(&mut world, client(60, 4000));
        world.publish(change);
        (world, web)
    };
    let (mut world, web) = after(replaced);
    world.expect("a new connection", CLIENTS, &web.client.tcp(SYN), TO_BACKEND, MOVED);
    let (mut world, web) = after(replaced);
    let unanswered = Verdict::Drop(DropReason::ResetNotAnswered);
    world.expect("a reset", CLIENTS, &web.client.tcp(RST), unanswered, CUT);
    let (mut world, web) = after(replaced);
    let none = Verdict::Drop(DropReason::NoSnatBinding);
    world.expect("the backend", BACKENDS, &web.backend.tcp(ACK), none, CUT);
    world.expect("then its client", CLIENTS, &web.client.tcp(ACK), RESET, &[]);
    let (mut world, web) = after(replaced);
    world.sweep();
    assert_eq!((world.live(), world.engine.counters().events.flows_cut), (0, 1));
    world.expect("after the sweep", CLIENTS, &web.client.tcp(ACK), RESET, &[]);
}

#[test]
fn a_removed_service_ends_its_flows_by_its_policy() {
    let gone = |policy| {
        move |parts: &mut SnapshotParts| {
            for service in &mut parts.services {
                (service.gone, service.on_service_gone) = (true, policy);
            }
        }
    };
    let silent = Verdict::Drop(DropReason::ServiceGone);
    let unreachable = Verdict::Reply(CLIENTS, ReplyKind::PortUnreachable);
    for (policy, tcp, udp) in
        [(ServiceGonePolicy::Reset, RESET, unreachable), (ServiceGonePolicy::Drop, silent, silent)]
    {
        let mut world = World::new();
        let web = establish(&mut world, client(60, 4000));
        world.expect("DSR", CLIENTS, &direct().tcp(SYN), TO_BACKEND, CREATED);
        world.expect("UDP", CLIENTS, &dns().udp(b"?"), TO_BACKEND, CREATED);
        world.publish(gone(policy));
        world.sweep();
        world.expect(
            "its backend goes on until then",
            BACKENDS,
            &web.backend.tcp(ACK),
            TO_CLIENT,
            &[],
        );
        world.expect("TCP", CLIENTS, &web.client.tcp(ACK), tcp, CUT);
        world.expect("TCP again", CLIENTS, &web.client.tcp(ACK), tcp, &[]);
        world.expect("DSR", CLIENTS, &direct().tcp(ACK), tcp, CUT);
        world.expect("UDP", CLIENTS, &dns().udp(b"?"), udp, CUT);
        assert_eq!(world.live(), 0);
    }
    let mut world = World::new();
    let web = establish(&mut world, client(60, 4000));
    world.publish(|parts| {
        parts.services.truncate(1);
        parts.services[0].vip = socket("10.1.0.100:81");
        parts.backends.fill(None);
    });
    world.sweep();
    assert_eq!(world.live(), 0);
    let none = Verdict::Drop(DropReason::NoService);
    world.expect("wholly removed", CLIENTS, &web.client.tcp(ACK), none, &[]);
}

#[test]
fn a_snat_address_that_left_cuts_and_a_smaller_range_does_not() {
    let mut world = World::new();
    let web = establish(&mut world, client(60, 4000));
    world.publish(|parts| parts.snat[0].ports = 20..=300);
    world.sweep();
    world.expect("forward", CLIENTS, &web.client.tcp(ACK), TO_BACKEND, &[]);
    world.expect("back", BACKENDS, &web.backend.tcp(ACK), TO_CLIENT, &[]);
    let new = client(60, 4001);
    let new = ends(new, &world.expect("new", CLIENTS, &new.tcp(SYN), TO_BACKEND, CREATED));
    assert!((20..=300).contains(&new.backend.destination.port()));
    world.publish(|parts| parts.snat[0].address = [10, 1, 0, 11].into());
    world.sweep();
    assert_eq!((world.live(), world.engine.counters().events.flows_cut), (0, 2));
    world.expect("its client is told", CLIENTS, &web.client.tcp(ACK), RESET, &[]);
}

#[test]
fn a_service_that_changes_its_mode_keeps_old_flows_as_they_are() {
    let mut world = World::new();
    let web = establish(&mut world, client(60, 4000));
    world.expect("DSR", CLIENTS, &direct().tcp(SYN), TO_BACKEND, CREATED);
    world.publish(|parts| {
        parts.services[0].mode = guideway::forwarding::Mode::L2dsr;
        parts.services[2].mode = guideway::forwarding::Mode::Nat;
    });
    world.sweep();
    let out = world.expect("NAT", CLIENTS, &web.client.tcp(ACK), TO_BACKEND, &[]);
    assert_eq!(out[26..30], [10, 1, 0, 10]);
    let out = world.expect("DSR", CLIENTS, &direct().tcp(ACK), TO_BACKEND, &[]);
    assert_eq!(out[26..30], [10, 1, 0, 60]);
}
