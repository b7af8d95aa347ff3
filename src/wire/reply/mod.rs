//! Answers: the frame in the view is turned into the reply to its sender.
//!
//! Each function takes what [`parse`](super::parse()) gave for this very frame, before anything in
//! it was changed. Each says whether the view holds an answer; when it does not, the frame is not
//! to be sent. Nobody is answered whose MAC or address may be more than one host (RFC 1122 section
//! 3.2.2, RFC 4443 section 2.4): an answer must not be made to multiply.

mod arp;
mod icmp;
mod ndp;
mod sctp;
mod tcp;

pub use arp::{arp_reply, gratuitous_arp};
pub use icmp::{IcmpError, echo_reply, icmp_error};
pub use ndp::{neighbour_advertisement, unsolicited_advertisement};
pub use sctp::{has_abort, sctp_abort};
pub use tcp::tcp_reset;

use super::header::{DONT_FRAGMENT, HOP_LIMIT, IpHeader};
use super::packet::{IPV4_LEN, IPV6_LEN, IpPacket};
#[cfg(test)]
use super::{Address, checksum};
use super::{Family, FrameView, MacAddress};

/// Least length of an Ethernet frame without its check sequence (IEEE 802.3).
pub const LEAST_FRAME_LEN: usize = 60;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl IpHeader {
    /// Back to the sender of `asked`, from whom it asked.
    fn back(asked: &IpPacket, protocol: u8, payload_len: usize) -> IpHeader {
        IpHeader {
            source: asked.destination(),
            destination: asked.source(),
            traffic_class: 0,
            hop_limit: HOP_LIMIT,
            identification: 0,
            fragmenting: DONT_FRAGMENT,
            flow_label: 0,
            protocol,
            payload_len,
        }
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
fn turn_round(view: &mut FrameView<'_>, asked: &IpPacket, header: &IpHeader) -> bool {
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
