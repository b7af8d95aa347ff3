//! Devices: where frames come from and go to.
//!
//! Knows frames, never services or snapshots.

#[cfg(feature = "afxdp")]
pub mod afxdp;
mod capture;
#[cfg(test)]
mod check;
mod chunks;
mod device;
pub mod fault;
pub mod memory;
pub mod pcap;
pub mod pcapng;

pub use capture::{PcapError, RecordError};
pub use chunks::ChunkOptions;
pub use device::{BATCH, Batch, Device, DeviceStatistics, Frame, FrameCensus, QueueStatistics};
