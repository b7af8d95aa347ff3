//! Answers: the frame in the view is turned into the reply to its sender.
//!
//! Each function takes what [`parse`](super::parse()) gave for this very frame, before anything in
//! it was changed. Each says whether the view holds an answer; when it does not, the frame is not
//! to be sent. Nobody is answered whose MAC or address may be more than one host (RFC 1122 section
//! 3.2.2): an answer must not be made to multiply.

mod arp;
mod icmp;
mod tcp;

pub use arp::{arp_reply, gratuitous_arp};
pub use icmp::{echo_reply, icmp_port_unreachable};
pub use tcp::tcp_reset;

use std::net::Ipv4Addr;

use super::packet::{ETHERNET_LEN, IPV4_LEN, Ipv4Part};
use super::{FrameView, MacAddress, checksum};

/// Least length of an Ethernet frame without its check sequence (IEEE 802.3).
pub const LEAST_FRAME_LEN: usize = 60;

/// Ours are first-hand packets: the default of RFC 1700.
const TTL: u8 = 64;

/// Don't fragment. Packets that carry it need no identification (RFC 6864 section 4).
const DONT_FRAGMENT: u16 = 0x4000;

/// The header fields that differ from answer to answer.
struct Header {
    service: u8,
    identification: u16,
    fragmenting: u16,
    protocol: u8,
    payload_len: usize,
}

/// Swaps the MACs and writes an IPv4 header without options from `asked`'s destination to its
/// source. The payload has to stand behind it. `false`, and nothing done, when the frame is too
/// short. Whether the sender may be answered is [`may_answer`]'s question.
fn turn_round(frame: &mut [u8], asked: &Ipv4Part, header: &Header) -> bool {
    let Ok(total_len) = u16::try_from(IPV4_LEN + header.payload_len) else { return false };
    let Some(place) = frame.first_chunk_mut::<{ ETHERNET_LEN + IPV4_LEN }>() else { return false };
    let (ethernet, ipv4) = place.split_at_mut(ETHERNET_LEN);

    ethernet[..12].rotate_left(6);

    ipv4[0] = 0x45;
    ipv4[1] = header.service;
    ipv4[2..4].copy_from_slice(&total_len.to_be_bytes());
    ipv4[4..6].copy_from_slice(&header.identification.to_be_bytes());
    ipv4[6..8].copy_from_slice(&header.fragmenting.to_be_bytes());
    ipv4[8] = TTL;
    ipv4[9] = header.protocol;
    ipv4[10..12].fill(0);
    ipv4[12..16].copy_from_slice(&asked.destination.octets());
    ipv4[16..20].copy_from_slice(&asked.source.octets());
    let sum = !checksum::fold(checksum::sum(ipv4));
    ipv4[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// May this packet be answered at all: one sender, and to us alone?
fn may_answer(frame: &[u8], asked: &Ipv4Part) -> bool {
    let Some([a, b, c, d, e, g, h, i, j, k, l, m]) = frame.first_chunk::<12>().copied() else {
        return false;
    };
    let destination = MacAddress([a, b, c, d, e, g]);
    let source = MacAddress([h, i, j, k, l, m]);
    destination.is_station()
        && source.is_station()
        && is_one_host(asked.source)
        && is_one_host(asked.destination)
        && frame.len() >= ETHERNET_LEN + asked.total_len
}

/// Not the unspecified, loopback, multicast, reserved or broadcast address (RFC 1122 section
/// 3.2.1.3).
fn is_one_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !matches!(first, 0 | 127 | 224..)
}

/// Gives the answer its length, padded with zeros (RFC 894) so that nothing of other frames that
/// stood in this memory gets out.
fn finish(view: &mut FrameView<'_>, len: usize) -> bool {
    let done = view.set_len(len.max(LEAST_FRAME_LEN)) || view.set_len(len);
    if let Some(padding) = view.bytes_mut().get_mut(len..) {
        padding.fill(0);
    }
    done
}

#[cfg(test)]
mod tests;
