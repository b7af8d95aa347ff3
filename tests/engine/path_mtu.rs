//! What routers on the way to a backend tell of tunnels' packets, and segments that fit from the
//! beginning.

use guideway::dataplane::{Arrival, DropReason, Outcome, ReplyKind, Verdict};
use guideway::forwarding::{Mode, MssClamp, RouteTable};
use guideway::wire::encap::{Dscp, Tunnel};

use super::errors::error;
use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT};
use super::tunnel::{GUE, client, direct_by};
use super::world::*;

const LOWERED: &[(&str, u64)] = &[("path_mtu_lowered", 1)];

fn world(tunnel: Tunnel) -> World {
    World::with(config(), direct_by(Mode::Tunnel(tunnel, Dscp::Copied)))
}

/// A packet of full size that has left in its envelope.
fn sent(world: &mut World, len: usize) -> Vec<u8> {
    let frame = client(4000).tcp_data(ACK, &vec![7; len - 40]);
    let (outcome, out) = world.run(Arrival::Received(CLIENTS), &frame);
    assert_eq!(outcome, Outcome::Verdict(TO_BACKEND));
    out
}

#[test]
fn a_narrow_way_to_the_backend_is_told_and_remembered() {
    for (tunnel, overhead) in [(Tunnel::Ipip, 20), (Tunnel::Gre { key: Some(1) }, 28), (GUE, 32)] {
        let mut world = world(tunnel);
        world.expect("SYN", CLIENTS, &client(4000).tcp(SYN), TO_BACKEND, CREATED);
        let out = sent(&mut world, 1400);
        let narrow = error("10.8.0.1", &out, 128, (3, 4, 1300));
        let told = world.expect("too big", BACKENDS, &narrow, TO_CLIENT, LOWERED);
        let fits: u16 = 1300 - overhead;
        assert_eq!(told[..12], [mac(0xc1).0, mac(1).0].concat(), "{tunnel}: to the client");
        assert_eq!(told[26..34], [10, 1, 0, 101, 10, 1, 0, 60], "{tunnel}: from the VIP");
        assert_eq!(told[34..36], [3, 4]);
        assert_eq!(told[40..42], fits.to_be_bytes(), "{tunnel}");
        let own = client(4000).tcp_data(ACK, &[7; 1360]);
        let quoted = &told[42..];
        assert_eq!(quoted[12..40], own[26..54], "{tunnel}: it quotes the client's own packet");
        assert_eq!(quoted[8], 63, "{tunnel}: as it was in the envelope");
        // From now on without a router's help, for other flows to that backend too.
        let too_long = client(4000).tcp_data(ACK, &vec![7; usize::from(fits) - 39]);
        let too_big = Verdict::Reply(CLIENTS, ReplyKind::TooBig);
        let told = world.expect("the next one", CLIENTS, &too_long, too_big, &[]);
        assert_eq!(told[40..42], fits.to_be_bytes(), "{tunnel}");
        sent(&mut world, usize::from(fits));
        world.wait(600_000);
        sent(&mut world, 1400);
    }
}

#[test]
fn errors_that_are_not_believed() {
    use DropReason::*;
    let mut world = world(Tunnel::Ipip);
    world.expect("SYN", CLIENTS, &client(4000).tcp(SYN), TO_BACKEND, CREATED);
    let out = sent(&mut world, 1400);
    let changed = |at: usize, value: u8| {
        let mut out = out.clone();
        out[at] = value;
        error("10.8.0.1", &out, 128, (3, 4, 1300))
    };
    let about = |kind| error("10.8.0.1", &out, 128, kind);
    let rows = [
        ("a port that is not there", about((3, 3, 0)), TunnelError, &[][..]),
        ("time exceeded", about((11, 0, 0)), TunnelError, &[]),
        ("an old router that tells no MTU", about((3, 4, 0)), TunnelError, &[]),
        ("another flow's source", changed(29, out[29] ^ 1), BadQuote, &[]),
        ("another backend", changed(33, 99), NoFlowForError, &[]),
        ("another service inside", changed(53, 99), BadQuote, &[]),
    ];
    for (description, frame, reason, events) in rows {
        world.expect(description, BACKENDS, &frame, Verdict::Drop(reason), events);
    }
    let mut wrong = about((3, 4, 1300));
    wrong[36] ^= 1;
    let bad = Verdict::Drop(BadIcmpChecksum);
    world.expect("a wrong checksum", BACKENDS, &wrong, bad, &[]);
    sent(&mut world, 1400);
    // Eight bytes behind the outer header tell no client, but the way.
    let short = error("10.8.0.1", &out, 28, (3, 4, 1300));
    world.expect("too little quoted", BACKENDS, &short, Verdict::Drop(TunnelError), LOWERED);
    let too_big = Verdict::Reply(CLIENTS, ReplyKind::TooBig);
    let long = client(4000).tcp_data(ACK, &[7; 1260]);
    world.expect("and yet it is known", CLIENTS, &long, too_big, &[]);
    let tiny = error("10.8.0.1", &out, 28, (3, 4, 68));
    world.expect("tiny", BACKENDS, &tiny, Verdict::Drop(TunnelError), LOWERED);
    sent(&mut world, 532);
}

