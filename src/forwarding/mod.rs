//! The immutable snapshot workers forward by: services, backends, slots, next hops, look-ups.
//!
//! Must never know where it came from.

mod address_table;
mod dnat;
mod flow_rules;
mod ids;
mod ledger;
mod mode;
mod prefix_set;
mod routes;
mod service;
mod shared_list;
mod slot_hash;
mod snapshot;
mod steer;
mod target;
#[cfg(test)]
mod tests;

pub use crate::wire::encap::{TunnelSource, TunnelSources};
pub use dnat::DnatTable;
pub use flow_rules::{FlowRules, HashBy};
pub use ids::{BackendId, ServiceIndex};
pub use ledger::{Ledger, Origin};
pub use mode::Mode;
pub use prefix_set::PrefixSet;
pub use routes::{Neighbour, NextHop, Route, RouteTable};
pub use service::{
    BackendGonePolicy, FlowTimeouts, MssClamp, NoBackendPolicy, Service, ServiceGonePolicy,
    ServiceTable,
};
pub use shared_list::SharedList;
pub use snapshot::{
    AddressRole, Around, Backend, BackendState, ClusterKey, Patch, Port, Snapshot, SnapshotParts,
    SnatAddress, Spare,
};
pub use steer::{MOST_SHARED_RANGES, SteerEntry, SteerTable};
pub use target::{Shortcut, Target, Way};
