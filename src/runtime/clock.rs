//! The one clock of the data path: CLOCK_BOOTTIME, which also runs while the machine is suspended.

use rustix::time::{ClockId, clock_gettime};

use crate::dataplane::Ticks;

/// Now, in milliseconds since boot. One system-call-free vDSO read; done once a batch.
pub fn now() -> Ticks {
    let time = clock_gettime(ClockId::Boottime);
    Ticks(time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000)
}
