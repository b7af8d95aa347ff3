//! AF_XDP: real interfaces, by xsk-rs sockets and the XDP programs (`bpf/`).
//!
//! | file | what it is |
//! | --- | --- |
//! | `open` | takes interfaces: queues to workers, modes by trying |
//! | `device`, `memory` | one worker's memory and rings as a [`Device`](crate::io::Device) |
//! | `queue` | one socket |
//! | `packet` | sends by an interface on which a worker has no queue |
//! | `steer` | what is taken off all interfaces |
//! | `program`, `attach`, `detach`, `layout` | the XDP program on one: its maps, its link, their layout |
//! | `modes` | a program onto an interface, native or generic |
//! | `decap` | the other XDP program: takes tunnel headers off on backends |
//! | `bridge` | a veth pair into a bridge of this machine |
//! | `ethtool`, `features`, `netlink`, `bpffs`, `waker` | what the kernel is asked for |
//!
//! Unsafe code is in `device`, `queue` (rings shared with the kernel), `packet`, `ethtool` and
//! `detach` (system calls).

pub mod bridge;
pub mod decap;
pub mod ethtool;
pub mod features;
pub mod layout;

mod attach;
mod bpffs;
mod detach;
mod device;
mod error;
#[cfg(test)]
mod header;
mod memory;
mod modes;
mod netlink;
mod open;
mod packet;
mod program;
mod queue;
mod steer;
mod waker;

pub use bpffs::has_bpffs;
pub use device::AfxdpDevice;
pub use error::{OpenError, SteerError};
pub use memory::largest_mtu;
pub use netlink::{AttachedXdp, Link, link, link_by_index};
pub use open::{
    InterfaceOptions, OpenOptions, Opened, XdpMode, ZeroCopy, mac_address, open, queue_count,
};
pub use program::STEER_OBJECT;
pub use steer::{InterfaceSteerCounters, Steer, SteerRule};
pub use waker::Waker;

use crate::wire::{ETHERNET_LEN, MOST_TAGS, TAG_LEN};

/// Most bytes of a link header: Ethernet and its VLAN tags.
const LINK_HEADER_LEN: u32 = (ETHERNET_LEN + MOST_TAGS * TAG_LEN) as u32;
