//! Frames, ticks, new snapshots and restarts, in any order.

use std::net::SocketAddr;

use guideway::dataplane::Verdict;

use crate::wire::{Body, FlowKey, ParseOutcome, parse};

use super::envelope;
use super::frames::{self, ACK, Head, Part, SYN};
use super::network::{self, BACKENDS, CLIENTS};
use super::steps::Steps;
use super::workers::{Passed, Sent, Workers};

/// Frames in a batch at most.
const BATCH: usize = 8;
/// Forwarded packets that are remembered, to be answered by backends or quoted.
const REMEMBERED: usize = 20;
/// Steps of an input at most, so that none takes long.
const STEPS: usize = 200;

/// Runs the steps.
pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut world = World::new(1 + steps.below(3));
    for _ in 0..STEPS {
        if steps.is_over() {
            break;
        }
        world.step(&mut steps);
    }
    world.flush();
    world.workers.end();
}

pub struct World {
    pub workers: Workers,
    /// The batch that is being put together, and whose it is.
    batch: Vec<Sent>,
    at: usize,
    /// What was forwarded to backends last, as it left.
    seen: Vec<FlowKey>,
    /// Packets that left in envelopes last, with these.
    pub enveloped: Vec<Vec<u8>>,
}

impl World {
    pub fn new(workers: usize) -> World {
        World {
            workers: Workers::new(workers),
            batch: vec![],
            at: 0,
            seen: vec![],
            enveloped: vec![],
        }
    }

    fn step(&mut self, steps: &mut Steps<'_>) {
        let what = steps.byte();
        match what & 15 {
            10 => {
                self.flush();
                self.workers.wait(u64::from(steps.word()));
            }
            11 => {
                self.flush();
                self.workers.publish(steps.word());
            }
            12 => {
                self.flush();
                self.workers.restart(1 + steps.below(3));
            }
            13 => {
                self.flush();
                self.workers.recover(usize::from(what >> 4) % self.workers.count());
            }
            14 => {
                self.flush();
                self.import_strange(steps);
            }
            _ => {
                let frame = self.frame(what & 15, steps);
                let is_from_backend = matches!(what & 15, 4..=6);
                let port = if is_from_backend { BACKENDS } else { CLIENTS };
                let headroom = if what & 0x40 != 0 { 4 } else { 256 };
                self.batch.push(Sent { port, frame, headroom });
                if what & 0x80 == 0 || self.batch.len() == BATCH {
                    self.at = usize::from(what >> 4 & 3);
                    self.flush();
                }
            }
        }
    }

    /// The batch that was put together goes to a worker.
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.send(self.at, &batch);
    }

    /// A batch to a worker, or to one there is. What goes to backends is remembered.
    pub fn send(&mut self, at: usize, batch: &[Sent]) -> Vec<Passed> {
        let all = self.workers.receive(at % self.workers.count(), batch);
        for passed in &all {
            let to_backend = passed.verdict == Verdict::Forward(BACKENDS) && passed.port == CLIENTS;
            if to_backend && envelope::is_one(&self.workers.snapshot, &passed.out) {
                self.enveloped.push(passed.out.clone());
            } else if let (true, Some(key)) = (to_backend, key_of(&passed.out)) {
                self.seen.push(key);
            }
        }
        let old = self.seen.len().saturating_sub(REMEMBERED);
        self.seen.drain(..old);
        let old = self.enveloped.len().saturating_sub(REMEMBERED);
        self.enveloped.drain(..old);
        all
    }

    /// One frame: by default, TCP or UDP of one of few clients.
    fn frame(&mut self, kind: u8, steps: &mut Steps<'_>) -> Vec<u8> {
        let how = steps.byte();
        let head = match kind {
            4..=6 => self.backend(how),
            15 => client_of_more(how),
            _ => client(how),
        };
        let flags = steps.byte();
        let mut frame = match kind {
            7 => return steps.bytes(usize::from(how)).to_vec(),
            8 => question(&head, flags),
            9 => head.frame(flags, steps.bytes(24)),
            _ => transport(head, flags, steps),
        };
        if flags & 0x80 != 0 {
            frames::damage(&mut frame, steps);
        }
        frame
    }

    /// A backend's answer to what it was sent, or to nothing.
    pub fn backend(&self, how: u8) -> Head {
        let is_v6 = how & 1 != 0;
        let number = usize::from(how >> 1);
        match self.seen.get(number % REMEMBERED) {
            Some(key) => Head::new(0xb0, 2, key.destination_socket(), key.source_socket()),
            None => {
                let snat = SocketAddr::new(network::snat(is_v6), 1024 + u16::from(how));
                Head::new(0xb0, 2, network::answers_from(is_v6, number), snat)
            }
        }
    }

    /// Flows of another process, which may have gone mad.
    fn import_strange(&mut self, steps: &mut Steps<'_>) {
        let mut entries = self.workers.entries();
        let how = steps.byte();
        for entry in &mut entries {
            match how & 7 {
                0 => entry.key.source_port ^= steps.word(),
                1 => entry.backend = u32::from(steps.word()),
                2 => entry.state = steps.byte(),
                3 => entry.flags = steps.word(),
                4 => entry.snat_port ^= steps.word(),
                5 => entry.version ^= u16::from(steps.byte()),
                6 => entry.last_seen_ms ^= u32::from(steps.word()) << 16,
                _ => std::mem::swap(&mut entry.snat_address, &mut entry.backend_address),
            }
            if how & 8 != 0 {
                entry.key.source_port ^= steps.word();
            }
        }
        self.workers.import(&entries);
    }
}

