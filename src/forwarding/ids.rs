//! Small numbers that stand for things in a snapshot.

/// A backend of a service, stable over snapshots: the flow table holds it.
///
/// Given by `compile` and not given to another backend while any worker has a flow that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BackendId(pub u32);

impl BackendId {
    /// No backend's.
    pub const NONE: BackendId = BackendId(u32::MAX);

    /// Place in the snapshot's backend array and in the workers' live-flow counts.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A service's place in one snapshot. Means nothing in another snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServiceIndex(pub u32);

impl ServiceIndex {
    /// Place in the snapshot's service array.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
