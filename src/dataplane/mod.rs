//! The packet engine: flow table, NAT bindings, verdicts, counters.
//!
//! A pure function of frame, time and snapshot, with the flow table as its state. Must never know
//! control, devices, clocks or threads.

mod counters;
mod engine;
mod entry;
mod shard;
mod verdict;

pub use counters::{Counters, EventCounters};
pub use engine::{Arrival, Engine, EngineConfig, Outcome, Ticks};
pub use entry::{ENTRY_VERSION, FlowEntry};
pub use shard::{SHARDS, Shard, ShardMap};
pub use verdict::{DropReason, ReplyKind, Verdict};
