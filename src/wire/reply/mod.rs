//! Answers: the frame in the view is turned into the reply to its sender.
//!
//! Each function takes what [`parse`](super::parse()) gave for this very frame, before anything in
//! it was changed. Each says whether the view holds an answer; when it does not, the frame is not
//! to be sent. Nobody is answered whose MAC or address may be more than one host (RFC 1122 section
//! 3.2.2, RFC 4443 section 2.4): an answer must not be made to multiply.

mod arp;
mod icmp;
mod ndp;
mod tcp;

pub use arp::{arp_reply, gratuitous_arp};
pub use icmp::{IcmpError, echo_reply, icmp_error};
pub use ndp::{neighbour_advertisement, unsolicited_advertisement};
pub use tcp::tcp_reset;

use super::packet::{IPV4_LEN, IPV6_LEN, IpPacket};
use super::{Address, Family, FrameView, MacAddress, checksum};

/// Least length of an Ethernet frame without its check sequence (IEEE 802.3).
pub const LEAST_FRAME_LEN: usize = 60;

/// Ours are first-hand packets: the default of RFC 1700.
const HOP_LIMIT: u8 = 64;

/// Don't fragment. Packets that carry it need no identification (RFC 6864 section 4).
const DONT_FRAGMENT: u16 = 0x4000;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The header fields that differ from answer to answer.
struct Header {
    source: Address,
    destination: Address,
    traffic_class: u8,
    hop_limit: u8,
    /// IPv4 only, with the flags.
    identification: u16,
    fragmenting: u16,
    protocol: u8,
    payload_len: usize,
}

impl Header {
    /// Back to the sender of `asked`, from whom it asked.
    fn back(asked: &IpPacket, protocol: u8, payload_len: usize) -> Header {
        Header {
            source: asked.destination(),
            destination: asked.source(),
            traffic_class: 0,
            hop_limit: HOP_LIMIT,
            identification: 0,
            fragmenting: DONT_FRAGMENT,
            protocol,
            payload_len,
        }
    }

    /// Writes an IP header without options into the first bytes of `place`; `false`, and nothing
    /// done, when it or the packet is too large.
    fn emit(&self, place: &mut [u8]) -> bool {
        match self.source.family() {
            Family::Ipv4 => self.emit_ipv4(place),
            Family::Ipv6 => self.emit_ipv6(place),
        }
    }

    /// RFC 791 section 3.1.
    fn emit_ipv4(&self, place: &mut [u8]) -> bool {
        let Ok(total_len) = u16::try_from(IPV4_LEN + self.payload_len) else { return false };
        let Some(header) = place.first_chunk_mut::<IPV4_LEN>() else { return false };
        header[0] = 0x45;
        header[1] = self.traffic_class;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[4..6].copy_from_slice(&self.identification.to_be_bytes());
        header[6..8].copy_from_slice(&self.fragmenting.to_be_bytes());
        header[8] = self.hop_limit;
        header[9] = self.protocol;
        header[10..12].fill(0);
        header[12..16].copy_from_slice(&self.source.low_bits().to_be_bytes());
        header[16..20].copy_from_slice(&self.destination.low_bits().to_be_bytes());
        let sum = !checksum::fold(checksum::sum(header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        true
    }

    /// RFC 8200 section 3.
    fn emit_ipv6(&self, place: &mut [u8]) -> bool {
        let Ok(payload_len) = u16::try_from(self.payload_len) else { return false };
        let Some(header) = place.first_chunk_mut::<IPV6_LEN>() else { return false };
        let first = 6 << 28 | u32::from(self.traffic_class) << 20;
        header[0..4].copy_from_slice(&first.to_be_bytes());
        header[4..6].copy_from_slice(&payload_len.to_be_bytes());
        header[6] = self.protocol;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.source.octets());
        header[24..40].copy_from_slice(&self.destination.octets());
        true
    }

    /// The checksum of a payload that includes the pseudo header and whose own field is zero.
    fn payload_checksum(&self, payload: &[u8]) -> u16 {
        let pseudo = checksum::pseudo_header_sum(
            self.source,
            self.destination,
            self.protocol,
            payload.len(),
        );
        !checksum::fold(pseudo + checksum::sum(payload))
    }
}

/// Length of an IP header without options.
const fn header_len(family: Family) -> usize {
    match family {
        Family::Ipv4 => IPV4_LEN,
        Family::Ipv6 => IPV6_LEN,
    }
}

/// Writes `header` where the packet asked began, swaps the MACs, and gives the frame its length.
/// The payload has to stand behind the header already.
fn turn_round(view: &mut FrameView<'_>, asked: &IpPacket, header: &Header) -> bool {
    let start = asked.start();
    let frame = view.bytes_mut();
    let Some((link, packet)) = frame.split_at_mut_checked(start) else { return false };
    let Some(macs) = link.first_chunk_mut::<12>() else { return false };
    if !header.emit(packet) {
        return false;
    }
    macs.rotate_left(6);
    finish(view, start + header_len(header.source.family()) + header.payload_len)
}

/// May this packet be answered at all: one sender, and to us alone?
fn may_answer(frame: &[u8], asked: &IpPacket) -> bool {
    let Some([destination, source]) = macs(frame) else { return false };
    destination.is_station()
        && source.is_station()
        && asked.source().is_one_host()
        && asked.destination().is_one_host()
        && frame.len() >= usize::from(asked.end)
}

/// Destination and source of a frame.
fn macs(frame: &[u8]) -> Option<[MacAddress; 2]> {
    let &[a, b, c, d, e, g, h, i, j, k, l, m] = frame.first_chunk::<12>()?;
    Some([MacAddress([a, b, c, d, e, g]), MacAddress([h, i, j, k, l, m])])
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
