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
