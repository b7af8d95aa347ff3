//! Active probes of backends -> health events. Must never know packets.
//!
//! One task a target ([`Prober`]), one function a try ([`probe()`]). A result goes through
//! `control`'s rise and fall machine; what changes comes out as a [`HealthEvent`].

mod probe;
mod prober;

pub use probe::{ProbeError, probe};
pub use prober::{HealthEvent, ProbeTarget, Prober};
