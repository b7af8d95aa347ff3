//! The configuration file while running: read again when it changes or on SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::bounded;

use super::status::{StatusContext, now_unix_ms};
use crate::admin::RefusedReload;
use crate::control::{DesiredState, NodeSpec, Refusal, Topology, check_against, diff, warnings};
use crate::runtime::Event;
use crate::source::yaml::{self, ConfigError, LoadedConfig};

/// Longest wait for the control thread to compile and publish.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(60);

/// Reads the file again and again, always into the same place.
pub struct Reloader {
    pub file: PathBuf,
    pub node: NodeSpec,
    pub context: Arc<StatusContext>,
    /// Text of the form taken over last, to tell a touched file from a changed one.
    pub running: Arc<str>,
    /// What that text wants.
    pub desired: DesiredState,
}

impl Reloader {
    /// Reads the file; what is refused changes nothing and is shown in log and status.
    pub fn reload(&mut self, topology: &Topology, why: &str) {
        let result = yaml::load(&self.file).and_then(|config| {
            let is_new = config.text != self.running;
            if is_new { self.take_over(config, topology).map(|()| true) } else { Ok(false) }
        });
        let mut status = self.context.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(true) => {
                tracing::info!(file = %self.file.display(), why, "configuration taken over");
                status.refused = None;
                status.loaded_unix_ms = now_unix_ms();
                status.loaded_in_generation = self.context.publisher.current().generation;
            }
            Ok(false) => {
                tracing::info!(file = %self.file.display(), why, "configuration read, unchanged");
                status.refused = None;
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(why, "configuration refused, the running one stays:\n{error}");
                status.refused = Some(RefusedReload { at_unix_ms: now_unix_ms(), error });
            }
        }
    }

    fn take_over(&mut self, config: LoadedConfig, topology: &Topology) -> Result<(), ConfigError> {
        config.check_same_node(&self.node)?;
        let refusals = check_against(&config.desired, &config.node, topology);
        if !refusals.is_empty() {
            return Err(config.refuse(refusals));
        }
        let (answer, answered) = bounded(1);
        let event = Event::Desired(Box::new(config.desired.clone()), answer);
        let sent = self.context.events.send(event);
        match sent.ok().and_then(|()| answered.recv_timeout(TAKE_OVER_WITHIN).ok()) {
            Some(Ok(())) => {
                tell(&self.desired, &config.desired);
                (self.running, self.desired) = (config.text.clone(), config.desired);
            }
            Some(Err(refusals)) => return Err(config.refuse(refusals)),
            None => {
                return Err(config.refuse(vec![Refusal {
                    path: String::new(),
                    problem: "the control thread does not answer".to_string(),
                    wanted: "another try by SIGHUP when the machine is less busy, or a restart"
                        .to_string(),
                }]));
            }
        }
        Ok(())
    }
}

/// Lines of one kind that are told at once.
const MOST_LINES: usize = 50;

/// What changed, and what can hardly be meant, a line each; a large change is not worth reading.
fn tell(old: &DesiredState, new: &DesiredState) {
    let changes = diff(old, new);
    changes.iter().take(MOST_LINES).for_each(|change| tracing::info!("{change}"));
    if changes.len() > MOST_LINES {
        tracing::info!("and {} more changes", changes.len() - MOST_LINES);
    }
    tell_warnings(new);
}

/// What can hardly be meant.
pub fn tell_warnings(desired: &DesiredState) {
    warnings(desired).iter().take(MOST_LINES).for_each(|warning| tracing::warn!("{warning}"));
}
