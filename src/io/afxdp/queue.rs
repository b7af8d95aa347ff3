//! One AF_XDP socket with its four rings.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, RawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use super::OpenError;
use super::error::os_error;
use crate::io::QueueStatistics;
use crate::wire::PortId;

/// A queue that was just closed is released 12 to 20 ms later, by the kernel's own time.
const BUSY_FOR: Duration = Duration::from_secs(2);
/// Frames that one wake-up makes the kernel send in copy mode.
const SENT_BY_WAKE: u32 = 32;

/// Which queue of which interface, and how.
#[derive(Clone, Debug)]
pub(super) struct QueuePlan {
    pub port: PortId,
    pub interface: String,
    pub number: u32,
    /// The interface has a transmit queue of this number.
    pub sends: bool,
    pub generic: bool,
}

/// The socket of one queue.
pub(super) struct Queue {
    pub plan: QueuePlan,
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    ring: u32,
    zero_copy: bool,
    /// Frames in the fill ring, with the kernel, or received and not yet taken.
    pub filled: u32,
    /// Frames sent and not yet back.
    pub sending: u32,
    /// A frame found no place since the last wait.
    pub was_full: bool,
    received: u64,
    transmitted: u64,
    transmit_full: u64,
}

impl Queue {
    /// Makes and binds the socket; waits for one that is just being released.
    pub fn open(
        umem: &Umem,
        plan: QueuePlan,
        ring: u32,
        zero_copy: bool,
    ) -> Result<Queue, OpenError> {
        let deadline = Instant::now() + BUSY_FOR;
        loop {
            match Self::try_open(umem, &plan, ring, zero_copy) {
                Err(OpenError::QueueBusy { .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }

    fn try_open(
        umem: &Umem,
        plan: &QueuePlan,
        ring: u32,
        zero_copy: bool,
    ) -> Result<Queue, OpenError> {
        let options = |problem: String| OpenError::Options(problem);
        let size = QueueSize::new(ring).map_err(|error| options(error.to_string()))?;
        let name: Interface = plan
            .interface
            .parse()
            .map_err(|_| options(format!("`{}` cannot be an interface's name", plan.interface)))?;
        let copying = if zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(copying | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        // SAFETY: libxdp is told to leave XDP programs alone, which is what the contract asks for.
        let made = unsafe { Socket::new(config, umem, &name, plan.number) };
        let (tx, rx, rings) = made.map_err(|error| socket_error(plan, &error))?;
        let Some((fill, completion)) = rings else {
            return Err(OpenError::QueueBusy {
                interface: plan.interface.clone(),
                queue: plan.number,
            });
        };
        Ok(Queue {
            plan: plan.clone(),
            rx,
            tx,
            fill,
            completion,
            ring,
            zero_copy,
            filled: 0,
            sending: 0,
            was_full: false,
            received: 0,
            transmitted: 0,
            transmit_full: 0,
        })
    }

    pub fn raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// Takes received frames' descriptors.
    pub fn receive(&mut self, descriptors: &mut [FrameDesc]) -> usize {
        // SAFETY: the descriptors only get what the kernel says; they are used with this UMEM.
        let count = unsafe { self.rx.consume(descriptors) };
        self.filled -= count as u32;
        self.received += count as u64;
        count
    }

    /// Puts one frame into the transmit ring; `false` when it is full.
    pub fn transmit(&mut self, descriptor: &FrameDesc) -> bool {
        // SAFETY: the device gives a frame of this UMEM that it has in hand and gives nowhere else.
        let sent = unsafe { self.tx.produce_one(descriptor) } == 1;
        if sent {
            self.sending += 1;
            self.transmitted += 1;
        } else {
            self.transmit_full += 1;
            self.was_full = true;
        }
        sent
    }

    /// Takes back descriptors of frames that were sent (their length is 0).
    pub fn complete(&mut self, descriptors: &mut [FrameDesc]) -> usize {
        // SAFETY: as for `receive`.
        let count = unsafe { self.completion.consume(descriptors) };
        self.sending -= count as u32;
        count
    }

    /// Places free in the fill ring.
    pub fn fill_room(&mut self) -> usize {
        self.fill.nb_free(self.ring) as usize
    }

    /// Gives frames to the kernel to receive into; how many it took: all or none.
    pub fn fill(&mut self, descriptors: &[FrameDesc]) -> usize {
        // SAFETY: the device gives free frames of this UMEM that it gives nowhere else.
        let count = unsafe { self.fill.produce(descriptors) };
        self.filled += count as u32;
        count
    }

    /// A driver that ran out of fill frames sleeps until it is told that there are some.
    pub fn wake_receiver(&mut self) {
        if self.fill.needs_wakeup() {
            // A failure shows as the interface being down: it is tried again at the next batch.
            let _ = self.fill.wakeup(self.rx.fd_mut(), 0);
        }
    }

    /// Frames in the transmit ring the kernel has not looked at.
    pub fn unsent(&mut self) -> u32 {
        if self.sending == 0 { 0 } else { self.ring - self.tx.nb_free_exact() }
    }

    /// Makes the kernel send. One wake-up sends 32 frames in copy mode, so it takes as many as
    /// needed, and stops when one changes nothing: the interface is down, or its queue is full.
    pub fn wake_sender(&mut self) {
        let mut unsent = self.unsent();
        for _ in 0..=self.ring / SENT_BY_WAKE {
            // The error of a wake-up (`sendto`) says no more than that nothing was sent; the
            // frames stay in the ring.
            if unsent == 0 || !self.tx.needs_wakeup() || self.tx.wakeup().is_err() {
                return;
            }
            let left = self.unsent();
            if left >= unsent {
                return;
            }
            unsent = left;
        }
    }

    pub fn statistics(&self) -> QueueStatistics {
        let kernel = self.rx.fd().xdp_statistics().unwrap_or_default();
        let mode = if self.plan.generic { "generic" } else { "native" };
        let copying = if self.zero_copy { "zero-copy" } else { "copy" };
        QueueStatistics {
            interface: self.plan.interface.clone(),
            queue: self.plan.number,
            mode: format!("{mode} {copying}"),
            received: self.received,
            transmitted: self.transmitted,
            transmit_full: self.transmit_full,
            rx_dropped: kernel.rx_dropped(),
            rx_ring_full: kernel.rx_ring_full(),
            rx_fill_ring_empty: kernel.rx_fill_ring_empty_descs(),
            invalid_descriptors: kernel.rx_invalid_descs() + kernel.tx_invalid_descs(),
            tx_ring_empty: kernel.tx_ring_empty_descs(),
        }
    }
}

fn socket_error(plan: &QueuePlan, error: &(dyn std::error::Error + 'static)) -> OpenError {
    let interface = plan.interface.clone();
    let number = os_error(error);
    let source = match number {
        Some(number) => std::io::Error::from_raw_os_error(number),
        None => std::io::Error::other(error.to_string()),
    };
    match number {
        Some(libc::EBUSY) => OpenError::QueueBusy { interface, queue: plan.number },
        Some(libc::EPERM | libc::EACCES) => {
            OpenError::Permission { action: format!("open an AF_XDP socket on {interface}") }
        }
        _ => OpenError::Socket {
            interface,
            queue: plan.number,
            source,
            advice: match number {
                Some(libc::ENETDOWN) => "; set the interface up first: `ip link set IF up`",
                Some(libc::ENOBUFS | libc::ENOMEM) => {
                    "; not enough locked memory: raise `ulimit -l` or lower frames_per_queue"
                }
                Some(libc::EAFNOSUPPORT) => "; this kernel was built without CONFIG_XDP_SOCKETS",
                _ => "",
            },
        },
    }
}
