//! ICMP answers.

use super::{DONT_FRAGMENT, Header, finish, may_answer, turn_round};
use crate::wire::FrameView;
use crate::wire::checksum::{self, Change};
use crate::wire::packet::{ETHERNET_LEN, ICMP_LEN, IPV4_LEN, Ipv4Part};

const ICMP: u8 = 1;
const ECHO_REQUEST: u16 = 0x0800;
const ECHO_REPLY: u16 = 0x0000;
const UNREACHABLE: u8 = 3;
const PORT: u8 = 3;

/// Longest ICMP error as an IPv4 packet (RFC 1812 section 4.3.2.3).
const LONGEST_ERROR_LEN: usize = 576;
/// Precedence of internetwork control (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 6 << 5;

/// Turns an echo request into its reply (RFC 792): same data, type of service and identification.
///
/// The ICMP checksum takes in the new type only, so the sender sees data damaged on the way as
/// such. IPv4 options are left out of the reply: a source route must not be followed on a
/// stranger's word.
#[must_use]
pub fn echo_reply(view: &mut FrameView<'_>, request: &Ipv4Part) -> bool {
    let (start, len) = (request.payload_start(), request.payload_len());
    let frame = view.bytes_mut();
    let kind = frame.get(start..).and_then(|message| message.first_chunk().copied());
    let is_request = request.protocol == ICMP && kind.map(u16::from_be_bytes) == Some(ECHO_REQUEST);
    if !is_request || len < ICMP_LEN || !may_answer(frame, request) {
        return false;
    }
    let Some([_, service, _, _, id_high, id_low, fragmenting, ..]) =
        frame.get(ETHERNET_LEN..).and_then(|ipv4| ipv4.first_chunk::<IPV4_LEN>()).copied()
    else {
        return false;
    };
    let header = Header {
        service,
        identification: u16::from_be_bytes([id_high, id_low]),
        fragmenting: u16::from_be_bytes([fragmenting, 0]) & DONT_FRAGMENT,
        protocol: ICMP,
        payload_len: len,
    };
    let message = ETHERNET_LEN + IPV4_LEN;
    frame.copy_within(start..start + len, message);
    if let Some([kind, code, sum @ ..]) =
        frame.get_mut(message..).and_then(|message| message.first_chunk_mut::<4>())
    {
        let change = Change::NONE.word(ECHO_REQUEST, ECHO_REPLY);
        *sum = change.applied_to(u16::from_be_bytes(*sum)).to_be_bytes();
        [*kind, *code] = ECHO_REPLY.to_be_bytes();
    }
    turn_round(frame, request, &header) && finish(view, message + len)
}

/// Turns a packet into the error that nothing listens on its port (RFC 792 type 3 code 3), which
/// quotes as much of it as fits (RFC 1812 section 4.3.2.3).
///
/// No answer to ICMP, to later fragments, and to what was not sent to one host by one host (RFC
/// 1122 section 3.2.2). The frame grows by up to 28 bytes: no answer either, when its chunk has no
/// room.
#[must_use]
pub fn icmp_port_unreachable(view: &mut FrameView<'_>, refused: &Ipv4Part) -> bool {
    let may_quote = refused.protocol != ICMP && !is_later_fragment(view.bytes());
    if !may_quote || !may_answer(view.bytes(), refused) {
        return false;
    }
    let quote_len = refused.total_len.min(LONGEST_ERROR_LEN - IPV4_LEN - ICMP_LEN);
    let message = ETHERNET_LEN + IPV4_LEN;
    let quote = message + ICMP_LEN;
    if !view.set_len(view.len().max(quote + quote_len)) {
        return false;
    }
    let frame = view.bytes_mut();
    frame.copy_within(ETHERNET_LEN..ETHERNET_LEN + quote_len, quote);
    let Some(message) = frame.get_mut(message..quote + quote_len) else { return false };
    if let Some(place) = message.first_chunk_mut::<ICMP_LEN>() {
        *place = [UNREACHABLE, PORT, 0, 0, 0, 0, 0, 0];
    }
    let sum = !checksum::fold(checksum::sum(message));
    if let Some([_, _, place @ ..]) = message.first_chunk_mut::<4>() {
        *place = sum.to_be_bytes();
    }
    let header = Header {
        service: INTERNETWORK_CONTROL,
        identification: 0,
        fragmenting: DONT_FRAGMENT,
        protocol: ICMP,
        payload_len: ICMP_LEN + quote_len,
    };
    turn_round(frame, refused, &header) && finish(view, quote + quote_len)
}

fn is_later_fragment(frame: &[u8]) -> bool {
    let field = frame.get(ETHERNET_LEN + 6..).and_then(|bytes| bytes.first_chunk());
    field.is_none_or(|&field| u16::from_be_bytes(field) & 0x1fff != 0)
}
