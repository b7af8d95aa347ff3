//! Changes that are asked for over the admin socket: what they would do, and doing it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use super::dataplane::SteerPrograms;
use super::reload::{APPLY, CONFIRM, Reloader};
use super::replace_file::{former, replace};
use super::sources::Would;
use super::status::StatusContext;
use crate::admin::{Applied, ChangeReport, ChangeRequest, ChangeVerb};
use crate::control::{CompileInput, Plan, PlanInput, Topology, compile, plan};
use crate::runtime::{Controller, Event, Running, clock};

/// Longest wait for the control thread to tell what runs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait until every worker runs what was applied.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(10);

impl Reloader {
    /// Does what is asked, or says why not.
    pub fn change(&mut self, request: ChangeRequest, topology: &Topology) -> ChangeReport {
        let mut report = ChangeReport::default();
        if let Err(refused) = self.try_change(request, topology, &mut report) {
            report.refused = Some(refused);
        }
        report
    }

    fn try_change(
        &mut self,
        mut request: ChangeRequest,
        topology: &Topology,
        report: &mut ChangeReport,
    ) -> Result<(), String> {
        let file = self.sources.file_of(&request.name)?;
        if request.verb == ChangeVerb::Rollback {
            request.text = former(&file)?;
            request.shown = file.display().to_string();
        }
        let would = self.sources.would(&request, &self.node, topology)?;
        let plan = self.plan(&would)?;
        let breaks_flows = plan.breaks_flows;
        report.plan = Some(plan);
        report.held = would.held.as_ref().map(ToString::to_string);
        if request.verb == ChangeVerb::Plan || (report.held.is_some() && !request.confirm) {
            return Ok(());
        }
        // Flows that begin between this look and the change are not asked about: they are few, and
        // whoever says yes to a number means those, too.
        report.would_break = breaks_flows && !request.may_break;
        if report.would_break {
            return Ok(());
        }
        report.applied = Some(self.apply(&request, file, topology)?);
        Ok(())
    }

    fn plan(&self, would: &Would) -> Result<Plan, String> {
        let running = running(&self.context)?;
        let next = compile(&CompileInput {
            desired: &would.desired,
            health: &running.health,
            topology: &running.topology,
            live: &running.live,
            previous: &running.snapshot,
            limits: &running.limits,
            cluster_key: running.snapshot.cluster_key(),
            now_ms: clock::now().0,
        });
        let next = next.map_err(|refusals| self.sources.main().refuse(refusals).to_string())?;
        Ok(plan(&PlanInput {
            before: &self.desired,
            after: &would.desired,
            running: &running.snapshot,
            next: &next.snapshot,
            live: Some(&running.live),
        }))
    }

    /// Replaces the file, and takes it over as if somebody else had: one way for both.
    fn apply(
        &mut self,
        request: &ChangeRequest,
        file: PathBuf,
        topology: &Topology,
    ) -> Result<Applied, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let before = self.refused();
        let kept = replace(&file, &request.text).map_err(failed)?;
        self.reload(topology, APPLY);
        if request.confirm && self.sources.is_held() {
            self.reload(topology, CONFIRM);
        }
        if let Some(refused) = self.refused().filter(|refused| before.as_ref() != Some(refused)) {
            let advice = "the file is replaced; `guideway rollback` puts the former one back";
            return Err(format!("not all of it is in force ({advice}):\n{refused}"));
        }
        let (generation, is_everywhere) = self.wait_until_everywhere();
        Ok(Applied {
            file: file.display().to_string(),
            kept: kept.map(|kept| kept.display().to_string()),
            generation,
            is_everywhere,
        })
    }

    /// Waits until every worker runs the newest generation; gives it, and whether they do.
    pub(super) fn wait_until_everywhere(&self) -> (u64, bool) {
        let generation = self.context.publisher.current().generation;
        let deadline = Instant::now() + EVERYWHERE_WITHIN;
        let is_everywhere = || self.context.publisher.acknowledged() >= generation;
        while !is_everywhere() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        (generation, is_everywhere())
    }

    /// What status says is refused.
    fn refused(&self) -> Option<String> {
        let status = self.context.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        status.refused.as_ref().map(|refused| refused.error.clone())
    }
}

/// What runs now, with flows counted for this question.
fn running(context: &Arc<StatusContext>) -> Result<Running, String> {
    let (answer, answered) = bounded(1);
    let look = Event::Look(Box::new(move |controller: &mut Controller<SteerPrograms>| {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(controller.running());
    }));
    let sent = context.events.send(look).ok();
    let running = sent.and_then(|()| answered.recv_timeout(ANSWER_WITHIN).ok());
    running.ok_or_else(|| "the control thread does not answer".to_string())
}
