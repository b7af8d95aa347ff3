//! Devices: where frames come from and go to.
//!
//! Knows frames, never services or snapshots.

mod device;

pub use device::{BATCH, Batch, Device, DeviceStatistics, Frame, FrameCensus, QueueStatistics};
