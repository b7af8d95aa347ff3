//! Active probes of backends -> health events. Must never know packets.
//!
//! One task a target ([`Prober`]), one function a try ([`probe`]). A result goes through the
//! rise/fall machine; what changes comes out as a [`HealthEvent`].

mod probe;
mod prober;
mod rise_fall;

pub use probe::{ProbeError, probe};
pub use prober::{HealthEvent, ProbeTarget, Prober};
pub use rise_fall::{Health, HealthState};
