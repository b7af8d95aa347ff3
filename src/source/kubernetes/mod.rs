//! Kubernetes: Services of `type: LoadBalancer` -> desired state, and what has to be written for them.
//!
//! What is decided is pure: [`world`] is the cluster as it was last seen, [`forms`] what is served of it,
//! [`plan`] what the one writer of a cluster has to write. Around that are connections.

#[cfg(feature = "kubernetes")]
mod api;
#[cfg(feature = "kubernetes")]
mod client;
#[cfg(feature = "kubernetes")]
pub mod crds;
#[cfg(feature = "kubernetes")]
mod elect;
pub mod endpoints;
#[cfg(feature = "kubernetes")]
mod follow;
pub mod forms;
pub mod keep;
pub mod lease;
pub mod objects;
pub mod plan;
pub mod pool;
#[cfg(feature = "kubernetes")]
mod read;
#[cfg(test)]
mod testing;
#[cfg(feature = "kubernetes")]
mod watch;
pub mod world;
#[cfg(feature = "kubernetes")]
mod write;

#[cfg(feature = "kubernetes")]
pub use follow::{Cluster, ClusterState, follow};
