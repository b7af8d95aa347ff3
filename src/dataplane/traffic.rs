//! What went to and came from each backend.

use super::Side;

/// One backend's traffic as one worker saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of their frames, as they arrived.
    pub bytes_in: u64,
    /// Packets from the backend; those that come past us (NAT) only.
    pub packets_out: u64,
    /// Bytes of their frames, as they arrived.
    pub bytes_out: u64,
}

impl Traffic {
    #[inline]
    pub(super) fn count(&mut self, from: Side, frame_len: usize) {
        let (packets, bytes) = match from {
            Side::Client => (&mut self.packets_in, &mut self.bytes_in),
            Side::Backend => (&mut self.packets_out, &mut self.bytes_out),
        };
        *packets += 1;
        *bytes += frame_len as u64;
    }

    /// The sum of two workers' counts.
    #[must_use]
    pub fn plus(self, other: Traffic) -> Traffic {
        Traffic {
            packets_in: self.packets_in.wrapping_add(other.packets_in),
            bytes_in: self.bytes_in.wrapping_add(other.bytes_in),
            packets_out: self.packets_out.wrapping_add(other.packets_out),
            bytes_out: self.bytes_out.wrapping_add(other.bytes_out),
        }
    }
}
