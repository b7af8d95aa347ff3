//! Mode `dscp`: the backend's address and a DSCP in the place of the VIP, and answers past us.

use guideway::dataplane::{DropReason, FlowState, ReplyKind, Verdict};
use guideway::forwarding::{Mode, SnapshotParts};

use super::families::six;
use super::fragments::{pass, wanted_of};
use super::frames::*;
use super::nat::{CREATED, TO_BACKEND};
use super::world::*;

const VALUE: u8 = 10;

/// Both direct services with this mode.
fn marked(parts: &mut SnapshotParts) {
    parts.services.iter_mut().skip(2).for_each(|service| service.mode = Mode::Dscp(VALUE));
    parts.backends.iter_mut().skip(3).flatten().for_each(|b| b.mode = Mode::Dscp(VALUE));
}

fn worlds() -> [(&'static str, World, Head); 2] {
    let v6 = |parts: &mut SnapshotParts| {
        six(parts);
        marked(parts);
    };
    let head = |client, vip| Head { ttl: 33, ..Head::new(0xc1, 1, client, vip) };
    [
        ("IPv4", World::with(config(), marked), head("10.1.0.60:4000", "10.1.0.101:80")),
        ("IPv6", World::with(config(), v6), head("[2001:db8:1::60]:4000", "[2001:db8:1::101]:80")),
    ]
}

/// The frame with another type of service or traffic class.
fn with_class(mut frame: Vec<u8>, class: u8) -> Vec<u8> {
    if frame[12..14] == [8, 0] {
        frame[15] = class;
        fix_header(&mut frame);
    } else {
        frame[14] = 0x60 | class >> 4;
        frame[15] = frame[15] & 0xf | class << 4;
    }
    frame
}

/// As it leaves to the backend whose MAC `out` has.
fn at_backend(head: Head, out: &[u8]) -> Head {
    let place = u16::from(out[5] - 0xb0) + 10;
    let backend = match head.destination.is_ipv4() {
        true => format!("10.2.0.{place}"),
        false => format!("2001:db8:2::{place}"),
    };
    let destination = (backend.parse::<std::net::IpAddr>().unwrap(), head.destination.port());
    let to = mac(0xb0 + (place - 10) as u8);
    Head { from: mac(2), to, destination: destination.into(), ttl: head.ttl - 1, ..head }
}

#[test]
fn destination_and_dscp_change_and_nothing_else() {
    for (name, mut world, head) in worlds() {
        let steps = [
            (SYN, CREATED, FlowState::Opening),
            (ACK, &[], FlowState::Established),
            (ACK, &[], FlowState::Established),
            (FIN | ACK, &[], FlowState::Closing),
        ];
        for (step, (flags, events, state)) in steps.into_iter().enumerate() {
            // Another ECN each time, and a DSCP of the client's own.
            let (ecn, data) = (step as u8, [7; 101]);
            let sent = with_class(head.tcp_data(flags, &data), 46 << 2 | ecn);
            let out = world.expect(name, CLIENTS, &sent, TO_BACKEND, events);
            let wanted = at_backend(head, &out).tcp_data(flags, &data);
            assert_eq!(out, with_class(wanted, VALUE << 2 | ecn), "{name} {step}");
            assert_eq!(FlowState::of(&world.entries()[0]), Some(state), "{name} {step}");
        }
        let mut dns = head;
        dns.destination.set_port(53);
        for data in [&b"?"[..], b"", &[0xff; 1001]] {
            let events = if data == b"?" { CREATED } else { &[] };
            let out = world.expect(name, CLIENTS, &dns.udp(data), TO_BACKEND, events);
            let wanted = at_backend(dns, &out).udp(data);
            assert_eq!(out, with_class(wanted, VALUE << 2), "{name}");
        }
        let answer = Head { source: head.destination, destination: head.source, ..head };
        let answer = Head { to: mac(2), ..answer }.tcp(SYN | ACK);
        world.expect("past us", BACKENDS, &answer, Verdict::NotOurs, &[]);
    }
}

#[test]
fn a_udp_datagram_without_checksum_stays_so() {
    let [(name, mut world, mut head), _] = worlds();
    head.destination.set_port(53);
    let mut sent = head.udp(b"?");
    sent[40..42].fill(0);
    let out = world.expect(name, CLIENTS, &sent, TO_BACKEND, CREATED);
    assert_eq!(out[34..], sent[34..]);
}

#[test]
fn what_cannot_leave_is_told() {
    for (name, mut world, head) in worlds() {
        let header_len = if head.destination.is_ipv4() { 20 } else { 40 };
        let segment = |more: usize| head.tcp_data(ACK, &vec![7; 1500 - header_len - 20 + more]);
        world.expect(name, CLIENTS, &segment(0), TO_BACKEND, CREATED);
        let too_big = Verdict::Reply(CLIENTS, ReplyKind::TooBig);
        world.expect("a byte too long", CLIENTS, &segment(1), too_big, &[]);
        let late = Head { ttl: 1, ..head }.tcp(ACK);
        let exceeded = Verdict::Reply(CLIENTS, ReplyKind::TimeExceeded);
        world.expect("its last hop", CLIENTS, &late, exceeded, &[]);
    }
}

/// The backend has sent the quoted packet from the VIP: it gets the error marked as all else.
#[test]
fn errors_about_answers_go_to_the_backend() {
    for (name, mut world, head) in worlds() {
        let out = world.expect(name, CLIENTS, &head.tcp(SYN), TO_BACKEND, CREATED);
        let backend = at_backend(head, &out);
        let answer = Head { source: head.destination, destination: head.source, ..head };
        // It went to the client by another way, from where the error comes.
        let answer = Head { from: mac(1), to: mac(0xc1), ..answer }.tcp_data(ACK, &[7; 60]);
        let (router, kind) = match head.source.is_ipv4() {
            true => ("198.51.100.1", (3, 4, 1400)),
            false => ("2001:db8:99::1", (2, 0, 1400)),
        };
        let sent = super::errors::error(router, &answer, answer.len(), kind);
        let out = world.expect(name, CLIENTS, &sent, TO_BACKEND, &[]);
        assert_eq!(out[..6], backend.to.0, "{name}");
        // The same error, if the quoted packet had been sent from the backend's address.
        let mut turned = answer.clone();
        let at = if head.source.is_ipv4() { 26 } else { 22 };
        let octets = match backend.destination.ip() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        turned[at..at + octets.len()].copy_from_slice(&octets);
        let mut wanted = with_class(super::errors::error(router, &turned, 1000, kind), VALUE << 2);
        wanted[..12].copy_from_slice(&out[..12]);
        // A hop further.
        let ttl_at = if head.source.is_ipv4() { 22 } else { 21 };
        wanted[ttl_at] -= 1;
        if head.source.is_ipv4() {
            fix_header(&mut wanted);
        }
        let quote_at = sent.len() - (answer.len() - 14);
        assert_eq!(out[..quote_at - 8], wanted[..quote_at - 8], "{name}: outer header");
        assert_eq!(out[quote_at..], answer[14..], "{name}: the quote is as it was");
        let headers = etherparse::SlicedPacket::from_ethernet(&out).unwrap();
        match headers.transport.unwrap() {
            etherparse::TransportSlice::Icmpv4(icmp) => {
                let sum = icmp.icmp_type().calc_checksum(icmp.payload());
                assert_eq!(icmp.checksum(), sum, "{name}");
            }
            etherparse::TransportSlice::Icmpv6(icmp) => {
                let net = etherparse::Ipv6HeaderSlice::from_slice(&out[14..]).unwrap();
                let is_right = icmp.is_checksum_valid(net.source(), net.destination());
                assert!(is_right, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let unknown = Head { source: head.destination, destination: socket_of(&head, 9), ..head };
        let unknown = Head { from: mac(1), to: mac(0xc1), ..unknown }.tcp(ACK);
        let sent = super::errors::error(router, &unknown, 1000, kind);
        let out = world.expect("without a flow: by Maglev", CLIENTS, &sent, TO_BACKEND, &[]);
        assert_eq!(out[15] >> 4, if head.source.is_ipv4() { 2 } else { 8 }, "{name}: marked");
    }
}

fn socket_of(head: &Head, port: u16) -> std::net::SocketAddr {
    let mut source = head.source;
    source.set_port(port);
    source
}

#[test]
fn fragments_in_any_order() {
    for (name, mut world, mut head) in worlds() {
        head.destination.set_port(53);
        let data = [7; 2000];
        let pieces = cut(&head.udp(&data), 7, 800);
        let turned = [2, 1, 0].map(|at| pieces[at].clone());
        let (told, left) = pass(&mut world, CLIENTS, &turned);
        assert_eq!(told, wanted_of(2, 3), "{name}");
        let wanted = with_class(at_backend(head, &left[0]).udp(&data), VALUE << 2);
        assert_eq!(join(&left), Some(wanted), "{name}");
        assert!(left.iter().all(|frame| identification(frame) == 7), "{name}");
    }
}

/// Another value is another way to the backend: it is for new flows.
#[test]
fn a_flow_keeps_its_value() {
    let [(name, mut world, head), _] = worlds();
    let first = world.expect(name, CLIENTS, &head.tcp(SYN), TO_BACKEND, CREATED);
    world.publish(|parts| {
        marked(parts);
        parts.services[2].mode = Mode::Dscp(11);
    });
    let out = world.expect("goes on", CLIENTS, &head.tcp(ACK), TO_BACKEND, &[]);
    assert_eq!((out[15], &out[..6]), (VALUE << 2, &first[..6]));
    world.publish(|parts| {
        marked(parts);
        parts.backends.iter_mut().skip(3).take(2).for_each(|backend| *backend = None);
        parts.services[2].slots = [].into();
    });
    let reset = Verdict::Reply(CLIENTS, ReplyKind::Reset);
    world.expect("without it", CLIENTS, &head.tcp(ACK), reset, &[("flows_cut", 1)]);
    let none = Verdict::Drop(DropReason::NoService);
    let other = Head { destination: socket("10.1.0.101:81"), ..head };
    world.expect("another port", CLIENTS, &other.tcp(SYN), none, &[]);
}
