//! A device over plain memory. Each port has a far end, where a test stands in for the network.
//!
//! Device and far ends may be used by one thread, with time as the test has it, or by several: they
//! meet in bounded channels only. Frames are copied at the far end, as by an AF_XDP socket in copy
//! mode.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::chunks::Chunks;
use super::{Batch, ChunkOptions, Device, DeviceStatistics, Frame, FrameCensus, QueueStatistics};
use crate::wire::{FrameView, PortId};

/// What a memory device is made of.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Names of the ports, in the order of their ids.
    pub ports: Vec<String>,
    /// Memory.
    pub chunks: ChunkOptions,
    /// Most frames between the device and a far end, each way.
    pub wire: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions { ports: vec!["memory0".into()], chunks: ChunkOptions::default(), wire: 256 }
    }
}

/// Why a far end could not put a frame on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// As many frames as fit wait already; the device counts `rx_ring_full`.
    #[error("the wire is full")]
    Full,
    /// Longer than a chunk of the device; it counts `rx_dropped`.
    #[error("the frame is longer than the device's chunks")]
    TooLong,
    /// The device is gone.
    #[error("the device is gone")]
    Gone,
}

/// Ends [`Device::wait`]: set by whoever has news for the device, taken by the device.
#[derive(Debug, Default)]
struct Signal {
    news: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn raise(&self) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self, timeout: Duration) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(news, timeout, |news| !*news);
        let (mut news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *news = false;
    }
}

/// Wakes a device that waits.
#[derive(Clone, Debug)]
pub struct MemoryWaker(Arc<Signal>);

impl MemoryWaker {
    /// Ends the device's wait, or the next one if it does not wait now.
    pub fn wake(&self) {
        self.0.raise();
    }
}

/// Frames that never came into the device.
#[derive(Debug, Default)]
struct Refused {
    full: AtomicU64,
    too_long: AtomicU64,
}

/// The network's side of a port.
#[derive(Debug)]
pub struct FarEnd {
    port: PortId,
    max_frame_len: usize,
    towards: Sender<Vec<u8>>,
    from: Receiver<Vec<u8>>,
    refused: Arc<Refused>,
    signal: Arc<Signal>,
}

impl FarEnd {
    /// The port this is the far end of.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Sends a frame to the device.
    ///
    /// # Errors
    /// When the device cannot take it.
    pub fn push(&self, bytes: &[u8]) -> Result<(), PushError> {
        if bytes.len() > self.max_frame_len {
            self.refused.too_long.fetch_add(1, Ordering::Relaxed);
            return Err(PushError::TooLong);
        }
        match self.towards.try_send(bytes.to_vec()) {
            Ok(()) => {
                self.signal.raise();
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.refused.full.fetch_add(1, Ordering::Relaxed);
                Err(PushError::Full)
            }
            Err(TrySendError::Disconnected(_)) => Err(PushError::Gone),
        }
    }

    /// Takes the oldest frame that the device sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        let frame = self.from.try_recv().ok()?;
        self.signal.raise();
        Some(frame)
    }

    /// Frames pushed that the device has not received yet.
    pub fn waiting(&self) -> usize {
        self.towards.len()
    }
}

#[derive(Debug)]
struct MemoryPort {
    name: String,
    arriving: Receiver<Vec<u8>>,
    leaving: Sender<Vec<u8>>,
    refused: Arc<Refused>,
    received: u64,
    transmitted: u64,
    transmit_full: u64,
    rx_fill_ring_empty: u64,
}

/// The device's side.
#[derive(Debug)]
pub struct MemoryDevice {
    ports: Vec<MemoryPort>,
    chunks: Chunks,
    first: usize,
    signal: Arc<Signal>,
}

