//! `guideway replay`: a capture through the engine, and what became of each frame.

mod report;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use super::ask::Output;
use super::status::CounterChoice;
use crate::control::{Health, HealthView, Refusal, check_against};
use crate::io::pcap::{PcapDevice, PcapOptions, PcapPort};
use crate::runtime::replay::{Chapter, ReplayError, ReplayReport, World, replay};
use crate::source::yaml::{self, ConfigError, LoadedConfig};
use crate::wire::PortId;

/// Run a capture through the engine and show what became of each frame.
///
/// The clock is the capture's. What the kernel and the health checks would say stands in the
/// configuration's `replay` section. Equal inputs give equal outputs.
#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The capture that is read: pcap, Ethernet.
    #[arg(long = "in", value_name = "PCAP")]
    pub input: PathBuf,
    /// The capture that is written: what would be sent, with the time of what it was made from.
    #[arg(long = "out", value_name = "PCAP")]
    pub output_file: PathBuf,
    /// Another configuration takes over, so many seconds after the first frame. May be repeated.
    #[arg(long = "then", value_name = "SECONDS=FILE")]
    pub then: Vec<Then>,
    /// The interface all frames came in by; else the one whose MAC they are for, or the first.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Which counters stand in the table; JSON always has all.
    #[arg(long, value_enum, default_value_t)]
    pub counters: CounterChoice,
}

/// A configuration and when it takes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Then {
    /// Milliseconds after the first frame.
    pub at_ms: u64,
    /// Its file.
    pub file: PathBuf,
}

impl FromStr for Then {
    type Err = String;

    fn from_str(text: &str) -> Result<Then, String> {
        let wrong = || format!("`{text}` is not SECONDS=FILE, such as 2.5=other.yaml");
        let (seconds, file) = text.split_once('=').ok_or_else(wrong)?;
        let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
        // A thousand years: what is longer is a mistake.
        if !(0.0..3.2e10).contains(&seconds) || file.is_empty() {
            return Err(wrong());
        }
        Ok(Then { at_ms: (seconds * 1000.0).round() as u64, file: file.into() })
    }
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A configuration is refused.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The command line asks for something that cannot be.
    #[error("guideway replay: {0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("guideway replay: {0}")]
    Files(String),
}

