//! Sending by an interface on which a worker has no queue: a packet socket.
//!
//! A queue's AF_XDP socket belongs to one memory, so a worker cannot send by another worker's queue.
//! Interfaces with fewer queues than workers are left to a raw packet socket in one direction, which
//! costs about what AF_XDP's copy mode costs, a system call a frame.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::io::QueueStatistics;

/// A socket that only sends.
pub(super) struct PacketSender {
    interface: String,
    index: i32,
    socket: OwnedFd,
    transmitted: u64,
    transmit_full: u64,
}

impl PacketSender {
    pub fn open(interface: &str, index: u32) -> io::Result<PacketSender> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Protocol 0: it receives nothing.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        Ok(PacketSender {
            interface: interface.to_string(),
            index: index as i32,
            socket,
            transmitted: 0,
            transmit_full: 0,
        })
    }

    /// Sends a copy; `false` when the kernel does not take it now.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        // SAFETY: all zero is a valid `sockaddr_ll`.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.index;
        // SAFETY: `frame` and `to` live over the call, and their lengths are told.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of_val(&to) as libc::socklen_t,
            )
        };
        let sent = sent == frame.len() as isize;
        if sent {
            self.transmitted += 1;
        } else {
            self.transmit_full += 1;
        }
        sent
    }

    pub fn statistics(&self) -> QueueStatistics {
        QueueStatistics {
            interface: self.interface.clone(),
            mode: "transmit only, by packet socket".to_string(),
            transmitted: self.transmitted,
            transmit_full: self.transmit_full,
            ..QueueStatistics::default()
        }
    }
}
