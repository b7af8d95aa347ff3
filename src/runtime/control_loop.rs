//! The control thread: takes events one after another, compiles once for all that came together.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{Controller, Seldom, SteerTarget, Step, clock};
use crate::control::{DesiredState, Health, Refusal, Topology};

/// Longest time between two looks at what time brings: drained backends, announcements, tables
/// that were full.
const TICK: Duration = Duration::from_millis(200);

/// Something that is done with the controller between two events.
type Glance<T> = Box<dyn FnOnce(&mut Controller<T>) + Send>;

/// Something the control thread reacts to.
pub enum Event<T> {
    /// The operator wants something else; the answer says whether it was taken over.
    Desired(Box<DesiredState>, Sender<Result<(), Vec<Refusal>>>),
    /// A backend came up or went down.
    Health {
        /// Name of its service.
        service: Arc<str>,
        /// Its name in the service.
        backend: Arc<str>,
        /// What its probes say.
        health: Health,
    },
    /// Links, routes or neighbours changed.
    Topology(Box<Topology>),
    /// Somebody wants to look at the controller's state.
    Look(Glance<T>),
    /// End the loop.
    Stop,
}

/// Runs until [`Event::Stop`] or until nobody can send events any more; gives the controller back.
/// `on_step` is told of each step that published something or was refused something.
pub fn run_control_loop<T: SteerTarget>(
    mut controller: Controller<T>,
    events: &Receiver<Event<T>>,
    mut on_step: impl FnMut(&Controller<T>, &Step),
) -> Controller<T> {
    let mut refused = Seldom::new(10_000);
    loop {
        let first = match events.recv_timeout(TICK) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return controller,
        };
        for event in first.into_iter().chain(events.try_iter()) {
            match event {
                Event::Stop => return controller,
                Event::Look(look) => look(&mut controller),
                Event::Health { service, backend, health } => {
                    controller.set_health(&service, &backend, health);
                }
                Event::Topology(topology) => controller.set_topology(*topology),
                Event::Desired(desired, answer) => {
                    let result = controller.set_desired(*desired, clock::now().0);
                    let result = result.map(|step| on_step(&controller, &step));
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(result);
                }
            }
        }
        match controller.step(clock::now().0) {
            Ok(step) => {
                if step.published.is_some() || !step.steer_refused.is_empty() {
                    on_step(&controller, &step);
                }
            }
            Err(refusals) => {
                // Only topology and health changed, so this is a limit that was reached, and will
                // be at each step until one of them changes again.
                if let Some(untold) = refused.ask(clock::now().0) {
                    for refusal in refusals {
                        tracing::error!(%refusal, untold, "the running snapshot stays");
                    }
                }
            }
        }
    }
}
