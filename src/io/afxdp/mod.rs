//! AF_XDP: real interfaces, by xsk-rs sockets and the XDP steer program (`bpf/`).
//!
//! | file | what it is |
//! | --- | --- |
//! | `open` | takes interfaces: queues to workers, modes by trying |
//! | `device` | one worker's memory and rings as a [`Device`](crate::io::Device) |
//! | `queue` | one socket |
//! | `program`, `steer`, `layout` | the XDP program, its maps, and how both sides lay them out |
//! | `bridge` | a veth pair into a bridge of this machine |
//! | `ethtool`, `netlink`, `bpffs`, `waker` | what the kernel is asked for |
//!
//! Unsafe code is in `device`, `queue` (rings shared with the kernel) and `ethtool` (ioctls).

pub mod bridge;
pub mod ethtool;
pub mod layout;

mod bpffs;
mod device;
mod error;
mod netlink;
mod open;
mod program;
mod queue;
mod steer;
mod waker;

pub use device::AfxdpDevice;
pub use error::{OpenError, SteerError};
pub use open::{
    InterfaceOptions, OpenOptions, Opened, XdpMode, ZeroCopy, mac_address, open, queue_count,
};
pub use program::STEER_OBJECT;
pub use steer::{InterfaceSteerCounters, Steer, SteerRule};
pub use waker::Waker;

/// Bytes of an Ethernet header.
const ETHERNET_LEN: u32 = 14;
