//! Ending a running Guideway, as it is asked for over the admin socket: plain data.

use serde::{Deserialize, Serialize};

/// Somebody wants it to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopRequest {
    /// How long to wait for flows to end, without new ones, in milliseconds; none: not at all.
    pub drain_ms: Option<u64>,
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StopReport {
    /// Why it does not end.
    pub refused: Option<String>,
    /// It ends once its flows have, or at that time.
    pub stopping: Option<StoppingStatus>,
}

/// The end has begun: no new flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoppingStatus {
    /// Since when.
    pub since_unix_ms: u64,
    /// When it ends, whatever flows are left.
    pub until_unix_ms: u64,
    /// Flows that were not over when they were counted last.
    pub flows: u64,
}
