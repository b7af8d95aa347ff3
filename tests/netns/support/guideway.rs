//! The binary under test: its configuration, its life, and what it tells about itself.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use super::network::Namespace;
use super::process::{self, Process};
use super::{SOON, wait_for, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_guideway");

/// A configuration in the making. Small tables and short waits, as tests want them.
#[derive(Clone)]
pub struct Config {
    /// `interfaces:` entries, a line of YAML flow each.
    pub interfaces: Vec<String>,
    /// The inside of `workers: { … }`.
    pub workers: String,
    /// `snat:` entries.
    pub snat: Vec<String>,
    /// Networks of tunnels' outer sources.
    pub tunnel_sources: Vec<String>,
    /// The inside of `limits: { … }`.
    pub limits: String,
    /// Other keys of the root, a line each.
    pub lines: Vec<String>,
    /// `feeds:` entries.
    pub feeds: Vec<String>,
    pub services: Vec<Service>,
}

impl Config {
    /// Interfaces by name, two workers at most, and NAT by `snat` (an address).
    pub fn new(interfaces: &[&str], snat: &str) -> Config {
        Config {
            interfaces: interfaces.iter().map(|name| format!("{{ name: {name} }}")).collect(),
            workers: "idle: sleep".to_owned(),
            snat: vec![format!("{{ address: {snat}, ports: 1024-65535 }}")],
            tunnel_sources: Vec::new(),
            limits: "flows_per_worker: 65536, frames_per_queue: 2048".to_owned(),
            lines: Vec::new(),
            feeds: Vec::new(),
            services: Vec::new(),
        }
    }

    pub fn with(mut self, service: Service) -> Config {
        self.services.push(service);
        self
    }

    /// The file's text.
    pub fn text(&self, lab: &Lab) -> String {
        let list = |entries: &[String]| -> String {
            entries.iter().map(|entry| format!("  - {entry}\n")).collect()
        };
        let services: String = self.services.iter().map(Service::text).collect();
        let mut text = format!(
            "version: 1\nworkers: {{ {} }}\nlimits: {{ {} }}\n\
             admin: {{ socket: {} }}\nstate_dir: {}\nbpf_dir: {}\ninterfaces:\n{}",
            self.workers,
            self.limits,
            lab.path("admin.sock").display(),
            lab.path("state").display(),
            lab.path("bpf").display(),
            list(&self.interfaces),
        );
        if !self.snat.is_empty() {
            text += &format!("snat:\n{}", list(&self.snat));
        }
        if !self.tunnel_sources.is_empty() {
            text += &format!("tunnel_sources: [{}]\n", self.tunnel_sources.join(", "));
        }
        self.lines.iter().for_each(|line| text += &format!("{line}\n"));
        if !self.feeds.is_empty() {
            text += &format!("feeds:\n{}", list(&self.feeds));
        }
        if !services.is_empty() {
            text += &format!("services:\n{services}");
        } else if !self.feeds.is_empty() {
            text += "services: []\n";
        }
        text
    }
}

/// One service of a configuration.
#[derive(Clone)]
pub struct Service {
    pub name: String,
    /// VIP and port.
    pub address: String,
    pub port: u16,
    /// The last of several ports.
    pub last_port: Option<u16>,
    /// Everything else at the service's level, a line each: `protocol: udp`, `mode: l2dsr`, …
    pub lines: Vec<String>,
    pub backends: Vec<Backend>,
}

/// One backend of a service.
#[derive(Clone)]
pub struct Backend {
    pub name: String,
    pub address: String,
    /// 0: nothing is said of it.
    pub port: u16,
    /// The rest of its flow mapping: `weight: 2`, `drain: true`.
    pub more: String,
}

impl Service {
    /// TCP by NAT to backends `b1`, `b2`, … at `network.11` and up, on the same port as the VIP; of
    /// an IPv6 network such as `2001:db8:2:`, at `network:11` and up.
    pub fn nat(name: &str, vip: &str, port: u16, network: &str, backends: u8) -> Service {
        let separator = if network.contains(':') { ':' } else { '.' };
        let backends = (1..=backends)
            .map(|number| Backend {
                name: format!("b{number}"),
                address: format!("{network}{separator}{}", 10 + number),
                port,
                more: String::new(),
            })
            .collect();
        let (name, address) = (name.to_owned(), vip.to_owned());
        Service { name, address, port, last_port: None, lines: Vec::new(), backends }
    }

    pub fn line(mut self, line: &str) -> Service {
        self.lines.push(line.to_owned());
        self
    }

    /// The same for all ports up to this one, each to itself.
    pub fn up_to(mut self, last_port: u16) -> Service {
        self.last_port = Some(last_port);
        self.backends.iter_mut().for_each(|backend| backend.port = 0);
        self
    }

    /// Quick TCP checks.
    pub fn checked(self) -> Service {
        self.line("health_check: { type: tcp, interval: 200ms, timeout: 150ms, rise: 2, fall: 2 }")
    }

    pub fn text(&self) -> String {
        let Service { name, address, port, .. } = self;
        let last = self.last_port.map_or_else(String::new, |last| format!("-{last}"));
        let mut text =
            format!("  - name: {name}\n    address: {address}\n    port: {port}{last}\n");
        self.lines.iter().for_each(|line| text += &format!("    {line}\n"));
        text += "    backends:\n";
        for Backend { name, address, port, more } in &self.backends {
            let port = if *port == 0 { String::new() } else { format!(", port: {port}") };
            let comma = if more.is_empty() { "" } else { ", " };
            text += &format!("      - {{ name: {name}, address: {address}{port}{comma}{more} }}\n");
        }
        text
    }
}

/// A running Guideway. Its log is shown when the test panics.
pub struct Guideway {
    process: Process,
    config: PathBuf,
    socket: PathBuf,
}

impl Guideway {
    /// Starts it in a namespace and waits until its workers forward and all backends are ready.
    pub fn start(lab: &Lab, namespace: &Namespace, config: &Config) -> Guideway {
        let guideway = Guideway::start_unready(lab, namespace, config);
        guideway.wait_until_serving();
        guideway
    }

    /// Starts it with a folder of its own, in which this is the main file.
    pub fn start_folder(lab: &Lab, namespace: &Namespace, config: &Config) -> Guideway {
        let folder = lab.path("folder");
        std::fs::create_dir(&folder).unwrap();
        let path = lab.write("folder/guideway.yaml", &config.text(lab));
        let guideway = Guideway::start_by(lab, namespace, &folder, path);
        guideway.wait_until_serving();
        guideway
    }

    /// Starts it and waits only until its workers run.
    pub fn start_unready(lab: &Lab, namespace: &Namespace, config: &Config) -> Guideway {
        let path = lab.write("guideway.yaml", &config.text(lab));
        Guideway::start_by(lab, namespace, &path, path.clone())
    }

    /// The same by a configuration's text.
    pub fn start_text(lab: &Lab, namespace: &Namespace, text: &str) -> Guideway {
        let path = lab.write("guideway.yaml", text);
        let guideway = Guideway::start_by(lab, namespace, &path, path.clone());
        guideway.wait_until_serving();
        guideway
    }

    fn start_by(lab: &Lab, namespace: &Namespace, given: &Path, path: PathBuf) -> Guideway {
        let mut command = namespace.command(BINARY);
        command.env("RUST_LOG", "info").env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        command.args(["run", "--config"]).arg(given).arg("--state-dir").arg(lab.path("state"));
        let process = Process::start(command, &lab.path("guideway.log"));
        let mut guideway = Guideway { process, config: path, socket: lab.path("admin.sock") };
        wait_for("guideway to run", SOON, || {
            let log = guideway.process.output();
            assert!(guideway.process.is_running(), "guideway ended:\n{log}");
            let status = guideway.try_status()?;
            let generation = &status["generation"];
            (status["pid"] == guideway.process.id() && number(&generation["acknowledged"]) > 0)
                .then_some(())
        });
        guideway
    }

    /// Waits until every backend is known to be healthy and its MAC is known.
    pub fn wait_until_serving(&self) {
        wait_for("all backends to be ready", SOON, || {
            let status = self.status();
            let is_ready = |backend: &Value| {
                backend["next_hop"]["known"].is_object()
                    && (backend["health"].is_null() || backend["health"]["health"] == "up")
            };
            let services = status["services"].as_array()?;
            services
                .iter()
                .flat_map(|service| service["backends"].as_array().into_iter().flatten())
                .all(is_ready)
                .then_some(())
        });
    }

    fn try_status(&self) -> Option<Value> {
        let mut command = Command::new(BINARY);
        command.args(["status", "--output", "json", "--socket"]).arg(&self.socket);
        let output = process::output(&mut command);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// What `guideway status --output json` tells.
    pub fn status(&self) -> Value {
        wait_for("status", SOON, || self.try_status())
    }

    /// What `guideway status` shows to people.
    pub fn status_for_people(&self) -> String {
        let mut command = Command::new(BINARY);
        process::run(command.args(["status", "--socket"]).arg(&self.socket))
    }

    /// What `guideway plan FILE` or `apply FILE` answers, and its exit code.
    pub fn change(&self, command: &str, file: &Path, words: &[&str]) -> (Option<i32>, Value) {
        self.answer(Command::new(BINARY).arg(command).arg(file).args(words))
    }

    /// What `guideway rollback` answers, and its exit code.
    pub fn rollback(&self, words: &[&str]) -> (Option<i32>, Value) {
        self.answer(Command::new(BINARY).arg("rollback").args(words))
    }

    fn answer(&self, command: &mut Command) -> (Option<i32>, Value) {
        let output =
            process::output(command.args(["--output", "json", "--socket"]).arg(&self.socket));
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.unwrap_or_else(|_| panic!("{}", process::told(&output))))
    }

    /// What a command says that asks it.
    pub fn ask(&self, command: &str, more: &[&str]) -> Output {
        let mut asks = Command::new(BINARY);
        process::output(asks.arg(command).args(more).arg("--socket").arg(&self.socket))
    }

    /// The same, to be asked from another thread.
    pub fn asker(&self, command: &str, more: &[&str]) -> impl Fn() -> Output + Send + 'static {
        let words: Vec<String> =
            [&[command], more].concat().iter().map(|w| w.to_string()).collect();
        let socket = self.socket.clone();
        move || process::output(Command::new(BINARY).args(&words).arg("--socket").arg(&socket))
    }

    /// A counter of all workers by its name: a verdict's, a drop reason's or an event's.
    pub fn counter(&self, name: &str) -> u64 {
        let [counter] = self.counters([name]);
        counter
    }

    /// A command that asks it and goes on until it is told to end.
    pub fn start_command(&self, lab: &Lab, log: &str, words: &[&str]) -> Process {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--socket").arg(&self.socket);
        Process::start(command, &lab.path(log))
    }

    /// The same on a terminal of its own.
    pub fn start_on_terminal(&self, lab: &Lab, log: &str, words: &str) -> Process {
        let socket = self.socket.display();
        let line = format!("stty rows 30 cols 140; {BINARY} {words} --socket {socket}");
        let mut command = Command::new("script");
        command.args(["-qfec", &line, "/dev/null"]).env("TERM", "xterm-256color");
        Process::start(command, &lab.path(log))
    }

    /// Several of them in one look.
    pub fn counters<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let counters = &self.status()["counters"];
        names.map(|name| {
            let found = [counters, &counters["replied"], &counters["dropped"], &counters["events"]]
                .iter()
                .find_map(|group| group[name].as_u64());
            found.unwrap_or_else(|| panic!("no counter {name} in {counters}"))
        })
    }

    /// A counter of the XDP program, summed over interfaces.
    pub fn steer_counter(&self, name: &str) -> u64 {
        let status = self.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        interfaces.iter().map(|interface| number(&interface["steer"][name])).sum()
    }

    /// A service's part of the status.
    pub fn service(&self, name: &str) -> Value {
        let status = self.status();
        let mut services = status["services"].as_array().unwrap().iter();
        services.find(|service| service["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// A backend's part of the status; null when it is not there.
    pub fn backend(&self, service: &str, name: &str) -> Value {
        let service = self.service(service);
        let mut backends = service["backends"].as_array().into_iter().flatten();
        backends.find(|backend| backend["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// Writes a new configuration and waits until every worker runs by it.
    pub fn reload(&self, lab: &Lab, config: &Config) {
        let before = number(&self.status()["configuration"]["loaded_unix_ms"]);
        std::thread::sleep(Duration::from_millis(2));
        self.write(&config.text(lab));
        wait_until("the new configuration to be in use", || {
            let status = self.status();
            let configuration = &status["configuration"];
            let generation = number(&configuration["loaded_in_generation"]);
            number(&configuration["loaded_unix_ms"]) > before
                && number(&status["generation"]["acknowledged"]) >= generation
        });
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Writes text into its configuration file, the way editors do: a new file is renamed over it.
    pub fn write(&self, text: &str) {
        let beside = self.config.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.config).unwrap();
    }

    /// Writes another file into the folder of its configuration file, in the same way.
    pub fn write_beside(&self, name: &str, text: &str) {
        let file = self.config.with_file_name(name);
        let beside = file.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, file).unwrap();
    }

    pub fn remove_beside(&self, name: &str) {
        std::fs::remove_file(self.config.with_file_name(name)).unwrap();
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn wait_for_log(&mut self, text: &str) {
        self.process.wait_for_output(text);
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends it as systemd would.
    pub fn terminate(self) -> ExitStatus {
        self.end_by("TERM")
    }

    /// Waits for the end that somebody asked it for.
    pub fn ended(mut self) -> ExitStatus {
        self.process.wait(SOON)
    }

    /// Ends it by a signal that it answers by cleaning up.
    pub fn end_by(mut self, signal: &str) -> ExitStatus {
        self.process.signal(signal);
        self.process.wait(SOON)
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait(SOON);
    }
}

impl Drop for Guideway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.try_status().map_or_else(String::new, |status| status.to_string());
            eprintln!("--- guideway's log\n{}\n--- its status\n{status}", self.process.output());
        }
    }
}

/// Runs `guideway run` with a configuration's text where it must refuse to start; gives its exit and
/// all it said.
pub fn refused(lab: &Lab, namespace: &Namespace, text: &str) -> (Option<i32>, String) {
    refused_under(lab, namespace, text, &[])
}

/// The same, started by another program: `under` is its name and options.
pub fn refused_under(
    lab: &Lab,
    namespace: &Namespace,
    text: &str,
    under: &[&str],
) -> (Option<i32>, String) {
    let path = lab.write("refused.yaml", text);
    let mut command = namespace.command("timeout");
    command.env("NO_COLOR", "1").arg("20").args(under).args([BINARY, "run", "--config"]).arg(&path);
    let output: Output = process::output(&mut command);
    (output.status.code(), process::told(&output))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
