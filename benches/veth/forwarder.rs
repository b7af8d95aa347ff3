//! The bare AF_XDP forwarder: takes a frame from `eth1`, swaps its MAC addresses, sends it by `eth2`.
//! What any AF_XDP program in copy mode reaches here, and what Guideway is measured by.
//!
//! As Guideway's device it has one memory over the sockets of both interfaces, the same number and
//! length of frames, the same rings, batches of 64, sleeps in poll when there is nothing to do, and
//! wakes the kernel once a batch, as often as it takes. Nothing else is done: no checks, no counters
//! of its own, no steering by address.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use aya::maps::XskMap;
use aya::programs::XdpMode;
use aya::{Ebpf, maps::MapData};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use super::generator::{OBJECT, map, xdp};
use super::lab::BALANCER;
use super::process::{Task, inside};

/// As Guideway with the configuration of the bench: frames of each interface, their bytes, and half
/// of them in each ring.
const FRAMES: u32 = 4096;
const FRAME_BYTES: u32 = 2048;
const RING: u32 = FRAMES / 2;
const BATCH: usize = 64;
/// Frames that one wake-up makes the kernel send.
const SENT_BY_WAKE: u32 = 32;
const LONGEST_SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Starts it on a core.
pub fn start(core: usize) -> Result<(Task, Ebpf)> {
    let mut ebpf = Ebpf::load(OBJECT)?;
    let mut sockets: XskMap<MapData> = XskMap::try_from(map(&mut ebpf, "bench_sockets")?)?;
    inside(BALANCER, || {
        let bare = xdp(&mut ebpf, "bare")?;
        bare.load()?;
        bare.attach("eth1", XdpMode::Driver)?;
        // The other end of a redirect in Guideway's case has a program too.
        let pass = xdp(&mut ebpf, "pass")?;
        pass.load()?;
        pass.attach("eth2", XdpMode::Driver)?;
        Ok(())
    })?;
    let task = Task::start(BALANCER, core, move |stop| {
        let mut forwarder = Forwarder::open()?;
        sockets.set(0, forwarder.front.rx.fd().as_raw_fd(), 0)?;
        while !stop.load(Ordering::Relaxed) {
            forwarder.turn()?;
        }
        Ok(())
    })?;
    Ok((task, ebpf))
}

struct Queue {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
}

struct Forwarder {
    // Sockets go before the memory they use.
    front: Queue,
    back: Queue,
    free: Vec<FrameDesc>,
    sending: usize,
    umem: Umem,
}

impl Forwarder {
    fn open() -> Result<Forwarder> {
        let ring = QueueSize::new(RING)?;
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(FRAME_BYTES)?)
            .frame_headroom(0)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()?;
        let frames = (2 * FRAMES).try_into()?;
        let (umem, free) = Umem::new(config, frames, false)?;
        let (front, back) = (open("eth1", &umem, ring)?, open("eth2", &umem, ring)?);
        Ok(Forwarder { front, back, free, sending: 0, umem })
    }

    fn turn(&mut self) -> Result<()> {
        self.reclaim();
        let mut batch = [FrameDesc::default(); BATCH];
        // SAFETY: the descriptors only get what the kernel says; they are used with this UMEM.
        let count = unsafe { self.front.rx.consume(&mut batch) };
        if count == 0 {
            return self.rest();
        }
        for frame in &mut batch[..count] {
            // SAFETY: the kernel gave this frame to us; nobody else has it.
            let mut data = unsafe { self.umem.data_mut(frame) };
            let bytes = data.contents_mut();
            let (to, from) = bytes.split_at_mut(6);
            to.swap_with_slice(&mut from[..6]);
        }
        let mut rest = &batch[..count];
        while !rest.is_empty() {
            // SAFETY: frames of this UMEM that we have and give nowhere else.
            let sent = unsafe { self.back.tx.produce(rest) };
            self.sending += sent;
            rest = &rest[sent..];
            self.wake()?;
            if sent == 0 {
                self.reclaim();
            }
        }
        Ok(())
    }

    /// Frames that were sent go back to where frames are received into.
    fn reclaim(&mut self) {
        let mut batch = [FrameDesc::default(); BATCH];
        while self.sending > 0 {
            // SAFETY: as in `turn`.
            let count = unsafe { self.back.completion.consume(&mut batch) };
            self.free.extend_from_slice(&batch[..count]);
            self.sending -= count;
            if count < BATCH {
                break;
            }
        }
        loop {
            let room = self.front.fill.nb_free(RING) as usize;
            let count = room.min(BATCH).min(self.free.len());
            if count == 0 {
                break;
            }
            let at = self.free.len() - count;
            // SAFETY: free frames of this UMEM, which leave our list.
            let taken = unsafe { self.front.fill.produce(&self.free[at..]) };
            self.free.truncate(self.free.len() - taken);
            if taken == 0 {
                break;
            }
        }
        if self.front.fill.needs_wakeup() {
            let _ = self.front.fill.wakeup(self.front.rx.fd_mut(), 0);
        }
    }

    fn unsent(&mut self) -> u32 {
        if self.sending == 0 { 0 } else { RING - self.back.tx.nb_free_exact() }
    }

    fn wake(&mut self) -> Result<()> {
        let mut unsent = self.unsent();
        for _ in 0..=RING / SENT_BY_WAKE {
            if unsent == 0 || !self.back.tx.needs_wakeup() || self.back.tx.wakeup().is_err() {
                break;
            }
            let left = self.unsent();
            if left >= unsent {
                break;
            }
            unsent = left;
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        let borrow = |queue: &Queue| {
            // SAFETY: the socket is open as long as its queue, which outlives this function.
            unsafe { BorrowedFd::borrow_raw(queue.rx.fd().as_raw_fd()) }
        };
        let (front, back) = (borrow(&self.front), borrow(&self.back));
        let mut both = [PollFd::new(&front, PollFlags::IN), PollFd::new(&back, PollFlags::IN)];
        match poll(&mut both, Some(&LONGEST_SLEEP)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.wake(),
            Err(error) => Err(error).context("poll"),
        }
    }
}

fn open(interface: &str, umem: &Umem, ring: QueueSize) -> Result<Queue> {
    let name: Interface = interface.parse().ok().context("an interface's name")?;
    let config = SocketConfig::builder()
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    // A queue that was just closed is released a little later.
    super::process::wait_for("a queue to be free", || {
        // SAFETY: libxdp is told to leave XDP programs alone, which is what the contract asks for.
        match unsafe { Socket::new(config, umem, &name, 0) } {
            Ok((tx, rx, Some((fill, completion)))) => Ok(Some(Queue { tx, rx, fill, completion })),
            Ok((_, _, None)) => Ok(None),
            Err(error) if format!("{error:?}").contains("16") => Ok(None),
            Err(error) => Err(error).context(format!("an AF_XDP socket on {interface}")),
        }
    })
}
