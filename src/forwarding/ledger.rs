//! What goes along with a snapshot for the next one to be made from it.

use super::{BackendId, ServiceIndex};

/// What `compile` remembers from one snapshot to the next. Workers never look at it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// When each service that is `gone` in this snapshot was removed, in milliseconds.
    pub gone_since_ms: Vec<(ServiceIndex, u64)>,
    /// Backends that left while flows of theirs may have been alive, and the generation they left
    /// in: their ids rest until every worker has that generation and counts no such flow.
    pub cut: Vec<(BackendId, u64)>,
    /// Since when each backend that is draining or retired is, in milliseconds, by id.
    pub draining_since_ms: Vec<(BackendId, u64)>,
    /// When the next of them is gone, its `drain_time` being over.
    pub next_gone_ms: Option<u64>,
}
