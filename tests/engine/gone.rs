//! A backend is gone (dead, or drained for long enough) while flows hold it: `on_backend_gone`.

use guideway::dataplane::{DropReason, FlowState, ReplyKind, Verdict};
use guideway::forwarding::{BackendGonePolicy, BackendState, Mode, SnapshotParts};
use guideway::wire::encap::{Dscp, Tunnel};
use guideway::wire::{Body, Content, ParseOutcome, PortId, TcpFlags, parse};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT, client, establish, open};
use super::tunnel::{GUE, direct_by};
use super::world::*;

const GONE: &[(&str, u64)] = &[("flows_backend_gone", 1)];
const MOVED: &[(&str, u64)] = &[("flows_backend_gone", 1), ("flows_cut", 1), ("flows_created", 1)];
const DROPPED: Verdict = Verdict::Drop(DropReason::BackendGone);

const fn reset(port: PortId) -> Verdict {
    Verdict::Reply(port, ReplyKind::Reset)
}

fn direct() -> Head {
    Head { destination: socket("10.1.0.101:80"), ..client(60, 4000) }
}

fn dns() -> Head {
    Head { destination: socket("10.1.0.100:53"), ..client(60, 4000) }
}

/// The backend with this id is gone; others have its service's slots, if there are others.
pub fn gone(id: u32, policy: BackendGonePolicy) -> impl Fn(&mut SnapshotParts) {
    move |parts| {
        parts.services.iter_mut().for_each(|service| service.on_backend_gone = policy);
        for backend in parts.backends.iter_mut().flatten().filter(|b| b.id.0 == id) {
            (backend.state, backend.gone) = (BackendState::Unhealthy, true);
        }
        for service in &mut parts.services {
            let stay = service.slots.iter().copied().filter(|slot| slot.0 != id);
            service.slots = stay.collect();
        }
    }
}

/// Flags, sequence and acknowledgment numbers of a segment.
fn read(frame: &[u8]) -> (TcpFlags, u32, u32) {
    let ParseOutcome::Parsed(packet) = parse(frame) else { panic!("{frame:x?}") };
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    let Content::Tcp(flags) = ip.content else { panic!("{ip:?}") };
    let at = |place: usize| {
        let place = ip.payload_start() + place;
        u32::from_be_bytes(frame[place..place + 4].try_into().unwrap())
    };
    (flags, at(4), at(8))
}

/// The reset is one that the sender of `sent` believes (RFC 5961 section 3.2).
fn assert_believed(description: &str, sent: &[u8], answer: &[u8]) {
    let ((_, _, acknowledged), (flags, sequence, _)) = (read(sent), read(answer));
    assert!(flags.contains(TcpFlags::RST), "{description}");
    assert_eq!(sequence, acknowledged, "{description}");
}

#[test]
fn a_client_is_reset_in_every_mode_that_its_backend_is_seen_in() {
    let by = |tunnel| Mode::Tunnel(tunnel, Dscp::Copied);
    let modes = [
        Mode::L2dsr,
        Mode::Dnat,
        Mode::Dscp(10),
        by(Tunnel::Ipip),
        by(Tunnel::Gre { key: Some(7) }),
        by(GUE),
    ];
    for mode in modes {
        for policy in [BackendGonePolicy::Reset, BackendGonePolicy::Drop] {
            let name = format!("{mode} {policy:?}");
            let mut world = World::with(config(), direct_by(mode));
            let (syn, data) = (direct().tcp(SYN), direct().tcp_data(ACK, b"abc"));
            world.expect(&name, CLIENTS, &syn, TO_BACKEND, CREATED);
            world.expect(&name, CLIENTS, &data, TO_BACKEND, &[]);
            let id = world.entries()[0].backend;
            world.publish(|parts| {
                direct_by(mode)(parts);
                gone(id, policy)(parts);
            });
            world.sweep();
            assert_eq!(world.live(), 1, "{name}: it is there until its client is told");
            let told = policy == BackendGonePolicy::Reset;
            let verdict = if told { reset(CLIENTS) } else { DROPPED };
            let answer = world.expect(&name, CLIENTS, &data, verdict, GONE);
            if told {
                assert_believed(&name, &data, &answer);
            }
            world.expect(&name, CLIENTS, &data, verdict, &[]);
            world.expect(&name, CLIENTS, &syn, TO_BACKEND, MOVED);
            assert_ne!(world.entries()[0].backend, id, "{name}");
        }
    }
}

#[test]
fn under_nat_both_sides_are_reset() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let id = world.entries()[0].backend;
    world.publish(gone(id, BackendGonePolicy::Reset));
    let (data, answer) = (ends.client.tcp_data(ACK, b"?"), ends.backend.tcp_data(ACK, b"!"));
    let out = world.expect("the backend", BACKENDS, &answer, reset(BACKENDS), GONE);
    assert_believed("the backend", &answer, &out);
    let out = world.expect("the client", CLIENTS, &data, reset(CLIENTS), &[]);
    assert_believed("the client", &data, &out);
    world.expect("again", BACKENDS, &answer, reset(BACKENDS), &[]);
    assert_eq!(FlowState::of(&world.entries()[0]), Some(FlowState::Reset));
    world.wait(40_001);
    world.sweep();
    assert_eq!((world.live(), world.engine.counters().events.flows_closed), (0, 1));
    world.expect("much later", CLIENTS, &data, reset(CLIENTS), &[]);
}

