//! What goes along with a snapshot for the next one to be made from it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

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
    /// Since when each backend is there that has not its full share yet, in milliseconds, by id.
    pub warming_since_ms: Vec<(BackendId, u64)>,
    /// When the next of them gets more.
    pub next_warmer_ms: Option<u64>,
    /// Backends that are used though their health checks call them dead, ascending.
    pub disbelieved: Vec<BackendId>,
}

/// What a snapshot was compiled from, in words of `compile`'s own, which nobody else understands. The
/// next compile goes by it to see what is as it was; without it, it looks at everything.
#[derive(Clone, Default)]
pub struct Origin(Option<Arc<dyn Any + Send + Sync>>);

impl Origin {
    /// Keeps this.
    pub fn new(value: impl Any + Send + Sync) -> Origin {
        Origin(Some(Arc::new(value)))
    }

    /// What was kept, if it was of this kind.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origin").field(&self.0.is_some()).finish()
    }
}
