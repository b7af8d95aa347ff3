//! SCTP by its ports (RFC 9260): whole and unchanged, in the modes that translate nothing.

use guideway::dataplane::{DropReason, FlowState, ReplyKind, Verdict};
use guideway::forwarding::{BackendGonePolicy, Mode, NoBackendPolicy, SnapshotParts};
use guideway::wire::Protocol;
use guideway::wire::encap::{Dscp, Tunnel};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND};
use super::tunnel::direct_by;
use super::world::*;

const INIT: &[u8] = &[1, 0, 0, 20, 0xde, 0xad, 0xbe, 0xef, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];
const COOKIE_ECHO: &[u8] = &[10, 0, 0, 8, 1, 2, 3, 4];
const DATA: &[u8] = &[0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'x', 0, 0, 0];
const ABORT: &[u8] = &[6, 0, 0, 4];
const SHUTDOWN: &[u8] = &[7, 0, 0, 8, 0, 0, 0, 9];
const SHUTDOWN_ACK: &[u8] = &[8, 0, 0, 4];
const SHUTDOWN_COMPLETE: &[u8] = &[14, 0, 0, 4];
const COOKIE_ACK: &[u8] = &[11, 0, 0, 4];

const TAG: u32 = 0x0102_0304;
const ABORTED: Verdict = Verdict::Reply(CLIENTS, ReplyKind::Abort);

/// The service `direct` is one of SCTP.
fn sctp(mode: Mode) -> impl Fn(&mut SnapshotParts) {
    move |parts| {
        direct_by(mode)(parts);
        parts.services[2].protocol = Protocol::Sctp;
    }
}

fn world() -> World {
    World::with(config(), sctp(Mode::L2dsr))
}

fn client() -> Head {
    Head::new(0xc1, 1, "10.1.0.60:4000", "10.1.0.101:80")
}

fn state(world: &World) -> Option<FlowState> {
    world.entries().first().and_then(FlowState::of)
}

#[test]
fn packets_go_to_one_backend_unchanged() {
    let modes = [Mode::L2dsr, Mode::Dscp(10), Mode::Tunnel(Tunnel::Ipip, Dscp::Copied)];
    for mode in modes {
        let mut world = World::with(config(), sctp(mode));
        let first = world.expect("INIT", CLIENTS, &client().sctp(0, INIT), TO_BACKEND, CREATED);
        for chunks in [COOKIE_ECHO, DATA, SHUTDOWN] {
            let sent = client().sctp(TAG, chunks);
            let out = world.expect("on", CLIENTS, &sent, TO_BACKEND, &[]);
            assert_eq!(out[..6], first[..6], "the same station");
            let inside = &sent[34..];
            assert_eq!(&out[out.len() - inside.len()..], inside, "{mode}: tags and checksum stay");
        }
    }
    // Ports tell services apart, and protocols do.
    let mut world = world();
    let none = Verdict::Drop(DropReason::NoService);
    world.expect("TCP", CLIENTS, &client().tcp(SYN), none, &[]);
    let other = Head { destination: socket("10.1.0.101:81"), ..client() };
    world.expect("another port", CLIENTS, &other.sctp(0, INIT), none, &[]);
    let short = client().protocol(132)[..14 + 20 + 11].to_vec();
    let mut short = short;
    short[17] = 31;
    fix_header(&mut short);
    let malformed = Verdict::Drop(DropReason::Malformed);
    world.expect("eleven bytes", CLIENTS, &short, malformed, &[]);
}

#[test]
fn chunks_make_flows_live_and_end() {
    let rows: [(&str, &[&[u8]], FlowState, u64); 6] = [
        ("INIT", &[INIT], FlowState::Opening, 20_000),
        ("INIT twice", &[INIT, INIT], FlowState::Opening, 20_000),
        ("established", &[INIT, COOKIE_ECHO], FlowState::Established, 1_000_000),
        ("SHUTDOWN", &[INIT, COOKIE_ECHO, SHUTDOWN], FlowState::Closing, 30_000),
        ("ABORT", &[INIT, COOKIE_ECHO, ABORT], FlowState::Reset, 40_000),
        (
            "SHUTDOWN COMPLETE",
            &[INIT, COOKIE_ECHO, DATA, SHUTDOWN, SHUTDOWN_COMPLETE],
            FlowState::Reset,
            40_000,
        ),
    ];
    for (description, packets, wanted, idle_ms) in rows {
        let mut world = world();
        for (place, chunks) in packets.iter().enumerate() {
            let others = if place == 0 { CREATED } else { &[] };
            let packet = client().sctp(TAG, chunks);
            world.expect(description, CLIENTS, &packet, TO_BACKEND, others);
        }
        assert_eq!(state(&world), Some(wanted), "{description}");
        world.wait(idle_ms);
        world.engine.tick(&world.snapshot, world.now);
        assert_eq!(world.live(), 1, "{description}: not yet");
        world.sweep();
        assert_eq!(world.live(), 0, "{description}");
    }
    let mut world = world();
    world.expect("INIT", CLIENTS, &client().sctp(0, INIT), TO_BACKEND, CREATED);
    world.expect("ABORT", CLIENTS, &client().sctp(TAG, ABORT), TO_BACKEND, &[]);
    let anew = [("flows_closed", 1), ("flows_created", 1)];
    world.expect("a new one", CLIENTS, &client().sctp(0, INIT), TO_BACKEND, &anew);
}

