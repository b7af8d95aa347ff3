//! A bad link around any device: loses, repeats, reorders, cuts and damages frames, by a seed.
//!
//! What happens to a frame depends on the seed and on the frames before it only, so a run can be
//! repeated exactly. Frames that wait out of order are still the inner device's; the census counts
//! them as not yet received, or as being sent, since that is what they are to the user.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::{BATCH, Batch, Device, DeviceStatistics, Frame, FrameCensus};
use crate::wire::{FrameView, PortId};

/// How often each thing happens to a frame, from 0 (never) to 1 (always).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct FaultRates {
    /// The frame is gone.
    pub loss: f64,
    /// A second one like it follows.
    pub duplication: f64,
    /// It waits until up to [`FaultOptions::reorder_span`] others have passed it.
    pub reordering: f64,
    /// It ends early, anywhere.
    pub truncation: f64,
    /// One of its bits is flipped.
    pub bit_flips: f64,
}

/// What a [`FaultInjector`] does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FaultOptions {
    /// Where chance begins.
    pub seed: u64,
    /// Frames received.
    pub receive: FaultRates,
    /// Frames transmitted.
    pub transmit: FaultRates,
    /// Most frames (or, without frames, turns) that pass one that waits; at least 1.
    pub reorder_span: u32,
}

/// How often each thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// Frames lost, also those that found no place when they had waited long enough.
    pub lost: u64,
    /// Frames made besides the real ones.
    pub duplicated: u64,
    /// Frames that had to wait.
    pub reordered: u64,
    /// Frames cut.
    pub truncated: u64,
    /// Bits flipped.
    pub bits_flipped: u64,
}

/// A frame that others may pass.
#[derive(Debug)]
struct Waiting {
    turns: u32,
    frame: Frame,
}

/// One way through the link.
#[derive(Debug)]
struct Lane {
    chance: Xoshiro256PlusPlus,
    rates: FaultRates,
    waiting: VecDeque<Waiting>,
    counts: FaultCounts,
}

/// A device behind a bad link.
#[derive(Debug)]
pub struct FaultInjector<D> {
    inner: D,
    receive: Lane,
    transmit: Lane,
    reorder_span: u32,
    /// Received frames the next batches begin with.
    arrived: VecDeque<Frame>,
}

/// What was done to a frame, so that it can be undone.
struct Damage {
    len: usize,
    flipped: Option<(usize, u8)>,
}

impl<D: Device> FaultInjector<D> {
    /// Puts the link around `inner`.
    ///
    /// # Panics
    /// When a rate is not in 0..=1, or the reorder span is 0.
    pub fn new(inner: D, options: FaultOptions) -> FaultInjector<D> {
        assert!(options.reorder_span > 0, "a frame that waits for none is not reordered");
        let lane = |rates, stream| Lane {
            chance: Xoshiro256PlusPlus::seed_from_u64(options.seed ^ stream),
            rates,
            waiting: VecDeque::new(),
            counts: FaultCounts::default(),
        };
        FaultInjector {
            inner,
            receive: lane(options.receive, 0),
            transmit: lane(options.transmit, 0x7478),
            reorder_span: options.reorder_span,
            arrived: VecDeque::with_capacity(4 * BATCH),
        }
    }

    /// The device inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// What happened to received frames and to transmitted frames.
    pub fn faults(&self) -> (FaultCounts, FaultCounts) {
        (self.receive.counts, self.transmit.counts)
    }

    /// Frames received by the inner device that wait in the link.
    pub fn waiting_to_arrive(&self) -> usize {
        self.arrived.len() + self.receive.waiting.len()
    }

    /// Do frames wait in the link, either way? They go on with further turns of the worker.
    pub fn has_waiting(&self) -> bool {
        self.waiting_to_arrive() > 0 || !self.transmit.waiting.is_empty()
    }

    /// Changes how bad the link is from now on.
    pub fn set_rates(&mut self, receive: FaultRates, transmit: FaultRates) {
        self.receive.rates = receive;
        self.transmit.rates = transmit;
    }

    /// Takes fresh frames through the link into `arrived`.
    fn fetch(&mut self) {
        let mut fresh = Batch::new();
        if self.inner.receive(&mut fresh) == 0 {
            self.pass_waiting_arrivals();
        }
        for mut frame in fresh {
            self.pass_waiting_arrivals();
            let lane = &mut self.receive;
            if lane.happens(lane.rates.loss) {
                lane.counts.lost += 1;
                self.inner.release(frame);
                continue;
            }
            if lane.happens(lane.rates.duplication)
                && let Some(copy) = copy_frame(&mut self.inner, &frame)
            {
                lane.counts.duplicated += 1;
                self.arrived.push_back(copy);
            }
            lane.damage(&mut self.inner, &mut frame);
            if lane.happens(lane.rates.reordering) {
                lane.hold(frame, self.reorder_span);
            } else {
                self.arrived.push_back(frame);
            }
        }
    }

    fn pass_waiting_arrivals(&mut self) {
        while let Some(frame) = self.receive.next_due() {
            self.arrived.push_back(frame);
        }
        self.receive.pass_one();
    }

    /// Sends frames that have waited long enough; those that find no place are lost.
    fn pass_waiting_departures(&mut self) {
        while let Some(frame) = self.transmit.next_due() {
            if let Err(frame) = self.inner.transmit(frame.port, frame) {
                self.transmit.counts.lost += 1;
                self.inner.release(frame);
            }
        }
        self.transmit.pass_one();
    }

    fn send_copy(&mut self, port: PortId, frame: &Frame) {
        let Some(copy) = copy_frame(&mut self.inner, frame) else { return };
        match self.inner.transmit(port, copy) {
            Ok(()) => self.transmit.counts.duplicated += 1,
            Err(copy) => self.inner.release(copy),
        }
    }
}

