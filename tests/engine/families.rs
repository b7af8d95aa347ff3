//! IPv6 as IPv4, VLAN tags as none: the same network once more, by other addresses and links.

use guideway::dataplane::{DropReason, ReplyKind, Verdict};
use guideway::forwarding::{Neighbour, NextHop, Route, RouteTable, SnapshotParts, SnatAddress};
use guideway::wire::{Address, Body, Content, ParseOutcome, Tags, parse};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, TO_CLIENT, ends, establish};
use super::world::*;

const VIP: &str = "[2001:db8:1::100]:80";
const DIRECT: &str = "[2001:db8:1::101]:80";
const SNAT: &str = "2001:db8:1::10";

/// Every socket of the world by its IPv6 counterpart.
pub fn six(parts: &mut SnapshotParts) {
    let vips = [VIP, "[2001:db8:1::100]:53", DIRECT, "[2001:db8:1::101]:53"];
    for (service, vip) in parts.services.iter_mut().zip(vips) {
        service.vip = socket(vip);
    }
    for (place, backend) in (10..).zip(parts.backends.iter_mut().flatten()) {
        let port = backend.socket.port();
        backend.socket = socket(&format!("[2001:db8:2::{place}]:{port}"));
    }
    parts.snat[0].address = SNAT.parse().unwrap();
}

pub fn world() -> World {
    World::with(config(), six)
}

pub fn client(port: u16) -> Head {
    Head::new(0xc1, 1, &format!("[2001:db8:1::60]:{port}"), VIP)
}

fn from(source: &str) -> Head {
    Head { source: socket(source), ..client(4000) }
}

#[test]
fn nat_both_ways_to_the_byte() {
    let mut world = world();
    let ends = establish(&mut world, Head { ttl: 33, ..client(4000) });
    assert_eq!(ends.backend.destination.ip(), SNAT.parse::<std::net::IpAddr>().unwrap());
    for data in [&b""[..], b"a", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1440]] {
        let (sent, wanted) =
            (ends.client.tcp_data(ACK, data), ends.at_backend().tcp_data(ACK, data));
        assert_eq!(world.expect("to the backend", CLIENTS, &sent, TO_BACKEND, &[]), wanted);
        let (sent, wanted) =
            (ends.backend.tcp_data(ACK, data), ends.at_client().tcp_data(ACK, data));
        assert_eq!(world.expect("to the client", BACKENDS, &sent, TO_CLIENT, &[]), wanted);
    }
    let dns = Head { destination: socket("[2001:db8:1::100]:53"), ..client(4001) };
    let out = world.expect("question", CLIENTS, &dns.udp(b"?"), TO_BACKEND, CREATED);
    let ends = super::nat::ends(dns, &out);
    assert_eq!(out, ends.at_backend().udp(b"?"));
    let back = world.expect("answer", BACKENDS, &ends.backend.udp(b"!"), TO_CLIENT, &[]);
    assert_eq!(back, ends.at_client().udp(b"!"));
}

#[test]
fn direct_server_return_changes_the_link_header_only() {
    let mut world = world();
    let head = Head { destination: socket(DIRECT), ..client(4000) };
    let out = world.expect("SYN", CLIENTS, &head.tcp(SYN), TO_BACKEND, CREATED);
    assert_eq!(out[12..], head.tcp(SYN)[12..]);
    assert_eq!(out[6..12], mac(2).0);
}

