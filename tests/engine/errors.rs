//! ICMP errors about packets that went through: to the other side, as if it had sent them there.

use std::net::SocketAddr;

use guideway::dataplane::{DropReason, Verdict};
use guideway::wire::{Body, Content, ParseOutcome, parse, parse_quote, rewrite};

use super::families;
use super::frames::*;
use super::nat::{self, Ends, TO_BACKEND, TO_CLIENT, establish};
use super::world::*;

/// An error from `router` about `sent`, of which it quotes so many bytes of the packet; the frame
/// goes the other way than `sent` did.
pub fn error(router: &str, sent: &[u8], quoted: usize, kind: (u8, u8, u32)) -> Vec<u8> {
    let is_v4 = sent[12] == 8;
    let quote = &sent[14..sent.len().min(14 + quoted)];
    let (macs, rest) = ([&sent[6..12], &sent[..6]].concat(), kind.2.to_be_bytes());
    let ethernet = |macs: &[u8]| {
        etherparse::PacketBuilder::ethernet2(
            macs[6..12].try_into().unwrap(),
            macs[..6].try_into().unwrap(),
        )
    };
    let mut frame = Vec::new();
    let router = router.parse::<std::net::IpAddr>().unwrap();
    match router {
        std::net::IpAddr::V4(router) => {
            let to: [u8; 4] = sent[26..30].try_into().unwrap();
            let builder = ethernet(&macs).ipv4(router.octets(), to, 60);
            builder.icmpv4_raw(kind.0, kind.1, rest).write(&mut frame, quote).unwrap();
        }
        std::net::IpAddr::V6(router) => {
            let to: [u8; 16] = sent[22..38].try_into().unwrap();
            let builder = ethernet(&macs).ipv6(router.octets(), to, 60);
            builder.icmpv6_raw(kind.0, kind.1, rest).write(&mut frame, quote).unwrap();
        }
    }
    assert_eq!(is_v4, router.is_ipv4());
    frame
}

/// What an error says: from whom, to whom, and the ends of the packet it quotes.
fn read(frame: &[u8]) -> (String, String, SocketAddr, SocketAddr) {
    let ParseOutcome::Parsed(packet) = parse(frame) else { panic!("{frame:x?}") };
    let Body::Ip(ip) = packet.body else { panic!("{packet:?}") };
    assert_eq!(ip.content, Content::IcmpError);
    assert!(rewrite::icmp_adds_up(frame, &ip), "ICMP checksum");
    let quote = parse_quote(frame, &ip).unwrap();
    let (from, to) = (quote.key.source_socket(), quote.key.destination_socket());
    (ip.source().to_string(), ip.destination().to_string(), from, to)
}

struct Case {
    name: &'static str,
    world: World,
    ends: Ends,
    router: &'static str,
    vip: &'static str,
    too_big: (u8, u8, u32),
    /// Bytes of the IP header.
    header_len: usize,
}

fn cases() -> [Case; 2] {
    let (mut four, mut six) = (World::new(), families::world());
    let (ends4, ends6) =
        (establish(&mut four, nat::client(60, 4000)), establish(&mut six, families::client(4000)));
    [
        Case {
            name: "IPv4",
            world: four,
            ends: ends4,
            router: "198.51.100.1",
            vip: "10.1.0.100",
            too_big: (3, 4, 1400),
            header_len: 20,
        },
        Case {
            name: "IPv6",
            world: six,
            ends: ends6,
            router: "2001:db8:ffff::1",
            vip: "2001:db8:1::100",
            too_big: (2, 0, 1400),
            header_len: 40,
        },
    ]
}

#[test]
fn about_a_packet_to_the_client_it_goes_to_the_backend() {
    for Case { name, mut world, ends, router, too_big, header_len, .. } in cases() {
        let data = ends.backend.tcp_data(ACK, &[7; 1000]);
        let sent = world.expect(name, BACKENDS, &data, TO_CLIENT, &[]);
        for quoted in [header_len + 8, header_len + 20, 500] {
            let error = error(router, &sent, quoted, too_big);
            let out = world.expect(name, CLIENTS, &error, TO_BACKEND, &[]);
            let (from, to, quoted_from, quoted_to) = read(&out);
            assert_eq!((from.as_str(), to), (router, ends.backend.source.ip().to_string()));
            assert_eq!((quoted_from, quoted_to), (ends.backend.source, ends.backend.destination));
            let message = 14 + header_len;
            assert_eq!(out[message + 4..message + 8], 1400u32.to_be_bytes(), "{name}: the MTU");
            // The quoted headers as the backend sent them, but for the hop we took from it.
            let quote = &out[message + 8..];
            let as_sent = &data[14..14 + quote.len()];
            let differ: Vec<usize> =
                (0..quote.len()).filter(|&at| quote[at] != as_sent[at]).collect();
            let hop_and_sum: &[usize] = if header_len == 20 { &[8, 10, 11] } else { &[7] };
            assert!(differ.iter().all(|at| hop_and_sum.contains(at)), "{name}: {differ:?}");
        }
    }
}