/// One of four clients to one of few services.
pub fn client(how: u8) -> Head {
    client_of(how, 0)
}

/// The same to the other services.
pub fn client_of_more(how: u8) -> Head {
    client_of(how, network::MORE)
}

fn client_of(how: u8, first: usize) -> Head {
    let is_v6 = how & 1 != 0;
    let (number, service) = (how >> 1 & 3, first + usize::from(how >> 3 & 7));
    // Three of them are behind the station of the first.
    let address = network::address(is_v6, 1, if number == 3 { 61 } else { 60 });
    let source = SocketAddr::new(address, 4000 + u16::from(number));
    // Untagged in two of four cases; in one of them past the service's first port.
    let (tags, past) = if how >> 6 == 3 { (0, 1 + number % 3) } else { (how >> 6, 0) };
    let mut head = Head::new(0xc0, 1, source, network::vip(is_v6, service, past.into()));
    head.tags = tags.into();
    head
}

/// A segment or datagram, now and then a part of one, or of strange size or hop limit.
fn transport(mut head: Head, flags: u8, steps: &mut Steps<'_>) -> Vec<u8> {
    let is_tcp = ![head.source, head.destination].iter().any(|end| network::is_udp(end.port()));
    let mut len = 5;
    if flags & 0x40 != 0 {
        let odd = steps.byte();
        match odd & 3 {
            0 => head.hop_limit = odd >> 6,
            1 => len = usize::from(odd >> 2) * 32,
            2 => {
                head.part = Some(Part {
                    identification: 1,
                    offset: u16::from(odd >> 3),
                    more: odd & 4 != 0,
                })
            }
            _ => head.to = [0, 1, 2, 0xff][usize::from(odd >> 6)],
        }
    }
    let flags = match flags & 0x3f {
        0 => SYN,
        1 => ACK,
        2 => SYN | ACK,
        other => other,
    };
    head.transport(is_tcp, flags, &[flags; 2048][..len.min(1480)])
}

/// ARP, a neighbour solicitation or a ping.
fn question(head: &Head, how: u8) -> Vec<u8> {
    let target = network::address(head.is_v6(), 1, [100, 10, 1, 101][usize::from(how & 3)]);
    match (head.source.ip(), target) {
        (std::net::IpAddr::V4(sender), std::net::IpAddr::V4(target)) if how & 4 == 0 => {
            frames::arp(1 + (how >> 3 & 1), head.from, sender.octets(), target.octets())
        }
        (_, std::net::IpAddr::V6(target)) if how & 4 == 0 => {
            let body =
                [&[0; 4][..], &target.octets(), &[1, 1], &network::mac(head.from).0].concat();
            let head = Head { hop_limit: 255 - (how >> 3 & 1), ..*head };
            let (protocol, message) = head.icmp(135, 0, &body);
            head.frame(protocol, &message)
        }
        _ => {
            let kind = if head.is_v6() { 128 } else { 8 };
            let (protocol, message) = head.icmp(kind, 0, &[0, 1, 0, 2, how, how]);
            head.frame(protocol, &message)
        }
    }
}

fn key_of(frame: &[u8]) -> Option<FlowKey> {
    let ParseOutcome::Parsed(packet) = parse(frame) else { return None };
    match packet.body {
        Body::Ip(ip) if ip.is_transport() => Some(ip.key),
        _ => None,
    }
}
