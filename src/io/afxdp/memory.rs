//! The memory of a device: chunks, who has each, and how many fit.

use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::{FrameDesc, Umem};

use super::{LINK_HEADER_LEN, OpenError};

/// The kernel keeps this much of a chunk in front of a received frame for XDP programs.
pub(super) const XDP_HEADROOM: u32 = 256;

/// Largest MTU whose frames, tagged too, fit a chunk of `frame_bytes`.
pub fn largest_mtu(frame_bytes: u32) -> u32 {
    frame_bytes - XDP_HEADROOM - LINK_HEADER_LEN
}

/// Who has a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Free,
    Fill,
    Hand,
    Transmit,
}

/// All chunks of the memory. The descriptors' addresses cannot be set, so each chunk keeps its own.
pub(super) struct Chunks {
    pub descriptors: Vec<FrameDesc>,
    places: Vec<Place>,
    pub free: Vec<u32>,
    pub in_hand: u32,
    pub frame_bytes: u32,
    /// The same as a power of two: a division for every frame would cost as much as a look-up.
    frame_shift: u32,
}

impl Chunks {
    pub fn new(descriptors: Vec<FrameDesc>, frame_bytes: u32) -> Chunks {
        Chunks {
            places: vec![Place::Free; descriptors.len()],
            free: (0..descriptors.len() as u32).rev().collect(),
            descriptors,
            in_hand: 0,
            frame_bytes,
            frame_shift: frame_bytes.ilog2(),
        }
    }

    /// The chunk a descriptor lies in.
    pub fn of(&self, descriptor: &FrameDesc) -> u32 {
        (descriptor.addr() >> self.frame_shift) as u32
    }

    /// A chunk changes hands; both sides of the border are checked, since a chunk in two places is
    /// memory written by two.
    pub fn moves(&mut self, chunk: u32, from: Place, to: Place) {
        let place = &mut self.places[chunk as usize];
        assert_eq!(*place, from, "chunk {chunk} on its way to {to:?}");
        *place = to;
    }

    /// Frees every chunk in hand.
    pub fn recover(&mut self) -> usize {
        let before = self.free.len();
        for (chunk, place) in (0u32..).zip(&mut self.places) {
            if *place == Place::Hand {
                *place = Place::Free;
                self.free.push(chunk);
            }
        }
        self.in_hand = 0;
        self.free.len() - before
    }
}

/// Half of a queue's frames for receiving; the rest is sent, in hand, or in another queue's rings.
pub(super) fn ring_size(frames_per_queue: u32) -> u32 {
    1 << (frames_per_queue / 2).max(1).ilog2()
}

/// A UMEM and the descriptors of all its frames.
pub(super) fn memory(
    frames: u32,
    frame_bytes: u32,
    ring: u32,
) -> Result<(Umem, Vec<FrameDesc>), OpenError> {
    let problem = |text: String| OpenError::Options(text);
    let size = QueueSize::new(ring).map_err(|error| problem(error.to_string()))?;
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(frame_bytes).map_err(|error| problem(error.to_string()))?)
        .frame_headroom(0)
        .fill_queue_size(size)
        .comp_queue_size(size)
        .build()
        .map_err(|error| problem(error.to_string()))?;
    let count = frames
        .try_into()
        .map_err(|_| problem("a worker without a queue: use fewer workers".to_string()))?;
    // In pages of 2 MiB where the operator has set some aside (`vm.nr_hugepages`): a frame then seldom
    // costs a miss in the TLB.
    let made = Umem::new(config, count, true).or_else(|_| Umem::new(config, count, false));
    made.map_err(|error| match super::error::os_error(&error) {
        Some(libc::EPERM | libc::EACCES) => {
            OpenError::Permission { action: "open an AF_XDP socket".to_string() }
        }
        number => OpenError::Memory {
            bytes: u64::from(frames) * u64::from(frame_bytes),
            source: number.map_or_else(
                || std::io::Error::other(error.to_string()),
                std::io::Error::from_raw_os_error,
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit() {
        assert_eq!((largest_mtu(2048), largest_mtu(4096)), (1770, 3818));
        for (frames, ring) in [(4096, 2048), (4000, 1024), (128, 64), (1, 1)] {
            assert_eq!(ring_size(frames), ring, "{frames}");
        }
    }
}
