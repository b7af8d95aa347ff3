//! Desired state, its validation, and `compile`: desired, health, topology, previous -> snapshot.
//!
//! Pure; time is an argument. Must never know YAML, protobuf, devices or threads.

mod check;
mod compile;
mod desired;
mod diff;
mod health_check;
mod health_state;
mod health_view;
mod merge;
mod neighbours;
mod no_new_flows;
mod node;
mod plan;
mod refusal;
mod shared;
#[cfg(test)]
mod testing;
mod topology;
mod validate;
mod warnings;

pub use check::check_against;
pub use compile::{
    CompileInput, Compiled, LiveFlows, Next, Note, compile, compile_next, slots_without,
};
pub use desired::{BackendSpec, DesiredState, HealthFrom, ServiceSpec, SnatSpec, TunnelSourceSpec};
pub use diff::diff;
pub use health_check::{
    Exchange, GrpcCheck, HealthCheckKind, HealthCheckSpec, HttpCheck, Probed, StatusSet, TlsCheck,
};
pub use health_state::HealthState;
pub use health_view::{Health, HealthView};
pub use merge::{
    Delivery, Drain, Drains, Form, HeldChange, Merged, Merger, Outcome, Owner, Part, Refused,
    Source, Unit, merge,
};
pub use neighbours::{NeighbourList, WantedNeighbour, retired_neighbours, wanted_neighbours};
pub use no_new_flows::without_new_flows;
pub use node::{
    AddressPoolSpec, FeedSpec, FlowRecordsSpec, HttpSpec, IdlePolicy, InterfaceSpec,
    KubernetesSpec, LimitsSpec, NodeSpec, Spread, WorkerGonePolicy, WorkersSpec, XdpModeChoice,
    ZeroCopyChoice,
};
pub use plan::{FlowFates, Moved, Plan, PlanInput, ServiceChange, ServicePlan, plan};
pub use refusal::Refusal;
pub use shared::Shared;
pub use topology::{LinkState, OwnAddress, Topology, UpperLink};
pub use validate::{validate, validate_part, validate_service};
pub use warnings::{Warning, warnings, warnings_of};
