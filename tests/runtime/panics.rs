//! A worker that panics is restarted in place, and its queue's traffic goes on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guideway::io::{Batch, Device, DeviceStatistics, Frame, FrameCensus};
use guideway::wire::{FrameView, PortId};

use super::plane::{ACK, Plane, SYN, desired, to_vip};

/// Panics when a frame with this byte at its end is looked at.
const POISON: u8 = 0xdb;

/// A device that blows up over certain frames, in the worker's hands.
struct Touchy<D> {
    inner: D,
    panics_left: AtomicU32,
}

impl<D: Device> Device for Touchy<D> {
    fn ports(&self) -> Vec<PortId> {
        self.inner.ports()
    }
    fn receive(&mut self, batch: &mut Batch) -> usize {
        self.inner.receive(batch)
    }
    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        let view = self.inner.view(frame);
        let is_poison = view.bytes().last() == Some(&POISON);
        let left = self.panics_left.load(Ordering::Relaxed);
        if is_poison && left > 0 {
            self.panics_left.store(left - 1, Ordering::Relaxed);
            panic!("a frame that nobody foresaw");
        }
        view
    }
    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        self.inner.transmit(port, frame)
    }
    fn flush(&mut self) {
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
        self.inner.census()
    }
    fn wait(&mut self, timeout: Duration) {
        self.inner.wait(timeout);
    }
    fn statistics(&self) -> DeviceStatistics {
        self.inner.statistics()
    }
}

#[test]
fn a_panic_costs_the_frames_in_hand_and_no_connection() {
    let wrap = |inner| Touchy { inner, panics_left: AtomicU32::new(3) };
    let mut plane = Plane::start_with(1, wrap);
    plane.controller.set_desired(desired(&["b1", "b2", "b3"]), 1).unwrap();
    for port in 3000..3020 {
        plane.push(0, &to_vip(port, SYN));
    }
    plane.wait(|plane| plane.forwarded() == 20);
    let backends: Vec<_> = (0..20).map(|_| plane.take(0)[30..34].to_vec()).collect();
    let mut poison = to_vip(3000, ACK);
    poison.push(POISON);
    for round in 1..=3 {
        plane.push(0, &poison);
        plane.wait(|plane| plane.restarts() == round);
    }
    // The same flows, by the same backends, from the same table.
    for (port, backend) in (3000..3020).zip(&backends) {
        plane.push(0, &to_vip(port, ACK));
        assert_eq!(&plane.take(0)[30..34], backend, "port {port}");
    }
    let counters = plane.counters();
    assert_eq!(counters.events.flows_created, 20);
    assert_eq!(counters.verdicts(), counters.received, "also the frames in hand have a verdict");
    plane.stop();
}