/// The answer's ports, tag, chunk; its checksum adds up.
fn read(frame: &[u8]) -> ([u8; 4], u32, [u8; 4]) {
    let packet = &frame[34..50];
    let word = |at: usize| -> [u8; 4] { packet[at..at + 4].try_into().unwrap() };
    let mut zeroed = packet.to_vec();
    zeroed[8..12].fill(0);
    let sum = zeroed.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82f6_3b78 * (crc & 1)))
    });
    assert_eq!(word(8), (!sum).to_le_bytes(), "checksum");
    (word(0), u32::from_be_bytes(word(4)), word(12))
}

#[test]
fn without_a_backend_its_sender_gets_an_abort_it_believes() {
    let none = |policy| {
        move |parts: &mut SnapshotParts| {
            sctp(Mode::L2dsr)(parts);
            parts.services[2].slots = [].into();
            parts.services[2].no_backend = policy;
        }
    };
    let ports = [0, 80, 0x0f, 0xa0];
    type Row = (&'static str, u32, &'static [u8], u32, [u8; 4]);
    let rows: [Row; 4] = [
        ("INIT: its own tag", 0, INIT, 0xdead_beef, [6, 0, 0, 4]),
        ("reflected", TAG, DATA, TAG, [6, 1, 0, 4]),
        ("reflected", TAG, COOKIE_ECHO, TAG, [6, 1, 0, 4]),
        ("SHUTDOWN ACK: it is over", TAG, SHUTDOWN_ACK, TAG, [14, 1, 0, 4]),
    ];
    for (description, tag, chunks, wanted, chunk) in rows {
        let mut world = World::with(config(), none(NoBackendPolicy::Reset));
        let sent = client().sctp(tag, chunks);
        let out = world.expect(description, CLIENTS, &sent, ABORTED, &[]);
        assert_eq!(read(&out), (ports, wanted, chunk), "{description}");
        let mut world = World::with(config(), none(NoBackendPolicy::Drop));
        let dropped = Verdict::Drop(DropReason::NoBackend);
        world.expect(description, CLIENTS, &sent, dropped, &[]);
    }
    let unanswered = Verdict::Drop(DropReason::ResetNotAnswered);
    for (description, chunks) in
        [("ABORT", ABORT), ("SHUTDOWN COMPLETE", SHUTDOWN_COMPLETE), ("COOKIE ACK", COOKIE_ACK)]
    {
        let mut world = World::with(config(), none(NoBackendPolicy::Reset));
        let sent = client().sctp(TAG, chunks);
        world.expect(description, CLIENTS, &sent, unanswered, &[]);
    }
}

#[test]
fn of_a_gone_backend_too() {
    let mut world = world();
    world.expect("INIT", CLIENTS, &client().sctp(0, INIT), TO_BACKEND, CREATED);
    world.expect("on", CLIENTS, &client().sctp(TAG, COOKIE_ECHO), TO_BACKEND, &[]);
    let id = world.entries()[0].backend;
    world.publish(|parts| {
        sctp(Mode::L2dsr)(parts);
        super::gone::gone(id, BackendGonePolicy::Reset)(parts);
    });
    let gone = [("flows_backend_gone", 1)];
    let out = world.expect("DATA", CLIENTS, &client().sctp(TAG, DATA), ABORTED, &gone);
    assert_eq!((read(&out).1, read(&out).2), (TAG, [6, 1, 0, 4]));
    let moved = [("flows_backend_gone", 1), ("flows_cut", 1), ("flows_created", 1)];
    world.expect("INIT", CLIENTS, &client().sctp(0, INIT), TO_BACKEND, &moved);
}
