//! A device around the worker's device that looks at every frame the engine gets and gives, and
//! lets the worker panic on wish.

use std::time::Duration;

use guideway::io::{Batch, Device, DeviceStatistics, Frame, FrameCensus};
use guideway::wire::{FrameView, PortId};

use super::sound::is_sound;

/// What was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Frames to the engine with a wrong checksum or length.
    pub bad_received: u64,
    /// Frames from the engine with a wrong checksum or length.
    pub bad_sent: u64,
    /// Frames to the engine.
    pub received: u64,
    /// Frames from the engine, also those that the device did not take.
    pub sent: u64,
}

/// The device and what was seen.
pub struct Tap<D> {
    pub device: D,
    pub seen: Seen,
    /// In the next batch the worker panics, somewhere.
    pub will_panic: bool,
    /// Frames that are looked at until then.
    panic_in: Option<usize>,
}

/// What the worker panics with.
pub struct OnPurpose;

impl<D> Tap<D> {
    pub fn new(device: D) -> Tap<D> {
        Tap { device, seen: Seen::default(), will_panic: false, panic_in: None }
    }
}

impl<D: Device> Device for Tap<D> {
    fn ports(&self) -> Vec<PortId> {
        self.device.ports()
    }

    fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        let count = self.device.receive(batch);
        for frame in &batch[before..] {
            self.seen.received += 1;
            self.seen.bad_received += u64::from(!is_sound(self.device.view(frame).bytes()));
        }
        if count > 0 && std::mem::take(&mut self.will_panic) {
            self.panic_in = Some(self.seen.received as usize % count);
        }
        count
    }

    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        match self.panic_in.take() {
            // Like a panic in the engine, which has just been given the frame; but silent.
            Some(0) => std::panic::resume_unwind(Box::new(OnPurpose)),
            more => self.panic_in = more.map(|frames| frames - 1),
        }
        self.device.view(frame)
    }

    fn keep(&mut self, frame: &mut Frame, start: usize, len: usize) {
        self.device.keep(frame, start, len);
    }

    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        self.seen.sent += 1;
        self.seen.bad_sent += u64::from(!is_sound(self.device.view(&frame).bytes()));
        self.device.transmit(port, frame)
    }

    fn flush(&mut self) {
        self.device.flush();
    }

    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.device.acquire(port, len)
    }

    fn release(&mut self, frame: Frame) {
        self.device.release(frame);
    }

    fn reclaim(&mut self) {
        self.device.reclaim();
    }

    fn census(&self) -> FrameCensus {
        self.device.census()
    }

    fn recover_lost_frames(&mut self) -> usize {
        self.device.recover_lost_frames()
    }

    fn wait(&mut self, timeout: Duration) {
        self.device.wait(timeout);
    }

    fn statistics(&self) -> DeviceStatistics {
        self.device.statistics()
    }
}
