//! Guideway itself: the release binary with a configuration of its own.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use super::arrival::OUTER_SOURCES;
use super::contender::{Mode, Setting};
use super::cpu::{Thread, threads_named};
use super::lab::{BACKEND_COUNT, BALANCER, Lab, SNAT, VIP, backend, command};
use super::process::{Process, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_guideway");

/// A running one.
pub struct Guideway {
    process: Process,
    socket: PathBuf,
}

impl Guideway {
    /// Starts it and waits until it forwards.
    pub fn start(lab: &Lab, mode: &Mode, setting: &Setting) -> Result<Guideway> {
        let config = lab.write("guideway.yaml", &configuration(lab, mode, setting))?;
        let mut run = command(BALANCER, BINARY);
        run.env("RUST_LOG", "warn").args(["run", "--config"]).arg(config);
        let process = Process::start(run, &lab.path("guideway.log"))?;
        let mut guideway = Guideway { process, socket: lab.path("admin.sock") };
        wait_for("guideway to forward", || {
            guideway.process.check()?;
            let Ok(status) = guideway.status() else { return Ok(None) };
            let generation = &status["generation"];
            let is_new = status["pid"] == guideway.process.id();
            let ready = generation["acknowledged"].as_u64() > Some(0)
                && generation["acknowledged"] == generation["published"]
                && all_known(&status);
            Ok((is_new && ready).then_some(()))
        })?;
        Ok(guideway)
    }

    /// Its worker threads.
    pub fn workers(&self, count: usize) -> Result<Vec<Thread>> {
        let threads = threads_named(self.process.id(), "gw-worker-");
        if threads.len() != count {
            bail!("{} worker threads, not {count}", threads.len());
        }
        Ok(threads)
    }

    /// What `guideway status` tells.
    pub fn status(&self) -> Result<Value> {
        let mut ask = Command::new(BINARY);
        ask.args(["status", "--output", "json", "--socket"]).arg(&self.socket);
        Ok(serde_json::from_str(&super::process::run(&mut ask)?)?)
    }
}

fn all_known(status: &Value) -> bool {
    let services = status["services"].as_array().into_iter().flatten();
    let mut backends =
        services.flat_map(|service| service["backends"].as_array().into_iter().flatten());
    backends.all(|backend| backend["next_hop"]["known"].is_object())
}

/// Frames that were dropped, as `reason count` where it is more than a hundredth of all; with what
/// the sockets lost on the way out.
pub fn drops(status: &Value) -> String {
    let counters = &status["counters"];
    let all = counters["received"].as_u64().unwrap_or(0);
    let mut told = String::new();
    for (reason, count) in counters["dropped"].as_object().into_iter().flatten() {
        let count = count.as_u64().unwrap_or(0);
        if count * 100 > all {
            let _ = write!(told, "{reason} {:.0} % ", count as f64 * 100.0 / all as f64);
        }
    }
    let interfaces = status["interfaces"].as_array().into_iter().flatten();
    let queues =
        interfaces.flat_map(|interface| interface["queues"].as_array().into_iter().flatten());
    let full: u64 = queues.filter_map(|queue| queue["transmit_full"].as_u64()).sum();
    if full * 100 > all {
        let _ = write!(told, "transmit_full {:.0} % ", full as f64 * 100.0 / all as f64);
    }
    told.trim_end().to_owned()
}

/// A counter of all workers' events.
pub fn event(status: &Value, name: &str) -> u64 {
    status["counters"]["events"][name].as_u64().unwrap_or(0)
}

fn configuration(lab: &Lab, mode: &Mode, setting: &Setting) -> String {
    let mut text = format!(
        "version: 1\ninterfaces: [ {{ name: eth1 }}, {{ name: eth2 }} ]\n\
         workers: {{ count: {}, cores: {:?} }}\n\
         snat: [ {{ address: {SNAT}, interface: eth2 }} ]\n\
         limits: {{ flows_per_worker: {}, snat_blocks_per_worker: 65536 }}\n\
         admin: {{ socket: {} }}\nstate_dir: {}\nbpf_dir: {}\n",
        setting.cores.len(),
        setting.cores,
        setting.max_flows,
        lab.path("admin.sock").display(),
        lab.path("state").display(),
        lab.path("bpf").display(),
    );
    if mode.form.is_envelope() {
        let _ = writeln!(text, "tunnel_sources: [ {OUTER_SOURCES} ]");
    }
    text += "services:\n";
    for protocol in ["udp", "tcp"] {
        let _ = write!(
            text,
            "  - name: {protocol}\n    address: {VIP}\n    port: 80\n    protocol: {protocol}\n"
        );
        let _ = writeln!(text, "    {}\n    backends:", mode.line);
        for number in 1..=BACKEND_COUNT {
            let (address, port) = (backend(number), mode.port);
            let _ =
                writeln!(text, "      - {{ name: b{number}, address: {address}, port: {port} }}");
        }
    }
    text
}
