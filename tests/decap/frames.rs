//! Frames by hand, layer by layer, with literal numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const BACKEND: &str = "10.1.0.11";
pub const BACKEND6: &str = "fd00::11";
pub const BALANCER: &str = "10.8.0.1";
pub const BALANCER6: &str = "fd08::1";
pub const VIP: &str = "10.1.0.100";
pub const VIP6: &str = "fd00::100";
pub const CLIENT: &str = "10.9.0.7";
pub const CLIENT6: &str = "fd09::7";

pub const IPIP: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const IPV6: u8 = 41;
pub const GRE: u8 = 47;
pub const GUE_PORT: u16 = 6080;
pub const TYPE4: u16 = 0x0800;
pub const TYPE6: u16 = 0x86dd;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// An Ethernet frame; the addresses are told apart, to be found again behind.
pub fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes(), body].concat()
}

/// The slow obvious checksum (RFC 1071).
pub fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for word in header.chunks(2) {
        sum += u32::from(word[0]) * 256 + word.get(1).map_or(0, |low| u32::from(*low));
        if sum > 0xffff {
            sum = sum - 0x10000 + 1;
        }
    }
    !(sum as u16)
}

/// An IPv4 header and what it carries.
pub struct Ipv4<'a> {
    pub source: &'a str,
    pub destination: &'a str,
    pub protocol: u8,
    pub tos: u8,
    /// Flags and offset as they stand in the packet.
    pub fragment: u16,
    /// Bytes of options, a multiple of 4.
    pub options: usize,
}

impl Ipv4<'_> {
    pub const OUTER: Ipv4<'static> = Ipv4 {
        source: BALANCER,
        destination: BACKEND,
        protocol: IPIP,
        tos: 0,
        fragment: 0,
        options: 0,
    };
    pub const INNER: Ipv4<'static> = Ipv4 {
        source: CLIENT,
        destination: VIP,
        protocol: TCP,
        tos: 0,
        fragment: 0x4000,
        options: 0,
    };

    pub fn around(&self, body: &[u8]) -> Vec<u8> {
        let len = 20 + self.options;
        let mut header = vec![1; len]; // options: a row of no-operations (RFC 791)
        header[0] = 0x40 | (len / 4) as u8;
        header[1] = self.tos;
        header[2..4].copy_from_slice(&((len + body.len()) as u16).to_be_bytes());
        header[4..6].copy_from_slice(&[0x12, 0x34]);
        header[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        header[8] = 64;
        header[9] = self.protocol;
        header[10..12].copy_from_slice(&[0, 0]);
        header[12..16].copy_from_slice(&v4(self.source));
        header[16..20].copy_from_slice(&v4(self.destination));
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header, body].concat()
    }
}

/// An IPv6 header and what it carries.
pub struct Ipv6<'a> {
    pub source: &'a str,
    pub destination: &'a str,
    pub next: u8,
    pub class: u8,
}

impl Ipv6<'_> {
    pub const OUTER: Ipv6<'static> =
        Ipv6 { source: BALANCER6, destination: BACKEND6, next: IPV6, class: 0 };
    pub const INNER: Ipv6<'static> =
        Ipv6 { source: CLIENT6, destination: VIP6, next: TCP, class: 0 };

    pub fn around(&self, body: &[u8]) -> Vec<u8> {
        // The flow label is not 0, so that a class written over it would show.
        let mut header = vec![0x60 | self.class >> 4, self.class << 4 | 0xb, 0xcd, 0xef];
        header.extend_from_slice(&(body.len() as u16).to_be_bytes());
        header.extend_from_slice(&[self.next, 64]);
        header.extend_from_slice(&v6(self.source));
        header.extend_from_slice(&v6(self.destination));
        [&header, body].concat()
    }
}

/// A transport's bytes, whatever they are.
pub fn payload() -> Vec<u8> {
    (0..40).collect()
}

pub fn inner4() -> Vec<u8> {
    Ipv4::INNER.around(&payload())
}

pub fn inner6() -> Vec<u8> {
    Ipv6::INNER.around(&payload())
}

/// In an IPv4 packet of the balancer's, to the backend.
pub fn over4(protocol: u8, body: &[u8]) -> Vec<u8> {
    ethernet(TYPE4, &Ipv4 { protocol, ..Ipv4::OUTER }.around(body))
}

/// In an IPv6 packet of the balancer's, to the backend.
pub fn over6(next: u8, body: &[u8]) -> Vec<u8> {
    ethernet(TYPE6, &Ipv6 { next, ..Ipv6::OUTER }.around(body))
}

/// A UDP datagram without checksum (RFC 768, RFC 6935).
pub fn udp(port: u16, body: &[u8]) -> Vec<u8> {
    let len = (8 + body.len()) as u16;
    [&[0xc0, 1][..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], body].concat()
}

/// GUE version 0: control bit and length in `first`, as many words as that says.
pub fn gue(first: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    let words = vec![0xee; usize::from(first & 31) * 4];
    udp(GUE_PORT, &[&[first, protocol, 0, 0][..], &words, body].concat())
}

/// GRE with the optional fields that `flags` names (RFC 2890).
pub fn gre(flags: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let fields = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
    let words = vec![0xee; fields * 4];
    [&flags.to_be_bytes()[..], &kind.to_be_bytes(), &words, body].concat()
}

/// An IPv6 extension header of `8 + 8 * more` bytes; the fragment header looks the same.
pub fn extension(next: u8, more: u8, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 8 + 8 * usize::from(more)];
    (header[0], header[1]) = (next, more);
    [&header, body].concat()
}

/// The same frame with one byte changed.
pub fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

/// Makes the checksum of an IPv4 header at the frame's beginning right again.
pub fn mend(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}