/// Replays and prints.
pub fn run(args: &ReplayArgs) -> ExitCode {
    match execute(args) {
        Ok((shown, remarks)) => {
            // Nobody is there to be told when the reader has gone.
            let _ = std::io::stdout().write_all(shown.as_bytes());
            let _ = std::io::stderr().write_all(remarks.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            match failure {
                Failure::Files(_) => ExitCode::FAILURE,
                Failure::Config(_) | Failure::Usage(_) => ExitCode::from(2),
            }
        }
    }
}

/// Replays; gives what to print on standard output and on standard error.
///
/// # Errors
/// A refused configuration, or a file that cannot be read or written.
pub fn execute(args: &ReplayArgs) -> Result<(String, String), Failure> {
    let configs = load(args)?;
    let [first, ..] = &configs[..] else { return Err(Failure::Usage("no configuration".into())) };
    let begins = std::iter::once(0).chain(args.then.iter().map(|then| then.at_ms));
    let chapters: Vec<Chapter> = begins
        .zip(&configs)
        .map(|(at_ms, config)| Chapter { at_ms, world: world(config) })
        .collect();
    let device = open(args, first)?;
    let report = replay(device, &first.node.limits, chapters).map_err(|error| match error {
        ReplayError::Refused { chapter, refusals } => match configs.get(chapter) {
            Some(config) => config.refuse(refusals).into(),
            None => Failure::Usage("a chapter without a configuration".into()),
        },
        ReplayError::Pcap(error) => Failure::Files(format!("{}: {error}", args.input.display())),
    })?;
    let value = report::value(&report, &files(args));
    let shown = args.output.text(&value, || report::table(&report, args.counters));
    let shown = shown.map_err(|error| Failure::Files(error.to_string()))?;
    Ok((shown, remarks(&report, args)))
}

/// All configurations, the first one first. They must agree in what is fixed at start.
fn load(args: &ReplayArgs) -> Result<Vec<LoadedConfig>, Failure> {
    let mut configs: Vec<LoadedConfig> = Vec::with_capacity(1 + args.then.len());
    for file in files(args) {
        let config = yaml::load(file)?;
        if let Some(first) = configs.first() {
            config.check_same_node(&first.node)?;
        }
        let World { desired, topology, .. } = world(&config);
        let mut refusals = check_against(&desired, &config.node, &topology);
        refusals.extend(down_unchecked(&config));
        if !refusals.is_empty() {
            return Err(config.refuse(refusals).into());
        }
        configs.push(config);
    }
    Ok(configs)
}

/// Backends that are down while nothing would see it: `compile` takes them for healthy.
fn down_unchecked(config: &LoadedConfig) -> Vec<Refusal> {
    let down = config.replay.iter().flat_map(|replay| &replay.down).enumerate();
    let is_checked = |name: &String| {
        let service = config.desired.services.iter().find(|service| service.name == *name);
        service.is_some_and(|service| service.health_check.is_some())
    };
    let refusal = |(place, (service, backend)): (usize, &(String, String))| Refusal {
        path: format!("replay.down[{place}]"),
        problem: format!("{service} has no health check, so nothing can find {backend} down"),
        wanted: "a backend of a service with `health_check`, or `drain: true` at the backend"
            .to_string(),
    };
    down.filter(|(_, (service, _))| !is_checked(service)).map(refusal).collect()
}

fn files(args: &ReplayArgs) -> Vec<&Path> {
    let then = args.then.iter().map(|then| then.file.as_path());
    std::iter::once(args.config.as_path()).chain(then).collect()
}

fn world(config: &LoadedConfig) -> World {
    let spec = config.replay.clone().unwrap_or_default();
    let mut health = HealthView::new();
    for (service, backend) in &spec.down {
        health.set(service, backend, Health::Down);
    }
    World { desired: config.desired.clone(), health, topology: spec.topology(&config.node) }
}

type Files = PcapDevice<BufReader<File>, BufWriter<File>>;

fn open(args: &ReplayArgs, config: &LoadedConfig) -> Result<Files, Failure> {
    let links = world(config).topology.links;
    let place = |name: &String| {
        let found = links.iter().position(|link| link.name == *name);
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let message = || format!("--port {name}: wanted one of {}", names.join(", "));
        found.map(|place| PortId(place as u8)).ok_or_else(|| Failure::Usage(message()))
    };
    let arrival = args.port.as_ref().map(place).transpose()?;
    let ports = links.iter().map(|link| PcapPort { name: link.name.clone(), mac: link.mac });
    let options = PcapOptions { arrival, ..PcapOptions::new(ports.collect()) };

    let failed = |file: &Path, error: &dyn std::fmt::Display| {
        Failure::Files(format!("{}: {error}", file.display()))
    };
    let input = File::open(&args.input).map_err(|error| failed(&args.input, &error))?;
    if is_same_file(&args.input, &args.output_file) {
        return Err(Failure::Usage("--out is the file of --in, which would be lost".into()));
    }
    let output = File::create(&args.output_file).map_err(|e| failed(&args.output_file, &e))?;
    PcapDevice::new(BufReader::new(input), BufWriter::new(output), options)
        .map_err(|error| failed(&args.input, &error))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(one).is_some_and(|path| real(other) == Some(path))
}

/// What a user should know besides the table.
fn remarks(report: &ReplayReport, args: &ReplayArgs) -> String {
    let files = files(args);
    let mut lines = Vec::new();
    for publication in &report.publications {
        let seconds = publication.at_ms as f64 / 1000.0;
        lines.extend(publication.notes.iter().map(|note| format!("at {seconds} s: {note}")));
    }
    for &chapter in &report.unused_chapters {
        let file = files.get(chapter).map(|file| file.display().to_string()).unwrap_or_default();
        let seconds = report.span_ms as f64 / 1000.0;
        lines.push(format!("{file} never took over: the capture ends after {seconds} s"));
    }
    if report.truncated > 0 {
        let count = report.truncated;
        lines.push(format!("{count} frames were cut when they were captured (use `-s 0`)"));
    }
    let too_long: u64 = report.device.queues.iter().map(|queue| queue.rx_dropped).sum();
    if too_long > 0 {
        lines.push(format!("{too_long} frames were left out: longer than 64 KiB"));
    }
    lines.iter().map(|line| format!("guideway replay: {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn then_is_seconds_and_a_file() {
        let rows = [
            ("2.5=other.yaml", Some((2500, "other.yaml"))),
            ("0=a=b.yaml", Some((0, "a=b.yaml"))),
            ("other.yaml", None),
            ("=other.yaml", None),
            ("2.5=", None),
            ("-1=other.yaml", None),
            ("NaN=other.yaml", None),
            ("1e300=other.yaml", None),
        ];
        for (text, wanted) in rows {
            let parsed = text.parse::<Then>();
            let wanted = wanted.map(|(at_ms, file)| Then { at_ms, file: file.into() });
            assert_eq!(parsed.clone().ok(), wanted, "{text}");
            assert!(parsed.is_ok() || parsed.unwrap_err().contains("such as 2.5=other.yaml"));
        }
    }
}
