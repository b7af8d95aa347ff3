//! Frames made by etherparse: a second judge of every byte the engine writes.

use std::net::{Ipv4Addr, SocketAddr};

use etherparse::PacketBuilder;
use guideway::wire::MacAddress;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// The station of a number: 02:00:00:00:00:xx.
pub const fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What all frames of a test share, changed where it differs.
#[derive(Clone, Copy)]
pub struct Head {
    pub from: MacAddress,
    pub to: MacAddress,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub ttl: u8,
}

impl Head {
    pub fn new(from: u8, to: u8, source: &str, destination: &str) -> Head {
        let (source, destination) = (socket(source), socket(destination));
        Head { from: mac(from), to: mac(to), source, destination, ttl: 64 }
    }

    fn builder(&self) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        let ethernet = PacketBuilder::ethernet2(self.from.0, self.to.0);
        match (self.source, self.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                ethernet.ipv4(source.ip().octets(), destination.ip().octets(), self.ttl)
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                ethernet.ipv6(source.ip().octets(), destination.ip().octets(), self.ttl)
            }
            mixed => panic!("two families: {mixed:?}"),
        }
    }

    pub fn tcp_data(&self, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut tcp = self.builder().tcp(self.source.port(), self.destination.port(), 1000, 8000);
        tcp = if flags & FIN != 0 { tcp.fin() } else { tcp };
        tcp = if flags & SYN != 0 { tcp.syn() } else { tcp };
        tcp = if flags & RST != 0 { tcp.rst() } else { tcp };
        tcp = if flags & ACK != 0 { tcp.ack(77) } else { tcp };
        let mut frame = Vec::new();
        tcp.write(&mut frame, data).unwrap();
        frame
    }

    pub fn tcp(&self, flags: u8) -> Vec<u8> {
        self.tcp_data(flags, &[])
    }

    pub fn udp(&self, data: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let udp = self.builder().udp(self.source.port(), self.destination.port());
        udp.write(&mut frame, data).unwrap();
        frame
    }

    /// An SCTP packet with this verification tag; its checksum is not looked at.
    pub fn sctp(&self, tag: u32, chunks: &[u8]) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()];
        let packet = [&ports.concat()[..], &tag.to_be_bytes(), b"crc.", chunks].concat();
        let mut frame = Vec::new();
        let number = etherparse::IpNumber(132);
        self.builder().write(&mut frame, number, &packet).unwrap();
        frame
    }

    pub fn echo(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        match self.source {
            SocketAddr::V4(_) => {
                self.builder().icmpv4_echo_request(1, 2).write(&mut frame, b"data")
            }
            SocketAddr::V6(_) => {
                self.builder().icmpv6_echo_request(1, 2).write(&mut frame, b"data")
            }
        }
        .unwrap();
        frame
    }

    /// ICMP that is not an echo request.
    pub fn icmp_other(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        match self.source {
            SocketAddr::V4(_) => {
                self.builder().icmpv4_raw(3, 3, [0; 4]).write(&mut frame, &[0; 28])
            }
            SocketAddr::V6(_) => {
                self.builder().icmpv6_raw(1, 4, [0; 4]).write(&mut frame, &[0; 48])
            }
        }
        .unwrap();
        frame
    }

    pub fn protocol(&self, number: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let number = etherparse::IpNumber(number);
        self.builder().write(&mut frame, number, &[0; 30]).unwrap();
        frame
    }
}

/// An ARP message in a frame to everybody.
pub fn arp(operation: u16, from: u8, sender: &str, target: &str) -> Vec<u8> {
    let (from, address) = (mac(from), |text: &str| text.parse::<Ipv4Addr>().unwrap().octets());
    let head = [&[0xff; 6], &from.0[..], &[0x08, 0x06, 0, 1, 8, 0, 6, 4]].concat();
    let body = [&operation.to_be_bytes()[..], &from.0, &address(sender), &[0; 6], &address(target)];
    [&head[..], &body.concat(), &[0; 18]].concat()
}

