//! What a source that lives delivers, on its way into the desired state.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

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

impl Ask {
    /// Delivers, and waits for what becomes of it; none: Guideway is stopping.
    pub async fn deliver(
        asks: &mpsc::Sender<Ask>,
        source: usize,
        deliveries: Vec<Delivery>,
        names: Vec<String>,
    ) -> Option<Result<Took, String>> {
        let (answer, answered) = oneshot::channel();
        asks.send(Ask { source, deliveries, names, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// What became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Took {
    /// Services that were refused, a line for each problem.
    pub refused: BTreeMap<String, Vec<String>>,
    /// It waits to be confirmed.
    pub held: Option<String>,
}
