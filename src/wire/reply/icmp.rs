//! ICMP (RFC 792) and ICMPv6 (RFC 4443) answers.

use super::{DONT_FRAGMENT, ICMP, ICMPV6, IpHeader, header_len, may_answer, turn_round};
use crate::wire::checksum::Change;
use crate::wire::packet::{Content, ICMP_LEN, IpPacket};
use crate::wire::{Family, FrameView};

/// Type and code of echo request and reply, by family.
const ECHO: [(u16, u16); 2] = [(0x0800, 0x0000), (0x8000, 0x8100)];

/// Longest ICMP error as an IPv4 packet (RFC 1812 section 4.3.2.3).
const LONGEST_ERROR_LEN: usize = 576;
/// Longest ICMPv6 error as a packet: the least MTU (RFC 4443 section 2.4 c).
const LONGEST_ERROR_V6_LEN: usize = 1280;
/// Precedence of internetwork control (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 6 << 5;

/// What a sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Nothing listens on the port: type 3 code 3, ICMPv6 type 1 code 4.
    PortUnreachable,
    /// Too long for the way on: "fragmentation needed" (type 3 code 4, RFC 1191) or "packet too big"
    /// (ICMPv6 type 2).
    TooBig {
        /// Longest packet that fits, in bytes.
        mtu_bytes: u16,
    },
    /// The hop limit ran out: type 11 code 0, ICMPv6 type 3 code 0.
    HopLimitExceeded,
}

impl IcmpError {
    /// Type, code, and the four bytes behind the checksum.
    fn head(self, family: Family) -> (u8, u8, u32) {
        match (self, family) {
            (IcmpError::PortUnreachable, Family::Ipv4) => (3, 3, 0),
            (IcmpError::PortUnreachable, Family::Ipv6) => (1, 4, 0),
            (IcmpError::TooBig { mtu_bytes }, Family::Ipv4) => (3, 4, u32::from(mtu_bytes)),
            (IcmpError::TooBig { mtu_bytes }, Family::Ipv6) => (2, 0, u32::from(mtu_bytes)),
            (IcmpError::HopLimitExceeded, Family::Ipv4) => (11, 0, 0),
            (IcmpError::HopLimitExceeded, Family::Ipv6) => (3, 0, 0),
        }
    }
}

/// Turns an echo request into its reply: same data, traffic class and identification.
///
/// The checksum takes in the new type only, so the sender sees data damaged on the way as such.
/// IPv4 options and extension headers are left out of the reply: a route must not be followed on a
/// stranger's word.
#[must_use]
pub fn echo_reply(view: &mut FrameView<'_>, request: &IpPacket) -> bool {
    let (start, len) = (request.payload_start(), request.payload_len());
    let frame = view.bytes_mut();
    if request.content != Content::EchoRequest || len < ICMP_LEN || !may_answer(frame, request) {
        return false;
    }
    let family = request.family();
    let mut header = IpHeader::back(request, request.key.protocol_number(), len);
    header.traffic_class = request.traffic_class;
    if family == Family::Ipv4 {
        let fields = frame.get(request.start() + 4..).and_then(|rest| rest.first_chunk::<4>());
        let Some(&[id_high, id_low, fragmenting, _]) = fields else { return false };
        header.identification = u16::from_be_bytes([id_high, id_low]);
        header.fragmenting = u16::from_be_bytes([fragmenting, 0]) & DONT_FRAGMENT;
    }
    let message = request.start() + header_len(family);
    frame.copy_within(start..start + len, message);
    if let Some([kind, code, sum @ ..]) =
        frame.get_mut(message..).and_then(|message| message.first_chunk_mut::<4>())
    {
        // The pseudo header of ICMPv6 has both addresses, which only change places.
        let (asked, answered) = ECHO[usize::from(family == Family::Ipv6)];
        let change = Change::NONE.word(asked, answered);
        *sum = change.applied_to(u16::from_be_bytes(*sum)).to_be_bytes();
        [*kind, *code] = answered.to_be_bytes();
    }
    turn_round(view, request, &header)
}

/// Turns a packet into an error about it, which quotes as much of it as fits.
///
/// No answer to ICMP errors, to later fragments, and to what was not sent to one host by one host
/// (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e). The frame grows by 28 or 48 bytes: no answer
/// either, when its chunk has no room.
#[must_use]
pub fn icmp_error(view: &mut FrameView<'_>, refused: &IpPacket, error: IcmpError) -> bool {
    let may_quote = match refused.content {
        Content::Tcp(_) | Content::Udp | Content::Sctp(_) => true,
        Content::Other | Content::EchoRequest => true,
        // Of ICMP it may be an error's: what a fragment says is not looked at.
        Content::Fragment(fragment) => {
            fragment.offset == 0 && !matches!(refused.key.protocol_number(), ICMP | ICMPV6)
        }
        Content::IcmpError | Content::Icmp | Content::NeighbourSolicitation(_) => false,
    };
    if !may_quote || !may_answer(view.bytes(), refused) {
        return false;
    }
    let family = refused.family();
    let (protocol, longest) = match family {
        Family::Ipv4 => (ICMP, LONGEST_ERROR_LEN),
        Family::Ipv6 => (ICMPV6, LONGEST_ERROR_V6_LEN),
    };
    let message = refused.start() + header_len(family);
    let quote = message + ICMP_LEN;
    let quote_len = refused.len().min(longest - header_len(family) - ICMP_LEN);
    if !view.set_len(view.len().max(quote + quote_len)) {
        return false;
    }
    let frame = view.bytes_mut();
    frame.copy_within(refused.start()..refused.start() + quote_len, quote);
    let mut header = IpHeader::back(refused, protocol, ICMP_LEN + quote_len);
    header.traffic_class = if family == Family::Ipv4 { INTERNETWORK_CONTROL } else { 0 };
    let Some(message) = frame.get_mut(message..quote + quote_len) else { return false };
    write_message(message, &header, error.head(family));
    turn_round(view, refused, &header)
}

/// Writes the ICMP header in front of the quote that stands in `message` already.
fn write_message(message: &mut [u8], header: &IpHeader, (kind, code, rest): (u8, u8, u32)) {
    let Some(place) = message.first_chunk_mut::<ICMP_LEN>() else { return };
    let [a, b, c, d] = rest.to_be_bytes();
    *place = [kind, code, 0, 0, a, b, c, d];
    // ICMP's checksum has no pseudo header, ICMPv6's has (RFC 4443 section 2.3).
    let sum = match header.protocol {
        ICMP => !crate::wire::checksum::fold(crate::wire::checksum::sum(message)),
        _ => header.payload_checksum(message),
    };
    if let Some([_, _, place @ ..]) = message.first_chunk_mut::<4>() {
        *place = sum.to_be_bytes();
    }
}