impl Lane {
    fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.chance.random_bool(rate)
    }

    fn hold(&mut self, frame: Frame, span: u32) {
        self.counts.reordered += 1;
        let turns = self.chance.random_range(1..=span);
        self.waiting.push_back(Waiting { turns, frame });
    }

    fn pass_one(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.turns = waiting.turns.saturating_sub(1));
    }

    fn next_due(&mut self) -> Option<Frame> {
        let due = self.waiting.iter().position(|waiting| waiting.turns == 0)?;
        self.waiting.remove(due).map(|waiting| waiting.frame)
    }

    /// Cuts the frame and flips a bit, or does not.
    fn damage<D: Device>(&mut self, device: &mut D, frame: &mut Frame) -> Damage {
        let mut damage = Damage { len: frame.len(), flipped: None };
        if frame.is_empty() {
            return damage;
        }
        if self.happens(self.rates.truncation) && frame.len() > 1 {
            self.counts.truncated += 1;
            // Never to nothing: some devices cannot send that.
            let len = self.chance.random_range(1..frame.len());
            set_len(device, frame, len);
        }
        if self.happens(self.rates.bit_flips) {
            self.counts.bits_flipped += 1;
            let flip = (self.chance.random_range(0..frame.len()), self.chance.random_range(0..8));
            damage.flipped = Some(flip);
            flip_bit(device, frame, flip);
        }
        damage
    }

    /// A frame that was not sent after all goes back as it came.
    fn undo<D: Device>(&mut self, device: &mut D, frame: &mut Frame, damage: Damage) {
        if let Some(flip) = damage.flipped {
            self.counts.bits_flipped -= 1;
            flip_bit(device, frame, flip);
        }
        if frame.len() != damage.len {
            self.counts.truncated -= 1;
            set_len(device, frame, damage.len);
        }
    }
}

fn flip_bit<D: Device>(device: &mut D, frame: &Frame, (place, bit): (usize, u8)) {
    if let Some(byte) = device.view(frame).bytes_mut().get_mut(place) {
        *byte ^= 1 << bit;
    }
}

fn set_len<D: Device>(device: &mut D, frame: &mut Frame, len: usize) {
    let start = device.view(frame).start();
    device.keep(frame, start, len);
}

/// Another frame with the same bytes, if there is a free one.
fn copy_frame<D: Device>(device: &mut D, frame: &Frame) -> Option<Frame> {
    let bytes = device.view(frame).bytes().to_vec();
    let copy = device.acquire(frame.port, bytes.len())?;
    device.view(&copy).bytes_mut().copy_from_slice(&bytes);
    Some(copy)
}

impl<D: Device> Device for FaultInjector<D> {
    fn ports(&self) -> Vec<PortId> {
        self.inner.ports()
    }

    fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        if self.arrived.len() < batch.remaining_capacity() {
            self.fetch();
        }
        while !batch.is_full() {
            let Some(frame) = self.arrived.pop_front() else { break };
            batch.push(frame);
        }
        batch.len() - before
    }

    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        self.inner.view(frame)
    }

    fn keep(&mut self, frame: &mut Frame, start: usize, len: usize) {
        self.inner.keep(frame, start, len);
    }

    fn transmit(&mut self, port: PortId, mut frame: Frame) -> Result<(), Frame> {
        let lane = &mut self.transmit;
        // A frame for a port that does not exist has to come back whatever the link would do.
        let exists = self.inner.ports().contains(&port);
        if exists && lane.happens(lane.rates.loss) {
            lane.counts.lost += 1;
            self.inner.release(frame);
        } else if exists && lane.happens(lane.rates.reordering) {
            lane.damage(&mut self.inner, &mut frame);
            frame.port = port;
            lane.hold(frame, self.reorder_span);
        } else {
            if exists && lane.happens(lane.rates.duplication) {
                self.send_copy(port, &frame);
            }
            let damage = self.transmit.damage(&mut self.inner, &mut frame);
            if let Err(mut frame) = self.inner.transmit(port, frame) {
                self.transmit.undo(&mut self.inner, &mut frame, damage);
                return Err(frame);
            }
        }
        self.pass_waiting_departures();
        Ok(())
    }

    fn flush(&mut self) {
        self.pass_waiting_departures();
        self.inner.flush();
    }

    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.inner.acquire(port, len)
    }

    fn release(&mut self, frame: Frame) {
        self.inner.release(frame);
    }

    fn reclaim(&mut self) {
        self.inner.reclaim();
    }

    fn census(&self) -> FrameCensus {
        let arriving = self.waiting_to_arrive() as u32;
        let leaving = self.transmit.waiting.len() as u32;
        let inner = self.inner.census();
        FrameCensus {
            fill: inner.fill + arriving,
            in_hand: inner.in_hand - arriving - leaving,
            transmit: inner.transmit + leaving,
            ..inner
        }
    }

    /// The inner device cannot tell frames that wait in the link from lost ones: they are lost too.
    fn recover_lost_frames(&mut self) -> usize {
        let arriving = self.receive.waiting.drain(..).map(|waiting| waiting.frame);
        let leaving = self.transmit.waiting.drain(..).map(|waiting| waiting.frame);
        for frame in self.arrived.drain(..).chain(arriving).chain(leaving) {
            self.inner.release(frame);
        }
        self.inner.recover_lost_frames()
    }

    fn wait(&mut self, timeout: Duration) {
        if !self.has_waiting() {
            self.inner.wait(timeout);
        }
    }

    /// The inner device's: lost frames are received there, and frames that wait to be sent are not
    /// transmitted yet. [`FaultInjector::faults`] tells the difference.
    fn statistics(&self) -> DeviceStatistics {
        self.inner.statistics()
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