impl MemoryDevice {
    /// A device, and the far ends of its ports in their order.
    ///
    /// # Panics
    /// With more than 256 ports, or chunks that have no room for a frame.
    pub fn new(options: MemoryOptions) -> (MemoryDevice, Vec<FarEnd>) {
        assert!(options.ports.len() <= 256, "{} ports, wanted at most 256", options.ports.len());
        let chunks = Chunks::new(options.chunks, options.ports.len());
        let signal = Arc::new(Signal::default());
        let pairs = options.ports.into_iter().enumerate().map(|(port, name)| {
            let (towards, arriving) = bounded(options.wire);
            let (leaving, from) = bounded(options.wire);
            let refused = Arc::new(Refused::default());
            let far = FarEnd {
                port: PortId(port as u8),
                max_frame_len: chunks.max_frame_len(),
                towards,
                from,
                refused: Arc::clone(&refused),
                signal: Arc::clone(&signal),
            };
            let near = MemoryPort {
                name,
                arriving,
                leaving,
                refused,
                received: 0,
                transmitted: 0,
                transmit_full: 0,
                rx_fill_ring_empty: 0,
            };
            (near, far)
        });
        let (ports, far_ends) = pairs.unzip();
        (MemoryDevice { ports, chunks, first: 0, signal }, far_ends)
    }

    /// Something that ends this device's [`Device::wait`].
    pub fn waker(&self) -> MemoryWaker {
        MemoryWaker(Arc::clone(&self.signal))
    }

    /// Takes frames of one port, as long as there are frames, chunks and room.
    fn receive_from(&mut self, port: usize, batch: &mut Batch) {
        let Some(near) = self.ports.get_mut(port) else { return };
        while !batch.is_full() {
            if !self.chunks.has_fill() {
                near.rx_fill_ring_empty += u64::from(!near.arriving.is_empty());
                return;
            }
            let Ok(bytes) = near.arriving.try_recv() else { return };
            let Some(frame) = self.chunks.receive(PortId(port as u8), &bytes) else { continue };
            near.received += 1;
            batch.push(frame);
        }
    }
}

impl Device for MemoryDevice {
    fn ports(&self) -> Vec<PortId> {
        (0..self.ports.len()).map(|port| PortId(port as u8)).collect()
    }

    fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        let count = self.ports.len();
        for turn in 0..count {
            self.receive_from((self.first + turn) % count, batch);
        }
        self.first = (self.first + 1) % count.max(1);
        batch.len() - before
    }

    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        self.chunks.view(frame)
    }

    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let Some(near) = self.ports.get_mut(port.index()) else { return Err(frame) };
        let queued = self.chunks.queue(port.index(), port, frame);
        match queued {
            Ok(()) => near.transmitted += 1,
            Err(_) => near.transmit_full += 1,
        }
        queued
    }

    /// Sends what the far ends have room for; the rest stays in the transmit rings.
    fn flush(&mut self) {
        for (ring, near) in self.ports.iter().enumerate() {
            while let Some((_, bytes)) = self.chunks.oldest(ring) {
                match near.leaving.try_send(bytes.to_vec()) {
                    Err(TrySendError::Full(_)) => break,
                    // Nobody is there to take it: gone on the wire.
                    Ok(()) | Err(TrySendError::Disconnected(_)) => self.chunks.complete(ring),
                }
            }
        }
    }

    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.chunks.acquire(port, len)
    }

    fn release(&mut self, frame: Frame) {
        self.chunks.release(frame);
    }

    fn reclaim(&mut self) {
        self.chunks.reclaim();
    }

    fn census(&self) -> FrameCensus {
        self.chunks.census()
    }

    fn recover_lost_frames(&mut self) -> usize {
        self.chunks.recover_lost()
    }

    fn wait(&mut self, timeout: Duration) {
        if self.ports.iter().all(|near| near.arriving.is_empty()) {
            self.signal.wait(timeout);
        }
    }

    fn statistics(&self) -> DeviceStatistics {
        let queue = |near: &MemoryPort| QueueStatistics {
            interface: near.name.clone(),
            mode: "memory".into(),
            received: near.received,
            transmitted: near.transmitted,
            transmit_full: near.transmit_full,
            rx_dropped: near.refused.too_long.load(Ordering::Relaxed),
            rx_ring_full: near.refused.full.load(Ordering::Relaxed),
            rx_fill_ring_empty: near.rx_fill_ring_empty,
            ..QueueStatistics::default()
        };
        DeviceStatistics {
            queues: self.ports.iter().map(queue).collect(),
            ..DeviceStatistics::default()
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
