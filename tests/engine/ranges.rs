//! Several ports of one service, translated: a backend that listens on all of them, or on one.

use std::collections::BTreeSet;

use guideway::dataplane::{Arrival, DropReason, EngineConfig, Verdict};
use guideway::forwarding::{Backend, BackendId, Mode, ServiceIndex, SnapshotParts};

use super::errors::error;
use super::families::six;
use super::fragments::{pass, wanted_of};
use super::frames::*;
use super::nat::{CREATED, Ends, TO_BACKEND, TO_CLIENT, ends, establish};
use super::world::*;

/// The services `web` and `dns` with ports 80-90, and one backend each, by this mode.
fn several(mode: Mode, backend_port: u16) -> impl Fn(&mut SnapshotParts) {
    move |parts| {
        for service in parts.services.iter_mut().take(2) {
            service.vip.set_port(80);
            (service.last_port, service.mode) = (Some(90), mode);
        }
        parts.services[0].slots = [BackendId(0)].into();
        for backend in parts.backends.iter_mut().take(3).flatten() {
            backend.socket.set_port(backend_port);
            backend.mode = mode;
        }
    }
}

fn client(port: u16, vip_port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.60:{port}"), &format!("10.1.0.100:{vip_port}"))
}

/// Both ways to the byte, by the plain way and the thorough one.
fn check_ways(world: &mut World, ends: &Ends) {
    for flags in [ACK, ACK, FIN | ACK] {
        let (sent, wanted) = (ends.client, ends.at_backend());
        let out = world.expect("on", CLIENTS, &sent.tcp_data(flags, b"abc"), TO_BACKEND, &[]);
        assert_eq!(out, wanted.tcp_data(flags, b"abc"));
        let (sent, wanted) = (ends.backend, ends.at_client());
        let out = world.expect("back", BACKENDS, &sent.tcp_data(flags, b"abc"), TO_CLIENT, &[]);
        assert_eq!(out, wanted.tcp_data(flags, b"abc"));
    }
}

#[test]
fn each_port_to_itself_or_all_to_one() {
    for (mode, backend_port) in [(Mode::Nat, 0), (Mode::Nat, 8080), (Mode::Dnat, 0)] {
        for is_v6 in [false, true] {
            let name = format!("{mode} {backend_port} {is_v6}");
            let mut world = World::with(config(), |parts| {
                if is_v6 {
                    six(parts);
                }
                several(mode, backend_port)(parts);
            });
            let head = |vip_port| match is_v6 {
                false => client(4000, vip_port),
                true => Head {
                    destination: socket(&format!("[2001:db8:1::100]:{vip_port}")),
                    ..super::families::client(4000)
                },
            };
            let mut flows = Vec::new();
            for vip_port in [80, 85, 90] {
                let ends = establish(&mut world, head(vip_port));
                let wanted = if backend_port == 0 { vip_port } else { backend_port };
                assert_eq!(ends.backend.source.port(), wanted, "{name}");
                flows.push(ends);
            }
            assert_eq!(world.live(), 3, "{name}: one client socket, three flows");
            let entries = world.entries();
            assert!(entries.iter().all(|entry| !entry.is_nat()
                || entry.backend_socket().port() == entry.key.destination_port
                || backend_port != 0));
            let mut next = World::new();
            (next.snapshot, next.now) = (world.snapshot.clone(), world.now);
            assert_eq!(next.engine.import(next.now, &entries), 0, "{name}");
            next.engine = next.engine.recover();
            for world in [&mut world, &mut next] {
                flows.iter().for_each(|ends| check_ways(world, ends));
            }
            let none = Verdict::Drop(DropReason::NoService);
            world.expect(&name, CLIENTS, &head(91).tcp(SYN), none, &[]);
        }
    }
}

/// Under NAT an answer is known by the SNAT port and the backend's own.
#[test]
fn an_answer_from_another_port_is_no_flows() {
    let mut world = World::with(config(), several(Mode::Nat, 0));
    let ends = establish(&mut world, client(4000, 85));
    let other = Head { source: socket("10.2.0.10:86"), ..ends.backend };
    let none = Verdict::Drop(DropReason::NoSnatBinding);
    world.expect("from 86", BACKENDS, &other.tcp(ACK), none, &[]);
    let mut world = World::with(config(), several(Mode::Dnat, 0));
    let ends = establish(&mut world, client(4000, 85));
    let from = |port| Head { source: socket(&format!("10.2.0.10:{port}")), ..ends.backend };
    let none = Verdict::Drop(DropReason::NoDnatFlow);
    world.expect("from 86", BACKENDS, &from(86).tcp(ACK), none, &[]);
    for port in [79, 91] {
        world.expect("beside", BACKENDS, &from(port).tcp(ACK), Verdict::NotOurs, &[]);
    }
    world.expect("from its own", BACKENDS, &from(85).tcp(ACK), TO_CLIENT, &[]);
}

