//! Desired state, its validation, and `compile`: desired + health + topology + previous -> snapshot.
//!
//! Pure; time is an argument. Must never know YAML, protobuf, devices or threads.

mod desired;
mod node;
mod topology;

pub use desired::{
    BackendSpec, DesiredState, HealthCheckKind, HealthCheckSpec, ServiceSpec, SnatSpec,
};
pub use node::{
    IdlePolicy, InterfaceSpec, LimitsSpec, NodeSpec, WorkerGonePolicy, WorkersSpec, XdpModeChoice,
    ZeroCopyChoice,
};
pub use topology::{LinkState, OwnAddress, Topology};
