//! The configuration while running: read again when it changes or on SIGHUP.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::bounded;

use super::sources::{MOST_LINES, Read, Sources};
use super::status::StatusContext;
use crate::admin::RefusedReload;
use crate::cli::moment::now_unix_ms;
use crate::control::{
    DesiredState, NodeSpec, Refusal, Topology, diff, warnings, warnings_of, without_new_flows,
};
use crate::runtime::Event;
use crate::source::yaml::ConfigError;

/// Longest wait for the control thread to compile and publish.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(60);

/// The signal that also confirms a change which waits.
pub const HANG_UP: &str = "SIGHUP";
/// The command that replaces the file.
pub const APPLY: &str = "guideway apply";
/// The same where the change is confirmed.
pub const CONFIRM: &str = "guideway apply --confirm";

/// Reads file or folder again and again, always into the same place.
pub struct Reloader {
    pub sources: Sources,
    pub node: NodeSpec,
    pub context: Arc<StatusContext>,
    /// What is in force.
    pub desired: DesiredState,
    /// The end has begun: whatever is read, no new flows.
    pub is_ending: bool,
}

/// What a reload did.
enum Did {
    Nothing,
    TookOver,
    Held,
}

impl Reloader {
    /// With this in force.
    pub fn new(
        sources: Sources,
        node: NodeSpec,
        context: Arc<StatusContext>,
        desired: DesiredState,
    ) -> Reloader {
        Reloader { sources, node, context, desired, is_ending: false }
    }

    /// Reads what has changed; what is refused changes nothing and is shown in log and status.
    pub fn reload(&mut self, topology: &Topology, why: &str) {
        let read = self.sources.read();
        let result = read.and_then(|read| self.take_over(read, topology, why));
        self.sources.keep_good();
        let file = self.sources.path().display();
        let refused = self.sources.told();
        let mut status = self.context.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match result {
            Ok(Did::TookOver) => {
                tracing::info!(%file, why, "configuration taken over");
                status.reloads.taken_over += 1;
                status.loaded_unix_ms = now_unix_ms();
                status.loaded_in_generation = self.context.publisher.current().generation;
                None
            }
            Ok(Did::Nothing) => {
                tracing::info!(%file, why, "configuration read, unchanged");
                status.reloads.unchanged += 1;
                None
            }
            Ok(Did::Held) => {
                tracing::warn!(%file, why, "configuration read, and held");
                status.reloads.held += 1;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            tracing::error!(why, "configuration refused, the running one stays:\n{error}");
        } else if let Some(refused) = &refused {
            tracing::error!(why, "not all of the configuration is in force:\n{refused}");
        }
        let error = error.or(refused);
        status.reloads.refused += u64::from(error.is_some());
        status.refused = error.map(|error| RefusedReload { at_unix_ms: now_unix_ms(), error });
    }

    fn take_over(
        &mut self,
        read: Read,
        topology: &Topology,
        why: &str,
    ) -> Result<Did, ConfigError> {
        let mark = self.sources.mark(&read);
        let outcome = if read.is_empty() {
            // Asked for by hand once more, with nothing new: that is what a confirmation looks like.
            if ![HANG_UP, CONFIRM].contains(&why) || !self.sources.confirm() {
                return Ok(Did::Nothing);
            }
            tracing::info!("the change that waited is confirmed");
            None
        } else {
            self.sources.take(read, &self.node, topology)?.held
        };
        let desired = self.sources.merged().desired.clone();
        if let Err(error) = self.publish(desired) {
            self.sources.back_to(mark);
            return Err(error);
        }
        Ok(if outcome.is_some() { Did::Held } else { Did::TookOver })
    }

    pub(super) fn publish(&mut self, desired: DesiredState) -> Result<(), ConfigError> {
        let desired = if self.is_ending { without_new_flows(&desired) } else { desired };
        if desired == self.desired {
            return Ok(());
        }
        let (answer, answered) = bounded(1);
        let sent = self.context.events.send(Event::Desired(Box::new(desired.clone()), answer));
        let main = self.sources.main();
        match sent.ok().and_then(|()| answered.recv_timeout(TAKE_OVER_WITHIN).ok()) {
            Some(Ok(())) => {
                tell(&self.desired, &desired);
                self.desired = desired;
                Ok(())
            }
            Some(Err(refusals)) => Err(main.refuse(refusals)),
            None => Err(main.refuse(vec![Refusal {
                path: String::new(),
                problem: "the control thread does not answer".to_string(),
                wanted: "another try by SIGHUP when the machine is less busy, or a restart"
                    .to_string(),
            }])),
        }
    }
}

/// What changed, and what can hardly be meant, a line each; a large change is not worth reading.
fn tell(old: &DesiredState, new: &DesiredState) {
    let changes = diff(old, new);
    changes.iter().take(MOST_LINES).for_each(|change| tracing::info!("{change}"));
    if changes.len() > MOST_LINES {
        tracing::info!("and {} more changes", changes.len() - MOST_LINES);
    }
    let (_, changed) = new.changes_since(old);
    let odd = changed.iter().flat_map(|s| warnings_of(&format!("services[{}]", s.name), s));
    odd.take(MOST_LINES).for_each(|warning| tracing::warn!("{warning}"));
}

/// What can hardly be meant.
pub fn tell_warnings(desired: &DesiredState) {
    warnings(desired).iter().take(MOST_LINES).for_each(|warning| tracing::warn!("{warning}"));
}
