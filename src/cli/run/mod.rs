//! `guideway run`: puts the parts together, keeps them running, takes them apart.

mod alive;
mod change;
mod cluster_key;
mod cluster_services;
mod clusters;
mod dataplane;
mod drains;
mod ending;
mod feeds;
mod kept;
mod last_good;
mod notify;
mod probes;
mod records;
mod reload;
mod replace_file;
mod sources;
mod status;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, ensure};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::log::{self, LogFormat};
use super::moment::now_unix_ms;
use crate::admin::{AdminSocket, ConfigurationStatus, HttpListener, RefusedReload, ReloadsStatus};
use crate::control::{DesiredState, NodeSpec};
use crate::forwarding::ClusterKey;
use crate::io::afxdp::bridge;
use crate::runtime::{Controller, Event, Step, clock, netlink, run_control_loop};
use crate::source::yaml::watch::{DEBOUNCE, FileWatch};
use crate::source::yaml::{ConfigError, DEFAULT_STATE_DIR, LoadedConfig};
use clusters::Clusters;
use dataplane::{DataPlane, SteerPrograms};
use feeds::Feeds;
use notify::Notifier;
use records::Recording;
use reload::{Reloader, tell_warnings};
use sources::Sources;
use status::StatusContext;
use tasks::{Parts, Tasks};

/// Balance: take VIP traffic off the configured interfaces until told to stop (SIGTERM, SIGINT).
/// SIGHUP, or a change of the file or folder, reloads it.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// The configuration: a file, or a folder of files with a `guideway.yaml` among them.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/guideway/guideway.yaml")]
    pub config: PathBuf,
    /// Where the form of the main file is looked for that was in force last, if the file is refused:
    /// what `state_dir` says in it.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// What to log: error, warn, info, debug, or a filter such as `guideway::runtime=debug`.
    #[arg(long, value_name = "FILTER", env = "GUIDEWAY_LOG", default_value = "info")]
    pub log: String,
    /// How the log is written: for people, or as a JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Why it ended before it was told to.
