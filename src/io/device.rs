//! What the worker needs of a network device: receive, send, and account for every frame.

use std::time::Duration;

use crate::wire::{FrameView, PortId};

/// Most frames in a batch.
pub const BATCH: usize = 64;

/// One frame of a device's memory, in somebody's hand.
///
/// Move-only: whoever holds it has to give it back, by [`Device::transmit`] or [`Device::release`].
/// Hides where and how the bytes lie; [`Device::view`] shows them.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost to its device"]
pub struct Frame {
    /// Port it came in by (or, for an acquired one, leaves by).
    pub port: PortId,
    pub(in crate::io) chunk: u32,
    pub(in crate::io) offset: u32,
    pub(in crate::io) len: u32,
}

impl Frame {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A batch in hand.
pub type Batch = arrayvec::ArrayVec<Frame, BATCH>;

/// Where all frames of a device are; they always add up to `total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameCensus {
    /// All frames of the memory.
    pub total: u32,
    /// In fill rings, or taken from them by the kernel and not yet in a receive ring.
    pub fill: u32,
    /// In receive rings are counted in `fill` until they are taken out.
    /// In hand: received or acquired, and neither sent nor released.
    pub in_hand: u32,
    /// In transmit rings, with the kernel, or in completion rings not yet reclaimed.
    pub transmit: u32,
    /// On the free list.
    pub free: u32,
}

impl FrameCensus {
    /// Does every frame have a place?
    pub fn is_conserved(&self) -> bool {
        self.fill + self.in_hand + self.transmit + self.free == self.total
    }
}

/// What a device counts that verdicts do not see.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct DeviceStatistics {
    /// Frames that did not begin where the device sends from, and were copied there: those that got
    /// more room in front than they needed.
    #[serde(default)]
    pub moved_to_front: u64,
    /// One for each (port, queue).
    pub queues: Vec<QueueStatistics>,
}

/// One queue's counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct QueueStatistics {
    /// Interface name.
    pub interface: String,
    /// Queue number on it.
    pub queue: u32,
    /// How frames get here: `native zero-copy`, `native copy`, `generic copy`, `memory`, `pcap`.
    pub mode: String,
    /// Frames received.
    pub received: u64,
    /// Frames handed to the transmit ring.
    pub transmitted: u64,
    /// Frames that found no place in the transmit ring and were dropped.
    pub transmit_full: u64,
    /// Kernel: dropped for other reasons (XDP statistics `rx_dropped`).
    pub rx_dropped: u64,
    /// Kernel: receive ring was full.
    pub rx_ring_full: u64,
    /// Kernel: fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Kernel: bad descriptors, receive and transmit.
    pub invalid_descriptors: u64,
    /// Kernel: transmit ring was empty when it looked.
    pub tx_ring_empty: u64,
}

/// Rings and memory of one worker, over all its (interface, queue) pairs.
pub trait Device {
    /// The ports it has, for which `transmit` works.
    fn ports(&self) -> Vec<PortId>;

    /// Adds received frames to `batch` until it is full or no queue has more; gives how many.
    /// Queues take turns in being first.
    fn receive(&mut self, batch: &mut Batch) -> usize;

    /// A frame's bytes. Changes of start and length are taken over by [`Device::keep`].
    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a>;

    /// Remembers start and length of a view that was changed (`FrameView::start`, `len`).
    fn keep(&mut self, frame: &mut Frame, start: usize, len: usize) {
        let _ = self;
        frame.offset = start as u32;
        frame.len = len as u32;
    }

    /// Queues a frame to leave by `port`. A full ring gives it back (the device counts
    /// `transmit_full`); the caller releases it.
    ///
    /// # Errors
    /// The frame, when the ring is full or there is no such port.
    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame>;

    /// Tells the kernel about queued frames, where it needs telling. Once a batch.
    fn flush(&mut self);

    /// A free frame of `len` bytes to be filled and sent; none when there is none, or `len` does not fit.
    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame>;

    /// Gives a frame back to the free list.
    fn release(&mut self, frame: Frame);

    /// Takes completed frames back and refills the fill rings. Once a batch.
    fn reclaim(&mut self);

    /// Where the frames are.
    fn census(&self) -> FrameCensus;

    /// After a panic of whoever used the device, with no frame in hand any more: takes back frames
    /// that were lost between two of its lists. Gives how many; most devices cannot lose any.
    fn recover_lost_frames(&mut self) -> usize {
        0
    }

    /// Sleeps until a frame arrives, a transmit ring that had work has room, the worker is woken by
    /// its waker, or the time is over.
    fn wait(&mut self, timeout: Duration);

    /// Counters.
    fn statistics(&self) -> DeviceStatistics;
}
