//! Datagrams and segments in pieces: in any order, again, overlapping, some of them lost.

use std::collections::BTreeMap;

use guideway::dataplane::Verdict;

use crate::wire::{Body, Content, IpPacket, ParseOutcome, parse};

use super::engine::{World, client, client_of_more};
use super::frames::{self, ACK, Head, Part, SYN};
use super::network::{self, BACKENDS, CLIENTS};
use super::steps::Steps;
use super::sums;
use super::workers::{Passed, Sent};

const STEPS: usize = 60;
/// Bytes in a piece, and in one that its sender chose small.
const PIECE: usize = 64;
const SMALL: usize = 8;

/// Sends packets in pieces.
pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut world = World::new(1 + steps.below(3));
    for number in 0..STEPS {
        if steps.is_over() {
            break;
        }
        let what = steps.byte();
        match what & 7 {
            6 => world.workers.wait(u64::from(steps.word())),
            7 => world.workers.publish(steps.word()),
            _ => in_pieces(&mut world, what, number as u16, &mut steps),
        }
    }
    world.workers.end();
}

/// One packet from a client or a backend, in pieces.
fn in_pieces(world: &mut World, what: u8, number: u16, steps: &mut Steps<'_>) {
    let how = steps.byte();
    let is_from_backend = what & 4 != 0;
    let head = match (is_from_backend, what & 8 != 0) {
        (true, _) => world.backend(how),
        (false, false) => client(how),
        (false, true) => client_of_more(how),
    };
    let is_tcp = ![head.source, head.destination].iter().any(|end| network::is_udp(end.port()));
    let shape = steps.byte();
    let data = vec![what; usize::from(shape >> 3) * 16];
    let (protocol, payload) = match is_tcp {
        true => (6, head.segment(if shape & 4 != 0 { SYN } else { ACK }, &data)),
        false => (17, head.datagram(&data)),
    };
    let size = if shape & 1 != 0 { SMALL } else { PIECE };
    // An identification may come again while the first packet with it is under way.
    let identification = if shape & 2 != 0 { number } else { 7 };
    let pieces = pieces(&head, protocol, &payload, size, identification);
    let port = if is_from_backend { BACKENDS } else { CLIENTS };
    let mut whole = Whole::default();
    for _ in 0..pieces.len() + 2 {
        let which = steps.byte();
        let mut frame = pieces[usize::from(which) % pieces.len()].clone();
        let is_damaged = which & 0xe0 == 0xe0;
        if is_damaged {
            frames::damage(&mut frame, steps);
        }
        let at = usize::from(which >> 5);
        let passed = world.send(at, &[Sent { port, frame, headroom: 256 }]);
        whole.is_spoilt |= is_damaged;
        passed.iter().for_each(|passed| whole.add(passed));
    }
    // With an identification of its own, nothing that came before is taken for a piece of it.
    if shape & 2 != 0 {
        whole.check(payload.len());
    }
}

/// The pieces, the first one first.
fn pieces(head: &Head, protocol: u8, payload: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let piece = |(number, bytes): (usize, &[u8])| {
        let offset = number * size / 8;
        let more = number * size + bytes.len() < payload.len();
        let part = Part { identification: id, offset: offset as u16, more };
        Head { part: Some(part), ..*head }.frame(protocol, bytes)
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

/// What was forwarded of a packet: by identification, since a piece that comes again once the packet
/// is complete begins another one, and by offset.
#[derive(Default)]
struct Whole {
    pieces: BTreeMap<u32, BTreeMap<usize, Vec<u8>>>,
    last: Option<(Vec<u8>, IpPacket)>,
    is_spoilt: bool,
}

impl Whole {
    fn add(&mut self, passed: &Passed) {
        let Verdict::Forward(_) = passed.verdict else { return };
        let ParseOutcome::Parsed(packet) = parse(&passed.out) else { return };
        let Body::Ip(ip) = packet.body else { return };
        let Content::Fragment(fragment) = ip.content else { return };
        let bytes = passed.out[ip.payload_start()..usize::from(ip.end)].to_vec();
        let pieces = self.pieces.entry(fragment.identification).or_default();
        pieces.insert(usize::from(fragment.offset), bytes);
        self.last = Some((passed.out.clone(), ip));
    }

    /// Once all of it was forwarded, the receiver must find its checksum right.
    fn check(&self, len: usize) {
        let Some((frame, ip)) = self.last.as_ref().filter(|_| !self.is_spoilt) else { return };
        let pseudo = sums::pseudo_header(&frame[ip.start()..], ip.key.protocol as u8, len);
        for pieces in self.pieces.values() {
            let ends = pieces.iter().map(|(at, bytes)| at + bytes.len());
            let starts = pieces.keys().copied().skip(1).chain([len]);
            if !pieces.contains_key(&0) || !ends.eq(starts) {
                continue;
            }
            let payload: Vec<u8> = pieces.values().flatten().copied().collect();
            let sum = sums::remainder(&[&pseudo, &payload]);
            assert_eq!(sum, 0, "checksum of a packet in pieces");
        }
    }
}
