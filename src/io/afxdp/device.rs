//! One worker's device: a UMEM over the sockets of all its (interface, queue) pairs.

#![allow(unsafe_code)]

use std::time::Duration;

use xsk_rs::{FrameDesc, Umem};

use super::memory::{Chunks, Place, XDP_HEADROOM, memory, ring_size};
use super::packet::PacketSender;
use super::queue::{Queue, QueuePlan};
use super::waker::Waker;
use super::{OpenError, layout};
use crate::arch;
use crate::io::{BATCH, Batch, Device, DeviceStatistics, Frame, FrameCensus};
use crate::wire::{FrameView, PortId};

/// With frames in a transmit ring that the kernel does not take (interface down), how long a wait
/// is at most before they are tried again.
const UNSENT_WAIT: Duration = Duration::from_millis(10);

/// Bytes that come into the cache together.
const CACHE_LINE: usize = 64;

/// What frames leave by.
enum Sender {
    /// The transmit ring of the queue at this place.
    Ring(usize),
    /// The worker has no queue there.
    Packet(PacketSender),
}

/// The AF_XDP sockets of one worker. Every frame of its memory is in one place at any time:
/// [`census`](Device::census) tells where, by counters kept apart from each other.
pub struct AfxdpDevice {
    // Sockets go before the memory they use.
    queues: Vec<Queue>,
    /// By port, what its frames leave by: one thing, so that a flow's packets stay in order.
    senders: Vec<Sender>,
    first: usize,
    chunks: Chunks,
    umem: Umem,
    waker: Waker,
    poll_set: Vec<libc::pollfd>,
    /// Frames sent that did not begin where they have to, and were copied there.
    moved: u64,
}

const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<AfxdpDevice>();
};

impl AfxdpDevice {
    /// Memory, sockets, full fill rings.
    pub(super) fn open(
        plans: &[QueuePlan],
        ports: &[(String, u32)],
        frames_per_queue: u32,
        frame_bytes: u32,
        zero_copy: bool,
    ) -> Result<AfxdpDevice, OpenError> {
        let ring = ring_size(frames_per_queue);
        let frames = frames_per_queue * plans.len() as u32;
        let (umem, descriptors) = memory(frames, frame_bytes, ring)?;
        let mut queues = Vec::with_capacity(plans.len());
        for plan in plans {
            queues.push(Queue::open(&umem, plan.clone(), ring, zero_copy)?);
        }
        let mut senders = Vec::with_capacity(ports.len());
        for (port, (interface, index)) in ports.iter().enumerate() {
            let ring =
                queues.iter().position(|queue| queue.plan.port.index() == port && queue.plan.sends);
            senders.push(match ring {
                Some(at) => Sender::Ring(at),
                None => Sender::Packet(packet_sender(interface, *index)?),
            });
        }
        let waker = Waker::new().map_err(|source| OpenError::Memory { bytes: 8, source })?;
        let mut device = AfxdpDevice {
            senders,
            poll_set: poll_set(&queues, &waker),
            queues,
            first: 0,
            chunks: Chunks::new(descriptors, frame_bytes),
            umem,
            waker,
            moved: 0,
        };
        device.reclaim();
        Ok(device)
    }

