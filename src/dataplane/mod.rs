//! The packet engine: flow table, NAT bindings, verdicts, counters.
//!
//! A pure function of frame, time and snapshot, with the flow table as its state. Must never know
//! control, devices, clocks or threads.

mod affinity;
mod ahead;
mod answer;
mod back;
mod classify;
mod counters;
mod deliver;
mod egress;
mod engine;
mod entry;
mod flow_events;
mod flow_hash;
mod flow_index;
mod flow_meter;
mod flow_state;
mod flow_table;
mod flows;
mod follow;
mod forward;
mod fragment_pieces;
mod fragment_table;
mod fragments;
mod gone;
mod held_frames;
mod icmp;
mod mss;
mod path_mtu;
mod plain;
mod plain_modes;
mod reply_limit;
mod service_flows;
mod shard;
mod snat;
mod snat_block;
mod snat_notes;
mod snat_order;
mod snat_pairs;
mod tap;
mod traffic;
mod tunnel_error;
mod upkeep;
mod verdict;
mod walk;

pub use counters::{Counters, EventCounters};
pub use engine::{Arrival, Engine, EngineConfig, Outcome, Prepared, Ticks};
pub use entry::{ENTRY_VERSION, FlowEntry, Station, entry_flags};
pub use flow_events::{FlowEvent, FlowEventKind};
pub use flow_meter::FlowMeter;
pub use flow_state::{FlowState, Side};
pub use flows::End;
pub use fragments::{FragmentLimits, Ports};
pub use shard::{NicHash, SHARDS, Shard, ShardMap};
pub use tap::{TapCopy, TapFilter, TapPoint, VerdictSet};
pub use traffic::Traffic;
pub use verdict::{DropReason, ReplyKind, Verdict};
pub use walk::{FlowFilter, FlowWalk};