#[test]
fn about_a_packet_to_the_backend_it_goes_to_the_client_from_the_vip() {
    for Case { name, mut world, ends, router, vip, too_big, header_len } in cases() {
        let data = ends.client.tcp_data(ACK, &[7; 1000]);
        let sent = world.expect(name, CLIENTS, &data, TO_BACKEND, &[]);
        let error = error(router, &sent, header_len + 8, too_big);
        let out = world.expect(name, BACKENDS, &error, TO_CLIENT, &[]);
        let (from, to, quoted_from, quoted_to) = read(&out);
        assert_eq!((from.as_str(), to), (vip, ends.client.source.ip().to_string()), "{name}");
        assert_eq!((quoted_from, quoted_to), (ends.client.source, ends.client.destination));
    }
}

/// Under DSR there is nothing to translate, and without an entry Maglev knows the backend.
#[test]
fn direct_server_return_passes_errors_on_as_they_are() {
    let mut world = World::new();
    let head = Head { destination: socket("10.1.0.101:80"), ..nat::client(60, 4000) };
    // As the backend answers the client itself, the error quotes the VIP as sender.
    let answer = Head { source: head.destination, destination: head.source, ..head };
    let sent = Head { from: mac(1), to: mac(0xc1), ..answer }.tcp_data(ACK, &[7; 100]);
    let error = error("198.51.100.1", &sent, 28, (3, 4, 1400));
    let before = world.expect("without an entry", CLIENTS, &error, TO_BACKEND, &[]);
    let syn = world.expect("SYN", CLIENTS, &head.tcp(SYN), TO_BACKEND, nat::CREATED);
    let after = world.expect("with one", CLIENTS, &error, TO_BACKEND, &[]);
    assert_eq!((&before, &after[..6]), (&after, &syn[..6]), "the same backend");
    assert_eq!(after[14..], error[14..]);
}

#[test]
fn hostile_and_unknown_ones_are_dropped() {
    use DropReason::*;
    for Case { name, mut world, ends, router, too_big, header_len, .. } in cases() {
        let sent = world.expect(name, BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
        let good = error(router, &sent, 60, too_big);
        let message = 14 + header_len;
        let mut wrong_sum = good.clone();
        wrong_sum[message + 2] ^= 1;
        let rows = [
            ("wrong checksum", wrong_sum, BadIcmpChecksum),
            ("too short a quote", error(router, &sent, header_len + 7, too_big), BadQuote),
        ];
        for (description, frame, reason) in rows {
            let wanted = Verdict::Drop(reason);
            world.expect(&format!("{name}: {description}"), CLIENTS, &frame, wanted, &[]);
        }
        // Sent to a client whom nobody knows.
        let unknown = Head {
            from: mac(1),
            to: mac(0xc1),
            source: ends.client.destination,
            destination: SocketAddr::new(ends.client.source.ip(), 4999),
            ..ends.client
        };
        let frame = error(router, &unknown.tcp(ACK), 60, too_big);
        world.expect(name, CLIENTS, &frame, Verdict::Drop(NoFlowForError), &[]);
    }
}

#[test]
fn errors_are_limited_as_answers_are() {
    let limit = guideway::dataplane::EngineConfig { max_replies_per_second: 1, ..config() };
    let mut world = World::with(limit, |_| ());
    let ends = establish(&mut world, nat::client(60, 4000));
    let sent = world.expect("data", BACKENDS, &ends.backend.tcp(ACK), TO_CLIENT, &[]);
    let error = error("198.51.100.1", &sent, 28, (3, 4, 1400));
    world.expect("first", CLIENTS, &error, TO_BACKEND, &[]);
    let limited = Verdict::Drop(DropReason::ReplyRateLimited);
    world.expect("second", CLIENTS, &error, limited, &[]);
}
