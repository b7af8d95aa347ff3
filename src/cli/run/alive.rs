//! What systemd, Prometheus and load balancers before this one are told about its life.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::bounded;
use tokio::time::sleep;

use super::dataplane::SteerPrograms;
use super::notify::Notifier;
use super::status::StatusContext;
use crate::admin::Pages;
use crate::admin::metrics::{Most, ProcessStatus, Totals, metrics};
use crate::control::HttpSpec;
use crate::runtime::{Controller, Event, Seldom, clock, silent_workers};

/// How long a thread may take to answer before it counts as stuck, where no watchdog wants it sooner.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether the first snapshot is everywhere.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is told over HTTP.
pub fn pages(context: Arc<StatusContext>, http: HttpSpec) -> Pages {
    let most = Most { services: http.most_services, backends: http.most_backends };
    let (stuck_context, ready_context) = (context.clone(), context.clone());
    let totals = Mutex::new(Totals::default());
    let told = move || {
        let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
        metrics(&context.report(), &ProcessStatus::read(), &mut totals, most)
    };
    Pages {
        metrics: Arc::new(told),
        stuck: Arc::new(move || stuck(&stuck_context, ANSWER_WITHIN)),
        unready: Arc::new(move || unready(&ready_context)),
    }
}

/// Why no new flows should come here.
fn unready(context: &StatusContext) -> Option<String> {
    if context.publisher.acknowledged() == 0 {
        return Some("not every worker runs the first snapshot yet".to_string());
    }
    context.stopping().map(|_| "stopping: no new flows".to_string())
}

/// Which threads do not answer. Blocks for this time at most.
fn stuck(context: &StatusContext, within: Duration) -> Option<String> {
    let (answer, answered) = bounded(1);
    let look = Event::Look(Box::new(move |_: &mut Controller<SteerPrograms>| {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(());
    }));
    let is_asked = context.events.send(look).is_ok();
    let silent = silent_workers(context.publisher.workers(), within);
    if !is_asked || answered.recv_timeout(within).is_err() {
        return Some("the control thread does not answer".to_string());
    }
    match &silent[..] {
        [] => None,
        workers => Some(format!("these workers do not answer: {workers:?}")),
    }
}

/// Tells systemd that the start is over once it is, and from then on that all threads make progress,
/// as long as they do.
pub async fn keep_told(notifier: Arc<Notifier>, context: Arc<StatusContext>) {
    while context.publisher.acknowledged() == 0 {
        sleep(LOOK_EVERY).await;
    }
    notifier.ready(&context.in_short());
    let Some(watchdog) = notifier.watchdog() else { return };
    let every = watchdog / 4;
    let mut complaints = Seldom::new(10_000);
    loop {
        let asked = context.clone();
        let stuck = move || stuck(&asked, every.min(ANSWER_WITHIN));
        match tokio::task::spawn_blocking(stuck).await {
            Ok(None) => notifier.alive(),
            Ok(Some(why)) => {
                if let Some(untold) = complaints.ask(clock::now().0) {
                    tracing::error!(why, untold, "the watchdog is not fed");
                }
            }
            // The runtime ends.
            Err(_) => return,
        }
        sleep(every).await;
    }
}