enum Failure {
    /// The configuration was refused: exit code 2.
    Refused(ConfigError),
    /// Something else: exit code 1.
    Failed(anyhow::Error),
    /// Something broke while running: exit code 1, and the XDP programs stay for the next start.
    Crashed(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Refused(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Failed(error)
    }
}

/// Runs until a signal ends it.
pub fn run(args: &RunArgs) -> ExitCode {
    log::begin(&args.log, args.log_format);
    match run_until_stopped(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(error)) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error) | Failure::Crashed(error)) => {
            eprintln!("guideway run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_until_stopped(args: &RunArgs) -> Result<(), Failure> {
    // From here on signals are kept until all is up: nothing is left half done by them.
    let tasks = Tasks::new()?;
    let notifier = Arc::new(Notifier::from_environment());
    // Before the file is read, so that no change is missed.
    let watched = args.config.clone();
    let changes = tasks.by_a_helper(move || FileWatch::new(&watched, DEBOUNCE))?;
    let (mut sources, read) = Sources::open(&args.config, &args.state_dir)?;
    let config = sources.main().clone();
    let admin = AdminSocket::bind(&config.node.admin_socket).map_err(anyhow::Error::from)?;
    let http = listen(&config.node)?;
    let bridges = BridgePorts::make(&config.node)?;
    let topology = netlink::read_topology(&config.node.interfaces)
        .context("the kernel does not tell about links, routes and neighbours")?;
    sources.take_first(read, &topology)?;
    let feeds = Feeds::open(&config.node, &mut sources, &topology);
    let clusters = Clusters::open(&config.node, &mut sources, &topology)?;
    let desired = sources.merged().desired.clone();
    let (key, fingerprint) = load_key(&config.node)?;
    let (given, taken) = records::rings(&config.node)?;
    let limits = config.node.limits.clone();
    let DataPlane { publisher, supervisor, steer } = dataplane::start(&config.node, given)?;
    let controller = Controller::new(publisher.clone(), steer, limits, key, topology.clone());
    let recording = Recording::begin(&config.node, taken, publisher.clone())?;
    let (events, inbox) = unbounded();
    let context = Arc::new(StatusContext {
        node: config.node.clone(),
        publisher,
        events: events.clone(),
        configuration: Mutex::new(configuration_status(&sources)),
        health: Mutex::default(),
        feeds: feeds.states(),
        clusters: clusters.states(),
        drains: Mutex::new(sources.drains().clone()),
        cluster_key_fingerprint: fingerprint,
        record_counts: recording.counts(),
        started_unix_ms: now_unix_ms(),
        stopping: Mutex::default(),
    });
    let (outside, hooks) = tasks::channels(&topology, context.clone());
    let control = begin_control(controller, inbox, hooks)?;
    let result = take_over_first(&config, &desired, &events).and_then(|()| {
        tell_warnings(&desired);
        sources.keep_good();
        let reloader = Reloader::new(sources, config.node.clone(), context.clone(), desired);
        let told = (changes, feeds, clusters);
        let parts = Parts { outside, admin, http, reloader, told, context, topology, notifier };
        let check = || {
            ensure!(supervisor.is_running(), "a worker thread has ended, see the panic above");
            ensure!(!control.is_finished(), "the control thread has ended, see the panic above");
            Ok(())
        };
        tasks::run_until_signal(tasks, parts, check).map_err(Failure::Crashed)
    });
    tracing::info!("stopping");
    if let Err(Failure::Crashed(_)) = result {
        // As after a kill: what is ours is dropped, not answered with resets by the kernel, until
        // the next start takes over.
        bridges.keep();
        return result;
    }
    // Traffic goes back to the kernel before the workers end, so that none of it is lost in between.
    give_back(control, &events)?;
    recording.end();
    supervisor.stop();
    bridges.remove();
    result
}

/// The control thread, which compiles and publishes.
fn begin_control(
    controller: Controller<SteerPrograms>,
    inbox: Receiver<Event<SteerPrograms>>,
    mut hooks: tasks::Hooks,
) -> anyhow::Result<JoinHandle<Controller<SteerPrograms>>> {
    std::thread::Builder::new()
        .name("gw-control".into())
        .spawn(move || run_control_loop(controller, &inbox, |c, step| on_step(c, step, &mut hooks)))
        .context("the control thread")
}

/// Metrics over HTTP, where they are wanted.
fn listen(node: &NodeSpec) -> anyhow::Result<Option<HttpListener>> {
    Ok(node.http.map(|http| HttpListener::bind(http.listen)).transpose()?)
}

/// The cluster key and what is shown of it.
fn load_key(node: &NodeSpec) -> anyhow::Result<(ClusterKey, String)> {
    let (key, file) = cluster_key::load(node)?;
    let fingerprint = cluster_key::fingerprint(&key);
    tracing::info!(file = %file.display(), fingerprint, "cluster key");
    Ok((key, fingerprint))
}

/// Ends the control thread and takes the XDP programs off.
fn give_back(
    control: JoinHandle<Controller<SteerPrograms>>,
    events: &Sender<Event<SteerPrograms>>,
) -> anyhow::Result<()> {
    // No receiver: the control thread has ended already.
    let _ = events.send(Event::Stop);
    let controller = control.join().map_err(|_| anyhow!("the control thread panicked"))?;
    controller.into_steer_target().0.detach();
    Ok(())
}

fn configuration_status(sources: &Sources) -> ConfigurationStatus {
    let refused = sources.told();
    if let Some(refused) = &refused {
        tracing::error!("not all of the configuration is in force:\n{refused}");
    }
    ConfigurationStatus {
        file: sources.path().display().to_string(),
        loaded_in_generation: 1,
        loaded_unix_ms: now_unix_ms(),
        refused: refused.map(|error| RefusedReload { at_unix_ms: now_unix_ms(), error }),
        reloads: ReloadsStatus::default(),
    }
}

/// Publishes the first snapshot; from here on VIP traffic is taken.
fn take_over_first(
    config: &LoadedConfig,
    desired: &DesiredState,
    events: &Sender<Event<SteerPrograms>>,
) -> Result<(), Failure> {
    let (answer, answered) = bounded(1);
    let desired = Box::new(desired.clone());
    let gone = |_| anyhow!("the control thread has ended");
    events.send(Event::Desired(desired, answer)).map_err(|_| gone(()))?;
    match answered.recv().map_err(|_| gone(()))? {
        Ok(()) => Ok(()),
        Err(refusals) => Err(config.refuse(refusals).into()),
    }
}

/// Tells the probes and the neighbour watch what is wanted now, and the log what happened.
fn on_step(controller: &Controller<SteerPrograms>, step: &Step, hooks: &mut tasks::Hooks) {
    hooks.update(controller.desired(), controller.topology(), &controller.snapshot());
    if step.taken_over {
        hooks.update_probes(controller.desired());
    }
    if let Some(snapshot) = &step.published {
        let (services, generation) = (snapshot.services.len(), snapshot.generation);
        tracing::info!(generation, services, "snapshot published");
    }
    step.notes.iter().for_each(|note| tracing::warn!("{note}"));
    // At each step, until there is room.
    if !step.steer_refused.is_empty()
        && let Some(untold) = hooks.steer_refused.ask(clock::now().0)
    {
        let tell = |why: &String| tracing::error!(why, untold, "not steered, tried again");
        step.steer_refused.iter().for_each(tell);
    }
}

/// The veth pairs into bridges of this machine, which a clean stop removes. Those that were made
/// here also go when the start fails; those of an earlier run may still have its XDP program.
#[derive(Default)]
struct BridgePorts {
    made: Vec<String>,
    found: Vec<String>,
}

impl BridgePorts {
    fn make(node: &NodeSpec) -> anyhow::Result<BridgePorts> {
        let mut ports = BridgePorts::default();
        for interface in &node.interfaces {
            if let Some(bridge) = &interface.bridge {
                let queues = u32::from(node.workers.count.unwrap_or(1));
                let port = bridge::make_port(&interface.name, bridge, queues)?;
                let name = interface.name.clone();
                tracing::info!(interface = name, bridge, made = port.made, "veth pair into bridge");
                if !port.refused.is_empty() {
                    let (peer, refused) = (&port.peer, port.refused.join(", "));
                    tracing::warn!(peer, refused, "offloads that could not be turned off");
                }
                if port.made { ports.made.push(name) } else { ports.found.push(name) }
            }
        }
        Ok(ports)
    }

    fn remove(mut self) {
        self.found.drain(..).for_each(remove_port);
    }

    fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for BridgePorts {
    fn drop(&mut self) {
        self.made.drain(..).for_each(remove_port);
    }
}

fn remove_port(name: String) {
    if let Err(error) = bridge::remove_port(&name) {
        tracing::warn!(interface = name, %error, "the veth pair could not be removed");
    }
}
