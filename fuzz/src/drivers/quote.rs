//! ICMP errors about packets of live flows: quoted whole or cut, with other bytes or other ends.

use std::net::SocketAddr;

use super::engine::{World, client, client_of_more};
use super::envelope;
use super::frames::{self, Head, SYN};
use super::network::{self, BACKENDS, CLIENTS};
use super::steps::Steps;
use super::workers::Sent;

/// Flows that errors may be about: TCP and UDP, translated, in envelopes and neither, of both families.
const FLOWS: [u8; 16] = [0, 1, 8, 9, 16, 17, 24, 25, 40, 41, 42, 43, 48, 49, 56, 57];
/// The same of the other services: by DSCP, of several ports and of all, of few flows.
const MORE_FLOWS: [u8; 9] = [0, 1, 8, 16, 17, 25, 32, 41, 48];
const STEPS: usize = 100;

/// Opens flows, then sends errors.
pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut world = World::new(1 + steps.below(2));
    let more = MORE_FLOWS.map(client_of_more);
    for head in FLOWS.map(client).into_iter().chain(more) {
        let is_tcp = !network::is_udp(head.destination.port());
        let frame = head.transport(is_tcp, SYN, b"data");
        world.send(0, &[Sent { port: CLIENTS, frame, headroom: 256 }]);
    }
    for _ in 0..STEPS {
        if steps.is_over() {
            break;
        }
        // Answers are limited by time, and errors are answers.
        world.workers.wait(100);
        let sent = error(&world, &mut steps);
        world.send(steps.below(2), &[sent]);
    }
    world.workers.end();
}

/// An error about a packet that was sent to a client or to a backend.
fn error(world: &World, steps: &mut Steps<'_>) -> Sent {
    let how = steps.byte();
    let is_of_backend = how & 0x80 != 0;
    if how & 0xc0 == 0xc0
        && let Some(sent) = about_envelope(world, how, steps)
    {
        return sent;
    }
    let quoted = match is_of_backend {
        true => to_backend(world, how),
        false => to_client(how),
    };
    let (head, quote) = outside(&quoted, steps);
    let (kind, code) = (steps.byte(), steps.byte());
    let kind = match (quoted.is_v6(), kind & 15) {
        (false, 0..8) => 3,
        (false, 8..11) => 11,
        (false, 11) => 12,
        (true, 0..8) => 1 + (kind & 3),
        _ => kind,
    };
    let body = [&[0, 0, 5, 0][..], &quote].concat();
    let (protocol, message) = head.icmp(kind, code & 15, &body);
    let mut frame = head.frame(protocol, &message);
    if code & 0x80 != 0 {
        frames::damage(&mut frame, steps);
    }
    let port = if is_of_backend { BACKENDS } else { CLIENTS };
    Sent { port, frame, headroom: 256 }
}

/// About a packet that left in an envelope, from a router to its outer source.
fn about_envelope(world: &World, how: u8, steps: &mut Steps<'_>) -> Option<Sent> {
    let count = world.enveloped.len().max(1);
    let mut quote = envelope::outside(world.enveloped.get(usize::from(how & 7) % count)?)?.to_vec();
    let source = envelope::source(&quote)?;
    let (what, mtu, cut) = (steps.byte(), steps.word(), steps.byte());
    if what & 1 != 0 {
        quote.truncate(usize::from(cut));
    }
    if what & 2 != 0 {
        let (at, bits) = (steps.below(quote.len().max(1)), steps.byte());
        quote.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
    }
    let router = SocketAddr::new(network::address(source.is_ipv6(), 8, cut), 0);
    let head = Head::new(0xb0, 2, router, SocketAddr::new(source, 0));
    let (kind, code) = match (source.is_ipv6(), what >> 2 & 3) {
        (false, 0 | 1) => (3, 4),
        (true, 0 | 1) => (2, 0),
        (false, _) => (11, 0),
        (true, _) => (1, what >> 4),
    };
    let [high, low] = (1000 + mtu % 600).to_be_bytes();
    let (protocol, message) = head.icmp(kind, code, &[&[0, 0, high, low][..], &quote].concat());
    Some(Sent { port: BACKENDS, frame: head.frame(protocol, &message), headroom: 256 })
}

/// As a client gets it: from the VIP.
fn to_client(how: u8) -> Head {
    let asked = if how & 0x40 == 0 { client(how & 0x3f) } else { client_of_more(how & 0x3f) };
    Head::new(1, 0xc0, asked.destination, asked.source)
}

/// As a backend gets it: from the SNAT address.
fn to_backend(world: &World, how: u8) -> Head {
    let answer = world.backend(how & 0x3f);
    Head::new(2, 0xb0, answer.destination, answer.source)
}

/// What stands around the quote, and the quote: mostly the quoted packet's receiver, or a router,
/// tells its sender.
fn outside(quoted: &Head, steps: &mut Steps<'_>) -> (Head, Vec<u8>) {
    let how = steps.byte();
    let router = SocketAddr::new(network::address(quoted.is_v6(), 8, how), 0);
    let teller = if how & 1 == 0 { quoted.destination } else { router };
    let mut head = Head::new(quoted.to, quoted.from, teller, quoted.source);
    head.tags = usize::from(how >> 1 & 1);
    let is_tcp = !is_udp(quoted);
    let mut inner = *quoted;
    inner.hop_limit = how;
    let whole = match is_tcp {
        true => inner.packet(6, &inner.segment(how, b"what was sent")),
        false => inner.packet(17, &inner.datagram(b"what was sent")),
    };
    let mut quote = whole;
    if how & 4 != 0 {
        quote.truncate(usize::from(steps.byte()));
    }
    if how & 8 != 0 {
        let (at, bits) = (steps.below(quote.len().max(1)), steps.byte());
        quote.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
    }
    if how & 16 != 0 {
        quote.extend(steps.bytes(8));
    }
    (head, quote)
}

fn is_udp(head: &Head) -> bool {
    network::is_udp(head.source.port()) || network::is_udp(head.destination.port())
}
