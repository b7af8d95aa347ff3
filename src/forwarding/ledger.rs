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
}
