//! SCTP's ABORT.

use super::{IpHeader, header_len, may_answer, turn_round};
use crate::wire::FrameView;
use crate::wire::packet::{Content, IpPacket};
use crate::wire::sctp::{SCTP_LEN, chunk};

/// Common header and one chunk that is its header alone.
const ANSWER_LEN: usize = SCTP_LEN + 4;

/// The sender's tag is not known: the packet's own is sent back (RFC 9260 section 8.5.1).
const REFLECTED: u8 = 1;

/// Turns a packet of an association that nobody knows, or that has to end, into the answer that its
/// sender believes (RFC 9260 section 8.4): an ABORT with the tag that an INIT gives, or else with the
/// packet's own; to a SHUTDOWN ACK a SHUTDOWN COMPLETE.
///
/// No answer to what ends an association or answers one that ended.
#[must_use]
pub fn sctp_abort(view: &mut FrameView<'_>, packet: &IpPacket) -> bool {
    let Some(answer) = answer_to(view.bytes(), packet) else { return false };
    if !may_answer(view.bytes(), packet) {
        return false;
    }
    let header = IpHeader::back(packet, packet.key.protocol_number(), ANSWER_LEN);
    let start = packet.start() + header_len(packet.family());
    let place = view.bytes_mut().get_mut(start..).and_then(|rest| rest.first_chunk_mut());
    let Some(place) = place else { return false };
    *place = answer;
    turn_round(view, packet, &header)
}

/// Is there an answer to this packet?
pub fn has_abort(frame: &[u8], packet: &IpPacket) -> bool {
    answer_to(frame, packet).is_some()
}

fn answer_to(frame: &[u8], packet: &IpPacket) -> Option<[u8; ANSWER_LEN]> {
    if !matches!(packet.content, Content::Sctp(_)) {
        return None;
    }
    let sent = frame.get(packet.payload_start()..usize::from(packet.end))?;
    let (common, chunks) = sent.split_first_chunk::<SCTP_LEN>()?;
    let &[kind, ..] = chunks.first_chunk::<4>()?;
    let own = [common[4], common[5], common[6], common[7]];
    let (kind, flags, tag) = match kind {
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE | chunk::ERROR | chunk::COOKIE_ACK => return None,
        chunk::INIT => {
            let &[_, _, _, _, t0, t1, t2, t3] = chunks.first_chunk()?;
            (chunk::ABORT, 0, [t0, t1, t2, t3])
        }
        chunk::SHUTDOWN_ACK => (chunk::SHUTDOWN_COMPLETE, REFLECTED, own),
        _ => (chunk::ABORT, REFLECTED, own),
    };
    let mut answer = [0; ANSWER_LEN];
    answer[0..2].copy_from_slice(&packet.key.destination_port.to_be_bytes());
    answer[2..4].copy_from_slice(&packet.key.source_port.to_be_bytes());
    answer[4..8].copy_from_slice(&tag);
    (answer[12], answer[13], answer[15]) = (kind, flags, 4);
    let sum = crc32c(&answer);
    // Least significant byte first (RFC 9260 appendix A).
    answer[8..12].copy_from_slice(&sum.to_le_bytes());
    Some(answer)
}

/// RFC 9260 appendix A. Bit by bit: sixteen bytes, of an answer that is limited anyway.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let polynomial = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc = crc >> 1 ^ polynomial;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_known_bytes() {
        // The check value of the polynomial, and RFC 3720 appendix B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
