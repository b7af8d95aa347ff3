//! Translation both ways, to the byte.

use guideway::dataplane::Verdict;
use guideway::forwarding::{NextHop, RouteTable};
use guideway::wire::{Body, MacAddress, ParseOutcome, Tags, parse};

use super::frames::*;
use super::world::*;

pub const TO_BACKEND: Verdict = Verdict::Forward(BACKENDS);
pub const TO_CLIENT: Verdict = Verdict::Forward(CLIENTS);
pub const CREATED: &[(&str, u64)] = &[("flows_created", 1)];

/// Both ends of a flow through NAT, as heads of frames that arrive.
#[derive(Clone, Copy)]
pub struct Ends {
    pub client: Head,
    pub backend: Head,
}

/// Reads from a frame sent to a backend what that backend's answers look like.
pub fn ends(client: Head, sent: &[u8]) -> Ends {
    let ParseOutcome::Parsed(packet) = parse(sent) else { panic!("{sent:x?}") };
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    let backend = Head {
        from: packet.link.destination,
        to: packet.link.source,
        source: ip.key.destination_socket(),
        destination: ip.key.source_socket(),
        ttl: 64,
    };
    Ends { client, backend }
}

/// A client's SYN through to its backend.
pub fn open(world: &mut World, client: Head) -> Ends {
    ends(client, &world.expect("SYN", CLIENTS, &client.tcp(SYN), TO_BACKEND, CREATED))
}

/// The whole handshake.
pub fn establish(world: &mut World, client: Head) -> Ends {
    let ends = open(world, client);
    world.expect("SYN-ACK", BACKENDS, &ends.backend.tcp(SYN | ACK), TO_CLIENT, &[]);
    world.expect("ACK", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    ends
}

pub fn client(last: u8, port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.{last}:{port}"), "10.1.0.100:80")
}

impl Ends {
    /// The client's frames as the backend gets them.
    pub fn at_backend(&self) -> Head {
        let Head { from, to, source, destination, .. } = self.backend;
        let ttl = self.client.ttl - 1;
        Head { from: to, to: from, source: destination, destination: source, ttl }
    }

    /// The backend's frames as the client gets them.
    pub fn at_client(&self) -> Head {
        let Head { from, to, source, destination, .. } = self.client;
        Head { from: to, to: from, source: destination, destination: source, ttl: 63 }
    }
}

#[test]
fn tcp_both_ways_to_the_byte() {
    let mut world = World::new();
    let ends = establish(&mut world, Head { ttl: 33, ..client(60, 4000) });
    assert!([socket("10.2.0.10:8080"), socket("10.2.0.11:8080")].contains(&ends.backend.source));
    assert_eq!(ends.backend.destination.ip(), std::net::IpAddr::from([10, 1, 0, 10]));
    assert!(ends.backend.destination.port() >= 1024);
    assert_eq!(ends.backend.to, mac(2), "the source MAC is that of the port it leaves by");
    for data in [&b""[..], b"a", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1460]] {
        let (sent, wanted) =
            (ends.client.tcp_data(ACK, data), ends.at_backend().tcp_data(ACK, data));
        assert_eq!(world.expect("to the backend", CLIENTS, &sent, TO_BACKEND, &[]), wanted);
        let (sent, wanted) =
            (ends.backend.tcp_data(ACK, data), ends.at_client().tcp_data(ACK, data));
        assert_eq!(world.expect("to the client", BACKENDS, &sent, TO_CLIENT, &[]), wanted);
    }
}

#[test]
fn udp_both_ways_to_the_byte() {
    let mut world = World::new();
    let client = Head { destination: socket("10.1.0.100:53"), ..client(60, 4000) };
    let first = client.udp(b"question");
    let out = world.expect("question", CLIENTS, &first, TO_BACKEND, CREATED);
    let ends = ends(client, &out);
    assert_eq!(out, ends.at_backend().udp(b"question"));
    let answer = world.expect("answer", BACKENDS, &ends.backend.udp(b"!"), TO_CLIENT, &[]);
    assert_eq!(answer, ends.at_client().udp(b"!"));
    let mut no_checksum = client.udp(b"again");
    no_checksum[40..42].fill(0);
    let out = world.expect("without checksum", CLIENTS, &no_checksum, TO_BACKEND, &[]);
    assert_eq!(out[40..42], [0, 0]);
}

#[test]
fn a_wrong_checksum_is_not_repaired() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let mut sent = ends.client.tcp_data(ACK, b"data");
    sent[54] ^= 1;
    let mut wanted = ends.at_backend().tcp_data(ACK, b"data");
    wanted[54] ^= 1;
    assert_eq!(world.expect("damaged", CLIENTS, &sent, TO_BACKEND, &[]), wanted);
}

#[test]
fn only_its_own_backend_answers_on_a_port() {
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let none = Verdict::Drop(guideway::dataplane::DropReason::NoSnatBinding);
    for source in ["10.2.0.99:8080", "10.2.0.10:8081", "10.2.0.12:5353"] {
        let other = Head { source: socket(source), ..ends.backend };
        world.expect(source, BACKENDS, &other.tcp(ACK), none, &[]);
    }
    world.expect("UDP to the port", BACKENDS, &ends.backend.udp(b"x"), none, &[]);
}

