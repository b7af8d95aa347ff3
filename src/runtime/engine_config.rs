//! What an engine is made with, from the limits of the configuration.

use crate::control::LimitsSpec;
use crate::dataplane::{EngineConfig, FragmentLimits, ShardMap};

/// For one worker: its number, who owns which shard, and the secret of the flow table, which is the
/// same for all.
pub fn engine_config(
    limits: &LimitsSpec,
    worker: u8,
    shards: ShardMap,
    flow_hash_key: [u8; 16],
) -> EngineConfig {
    EngineConfig {
        worker,
        shards,
        max_flows: limits.flows_per_worker,
        max_backends: limits.backends,
        snat_hold_down_ms: limits.snat_hold_down_ms,
        max_snat_blocks: limits.snat_blocks_per_worker,
        max_replies_per_second: limits.replies_per_second,
        max_new_flows_per_second: limits.new_flows_per_second,
        fragments: FragmentLimits {
            datagrams: limits.fragmented_packets,
            held: limits.fragments_held,
            frame_bytes: limits.frame_bytes as usize,
            hold_ms: limits.fragment_hold_ms,
        },
        flow_events: 0,
        flow_meters: false,
        flow_hash_key,
    }
}
