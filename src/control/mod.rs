//! Desired state, its validation, and `compile`: desired, health, topology, previous -> snapshot.
//!
//! Pure; time is an argument. Must never know YAML, protobuf, devices or threads.

mod check;
mod compile;
mod desired;
mod diff;
mod health_state;
mod health_view;
mod neighbours;
mod node;
mod refusal;
#[cfg(test)]
mod testing;
mod topology;
mod validate;
mod warnings;

pub use check::check_against;
pub use compile::{CompileInput, Compiled, LiveFlows, Note, compile};
pub use desired::{
    BackendSpec, DesiredState, HealthCheckKind, HealthCheckSpec, ServiceSpec, SnatSpec,
    TunnelSourceSpec,
};
pub use diff::diff;
pub use health_state::HealthState;
pub use health_view::{Health, HealthView};
pub use neighbours::{WantedNeighbour, retired_neighbours, wanted_neighbours};
pub use node::{
    IdlePolicy, InterfaceSpec, LimitsSpec, NodeSpec, Spread, WorkerGonePolicy, WorkersSpec,
    XdpModeChoice, ZeroCopyChoice,
};
pub use refusal::Refusal;
pub use topology::{LinkState, OwnAddress, Topology, UpperLink};
pub use validate::validate;
pub use warnings::{Warning, warnings};