#[test]
fn the_way_back_follows_the_client_and_falls_back_to_the_route() {
    let mut world = World::new();
    let mut ends = establish(&mut world, client(60, 4000));
    let back = |world: &mut World, ends: &Ends, verdict| {
        let out = world.expect("back", BACKENDS, &ends.backend.tcp(ACK), verdict, &[]);
        MacAddress(*out.first_chunk().unwrap())
    };
    assert_eq!(back(&mut world, &ends, TO_CLIENT), mac(0xc1));
    ends.client.from = mac(0xc2);
    world.expect("from another router", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    assert_eq!(back(&mut world, &ends, TO_CLIENT), mac(0xc2));
    ends.client = Head { from: mac(0xc1), to: mac(2), ..ends.client };
    world.expect("by the other port", BACKENDS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    assert_eq!(back(&mut world, &ends, TO_BACKEND), mac(0xc1));
    world.publish(|parts| parts.ports[1].up = false);
    let down = Verdict::Drop(guideway::dataplane::DropReason::NoNextHop);
    ends.client.to = mac(1);
    world.expect("backends' port down", CLIENTS, &ends.client.tcp(ACK), down, &[]);
    assert_eq!(back(&mut world, &ends, TO_CLIENT), mac(0xc1), "the neighbour on the route");
    world.publish(|parts| {
        parts.ports[1].up = false;
        parts.routes = routes(true);
    });
    world.expect("no neighbour", BACKENDS, &ends.backend.tcp(ACK), down, &[]);
    world.publish(|parts| (parts.ports[1].up, parts.routes) = (false, RouteTable::default()));
    world.expect("no route", BACKENDS, &ends.backend.tcp(ACK), down, &[]);
}

#[test]
fn a_station_that_is_gone_is_given_up_for_the_route() {
    let mut world = World::new();
    let far = Head { source: socket("192.0.2.7:4000"), ..client(60, 4000) };
    let ends = establish(&mut world, far);
    world.publish(|parts| parts.routes = routes(true));
    let c1 = NextHop { port: CLIENTS, tags: Tags::NONE, mac: mac(0xc1) };
    assert!(world.snapshot.routes.is_gone(c1));
    let out = world.expect("back", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
    assert_eq!((&out[..6], &out[6..12]), (&mac(0xfe).0[..], &mac(1).0[..]));
}

#[test]
fn what_cannot_leave_changes_nothing() {
    use guideway::dataplane::ReplyKind::{TimeExceeded, TooBig};
    let mut world = World::new();
    let ends = establish(&mut world, client(60, 4000));
    let before = world.entries();
    world.wait(10);
    let long = [0; 1461];
    let rows = [
        (CLIENTS, Head { ttl: 1, ..ends.client }.tcp(RST), TimeExceeded),
        (BACKENDS, Head { ttl: 1, ..ends.backend }.tcp(RST), TimeExceeded),
        (CLIENTS, ends.client.tcp_data(ACK, &long), TooBig),
        (BACKENDS, ends.backend.tcp_data(FIN | ACK, &long), TooBig),
    ];
    for (port, frame, kind) in rows {
        let out = world.expect("no way out", port, &frame, Verdict::Reply(port, kind), &[]);
        assert_eq!((&out[..6], &out[30..34]), (&frame[6..12], &frame[26..30]), "to its sender");
        assert_eq!(out[26..30], frame[30..34], "from whom it was sent to");
    }
    assert_eq!(world.entries(), before);
}

#[test]
fn a_backend_may_be_a_client_of_its_own_vip() {
    let mut world = World::with(config(), |parts| {
        parts.services[0].slots = [guideway::forwarding::BackendId(0)].into()
    });
    let own = Head { to: mac(2), ..Head::new(0xb0, 2, "10.2.0.10:4000", "10.1.0.100:80") };
    let out = world.expect("SYN", BACKENDS, &own.tcp(SYN), TO_BACKEND, CREATED);
    let ends = ends(own, &out);
    assert_eq!((ends.backend.source, ends.backend.from), (socket("10.2.0.10:8080"), mac(0xb0)));
    let back = world.expect("SYN-ACK", BACKENDS, &ends.backend.tcp(SYN | ACK), TO_BACKEND, &[]);
    assert_eq!(back, ends.at_client().tcp(SYN | ACK));
}

#[test]
fn new_flows_are_shared_out_and_each_packet_is_counted_for_its_backend() {
    let mut world = World::new();
    for port in 4000..4100 {
        open(&mut world, client(60, port));
    }
    let live = world.engine.live_flows();
    assert!(live[0] > 20 && live[1] > 20 && live[0] + live[1] == 100, "{live:?}");
    let entries = world.entries();
    assert_eq!(entries.len(), 100);
    let traffic = world.engine.traffic();
    for backend in [0, 1] {
        let (flows, traffic) = (u64::from(live[backend]), traffic[backend]);
        assert_eq!((traffic.packets_in, traffic.bytes_in), (flows, flows * 54), "{backend}");
    }
}