/// The entries of both families live in one table, and leave it as they are.
#[test]
fn both_families_in_one_engine() {
    let mut world = World::with(config(), |parts| {
        let mut more = parts.clone();
        six(&mut more);
        parts.services.truncate(1);
        parts.services.push(guideway::forwarding::Service {
            slots: [guideway::forwarding::BackendId(1)].into(),
            ..more.services[0].clone()
        });
        parts.services[0].slots = [guideway::forwarding::BackendId(0)].into();
        parts.backends.truncate(2);
        parts.backends[1] = more.backends[1].clone();
        parts.backends[1].as_mut().unwrap().service = guideway::forwarding::ServiceIndex(1);
        parts.backends[1].as_mut().unwrap().snat = [1].into();
        parts.snat.push(SnatAddress { address: SNAT.parse().unwrap(), ..parts.snat[0].clone() });
    });
    let four = establish(&mut world, super::nat::client(60, 4000));
    let six = establish(&mut world, client(4000));
    let entries = world.entries();
    let mut other = World::new();
    other.snapshot = world.snapshot.clone();
    other.now = world.now;
    assert_eq!(other.engine.import(other.now, &entries), 0);
    assert_eq!(other.entries().len(), 2);
    for ends in [four, six] {
        other.expect("goes on", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
        other.expect("and back", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
    }
}

#[test]
fn frames_to_an_engine_without_flows() {
    use DropReason::*;
    let drop = Verdict::Drop;
    let reply = |kind| Verdict::Reply(CLIENTS, kind);
    let web = client(4000);
    let rows = [
        (
            "another address",
            Head::new(0xc1, 1, "[2001:db8:1::60]:1", "[2001:db8:1::99]:80"),
            NotOurs,
        ),
        (
            "no such port",
            Head { destination: socket("[2001:db8:1::100]:81"), ..web },
            Dropped(NoService),
        ),
        ("from a VIP", from(DIRECT), Dropped(BadAddress)),
        ("from itself", from(VIP), Dropped(BadAddress)),
        ("from nobody", from("[::]:1"), Dropped(BadAddress)),
        ("from loopback", from("[::1]:1"), Dropped(BadAddress)),
        ("from a group", from("[ff02::1]:1"), Dropped(BadAddress)),
        ("from a mapped address", from("[::ffff:10.1.0.60]:1"), Dropped(BadAddress)),
    ];
    use Wanted::*;
    enum Wanted {
        NotOurs,
        Dropped(DropReason),
    }
    for (description, head, wanted) in rows {
        let wanted = match wanted {
            NotOurs => Verdict::NotOurs,
            Dropped(reason) => drop(reason),
        };
        let out = world().expect(description, CLIENTS, &head.tcp(SYN), wanted, &[]);
        assert_eq!(out, head.tcp(SYN), "{description}");
    }
    let ping = Head { destination: socket("[2001:db8:1::100]:0"), ..web };
    world().expect("a ping", CLIENTS, &ping.echo(), reply(ReplyKind::EchoReply), &[]);
    world().expect("a quote of zeros", CLIENTS, &web.icmp_other(), drop(BadQuote), &[]);
    let out = world().expect("unknown", CLIENTS, &web.tcp(ACK), reply(ReplyKind::Reset), &[]);
    let ParseOutcome::Parsed(packet) = parse(&out) else { panic!("{out:x?}") };
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    assert_eq!(ip.key.source_socket(), web.destination);
}

/// A solicitation as a host sends it: to the group of the address asked for.
fn solicitation(source: &str, target: &str) -> Vec<u8> {
    let target: std::net::Ipv6Addr = target.parse().unwrap();
    let [.., a, b, c] = target.octets();
    let group = std::net::Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let source: std::net::Ipv6Addr = source.parse().unwrap();
    let builder = etherparse::PacketBuilder::ethernet2(mac(0xc1).0, [0x33, 0x33, 0xff, a, b, c])
        .ipv6(source.octets(), group.octets(), 255);
    let mut frame = Vec::new();
    let body = [&target.octets()[..], &[1, 1], &mac(0xc1).0].concat();
    builder.icmpv6_raw(135, 0, [0; 4]).write(&mut frame, &body).unwrap();
    frame
}

#[test]
fn neighbour_solicitations() {
    let answer = Verdict::Reply(CLIENTS, ReplyKind::NeighbourAdvertisement);
    let bad = Verdict::Drop(DropReason::BadAddress);
    let mut from_afar = solicitation("2001:db8:1::60", "2001:db8:1::100");
    from_afar[21] = 254;
    let rows = [
        ("for a VIP", solicitation("2001:db8:1::60", "2001:db8:1::100"), answer),
        ("by a link-local address", solicitation("fe80::60", "2001:db8:1::100"), answer),
        ("for a SNAT address", solicitation("2001:db8:1::60", SNAT), answer),
        ("duplicate address detection", solicitation("::", "2001:db8:1::100"), answer),
        ("for another", solicitation("2001:db8:1::60", "2001:db8:1::99"), Verdict::NotOurs),
        ("from the address itself", solicitation("2001:db8:1::100", "2001:db8:1::100"), bad),
        ("over a router", from_afar, bad),
    ];
    for (description, frame, wanted) in rows {
        let out = world().expect(description, CLIENTS, &frame, wanted, &[]);
        if wanted != answer {
            continue;
        }
        let ParseOutcome::Parsed(packet) = parse(&out) else { panic!("{description}: {out:x?}") };
        let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
        assert_eq!((packet.link.source, ip.content), (mac(1), Content::Icmp), "{description}");
        let asked: Address =
            std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap()).into();
        let to_all = asked == Address::UNSPECIFIED;
        assert_eq!(packet.link.destination.is_group(), to_all, "{description}");
    }
}

/// Puts a frame on VLANs.
fn tagged(frame: &[u8], numbers: &[u16]) -> Vec<u8> {
    let tag = |number: &u16| [&[0x81, 0x00][..], &number.to_be_bytes()].concat();
    let tags: Vec<u8> = numbers.iter().flat_map(tag).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// Clients on VLAN 10, backends on VLAN 20, both behind one port.
#[test]
fn clients_and_backends_on_two_vlans_of_one_port() {
    for (name, change, head) in [
        (
            "IPv4",
            (|_: &mut SnapshotParts| ()) as fn(&mut SnapshotParts),
            super::nat::client(60, 4000),
        ),
        ("IPv6", six, client(4000)),
    ] {
        let vlan = Tags::customer(20);
        let mut world = World::with(config(), |parts| {
            change(parts);
            for backend in parts.backends.iter_mut().flatten() {
                let mac = backend.next_hop.unwrap().mac;
                backend.next_hop = Some(NextHop { port: CLIENTS, tags: vlan, mac });
            }
        });
        let forward = Verdict::Forward(CLIENTS);
        let sent = tagged(&head.tcp(SYN), &[10]);
        let out = world.expect(name, CLIENTS, &sent, forward, CREATED);
        assert_eq!(out[12..16], [0x81, 0, 0, 20], "{name}");
        let untagged = [&out[..12], &out[16..]].concat();
        let ends = ends(head, &untagged);
        let back = tagged(&Head { to: mac(1), ..ends.backend }.tcp(SYN | ACK), &[20]);
        let out = world.expect(name, CLIENTS, &back, forward, &[]);
        assert_eq!(out, tagged(&ends.at_client().tcp(SYN | ACK), &[10]), "{name}");
        let double = tagged(&head.tcp(ACK), &[30, 40]);
        let out = world.expect("by another VLAN", CLIENTS, &double, forward, &[]);
        assert_eq!((out.len(), &out[12..16]), (double.len() - 4, &[0x81, 0, 0, 20][..]), "{name}");
        let out = world.expect("answers follow", CLIENTS, &back, forward, &[]);
        assert_eq!(out, tagged(&ends.at_client().tcp(SYN | ACK), &[30, 40]), "{name}");
    }
}

#[test]
fn the_way_back_by_route_has_its_vlan() {
    let vlan = Tags::customer(10);
    let mut world = World::with(config(), |parts| {
        six(parts);
        let (network, gateway) = ("::".parse().unwrap(), "fe80::1".parse().unwrap());
        let (port, tags) = (CLIENTS, vlan);
        let route = Route { network, prefix_len: 0, metric: 0, port, tags, gateway: Some(gateway) };
        let station = |address, last, gone| Neighbour { address, port, tags, mac: mac(last), gone };
        let client = "2001:db8:1::60".parse().unwrap();
        let neighbours = vec![station(gateway, 0xfe, false), station(client, 0xc1, true)];
        parts.routes = RouteTable::new(vec![route], neighbours);
    });
    let head = client(4000);
    let sent = tagged(&head.tcp(SYN), &[10]);
    let out = world.expect("SYN", CLIENTS, &sent, TO_BACKEND, CREATED);
    let ends = ends(head, &out);
    let back = world.expect("back", BACKENDS, &ends.backend.tcp(SYN | ACK), TO_CLIENT, &[]);
    assert_eq!((&back[..6], &back[12..16]), (&mac(0xfe).0[..], &[0x81, 0, 0, 10][..]));
}

/// Answers go back on the VLAN they were asked on.
#[test]
fn answers_keep_their_vlan() {
    let ping = Head { destination: socket("[2001:db8:1::100]:0"), ..client(4000) }.echo();
    let rows = [
        ("ping", ping, ReplyKind::EchoReply),
        ("reset", client(4000).tcp(ACK), ReplyKind::Reset),
        ("solicitation", solicitation("2001:db8:1::60", SNAT), ReplyKind::NeighbourAdvertisement),
    ];
    for (description, frame, kind) in rows {
        let wanted = Verdict::Reply(CLIENTS, kind);
        let out = world().expect(description, CLIENTS, &tagged(&frame, &[7]), wanted, &[]);
        assert_eq!(out[12..16], [0x81, 0, 0, 7], "{description}");
        assert_eq!(out[..6], mac(0xc1).0, "{description}");
    }
    let asked = arp(1, 0xc1, "10.1.0.60", "10.1.0.100");
    let wanted = Verdict::Reply(CLIENTS, ReplyKind::Arp);
    let out = World::new().expect("ARP", CLIENTS, &tagged(&asked, &[7]), wanted, &[]);
    assert_eq!((&out[..6], &out[12..16]), (&mac(0xc1).0[..], &[0x81, 0, 0, 7][..]));
}
