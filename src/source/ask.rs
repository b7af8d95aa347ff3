//! What a source that lives delivers, on its way into the desired state.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::control::Delivery;

/// Services on their way into the desired state.
#[derive(Debug)]
pub struct Ask {
    /// Place of the source among the feeds and clusters of the configuration.
    pub source: usize,
    /// For its source.
    pub deliveries: Vec<Delivery>,
    /// The services that they are about.
    pub names: Vec<String>,
    /// What became of them, or why nothing of it was taken.
    pub answer: oneshot::Sender<Result<Took, String>>,
}

/// What became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Took {
    /// Services that were refused, a line for each problem.
    pub refused: BTreeMap<String, Vec<String>>,
    /// It waits to be confirmed.
    pub held: Option<String>,
}