#[test]
fn a_narrow_way_is_remembered_where_the_client_cannot_be_told() {
    let mut world = World::with(config(), |parts| {
        direct_by(Mode::Tunnel(Tunnel::Ipip, Dscp::Copied))(parts);
        // No entry says where the client is, and no route.
        parts.services[2].rules.entries = false;
        parts.routes = RouteTable::default();
    });
    let out = sent(&mut world, 1400);
    let narrow = error("10.8.0.1", &out, 128, (3, 4, 1300));
    let untold = Verdict::Drop(DropReason::NoNextHop);
    world.expect("too big", BACKENDS, &narrow, untold, LOWERED);
    let too_big = Verdict::Reply(CLIENTS, ReplyKind::TooBig);
    let long = client(4000).tcp_data(ACK, &[7; 1260]);
    world.expect("the next one is answered where it came in", CLIENTS, &long, too_big, &[]);
}

/// A SYN with a maximum segment size.
fn syn(head: Head, flags: u8, mss: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = etherparse::PacketBuilder::ethernet2(head.from.0, head.to.0);
    let (std::net::SocketAddr::V4(from), std::net::SocketAddr::V4(to)) =
        (head.source, head.destination)
    else {
        panic!("IPv4 here");
    };
    let ip = ip.ipv4(from.ip().octets(), to.ip().octets(), head.ttl);
    let mut tcp = ip.tcp(from.port(), to.port(), 1000, 8000).syn();
    tcp = if flags & ACK != 0 { tcp.ack(77) } else { tcp };
    let options = [etherparse::TcpOptionElement::MaximumSegmentSize(mss)];
    tcp.options(&options).unwrap().write(&mut frame, &[]).unwrap();
    frame
}

#[test]
fn segment_sizes_by_row() {
    const CLAMPED: &[(&str, u64)] = &[("flows_created", 1), ("mss_clamped", 1)];
    let ipip = Mode::Tunnel(Tunnel::Ipip, Dscp::Copied);
    let rows = [
        ("auto in a tunnel", ipip, MssClamp::Auto, 1440, CLAMPED),
        ("off", ipip, MssClamp::Off, 1460, CREATED),
        ("a number", ipip, MssClamp::Most(1000), 1000, CLAMPED),
        ("auto where it fits", Mode::Dnat, MssClamp::Auto, 1460, CREATED),
        ("auto under l2dsr", Mode::L2dsr, MssClamp::Auto, 1460, CREATED),
        ("a number under l2dsr", Mode::L2dsr, MssClamp::Most(1200), 1200, CLAMPED),
    ];
    for (description, mode, mss, wanted, events) in rows {
        let mut world = World::with(config(), |parts| {
            direct_by(mode)(parts);
            parts.services[2].mss = mss;
        });
        let frame = syn(client(4000), SYN, 1460);
        let out = world.expect(description, CLIENTS, &frame, TO_BACKEND, events);
        let inner = if mode == ipip { 34 } else { 14 };
        assert_eq!(out[inner + 42..inner + 44], u16::to_be_bytes(wanted), "{description}");
    }
}

#[test]
fn a_syn_ack_is_lowered_by_the_ways_of_both_sides() {
    let mut world = World::with(config(), |parts| parts.ports[0].mtu_bytes = 1400);
    let client = super::nat::client(60, 4000);
    let events = &[("flows_created", 1), ("mss_clamped", 1)];
    let out = world.expect("SYN", CLIENTS, &syn(client, SYN, 1460), TO_BACKEND, events);
    assert_eq!(out[56..58], 1360u16.to_be_bytes());
    let ends = super::nat::ends(client, &out);
    let answer = syn(ends.backend, SYN | ACK, 1460);
    let out = world.expect("SYN-ACK", BACKENDS, &answer, TO_CLIENT, &[("mss_clamped", 1)]);
    assert_eq!(out[56..58], 1360u16.to_be_bytes());
    let wanted = syn(Head { ttl: 63, ..ends.at_client() }, SYN | ACK, 1360);
    assert_eq!(out, wanted, "checksums and all");
}
