//! Devices: where frames come from and go to.
//!
//! Knows frames, never services or snapshots.

#[cfg(feature = "afxdp")]
pub mod afxdp;
mod device;

pub use device::{BATCH, Batch, Device, DeviceStatistics, Frame, FrameCensus, QueueStatistics};
