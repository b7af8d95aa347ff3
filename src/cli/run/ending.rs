//! The end that somebody asked for: no new flows, a wait for the others, the end.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::notify::Notifier;
use super::reload::Reloader;
use super::status::StatusContext;
use crate::admin::{DataPlane, StopReport, StopRequest, StoppingStatus};
use crate::cli::moment::now_unix_ms;
use crate::dataplane::{FlowEntry, FlowFilter, FlowState, FlowWalk};

/// The answer to whoever asked is on its way meanwhile.
const ANSWER_FIRST: Duration = Duration::from_millis(50);
/// How often flows are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// Longest wait until every worker lets no new flows begin.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(10);

impl Reloader {
    /// Begins the end, or gives it another time.
    pub fn begin_end(&mut self, request: StopRequest) -> StopReport {
        if request.drain_ms.is_some()
            && !self.is_ending
            && let Err(refused) = self.let_none_begin()
        {
            return StopReport { refused: Some(refused), stopping: None };
        }
        let now = now_unix_ms();
        let flows = if request.drain_ms.is_some() { open_flows(&self.context) } else { 0 };
        let until_unix_ms = now.saturating_add(request.drain_ms.unwrap_or(0));
        let mut stopping = self.context.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let since_unix_ms = stopping.map_or(now, |before| before.since_unix_ms);
        *stopping = Some(StoppingStatus { since_unix_ms, until_unix_ms, flows });
        tracing::info!(drain_ms = request.drain_ms, flows, "the end begins");
        StopReport { refused: None, stopping: *stopping }
    }

    /// Returns once no worker lets a new flow begin.
    fn let_none_begin(&mut self) -> Result<(), String> {
        self.is_ending = true;
        let desired = self.sources.merged().desired.clone();
        if let Err(error) = self.publish(desired) {
            self.is_ending = false;
            return Err(error.to_string());
        }
        let publisher = &self.context.publisher;
        let (generation, until) =
            (publisher.current().generation, Instant::now() + EVERYWHERE_WITHIN);
        while publisher.acknowledged() < generation && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Returns once the end that has begun is due; never while none has.
pub async fn over(context: &Arc<StatusContext>, notifier: &Notifier) {
    if context.stopping().is_none() {
        return std::future::pending().await;
    }
    sleep(ANSWER_FIRST).await;
    loop {
        let Some(StoppingStatus { until_unix_ms, flows, .. }) = context.stopping() else { return };
        let left_ms = until_unix_ms.saturating_sub(now_unix_ms());
        if left_ms == 0 {
            tracing::info!(flows, "the time to wait for flows is over");
            return;
        }
        let counted = context.clone();
        let Ok(flows) = tokio::task::spawn_blocking(move || open_flows(&counted)).await else {
            return;
        };
        if let Some(stopping) =
            &mut *context.stopping.lock().unwrap_or_else(PoisonError::into_inner)
        {
            stopping.flows = flows;
        }
        if flows == 0 {
            tracing::info!("no flow is left");
            return;
        }
        let seconds = left_ms.div_ceil(1_000);
        notifier.status(&format!("stopping: {flows} flows left, {seconds} s at most"));
        sleep(COUNT_EVERY.min(Duration::from_millis(left_ms))).await;
    }
}

/// Flows that somebody may still want to use. Workers that do not answer count as having none: they
/// must not keep the process from its end.
fn open_flows(context: &StatusContext) -> u64 {
    let mut flows = 0;
    let begin = || FlowWalk::to_show(FlowFilter::default());
    let walked = context.walk_flows(&begin, &mut |_, walk: &FlowWalk| {
        flows += walk.found.iter().filter(|(flow, _)| is_open(flow)).count() as u64;
        ControlFlow::Continue(())
    });
    if let Err(error) = walked {
        tracing::warn!(error, "not all flows are counted");
    }
    flows
}

/// Those that are closed only wait for late packets.
fn is_open(flow: &FlowEntry) -> bool {
    ![FlowState::Closed as u8, FlowState::Reset as u8].contains(&flow.state)
}
