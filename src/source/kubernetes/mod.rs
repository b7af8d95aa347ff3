//! Kubernetes: Services of `type: LoadBalancer` -> desired state, and what has to be written for them.
//!
//! What is decided is pure: [`world`] is the cluster as it was last seen, [`forms`] what is served of it,
//! [`plan`] what the one writer of a cluster has to write. Around that are connections.

#[cfg(feature = "program")]
mod api;
#[cfg(feature = "program")]
mod client;
#[cfg(feature = "program")]
pub mod crds;
#[cfg(feature = "program")]
mod deliver;
#[cfg(feature = "program")]
mod elect;
pub mod endpoints;
#[cfg(feature = "program")]
mod events;
#[cfg(feature = "program")]
mod follow;
pub mod forms;
pub mod keep;
pub mod lease;
pub mod objects;
pub mod plan;
pub mod pool;
#[cfg(feature = "program")]
mod queue;
#[cfg(feature = "program")]
mod read;
#[cfg(feature = "program")]
pub mod release;
pub mod state;
#[cfg(test)]
mod testing;
pub mod usage;
pub mod view;
#[cfg(feature = "program")]
mod watch;
pub mod way;
pub mod world;
#[cfg(feature = "program")]
mod write;

#[cfg(feature = "program")]
pub use follow::{Cluster, follow};