    /// Wakes this device out of [`Device::wait`].
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Port, queue number and socket of each of its queues.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (PortId, u32, i32)> + '_ {
        self.queues.iter().map(|queue| (queue.plan.port, queue.plan.number, queue.raw_fd()))
    }

    /// All bytes of a chunk that a frame can have, through its descriptor, whose length becomes
    /// that of the bytes.
    fn bytes(&mut self, chunk: u32) -> &mut [u8] {
        let descriptor = &mut self.chunks.descriptors[chunk as usize];
        // SAFETY: the descriptor is of this UMEM, and its chunk is in hand: neither the kernel nor
        // another view has it (a view borrows the device).
        let mut data = unsafe { self.umem.data_mut(descriptor) };
        data.cursor().set_pos(usize::MAX);
        let all = data.contents_mut();
        // SAFETY: `all` lives as long as the UMEM, which lives as long as the device; only the
        // borrow of the helper `data` is shorter.
        unsafe { std::slice::from_raw_parts_mut(all.as_mut_ptr(), all.len()) }
    }

    /// Makes a chunk's descriptor say what is to be sent. It begins where the kernel puts received
    /// frames; one that begins elsewhere is moved there.
    fn describe(&mut self, frame: &Frame) {
        let (start, len) = (frame.offset as usize, frame.len as usize);
        if start != 0 {
            self.bytes(frame.chunk).copy_within(start..start + len, 0);
            self.moved += 1;
        }
        let descriptor = &mut self.chunks.descriptors[frame.chunk as usize];
        // SAFETY: as in `bytes`.
        unsafe { self.umem.data_mut(descriptor) }.cursor().set_pos(len);
        descriptor.set_options(0);
    }

    /// Another core has written received frames, so that each one's first look costs a miss: begun for
    /// all of them, they are waited for together.
    fn fetch_ahead(&mut self, batch: &[Frame]) {
        for frame in batch {
            let view = self.view(frame);
            // Headers are in the first line, or in the first two.
            for line in view.bytes().chunks(CACHE_LINE).take(2) {
                line.first().into_iter().for_each(arch::prefetch);
            }
        }
    }

    fn transmit_by_ring(&mut self, at: usize, frame: Frame) -> Result<(), Frame> {
        self.describe(&frame);
        let descriptor = self.chunks.descriptors[frame.chunk as usize];
        if !self.queues[at].transmit(&descriptor) {
            // `describe` moved the bytes to the front.
            return Err(Frame { offset: 0, ..frame });
        }
        self.chunks.moves(frame.chunk, Place::Hand, Place::Transmit);
        self.chunks.in_hand -= 1;
        Ok(())
    }

    fn transmit_by_packet(&mut self, port: usize, frame: Frame) -> Result<(), Frame> {
        let mut senders = std::mem::take(&mut self.senders);
        let sent = match senders.get_mut(port) {
            Some(Sender::Packet(sender)) => sender.send(self.view(&frame).bytes()),
            _ => false,
        };
        self.senders = senders;
        if !sent {
            return Err(frame);
        }
        self.release(frame);
        Ok(())
    }

    fn complete(&mut self) {
        let mut descriptors = [FrameDesc::default(); BATCH];
        for queue in &mut self.queues {
            while queue.sending > 0 {
                let count = queue.complete(&mut descriptors);
                for descriptor in &descriptors[..count] {
                    let chunk = self.chunks.of(descriptor);
                    self.chunks.moves(chunk, Place::Transmit, Place::Free);
                    self.chunks.free.push(chunk);
                }
                if count < BATCH {
                    break;
                }
            }
        }
    }

    fn refill(&mut self) {
        let mut descriptors = [FrameDesc::default(); BATCH];
        for queue in &mut self.queues {
            loop {
                let count = queue.fill_room().min(BATCH).min(self.chunks.free.len());
                if count == 0 {
                    break;
                }
                let at = self.chunks.free.len() - count;
                for (descriptor, chunk) in descriptors.iter_mut().zip(&self.chunks.free[at..]) {
                    *descriptor = self.chunks.descriptors[*chunk as usize];
                }
                let taken = queue.fill(&descriptors[..count]);
                assert_eq!(taken, count, "a fill ring with room takes frames");
                for at in at..self.chunks.free.len() {
                    self.chunks.moves(self.chunks.free[at], Place::Free, Place::Fill);
                }
                self.chunks.free.truncate(at);
            }
            queue.wake_receiver();
        }
    }
}

impl Device for AfxdpDevice {
    fn recover_lost_frames(&mut self) -> usize {
        self.chunks.recover()
    }

    fn ports(&self) -> Vec<PortId> {
        (0..self.senders.len()).map(|port| PortId(port as u8)).collect()
    }

    fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        let mut descriptors = [FrameDesc::default(); BATCH];
        for turn in 0..self.queues.len() {
            let at = (self.first + turn) % self.queues.len();
            let room = batch.capacity() - batch.len();
            let queue = &mut self.queues[at];
            let count = queue.receive(&mut descriptors[..room]);
            for descriptor in &descriptors[..count] {
                let chunk = self.chunks.of(descriptor);
                self.chunks.moves(chunk, Place::Fill, Place::Hand);
                self.chunks.descriptors[chunk as usize] = *descriptor;
                let len = descriptor.lengths().data() as u32;
                batch.push(Frame { port: queue.plan.port, chunk, offset: 0, len });
            }
            self.chunks.in_hand += count as u32;
        }
        self.first = (self.first + 1) % self.queues.len().max(1);
        self.fetch_ahead(&batch[before..]);
        for frame in &mut batch[before..] {
            let room = layout::room_of(self.view(frame).bytes()) as u32;
            (frame.offset, frame.len) = (room, frame.len - room);
        }
        batch.len() - before
    }

    fn view<'a>(&'a mut self, frame: &'a Frame) -> FrameView<'a> {
        let (start, len) = (frame.offset as usize, frame.len as usize);
        FrameView::new(self.bytes(frame.chunk), start, len)
    }

    fn transmit(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        match self.senders.get_mut(port.index()) {
            Some(&mut Sender::Ring(at)) => self.transmit_by_ring(at, frame),
            Some(Sender::Packet(_)) => self.transmit_by_packet(port.index(), frame),
            None => Err(frame),
        }
    }

    fn flush(&mut self) {
        self.queues.iter_mut().for_each(Queue::wake_sender);
    }

    fn acquire(&mut self, port: PortId, len: usize) -> Option<Frame> {
        if len > (self.chunks.frame_bytes - XDP_HEADROOM) as usize {
            return None;
        }
        let chunk = self.chunks.free.pop()?;
        self.chunks.moves(chunk, Place::Free, Place::Hand);
        self.chunks.in_hand += 1;
        Some(Frame { port, chunk, offset: 0, len: len as u32 })
    }

    fn release(&mut self, frame: Frame) {
        self.chunks.moves(frame.chunk, Place::Hand, Place::Free);
        self.chunks.free.push(frame.chunk);
        self.chunks.in_hand -= 1;
    }

    fn reclaim(&mut self) {
        self.complete();
        self.refill();
    }

    fn census(&self) -> FrameCensus {
        FrameCensus {
            total: self.chunks.descriptors.len() as u32,
            fill: self.queues.iter().map(|queue| queue.filled).sum(),
            in_hand: self.chunks.in_hand,
            transmit: self.queues.iter().map(|queue| queue.sending).sum(),
            free: self.chunks.free.len() as u32,
        }
    }

    fn wait(&mut self, timeout: Duration) {
        let mut timeout = timeout;
        for (queue, polled) in self.queues.iter_mut().zip(&mut self.poll_set) {
            // Room for sending matters only to who was refused; asking always would never sleep.
            polled.events = libc::POLLIN | if queue.was_full { libc::POLLOUT } else { 0 };
            queue.was_full = false;
            if queue.unsent() > 0 {
                timeout = timeout.min(UNSENT_WAIT);
            }
        }
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        let set = &mut self.poll_set;
        // SAFETY: `set` is an array of that many pollfds, `timeout` lives over the call.
        let ready = unsafe {
            libc::ppoll(set.as_mut_ptr(), set.len() as libc::nfds_t, &timeout, std::ptr::null())
        };
        if ready > 0 {
            self.waker.clear();
        }
        // Frames that waited for the interface to come up are tried again here.
        self.flush();
    }

    fn statistics(&self) -> DeviceStatistics {
        let packet = self.senders.iter().filter_map(|sender| match sender {
            Sender::Packet(sender) => Some(sender.statistics()),
            Sender::Ring(_) => None,
        });
        DeviceStatistics {
            moved_to_front: self.moved,
            queues: self.queues.iter().map(Queue::statistics).chain(packet).collect(),
        }
    }
}

fn packet_sender(interface: &str, index: u32) -> Result<PacketSender, OpenError> {
    PacketSender::open(interface, index).map_err(|source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => {
            OpenError::Permission { action: format!("open a packet socket for {interface}") }
        }
        _ => OpenError::Query { interface: interface.to_string(), source },
    })
}

fn poll_set(queues: &[Queue], waker: &Waker) -> Vec<libc::pollfd> {
    let fds = queues.iter().map(Queue::raw_fd).chain([waker.raw_fd()]);
    fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect()
}
