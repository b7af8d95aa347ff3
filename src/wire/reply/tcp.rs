//! TCP resets.

use super::{IpHeader, header_len, may_answer, turn_round};
use crate::wire::FrameView;
use crate::wire::packet::{Content, IpPacket, TCP_LEN, TcpFlags};

/// What a reset has to know of the segment it answers.
struct Segment {
    flags: TcpFlags,
    sequence: u32,
    acknowledgment: u32,
    /// Sequence numbers it takes: its data, and one each for SYN and FIN (RFC 9293 section 3.4).
    sequence_len: u32,
}

/// Turns a segment into the reset that its sender believes (RFC 9293 section 3.10.7.1), whether the
/// segment is of a connection nobody knows or of one that has to end: a reset at the number the
/// sender itself acknowledged is the one it expects (RFC 5961 section 3.2).
///
/// No answer to a reset, and none to what is not a whole TCP segment.
#[must_use]
pub fn tcp_reset(view: &mut FrameView<'_>, packet: &IpPacket) -> bool {
    let Some(segment) = read(view.bytes(), packet) else { return false };
    if segment.flags.contains(TcpFlags::RST) || !may_answer(view.bytes(), packet) {
        return false;
    }
    let header = IpHeader::back(packet, packet.key.protocol_number(), TCP_LEN);
    let mut reset = emit(packet, &segment);
    let sum = header.payload_checksum(&reset);
    reset[16..18].copy_from_slice(&sum.to_be_bytes());
    let start = packet.start() + header_len(packet.family());
    let frame = view.bytes_mut();
    let Some(place) = frame.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) else {
        return false;
    };
    *place = reset;
    turn_round(view, packet, &header)
}

fn read(frame: &[u8], packet: &IpPacket) -> Option<Segment> {
    let Content::Tcp(flags) = packet.content else { return None };
    let header = frame.get(packet.payload_start()..)?.first_chunk::<TCP_LEN>()?;
    let word = |at: usize| header[at..].first_chunk().map(|&word| u32::from_be_bytes(word));
    let header_len = usize::from(header[12] >> 4) * 4;
    let controls =
        u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
    Some(Segment {
        flags,
        sequence: word(4)?,
        acknowledgment: word(8)?,
        // A segment is at most 65,535 bytes.
        sequence_len: controls + packet.payload_len().saturating_sub(header_len) as u32,
    })
}

/// The reset's header, its checksum zero.
fn emit(packet: &IpPacket, segment: &Segment) -> [u8; TCP_LEN] {
    let (sequence, acknowledgment, flags) = if segment.flags.contains(TcpFlags::ACK) {
        (segment.acknowledgment, 0, TcpFlags::RST)
    } else {
        let next = segment.sequence.wrapping_add(segment.sequence_len);
        (0, next, TcpFlags::RST.with(TcpFlags::ACK))
    };
    let mut header = [0; TCP_LEN];
    header[0..2].copy_from_slice(&packet.key.destination_port.to_be_bytes());
    header[2..4].copy_from_slice(&packet.key.source_port.to_be_bytes());
    header[4..8].copy_from_slice(&u32::to_be_bytes(sequence));
    header[8..12].copy_from_slice(&u32::to_be_bytes(acknowledgment));
    header[12] = (TCP_LEN as u8 / 4) << 4;
    header[13] = flags.0;
    header
}