#[test]
fn under_nat_both_sides_are_dropped() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let id = world.entries()[0].backend;
    world.publish(gone(id, BackendGonePolicy::Drop));
    for (others, wait_ms) in [(GONE, 0), (&[], 60_000), (&[], 600_000)] {
        world.wait(wait_ms);
        world.expect("the client", CLIENTS, &ends.client.tcp(ACK), DROPPED, others);
        world.expect("the backend", BACKENDS, &ends.backend.tcp(ACK), DROPPED, &[]);
    }
    world.publish(|_| ());
    world.expect("it is back", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    world.expect("it is back", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
}

#[test]
fn under_dnat_the_backend_is_reset() {
    let mut world = World::with(config(), direct_by(Mode::Dnat));
    let sent = world.expect("SYN", CLIENTS, &direct().tcp(SYN), TO_BACKEND, CREATED);
    let backend = super::nat::ends(direct(), &sent).backend;
    world.expect("SYN-ACK", BACKENDS, &backend.tcp(SYN | ACK), TO_CLIENT, &[]);
    world.expect("ACK", CLIENTS, &direct().tcp(ACK), TO_BACKEND, &[]);
    world.expect("data", BACKENDS, &backend.tcp(ACK), TO_CLIENT, &[]);
    let id = world.entries()[0].backend;
    world.publish(|parts| {
        direct_by(Mode::Dnat)(parts);
        gone(id, BackendGonePolicy::Reset)(parts);
    });
    let data = backend.tcp_data(ACK, b"!");
    let out = world.expect("data", BACKENDS, &data, reset(BACKENDS), GONE);
    assert_believed("the backend", &data, &out);
    world.expect("ACK", CLIENTS, &direct().tcp(ACK), reset(CLIENTS), &[]);
}

#[test]
fn what_ends_a_flow_anyway_passes() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let id = world.entries()[0].backend;
    world.publish(gone(id, BackendGonePolicy::Reset));
    world.expect("its backend's reset", BACKENDS, &ends.backend.tcp(RST), TO_CLIENT, &[]);
    world.expect("its client's", CLIENTS, &ends.client.tcp(RST), TO_BACKEND, &[]);

    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    world.expect("FIN", CLIENTS, &ends.client.tcp(FIN | ACK), TO_BACKEND, &[]);
    world.expect("FIN", BACKENDS, &ends.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
    world.expect("last ACK", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    world.publish(gone(id, BackendGonePolicy::Reset));
    world.expect("FIN again", BACKENDS, &ends.backend.tcp(FIN | ACK), TO_CLIENT, &[]);
    world.expect("its ACK", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
}

#[test]
fn what_can_begin_anew_does() {
    for policy in [BackendGonePolicy::Reset, BackendGonePolicy::Drop, BackendGonePolicy::Keep] {
        let mut world = World::new();
        let ends = open(&mut world, client(60, 4000));
        let id = world.entries()[0].backend;
        world.publish(gone(id, policy));
        world.expect("an unanswered SYN", CLIENTS, &ends.client.tcp(SYN), TO_BACKEND, MOVED);
        assert_eq!(world.entries()[0].backend, 1 - id, "{policy:?}");

        let mut world = World::new();
        let ends = establish(&mut world, client(60, 4000));
        world.publish(gone(world.entries()[0].backend, policy));
        world.expect("a SYN of a new one", CLIENTS, &ends.client.tcp(SYN), TO_BACKEND, MOVED);

        // One backend is all the service has.
        let mut world = World::new();
        world.expect("UDP", CLIENTS, &dns().udp(b"?"), TO_BACKEND, CREATED);
        world.publish(gone(2, policy));
        let (unreachable, others) =
            (Verdict::Reply(CLIENTS, ReplyKind::PortUnreachable), &MOVED[..2]);
        world.expect("UDP", CLIENTS, &dns().udp(b"?"), unreachable, others);
    }
}

#[test]
fn a_udp_backend_that_is_gone_is_told() {
    for (policy, verdict) in [
        (BackendGonePolicy::Reset, Verdict::Reply(BACKENDS, ReplyKind::PortUnreachable)),
        (BackendGonePolicy::Drop, DROPPED),
    ] {
        let mut world = World::new();
        let sent = world.expect("UDP", CLIENTS, &dns().udp(b"?"), TO_BACKEND, CREATED);
        let backend = super::nat::ends(dns(), &sent).backend;
        world.expect("its answer", BACKENDS, &backend.udp(b"!"), TO_CLIENT, &[]);
        world.publish(gone(2, policy));
        world.expect("more", BACKENDS, &backend.udp(b"!"), verdict, GONE);
        world.wait(49_000);
        world.expect("more", BACKENDS, &backend.udp(b"!"), verdict, &[]);
        world.wait(2_000);
        world.sweep();
        assert_eq!(world.live(), 0, "what is refused does not keep the flow");
    }
}
