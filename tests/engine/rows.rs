//! One frame to an engine without flows: what it is, what becomes of it.

use guideway::dataplane::{DropReason, ReplyKind, Verdict};
use guideway::forwarding::{AddressRole, ServiceGonePolicy};
use guideway::wire::{Arp, Body, ParseOutcome, TcpFlags, parse};

use super::frames::*;
use super::world::*;

type Row = (&'static str, Vec<u8>, Verdict);

fn drop(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

fn reply(kind: ReplyKind) -> Verdict {
    Verdict::Reply(CLIENTS, kind)
}

/// From client c1 behind port 0.
fn to(destination: &str) -> Head {
    Head::new(0xc1, 1, "10.1.0.60:4000", destination)
}

fn from(source: &str) -> Head {
    Head { source: socket(source), ..to("10.1.0.100:80") }
}

/// Each row to a new engine: verdict, no event, and a dropped frame is left as it was.
fn check(rows: Vec<Row>, mut world: impl FnMut() -> World) {
    for (description, frame, wanted) in rows {
        let mut world = world();
        let out = world.expect(description, CLIENTS, &frame, wanted, &[]);
        if !matches!(wanted, Verdict::Reply(..)) {
            assert_eq!(out, frame, "{description}");
        }
        assert!(!world.engine.has_flows(), "{description}");
    }
}

#[test]
fn not_ours_and_dropped() {
    use DropReason::*;
    let web = to("10.1.0.100:80");
    let elsewhere = Head { to: mac(0x77), ..web };
    let group = Head { to: guideway::wire::MacAddress([1, 0, 0x5e, 0, 0, 1]), ..web };
    let nobody = Head { from: guideway::wire::MacAddress::BROADCAST, ..web };
    let mut bad_sum = web.tcp(SYN);
    bad_sum[24] ^= 1;
    let mut cut_short = web.tcp(SYN);
    cut_short.truncate(40);
    let mut cut_short_elsewhere = elsewhere.tcp(SYN);
    cut_short_elsewhere.truncate(40);
    let ipv6 = Head::new(0xc1, 1, "[2001:db8::60]:4000", "[2001:db8::100]:80").tcp(SYN);
    let mut broken_ipv6 = web.tcp(SYN);
    (broken_ipv6[12], broken_ipv6[13]) = (0x86, 0xdd);
    check(
        vec![
            ("another station's MAC", elsewhere.tcp(SYN), Verdict::NotOurs),
            ("another station's, and broken", cut_short_elsewhere, Verdict::NotOurs),
            ("another address", to("10.1.0.99:80").tcp(SYN), Verdict::NotOurs),
            ("a ping to another address", to("10.1.0.99:0").echo(), Verdict::NotOurs),
            ("ICMP to another address", to("10.1.0.99:0").icmp_other(), Verdict::NotOurs),
            (
                "a fragment to another address",
                fragment(to("10.1.0.99:80").udp(b"x")),
                Verdict::NotOurs,
            ),
            ("a protocol to another address", to("10.1.0.99:0").protocol(47), Verdict::NotOurs),
            ("IPv6 to another address", ipv6, Verdict::NotOurs),
            ("IPv4 that says it is IPv6", broken_ipv6, drop(Malformed)),
            ("ARP for another address", arp(1, 0xc1, "10.1.0.60", "10.1.0.99"), Verdict::NotOurs),
            ("a TCP header cut short", cut_short, drop(Malformed)),
            ("no header at all", vec![0x02], drop(Malformed)),
            ("IPv4 header checksum", bad_sum, drop(BadIpv4Checksum)),
            (
                "a fragment of 20 bytes, which is no multiple of 8",
                fragment(web.tcp(ACK)),
                drop(FragmentTiny),
            ),
            ("GRE to a VIP", web.protocol(47), drop(UnknownProtocol)),
            ("GRE to a SNAT address", to("10.1.0.10:0").protocol(47), drop(UnknownProtocol)),
            ("ICMP error that quotes zeros", web.icmp_other(), drop(BadQuote)),
            ("ping to a SNAT address", to("10.1.0.10:0").echo(), drop(IcmpNotHandled)),
            ("no such port", to("10.1.0.100:81").tcp(SYN), drop(NoService)),
            ("no such protocol", to("10.1.0.100:80").udp(b"x"), drop(NoService)),
            ("a SNAT port of no flow", to("10.1.0.10:5000").tcp(ACK), drop(NoSnatBinding)),
            ("a SNAT address beyond its range", to("10.1.0.10:80").tcp(SYN), drop(NoSnatBinding)),
            ("IPv4 in a frame to a group", group.tcp(SYN), drop(BadAddress)),
            ("from a group's MAC", nobody.tcp(SYN), drop(BadAddress)),
            ("ping from a group's MAC", nobody.echo(), drop(BadAddress)),
        ],
        World::new,
    );
}

#[test]
fn senders_that_cannot_be() {
    let rows = [
        "0.0.0.0:1",
        "0.1.2.3:1",
        "127.0.0.1:1",
        "224.0.0.1:1",
        "240.0.0.1:1",
        "255.255.255.255:1",
        "10.1.0.100:80",
        "10.1.0.100:81",
        "10.1.0.101:80",
        "10.1.0.10:5000",
    ];
    let bad = drop(DropReason::BadAddress);
    check(rows.map(|source| (source, from(source).tcp(SYN), bad)).to_vec(), World::new);
    let direct = |source| Head { destination: socket("10.1.0.101:53"), ..from(source) };
    check(rows.map(|source| (source, direct(source).udp(b"x"), bad)).to_vec(), World::new);
    check(rows.map(|source| (source, from(source).echo(), bad)).to_vec(), World::new);
}

#[test]
fn segments_that_open_nothing() {
    let web = to("10.1.0.100:80");
    let (reset, not_opening) = (reply(ReplyKind::Reset), drop(DropReason::NotOpening));
    check(
        vec![
            ("ACK of a connection nobody knows", web.tcp(ACK), reset),
            ("data of one", web.tcp_data(ACK, b"GET"), reset),
            ("FIN of one", web.tcp(FIN | ACK), reset),
            ("SYN-ACK", web.tcp(SYN | ACK), reset),
            ("a reset is not answered", web.tcp(RST), drop(DropReason::ResetNotAnswered)),
            ("nor with ACK", web.tcp(RST | ACK), drop(DropReason::ResetNotAnswered)),
            ("no flags", web.tcp(0), not_opening),
            ("FIN alone", web.tcp(FIN), not_opening),
            ("SYN and FIN", web.tcp(SYN | FIN), not_opening),
        ],
        World::new,
    );
}

#[test]
fn a_reset_goes_back_where_the_segment_came_from() {
    let mut world = World::new();
    let head = to("10.1.0.100:80");
    let wanted = reply(ReplyKind::Reset);
    let out = world.expect("ACK", CLIENTS, &head.tcp(ACK), wanted, &[]);
    let ParseOutcome::Parsed(packet) = parse(&out) else { panic!("{out:x?}") };
    assert_eq!((packet.link.source, packet.link.destination), (mac(1), mac(0xc1)));
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    assert_eq!(ip.key.source_socket(), head.destination);
    assert_eq!(ip.key.destination_socket(), head.source);
    assert!(ip.tcp() == Some(TcpFlags::RST) && out[38..42] == 77u32.to_be_bytes());
}

#[test]
fn pings_are_answered_by_vips() {
    let mut world = World::new();
    let head = Head { ttl: 9, ..to("10.1.0.101:0") };
    let out = world.expect("ping", CLIENTS, &head.echo(), reply(ReplyKind::EchoReply), &[]);
    assert_eq!(out[..6], mac(0xc1).0);
    assert_eq!(
        (out[34], &out[26..30], &out[30..34]),
        (0, &[10, 1, 0, 101][..], &[10, 1, 0, 60][..])
    );
}

#[test]
fn arp_rows() {
    let (answer, bad) = (ReplyKind::Arp, drop(DropReason::BadAddress));
    let mut from_group = arp(1, 0xc1, "10.1.0.60", "10.1.0.100");
    from_group[22] = 1;
    let rows = vec![
        ("for a VIP", arp(1, 0xc1, "10.1.0.60", "10.1.0.100"), reply(answer)),
        ("for a SNAT address", arp(1, 0xc1, "10.1.0.60", "10.1.0.10"), reply(answer)),
        ("a probe (RFC 5227)", arp(1, 0xc1, "0.0.0.0", "10.1.0.100"), reply(answer)),
        ("a reply", arp(2, 0xc1, "10.1.0.60", "10.1.0.100"), drop(DropReason::ArpNotRequest)),
        ("a claim to our address", arp(1, 0xc1, "10.1.0.100", "10.1.0.100"), bad),
        ("from our address", arp(1, 0xc1, "10.1.0.101", "10.1.0.100"), bad),
        ("from a group address", arp(1, 0xc1, "224.0.0.1", "10.1.0.100"), bad),
        ("a group's MAC inside", from_group, bad),
    ];
    for (description, frame, wanted) in rows {
        let out = World::new().expect(description, CLIENTS, &frame, wanted, &[]);
        let ParseOutcome::Parsed(packet) = parse(&out) else { panic!("{out:x?}") };
        let Body::Arp(arp) = packet.body else { panic!("{packet:?}") };
        if wanted == reply(answer) {
            assert_eq!((arp.operation, arp.sender_mac), (Arp::REPLY, mac(1)), "{description}");
            assert_eq!((packet.link.source, packet.link.destination), (mac(1), mac(0xc1)));
        }
    }
}

#[test]
fn what_is_shared_with_the_machine_is_the_kernels() {
    let shared = || {
        World::with(config(), |parts| {
            parts.services[0].shared_address = true;
            parts.services[1].shared_address = true;
            parts.snat[0].shared_address = true;
        })
    };
    let vip = std::net::Ipv4Addr::new(10, 1, 0, 100);
    let role = shared().snapshot.address_role(vip.into());
    assert_eq!(role, Some(AddressRole::Shared));
    let web = to("10.1.0.100:80");
    check(
        vec![
            ("ARP", arp(1, 0xc1, "10.1.0.60", "10.1.0.100"), Verdict::NotOurs),
            ("ARP for SNAT", arp(1, 0xc1, "10.1.0.60", "10.1.0.10"), Verdict::NotOurs),
            ("ping", web.echo(), Verdict::NotOurs),
            ("another port", to("10.1.0.100:22").tcp(SYN), Verdict::NotOurs),
            ("another protocol", web.protocol(47), Verdict::NotOurs),
            ("beyond the SNAT ports", to("10.1.0.10:1023").tcp(ACK), Verdict::NotOurs),
            ("a fragment is not balanced", fragment(web.tcp(ACK)), drop(DropReason::Fragment)),
            ("a steered ICMP error", web.icmp_other(), drop(DropReason::BadQuote)),
            (
                "among the SNAT ports",
                to("10.1.0.10:1024").tcp(ACK),
                drop(DropReason::NoSnatBinding),
            ),
            ("from a port of ours", from("10.1.0.10:1024").tcp(SYN), drop(DropReason::BadAddress)),
        ],
        shared,
    );
    let own = from("10.1.0.10:1023").tcp(SYN);
    let forward = Verdict::Forward(BACKENDS);
    shared().expect("the machine as client", CLIENTS, &own, forward, &[("flows_created", 1)]);
}

#[test]
fn services_without_a_backend_or_removed() {
    let (tcp, udp) = (to("10.1.0.100:80").tcp(SYN), to("10.1.0.100:53").udp(b"question"));
    let empty = |policy| {
        move || {
            World::with(config(), |parts| {
                for service in &mut parts.services {
                    (service.slots, service.no_backend) = ([].into(), policy);
                }
            })
        }
    };
    use guideway::forwarding::NoBackendPolicy;
    let told = vec![
        ("tcp", tcp.clone(), reply(ReplyKind::Reset)),
        ("udp", udp.clone(), reply(ReplyKind::PortUnreachable)),
        ("a reset", to("10.1.0.101:80").tcp(RST), drop(DropReason::ResetNotAnswered)),
    ];
    check(told, empty(NoBackendPolicy::Reset));
    let silent = drop(DropReason::NoBackend);
    check(
        vec![("tcp", tcp.clone(), silent), ("udp", udp.clone(), silent)],
        empty(NoBackendPolicy::Drop),
    );

    let unreachable = reply(ReplyKind::PortUnreachable);
    let by_icmp = vec![
        ("tcp", tcp.clone(), unreachable),
        ("udp", udp.clone(), unreachable),
        ("a reset", to("10.1.0.101:80").tcp(RST), drop(DropReason::ResetNotAnswered)),
    ];
    check(by_icmp, empty(NoBackendPolicy::Unreachable));

    let gone = |policy| {
        move || {
            World::with(config(), |parts| {
                for service in &mut parts.services {
                    (service.gone, service.on_service_gone) = (true, policy);
                }
            })
        }
    };
    let told = vec![
        ("tcp", tcp.clone(), reply(ReplyKind::Reset)),
        ("udp", udp.clone(), reply(ReplyKind::PortUnreachable)),
    ];
    check(told, gone(ServiceGonePolicy::Reset));
    let silent = drop(DropReason::ServiceGone);
    check(vec![("tcp", tcp, silent), ("udp", udp, silent)], gone(ServiceGonePolicy::Drop));
}

#[test]
fn what_cannot_leave_begins_no_flow() {
    use DropReason::*;
    let syn = to("10.1.0.100:80").tcp(SYN);
    let each = |change: fn(&mut guideway::forwarding::Backend)| {
        move || World::with(config(), |parts| parts.backends.iter_mut().flatten().for_each(change))
    };
    check(vec![("no MAC", syn.clone(), drop(NoNextHop))], each(|backend| backend.next_hop = None));
    let no_snat = each(|backend| backend.snat = [].into());
    check(vec![("no SNAT address", syn.clone(), drop(NoSnatAddress))], no_snat);
    let down = || World::with(config(), |parts| parts.ports[1].up = false);
    check(vec![("port down", syn.clone(), drop(NoNextHop))], down);
    let missing = || World::with(config(), |parts| parts.ports.truncate(1));
    check(vec![("port missing", syn, drop(NoNextHop))], missing);

    let ttl = |ttl| Head { ttl, ..to("10.1.0.100:80") }.tcp(SYN);
    check(
        vec![
            ("TTL 1", ttl(1), reply(ReplyKind::TimeExceeded)),
            ("TTL 0", ttl(0), reply(ReplyKind::TimeExceeded)),
        ],
        World::new,
    );
    let data = [0; 1473];
    let too_big = reply(ReplyKind::TooBig);
    let may_be_cut = |mut frame: Vec<u8>| {
        frame[20] = 0;
        fix_header(&mut frame);
        frame
    };
    let long = vec![
        ("1501 bytes", to("10.1.0.100:53").udp(&data), too_big),
        ("1501 bytes, DSR", to("10.1.0.101:53").udp(&data), too_big),
        ("without DF", may_be_cut(to("10.1.0.100:53").udp(&data)), drop(ExceedsMtu)),
    ];
    check(long, World::new);
}

#[test]
fn nothing_is_ours_before_the_first_snapshot() {
    let mut world = World::new();
    world.snapshot = guideway::forwarding::Snapshot::empty();
    let frame = to("10.1.0.100:80").tcp(SYN);
    world.expect("SYN", CLIENTS, &frame, Verdict::NotOurs, &[]);
    world.sweep();
}

#[test]
fn answers_are_limited() {
    let mut world = World::with(
        guideway::dataplane::EngineConfig { max_replies_per_second: 2, ..config() },
        |_| (),
    );
    let ping = to("10.1.0.100:0").echo();
    let limited = drop(DropReason::ReplyRateLimited);
    for wanted in [reply(ReplyKind::EchoReply), reply(ReplyKind::EchoReply), limited, limited] {
        world.expect("ping", CLIENTS, &ping, wanted, &[]);
    }
    world.wait(500);
    world.expect("half a second later", CLIENTS, &ping, reply(ReplyKind::EchoReply), &[]);
    let ack = to("10.1.0.100:80").tcp(ACK);
    let out = world.expect("a reset counts too", CLIENTS, &ack, limited, &[]);
    assert_eq!(out, ack);
}

#[test]
fn an_answer_that_does_not_fit_its_chunk_is_a_drop() {
    let mut world = World::with(config(), |parts| parts.services[1].slots = [].into());
    let mut frame = to("10.1.0.100:53").udp(&[7; 100]);
    let len = frame.len();
    let mut view = guideway::wire::FrameView::new(&mut frame, 0, len);
    let arrival = guideway::dataplane::Arrival::Received(CLIENTS);
    let outcome = world.engine.process(&world.snapshot, world.now, arrival, &mut view);
    let wanted = drop(DropReason::ReplyNotMade);
    assert_eq!(outcome, guideway::dataplane::Outcome::Verdict(wanted));
}