/// Makes an IPv4 frame a first fragment, its header checksum right again.
pub fn fragment(mut frame: Vec<u8>) -> Vec<u8> {
    (frame[20], frame[21]) = (0x20, 0);
    fix_header(&mut frame);
    frame
}

/// Computes the IPv4 header checksum of a header without options, the slow way.
pub fn fix_header(frame: &mut [u8]) {
    (frame[24], frame[25]) = (0, 0);
    let sum: u32 =
        frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// A part of a whole packet as a fragment of its own: these bytes of its payload, zeros where it has
/// none. The slow way, beside the engine's.
pub fn piece(whole: &[u8], id: u32, bytes: std::ops::Range<usize>, more: bool) -> Vec<u8> {
    let is_v4 = whole[12..14] == [8, 0];
    let header_len = if is_v4 { 34 } else { 54 };
    let (mut frame, payload) = (whole[..header_len].to_vec(), &whole[header_len..]);
    let place = bytes.start as u16 & 0xfff8;
    if is_v4 {
        frame[16..18].copy_from_slice(&(20 + bytes.len() as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&((place / 8) | (u16::from(more) << 13)).to_be_bytes());
        fix_header(&mut frame);
    } else {
        frame[18..20].copy_from_slice(&(8 + bytes.len() as u16).to_be_bytes());
        let next_header = std::mem::replace(&mut frame[20], 44);
        frame.extend([next_header, 0]);
        frame.extend((place | u16::from(more)).to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(bytes.map(|at| payload.get(at).copied().unwrap_or(0)));
    frame
}

/// A whole packet in fragments of at most `len` bytes of payload.
pub fn cut(whole: &[u8], id: u32, len: usize) -> Vec<Vec<u8>> {
    let payload_len = whole.len() - if whole[12..14] == [8, 0] { 34 } else { 54 };
    let starts = (0..payload_len).step_by(len);
    let ends = starts.clone().map(|start| (start + len).min(payload_len));
    starts.zip(ends).map(|(start, end)| piece(whole, id, start..end, end < payload_len)).collect()
}

/// The identification of a fragment.
pub fn identification(fragment: &[u8]) -> u32 {
    match fragment[12..14] == [8, 0] {
        true => u32::from(u16::from_be_bytes([fragment[18], fragment[19]])),
        false => u32::from_be_bytes(*fragment[58..].first_chunk().unwrap()),
    }
}

/// What a receiver makes of fragments in any order; none when a byte is missing. All headers but what
/// tells fragments apart have to be the same. Whole, an IPv4 packet is not to be fragmented, as
/// [`Head`] makes them.
pub fn join(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut parts: Vec<_> = fragments
        .iter()
        .map(|frame| match frame[12..14] == [8, 0] {
            true => {
                let place = u16::from_be_bytes([frame[20], frame[21]]);
                (place << 3, place & 0x2000 != 0, &frame[..34], &frame[34..])
            }
            false => {
                let place = u16::from_be_bytes([frame[56], frame[57]]);
                assert_eq!(frame[20], 44, "{frame:x?}");
                (place & 0xfff8, place & 1 != 0, &frame[..62], &frame[62..])
            }
        })
        .collect();
    parts.sort_by_key(|&(start, ..)| start);
    let mut payload = Vec::new();
    for (at, &(start, more, head, bytes)) in parts.iter().enumerate() {
        if usize::from(start) != payload.len() || more != (at + 1 < parts.len()) {
            return None;
        }
        // But lengths, places and checksum.
        let same = |head: &[u8]| match head.len() {
            34 => [&head[..16], &head[18..20], &head[22..24], &head[26..]].concat(),
            _ => [&head[..18], &head[20..56], &head[58..]].concat(),
        };
        assert_eq!(same(head), same(parts[0].2));
        payload.extend_from_slice(bytes);
    }
    let mut whole = parts.first()?.2.to_vec();
    match whole.len() {
        34 => {
            whole[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            whole[18..22].copy_from_slice(&[0, 0, 0x40, 0]);
            fix_header(&mut whole);
        }
        _ => {
            whole[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            whole[20] = whole[54];
            whole.truncate(54);
        }
    }
    whole.extend(payload);
    Some(whole)
}
