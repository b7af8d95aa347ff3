//! SCTP: what its packets say of their association (RFC 9260).
//!
//! Nothing of a packet is changed: addresses and ports are not in its checksum, but its verification
//! tag and checksum are the ends' own.

use super::packet::TcpFlags;

/// Length of the common header (RFC 9260 section 3.1).
pub(super) const SCTP_LEN: usize = 12;

/// Chunks that are looked at: an ABORT stands behind the other control chunks (section 6.10).
const MOST_CHUNKS: usize = 4;

/// Kinds of chunks (section 3.2).
pub(super) mod chunk {
    pub const INIT: u8 = 1;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// What the chunks behind the common header would be in TCP, for a flow's state: INIT opens, ABORT
/// and SHUTDOWN COMPLETE end it at once, SHUTDOWN and its answer begin its end. Everything else goes
/// on with it.
pub(super) fn as_segment(packet: &[u8]) -> TcpFlags {
    let mut rest = packet.get(SCTP_LEN..).unwrap_or_default();
    for _ in 0..MOST_CHUNKS {
        let Some(&[kind, _, len0, len1]) = rest.first_chunk() else { break };
        match kind {
            chunk::INIT => return TcpFlags::SYN,
            chunk::ABORT | chunk::SHUTDOWN_COMPLETE => return TcpFlags::RST,
            chunk::SHUTDOWN | chunk::SHUTDOWN_ACK => return TcpFlags::FIN.with(TcpFlags::ACK),
            _ => {}
        }
        // Each fills up to four bytes; its own header counts.
        let len = usize::from(u16::from_be_bytes([len0, len1])).max(4).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
    }
    TcpFlags::ACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_by_what_they_do_to_an_association() {
        let (ack, fin) = (TcpFlags::ACK, TcpFlags::FIN.with(TcpFlags::ACK));
        let rows: [(&str, &[u8], TcpFlags); 11] = [
            ("no chunk", &[], ack),
            ("a piece of one", &[6, 0], ack),
            ("INIT", &[1, 0, 0, 20], TcpFlags::SYN),
            ("INIT ACK", &[2, 0, 0, 4], ack),
            ("DATA", &[0, 3, 0, 17], ack),
            ("SHUTDOWN", &[7, 0, 0, 8, 0, 0, 0, 1], fin),
            ("SHUTDOWN ACK", &[8, 0, 0, 4], fin),
            ("SHUTDOWN COMPLETE", &[14, 1, 0, 4], TcpFlags::RST),
            (
                "ABORT behind an ERROR of 5 bytes",
                &[9, 0, 0, 5, 1, 0, 0, 0, 6, 0, 0, 4],
                TcpFlags::RST,
            ),
            ("length 0 is no end", &[3, 0, 0, 0, 6, 0, 0, 4], TcpFlags::RST),
            ("longer than the packet", &[3, 0, 255, 255, 6, 0, 0, 4], ack),
        ];
        for (description, chunks, wanted) in rows {
            let packet = [&[0; SCTP_LEN], chunks].concat();
            assert_eq!(as_segment(&packet), wanted, "{description}");
        }
        let many = [&[0; SCTP_LEN], &[3, 0, 0, 4].repeat(4)[..], &[6, 0, 0, 4]].concat();
        assert_eq!(as_segment(&many), ack, "four are looked at");
    }
}
