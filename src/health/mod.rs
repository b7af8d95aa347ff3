//! Active probes of backends -> health events. Must never know packets.
//!
//! [`Prober`] runs them all. `schedule` says which check is due and what a result means (pure: rise
//! and fall are `control`'s); services that ask the same of the same socket share one check. A bare
//! TCP connect is the common one and costs little more than its system calls: `connects` does them
//! all with one epoll. Every other try is a small task, [`probe::probe`].

mod connects;
pub mod probe;
mod prober;
mod schedule;

pub use probe::ProbeError;
pub use prober::Prober;
pub use schedule::{HealthEvent, ProbeTarget, TargetGroup};
