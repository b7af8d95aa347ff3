//! Changes in place: MACs, time to live, addresses and ports. Checksums follow by what changed.
//!
//! Every function takes the header part that [`parse`](super::parse()) gave for this very frame.
//! With another frame's it may write nonsense, but never outside the frame.

use std::net::SocketAddrV4;

use super::checksum::Change;
use super::packet::{ETHERNET_LEN, Ipv4Part, Transport};
use super::{FlowKey, MacAddress, Protocol};

const TTL: usize = ETHERNET_LEN + 8;
const HEADER_CHECKSUM: usize = ETHERNET_LEN + 10;
const SOURCE: usize = ETHERNET_LEN + 12;
const DESTINATION: usize = ETHERNET_LEN + 16;

/// Gives the frame its next destination and source MAC.
#[inline]
pub fn set_macs(frame: &mut [u8], destination: MacAddress, source: MacAddress) {
    put(frame, 0, destination.0);
    put(frame, 6, source.0);
}

/// Takes one from the time to live (RFC 1812 section 5.3.1). Zero stays zero: whether there is one
/// left to take is the caller's question.
#[inline]
pub fn decrement_ttl(frame: &mut [u8], ip: &Ipv4Part) {
    let ttl = ip.ttl.saturating_sub(1);
    // Time to live and protocol share a word of the header.
    let word = |ttl| u16::from_be_bytes([ttl, ip.protocol]);
    put(frame, TTL, [ttl]);
    update(frame, HEADER_CHECKSUM, Change::NONE.word(word(ip.ttl), word(ttl)));
}

/// Gives the packet another source, destination, or both; the answer is its new key.
///
/// IPv4 and transport checksums take in what changed (RFC 1624), in one go. A UDP checksum of zero
/// means none was made, and stays; one that comes out as zero is written as all ones (RFC 768).
#[inline]
pub fn translate(
    frame: &mut [u8],
    transport: &Transport,
    source: Option<SocketAddrV4>,
    destination: Option<SocketAddrV4>,
) -> FlowKey {
    let old = transport.key;
    let protocol = old.protocol();
    let new = FlowKey::new(
        protocol,
        source.unwrap_or_else(|| old.source_socket()),
        destination.unwrap_or_else(|| old.destination_socket()),
    );
    // An address that stays adds ~m + m = all ones, which is zero here: no need to ask.
    let addresses = Change::NONE
        .double_word(old.source, new.source)
        .double_word(old.destination, new.destination);
    put(frame, SOURCE, new.source.to_be_bytes());
    put(frame, DESTINATION, new.destination.to_be_bytes());
    update(frame, HEADER_CHECKSUM, addresses);

    let all = addresses
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);
    let start = transport.ip.payload_start();
    put(frame, start, new.source_port.to_be_bytes());
    put(frame, start + 2, new.destination_port.to_be_bytes());
    match protocol {
        Protocol::Tcp => update(frame, start + 16, all),
        Protocol::Udp => update_udp(frame, start + 6, all),
    }
    new
}

#[inline]
fn put<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = place(frame, at) {
        *place = bytes;
    }
}

#[inline]
fn update(frame: &mut [u8], at: usize, change: Change) {
    if let Some(checksum) = place(frame, at) {
        *checksum = change.applied_to(u16::from_be_bytes(*checksum)).to_be_bytes();
    }
}

#[inline]
fn update_udp(frame: &mut [u8], at: usize, change: Change) {
    if let Some(checksum) = place(frame, at).filter(|checksum| **checksum != [0, 0]) {
        *checksum = match change.applied_to(u16::from_be_bytes(*checksum)) {
            0 => [0xff, 0xff],
            sum => sum.to_be_bytes(),
        };
    }
}

#[inline]
fn place<const N: usize>(frame: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    frame.get_mut(at..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests;
