//! ICMP errors about packets of live flows: quoted whole or cut, with other bytes or other ends.

use std::net::SocketAddr;

use super::engine::{World, client};
use super::frames::{self, Head, SYN};
use super::network::{self, BACKENDS, CLIENTS};
use super::steps::Steps;
use super::workers::Sent;

/// Flows that errors may be about: TCP and UDP, translated and not, of both families.
const FLOWS: [u8; 8] = [0, 1, 8, 9, 16, 17, 24, 25];
const STEPS: usize = 100;

/// Opens flows, then sends errors.
pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut world = World::new(1 + steps.below(2));
    for how in FLOWS {
        let head = client(how);
        let frame = head.transport(head.destination.port() != 53, SYN, b"data");
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

/// As a client gets it: from the VIP.
fn to_client(how: u8) -> Head {
    let asked = client(how & 0x3f);
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
    let router = SocketAddr::new(network::address(quoted.is_v6(), 9, how), 0);
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
    let is_dns = |socket: SocketAddr| socket.port() == 53 || matches!(socket.port(), 8082 | 8085);
    is_dns(head.source) || is_dns(head.destination)
}
