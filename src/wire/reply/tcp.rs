//! TCP resets.

use super::{DONT_FRAGMENT, Header, finish, may_answer, turn_round};
use crate::wire::packet::{ETHERNET_LEN, IPV4_LEN, TCP_LEN, TcpFlags, TcpPart, Transport};
use crate::wire::{FrameView, Protocol, checksum};

/// Turns a segment into the reset that its sender believes (RFC 9293 section 3.10.7.1), whether the
/// segment is of a connection nobody knows or of one that has to end: a reset at the number the
/// sender itself acknowledged is the one it expects (RFC 5961 section 3.2).
///
/// No answer to a reset, and none to UDP.
#[must_use]
pub fn tcp_reset(view: &mut FrameView<'_>, segment: &Transport) -> bool {
    let asked = segment.ip;
    let Some(tcp) = segment.tcp.filter(|tcp| !tcp.flags.contains(TcpFlags::RST)) else {
        return false;
    };
    if !may_answer(view.bytes(), &asked) {
        return false;
    }
    let mut reset = emit(segment, &tcp);
    let pseudo =
        checksum::pseudo_header_sum(asked.destination, asked.source, Protocol::Tcp, TCP_LEN as u16);
    let sum = !checksum::fold(pseudo + checksum::sum(&reset));
    reset[16..18].copy_from_slice(&sum.to_be_bytes());

    let header = Header {
        service: 0,
        identification: 0,
        fragmenting: DONT_FRAGMENT,
        protocol: Protocol::Tcp.number(),
        payload_len: TCP_LEN,
    };
    let start = ETHERNET_LEN + IPV4_LEN;
    let frame = view.bytes_mut();
    let Some(place) = frame.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) else {
        return false;
    };
    *place = reset;
    turn_round(frame, &asked, &header) && finish(view, start + TCP_LEN)
}

/// The reset's header, its checksum zero.
fn emit(segment: &Transport, tcp: &TcpPart) -> [u8; TCP_LEN] {
    let (sequence, acknowledgment, flags) = if tcp.flags.contains(TcpFlags::ACK) {
        (tcp.acknowledgment, 0, TcpFlags::RST)
    } else {
        let next = tcp.sequence.wrapping_add(tcp.sequence_len());
        (0, next, TcpFlags::RST.with(TcpFlags::ACK))
    };
    let mut header = [0; TCP_LEN];
    header[0..2].copy_from_slice(&segment.key.destination_port.to_be_bytes());
    header[2..4].copy_from_slice(&segment.key.source_port.to_be_bytes());
    header[4..8].copy_from_slice(&u32::to_be_bytes(sequence));
    header[8..12].copy_from_slice(&u32::to_be_bytes(acknowledgment));
    header[12] = (TCP_LEN as u8 / 4) << 4;
    header[13] = flags.0;
    header
}