/// Whoever tries all ports takes no more blocks than whoever tries one.
#[test]
fn a_backend_has_one_set_of_blocks_for_all_its_ports() {
    let config = EngineConfig { max_snat_blocks: 256, max_flows: 20_000, ..config() };
    let mut world = World::with(config, |parts| {
        several(Mode::Nat, 0)(parts);
        parts.services[0].last_port = Some(9_999);
    });
    let mut sources = BTreeSet::new();
    for vip_port in 80..5_000 {
        let out =
            world.expect("SYN", CLIENTS, &client(4000, vip_port).tcp(SYN), TO_BACKEND, CREATED);
        assert_eq!(out[36..38], vip_port.to_be_bytes());
        assert!(sources.insert(out[34..36].to_vec()), "a SNAT port for each flow of the backend");
    }
}

/// The backend is also another service's, by one of the ports: two blocks, one socket.
#[test]
fn no_port_serves_two_flows_of_one_socket() {
    let mut world = World::with(EngineConfig { max_flows: 2000, ..config() }, |parts| {
        several(Mode::Nat, 0)(parts);
        parts.snat[0].ports = 1024..=2047;
        let mut second = parts.services[0].clone();
        (second.vip, second.last_port) = (socket("10.1.0.102:80"), None);
        second.slots = [BackendId(6)].into();
        parts.services.push(second);
        let mut backend = Backend { id: BackendId(6), ..parts.backends[0].clone().unwrap() };
        (backend.service, backend.socket) = (ServiceIndex(4), socket("10.2.0.10:80"));
        parts.backends.push(Some(backend));
    });
    let (mut sockets, mut flows) = (BTreeSet::new(), Vec::new());
    for port in 1000..1350 {
        for vip in ["10.1.0.100:80", "10.1.0.102:80"] {
            let head = Head { destination: socket(vip), ..client(port, 80) };
            let frame = head.tcp(SYN);
            let (_, out) = world.run(Arrival::Received(CLIENTS), &frame);
            if out != frame {
                assert!(sockets.insert(out[34..36].to_vec()), "port {:?} twice", &out[34..36]);
                flows.push(ends(head, &out));
            }
        }
    }
    assert_eq!(world.live() as usize, flows.len());
    assert!(flows.len() > 500, "{} flows", flows.len());
    for ends in flows {
        world.expect("back", BACKENDS, &ends.backend.tcp(SYN | ACK), TO_CLIENT, &[]);
    }
}

#[test]
fn errors_and_fragments_of_a_port_of_several() {
    for mode in [Mode::Nat, Mode::Dnat] {
        let mut world = World::with(config(), several(mode, 0));
        let head = client(4000, 85);
        let data = [7; 2000];
        let pieces = cut(&head.udp(&data), 7, 800);
        let turned = [2, 1, 0].map(|at| pieces[at].clone());
        let (told, left) = pass(&mut world, CLIENTS, &turned);
        assert_eq!(told, wanted_of(2, 3), "{mode}");
        let joined = join(&left).unwrap();
        let ends = ends(head, &joined);
        assert_eq!(joined[36..38], 85u16.to_be_bytes(), "{mode}");
        let (told, left) = pass(&mut world, BACKENDS, &cut(&ends.backend.udp(&data), 9, 800));
        assert_eq!(told, wanted_of(0, 3), "{mode}");
        let mut wanted = ends.at_client().udp(&data);
        wanted[..12].copy_from_slice(&left[0][..12]);
        assert_eq!(join(&left), Some(wanted), "{mode}");
        // About a packet to the backend, and about one to the client.
        let sent = ends.at_backend().udp(b"abc");
        let about = error("198.51.100.1", &sent, 1000, (3, 4, 1400));
        let out = world.expect("to the client", BACKENDS, &about, TO_CLIENT, &[]);
        assert_eq!(out[42 + 20 + 2..42 + 24], 85u16.to_be_bytes(), "{mode}");
        let sent = ends.at_client().udp(b"abc");
        let about = error("198.51.100.1", &sent, 1000, (3, 4, 1400));
        let out = world.expect("to the backend", CLIENTS, &about, TO_BACKEND, &[]);
        assert_eq!(out[42 + 20..42 + 22], 85u16.to_be_bytes(), "{mode}");
        assert_eq!(out[42 + 12..42 + 16], [10, 2, 0, 12], "{mode}");
    }
}

/// Its one port was translated before: flows that began then go on, by the backend as it was.
#[test]
fn a_flow_goes_on_when_its_service_gets_more_ports() {
    for mode in [Mode::Nat, Mode::Dnat] {
        let by_one = |parts: &mut SnapshotParts| {
            several(mode, 85)(parts);
            parts.services[0].last_port = None;
        };
        let mut world = World::with(config(), by_one);
        let old = establish(&mut world, client(4000, 80));
        assert_eq!(old.backend.source.port(), 85);
        world.publish(|parts| {
            by_one(parts);
            parts.services[0].last_port = Some(90);
            let backend = parts.backends[0].clone().unwrap();
            parts.backends[0].as_mut().unwrap().state = guideway::forwarding::BackendState::Retired;
            let mut backend = Backend { id: BackendId(6), ..backend };
            backend.socket.set_port(0);
            parts.backends.push(Some(backend));
            parts.services[0].slots = [BackendId(6)].into();
        });
        let new = establish(&mut world, client(4001, 85));
        assert_eq!(new.backend.source.port(), 85);
        check_ways(&mut world, &old);
        check_ways(&mut world, &new);
    }
}
