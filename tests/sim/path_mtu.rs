//! What a host's stack does about a path that is narrower than its link (RFC 1191, RFC 8201), which
//! smoltcp leaves out: it believes an error about a packet that it has sent, and sends no longer ones.
//! Segments become shorter in the stack itself; datagrams leave in fragments (`parts.rs`).

use std::collections::VecDeque;

use smoltcp::wire::{EthernetFrame, IpAddress, IpProtocol};

use super::envelope::{self, Outside};
use super::router::packet_len;
use super::sound::is_sound;

/// Packets that are remembered: errors come soon, or not at all.
const REMEMBERED: usize = 512;
/// Of a packet's payload that much is remembered, and has to be as it was sent where it is quoted.
const BEGINNING: usize = 128;
/// As Linux: an error that tells less is not believed.
const LEAST: usize = 552;

/// A packet that was sent.
struct Sent {
    source: IpAddress,
    destination: IpAddress,
    beginning: Vec<u8>,
}

/// What a host knows of its paths: one number for all.
pub struct PathMtu {
    pub bytes: usize,
    sent: VecDeque<Sent>,
}

/// What an error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The MTU is news.
    Lower,
    Known,
    /// It quotes what was never sent: whoever made it has changed something that it must not.
    Strange,
}

impl PathMtu {
    pub fn new(bytes: usize) -> PathMtu {
        PathMtu { bytes, sent: VecDeque::new() }
    }

    /// Is the packet in a frame too long for the path?
    pub fn is_too_long(&self, frame: &[u8]) -> bool {
        packet_len(frame).is_some_and(|len| len > self.bytes)
    }

    /// The host sends this frame.
    pub fn sends(&mut self, frame: &[u8]) {
        let Some(ip) = ip_of(frame) else { return };
        if !matches!(ip.protocol, IpProtocol::Tcp | IpProtocol::Udp) {
            return;
        }
        let beginning = ip.payload[..ip.payload.len().min(BEGINNING)].to_vec();
        self.sent.push_back(Sent { source: ip.source, destination: ip.destination, beginning });
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
    }

    /// A frame that came in: what it says, if it is an error that tells of a narrow path.
    pub fn hears(&mut self, frame: &[u8]) -> Option<Told> {
        let (mtu, quote) = too_big(frame)?;
        if !is_sound(frame) {
            return None;
        }
        if !self.sent.iter().any(|sent| is_quoted(sent, quote)) {
            return Some(Told::Strange);
        }
        let is_news = mtu < self.bytes;
        self.bytes = self.bytes.min(mtu.max(LEAST));
        Some(if is_news { Told::Lower } else { Told::Known })
    }
}

fn ip_of(frame: &[u8]) -> Option<Outside<'_>> {
    envelope::outside(EthernetFrame::new_checked(frame).ok()?.payload())
}

/// Of an ICMP error "fragmentation needed" or "packet too big": the MTU, and what it quotes.
fn too_big(frame: &[u8]) -> Option<(usize, &[u8])> {
    let ip = ip_of(frame)?;
    let (head, quote) = ip.payload.split_first_chunk::<8>()?;
    let told = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    match (ip.protocol, head[0], head[1]) {
        (IpProtocol::Icmp, 3, 4) => Some((told & 0xffff, quote)),
        (IpProtocol::Icmpv6, 2, 0) => Some((told, quote)),
        _ => None,
    }
}

/// Is this the beginning of the packet, as the host sent it? On its way its hop limit went down, and
/// nothing else.
fn is_quoted(sent: &Sent, quote: &[u8]) -> bool {
    let (header_len, at, len) = match quote.first().map(|first| first >> 4) {
        Some(4) => (20, 12, 4),
        Some(6) => (40, 8, 16),
        _ => return false,
    };
    let Some((header, payload)) = quote.split_at_checked(header_len) else { return false };
    let is = |address: IpAddress, at: usize| match address {
        IpAddress::Ipv4(address) => header[at..at + len] == address.octets(),
        IpAddress::Ipv6(address) => header[at..at + len] == address.octets(),
    };
    let compared = payload.len().min(sent.beginning.len());
    compared >= 8
        && is(sent.source, at)
        && is(sent.destination, at + len)
        && payload[..compared] == sent.beginning[..compared]
}
