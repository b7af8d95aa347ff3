//! Frames made from choices: mostly sound ones, so that they get far.

use std::net::{IpAddr, SocketAddr};

use super::network::mac;
use super::steps::Steps;
use super::sums;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What stands around a transport's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub from: u8,
    pub to: u8,
    pub tags: usize,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub hop_limit: u8,
    pub part: Option<Part>,
}

/// Of a fragment: identification, offset in units of eight bytes, and whether more follow.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub identification: u16,
    pub offset: u16,
    pub more: bool,
}

impl Head {
    /// Untagged, from a station to us.
    pub fn new(from: u8, to: u8, source: SocketAddr, destination: SocketAddr) -> Head {
        Head { from, to, tags: 0, source, destination, hop_limit: 64, part: None }
    }

    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// A frame with this payload, which is not looked at.
    pub fn frame(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = [mac(self.to).0, mac(self.from).0].concat();
        (0..self.tags).for_each(|tag| frame.extend([0x81, 0, 0, 10 + tag as u8]));
        frame.extend(if self.is_v6() { [0x86, 0xdd] } else { [8, 0] });
        frame.extend(self.packet(protocol, payload));
        frame
    }

    /// The same without the link header.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ends = [source.octets(), destination.octets()].concat();
                self.ipv4(protocol, payload, &ends)
            }
            (source, destination) => {
                let octets = |ip| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                };
                self.ipv6(protocol, payload, &[octets(source), octets(destination)].concat())
            }
        }
    }

    fn ipv4(&self, protocol: u8, payload: &[u8], ends: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len()) as u16;
        let (id, place) = match self.part {
            None => (0, 0x4000),
            Some(part) => (part.identification, part.offset & 0x1fff | u16::from(part.more) << 13),
        };
        let mut header = vec![0x45, 0];
        [len, id, place].iter().for_each(|word| header.extend(word.to_be_bytes()));
        header.extend([self.hop_limit, protocol, 0, 0]);
        header.extend(ends);
        let sum = sums::checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header, payload].concat()
    }

    fn ipv6(&self, protocol: u8, payload: &[u8], ends: &[u8]) -> Vec<u8> {
        let mut extension = Vec::new();
        if let Some(part) = self.part {
            extension.extend([protocol, 0]);
            extension.extend((part.offset << 3 | u16::from(part.more)).to_be_bytes());
            extension.extend(u32::from(part.identification).to_be_bytes());
        }
        let next = if self.part.is_some() { 44 } else { protocol };
        let len = ((extension.len() + payload.len()) as u16).to_be_bytes();
        let header = [0x60, 0, 0, 0, len[0], len[1], next, self.hop_limit];
        [&header, ends, &extension, payload].concat()
    }

    /// A TCP segment's bytes.
    pub fn segment(&self, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut tcp = self.ports();
        tcp.extend([0, 0, 3, 0xe8, 0, 0, 0, 77, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(data);
        self.summed(TCP, tcp, 16)
    }

    /// A UDP datagram's bytes.
    pub fn datagram(&self, data: &[u8]) -> Vec<u8> {
        let mut udp = self.ports();
        udp.extend((8 + data.len() as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(data);
        self.summed(UDP, udp, 6)
    }

    /// An ICMP or ICMPv6 message's bytes.
    pub fn icmp(&self, kind: u8, code: u8, rest: &[u8]) -> (u8, Vec<u8>) {
        let protocol = if self.is_v6() { 58 } else { 1 };
        let message = [&[kind, code, 0, 0], rest].concat();
        (protocol, self.summed(protocol, message, 2))
    }

    /// A whole frame of TCP, or of UDP.
    pub fn transport(&self, is_tcp: bool, flags: u8, data: &[u8]) -> Vec<u8> {
        match is_tcp {
            true => self.frame(TCP, &self.segment(flags, data)),
            false => self.frame(UDP, &self.datagram(data)),
        }
    }

    fn ports(&self) -> Vec<u8> {
        [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat()
    }

    fn summed(&self, protocol: u8, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
        let packet = Head { part: None, ..*self }.packet(protocol, &[]);
        let pseudo = sums::pseudo_header(&packet, protocol, payload.len());
        let sum = sums::checksum(&[&pseudo, &payload]);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        payload
    }
}

/// An ARP message about an address, to everybody.
pub fn arp(operation: u8, from: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let head = [&[0xff; 6], &mac(from).0[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    [&head[..], &mac(from).0, &sender, &[0; 6], &target, &[0; 18]].concat()
}

/// Changes some bytes, makes an IPv4 header's checksum right again or not, and cuts.
pub fn damage(frame: &mut Vec<u8>, steps: &mut Steps<'_>) {
    let how = steps.byte();
    for _ in 0..how & 3 {
        let (at, bits) = (steps.below(frame.len().max(1)), steps.byte());
        frame.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
    }
    if how & 4 != 0 {
        mend_header(frame);
    }
    if how & 8 != 0 {
        frame.truncate(usize::from(steps.byte()));
    }
    if how & 16 != 0 {
        frame.extend(steps.bytes(4));
    }
}

/// Makes the checksum of an untagged frame's IPv4 header right.
fn mend_header(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..) else { return };
    let len = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    if len >= 20 && len <= packet.len() {
        packet[10..12].fill(0);
        let sum = sums::checksum(&[&packet[..len]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}
