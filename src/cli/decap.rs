//! `guideway decap`: takes tunnel headers off on a backend whose kernel does not.

mod facts;
mod ours;
mod report;
mod settings;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::ask::{Output, is_coloured};
use super::log::{self, LogFormat};
use super::status::CounterChoice;
use crate::io::afxdp::XdpMode;
use crate::io::afxdp::decap::{AddressPrefix, Decap, DecapOptions};
use crate::runtime::netlink::{MachineAddress, read_addresses, watch_addresses};
use settings::{Finding, State, Wishes};

/// How often it is looked whether the program is still on its interface, and how long what broke
/// rests before it is begun anew.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// On a backend: take IPIP, GRE and GUE headers off what a balancer sent, until told to stop
/// (SIGTERM, SIGINT; SIGUSR1 prints the counters).
#[derive(clap::Args, Debug)]
pub struct DecapArgs {
    /// Where tunnel packets come in; may be given several times
    #[arg(long, value_name = "IF", required = true)]
    pub interface: Vec<String>,
    /// Outer destination that is taken; may be given several times. Default: all addresses of the
    /// interface, followed as they change
    #[arg(long, value_name = "ADDRESS")]
    pub local: Vec<IpAddr>,
    /// Inner destination that is taken; may be given several times. Default: all addresses of this
    /// machine but loopback and link-local ones, followed as they change
    #[arg(long, value_name = "ADDRESS")]
    pub vip: Vec<IpAddr>,
    /// Outer source that is taken, an address or prefix; may be given several times. Default: any
    #[arg(long, value_name = "PREFIX")]
    pub source: Vec<AddressPrefix>,
    /// UDP port of GUE
    #[arg(long, value_name = "PORT", default_value_t = 6080,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub gue_port: u16,
    /// Where the XDP program runs
    #[arg(long, value_enum, default_value_t)]
    pub xdp_mode: Mode,
    /// Only check the machine's settings: exit code 1 when one is wrong
    #[arg(long)]
    pub check: bool,
    /// How counters and settings are shown
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Which counters stand in the table; JSON always has all
    #[arg(long, value_enum, default_value_t)]
    pub counters: CounterChoice,
    /// What to log: error, warn, info, debug, or a filter such as `guideway::runtime=debug`
    #[arg(long, value_name = "FILTER", env = "GUIDEWAY_LOG", default_value = "info")]
    pub log: String,
    /// How the log is written: for people, or as a JSON object a line
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Where the XDP program runs.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// In the driver if it can, else in the stack
    #[default]
    Auto,
    /// In the driver, or starting fails
    Native,
    /// In the stack: works on every interface, slow
    Generic,
}

impl From<Mode> for XdpMode {
    fn from(mode: Mode) -> XdpMode {
        match mode {
            Mode::Auto => XdpMode::Auto,
            Mode::Native => XdpMode::Native,
            Mode::Generic => XdpMode::Generic,
        }
    }
}

/// Runs, or only checks. Exit code 1 when something failed or, with `--check`, is set wrong; 2 for
/// arguments that make no sense.
pub fn run(args: &DecapArgs) -> ExitCode {
    if let Some(problem) = misuse(args) {
        eprintln!("guideway decap: {problem}");
        return ExitCode::from(2);
    }
    let done = if args.check { check(args) } else { decapsulate(args).map(|()| true) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guideway decap: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn misuse(args: &DecapArgs) -> Option<String> {
    let mut seen = BTreeSet::new();
    let twice = args.interface.iter().find(|name| !seen.insert(*name));
    twice.map(|name| format!("--interface {name} is given twice: once is enough"))
}

/// Prints what was found; is all of it fine?
fn check(args: &DecapArgs) -> anyhow::Result<bool> {
    let findings = look(args)?;
    let value = report::settings_value(&findings);
    print(&args.output.text(&value, || report::settings_text(&findings))?)?;
    Ok(findings.iter().all(|finding| finding.state != State::Wrong))
}

fn look(args: &DecapArgs) -> anyhow::Result<Vec<Finding>> {
    let addresses = machine_addresses()?;
    let known: Vec<_> = args.interface.iter().map(|name| facts::interface(name)).collect();
    let interfaces = known.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let wishes = Wishes { vips: &args.vip, any_source: args.source.is_empty() };
    Ok(settings::look(&interfaces, &addresses, &wishes))
}

fn machine_addresses() -> anyhow::Result<BTreeSet<MachineAddress>> {
    read_addresses().context("the kernel does not tell the machine's addresses")
}

/// Decapsulates until a signal ends it; then prints the counters.
fn decapsulate(args: &DecapArgs) -> anyhow::Result<()> {
    log::begin(&args.log, args.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on signals are kept until the programs are on their interfaces.
    let signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    for finding in look(args)?.iter().filter(|finding| finding.state == State::Wrong) {
        let fix = finding.fix.as_deref().unwrap_or_default();
        tracing::warn!(fix, "{} is {}, wanted {}", finding.setting, finding.value, finding.wanted);
    }
    let addresses = machine_addresses()?;
    let mut programs = Vec::new();
    for name in &args.interface {
        programs.push(open(args, name, &addresses)?);
    }
    let ended = runtime.block_on(follow(args, &mut programs, addresses, signals));
    programs.iter_mut().for_each(Decap::detach);
    tracing::info!("stopping");
    print(&counters(args, &programs)?)?;
    ended
}

fn open(
    args: &DecapArgs,
    name: &str,
    addresses: &BTreeSet<MachineAddress>,
) -> anyhow::Result<Decap> {
    let options = DecapOptions {
        interface: name.to_string(),
        mode: args.xdp_mode.into(),
        gue_port: args.gue_port,
        sources: args.source.clone(),
    };
    ensure!(
        args.source.len() <= crate::io::afxdp::decap::layout::DECAP_SOURCES as usize,
        "{} --source are given, at most {} can be kept",
        args.source.len(),
        crate::io::afxdp::decap::layout::DECAP_SOURCES
    );
    let ours = ours::addresses(&args.local, &args.vip, name, addresses);
    let decap = Decap::open(&options, &ours)?;
    decap.notes().iter().for_each(|note| tracing::info!("{note}"));
    let (local, inner) = (ours.local.len(), ours.inner.len());
    tracing::info!(interface = name, mode = decap.mode(), local, inner, "decapsulating");
    if ours.local.is_empty() {
        tracing::warn!(
            interface = name,
            "it has no address yet: nothing is taken until it has one"
        );
    }
    Ok(decap)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    show: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
            show: signal(SignalKind::user_defined1()).context("SIGUSR1")?,
        })
    }
}

/// Follows the machine's addresses until a signal comes, or a program is gone from its interface.
async fn follow(
    args: &DecapArgs,
    programs: &mut [Decap],
    addresses: BTreeSet<MachineAddress>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let (published, mut seen) = watch::channel(addresses);
    tokio::spawn(async move {
        while let Err(error) = watch_addresses(published.clone()).await {
            tracing::error!(%error, "watching the machine's addresses begins anew");
            sleep(CHECK_EVERY).await;
        }
    });
    let mut check = interval(CHECK_EVERY);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = false;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.show.recv() => print(&counters(args, programs)?)?,
            _ = check.tick() => {
                check_attached(programs)?;
                if retry {
                    retry = update(args, programs, &seen.borrow());
                }
            }
            _ = seen.changed() => retry = update(args, programs, &seen.borrow_and_update()),
        }
    }
}

/// Tells the programs what is ours now; does something have to be tried again?
fn update(args: &DecapArgs, programs: &mut [Decap], addresses: &BTreeSet<MachineAddress>) -> bool {
    let mut retry = false;
    for program in programs {
        let ours = ours::addresses(&args.local, &args.vip, program.interface(), addresses);
        let (local, inner) = (ours.local.len(), ours.inner.len());
        let interface = program.interface().to_string();
        match program.set_addresses(&ours) {
            Ok(()) => tracing::info!(interface, local, inner, "addresses taken over"),
            Err(error) => {
                tracing::error!(interface, %error, "addresses not taken over, tried again");
                retry = true;
            }
        }
    }
    retry
}

fn check_attached(programs: &[Decap]) -> anyhow::Result<()> {
    for program in programs {
        let name = program.interface();
        // A kernel that does not tell for a moment is asked again.
        if !program.is_attached().unwrap_or(true) {
            bail!(
                "the XDP program is gone from `{name}`: the interface was removed, or something \
                 else detached it; start again when `ip link show {name}` shows it"
            );
        }
    }
    Ok(())
}

fn counters(args: &DecapArgs, programs: &[Decap]) -> anyhow::Result<String> {
    let mut counted = Vec::new();
    for program in programs {
        let (interface, mode) = (program.interface().to_string(), program.mode());
        counted.push(report::Counted { interface, mode, counters: program.counters()? });
    }
    let for_people = || report::counters_text(&counted, args.counters, is_coloured());
    args.output.text(&report::counters_value(&counted), for_people)
}

/// Nobody is there to be told when the reader has gone.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        decap: DecapArgs,
    }

    fn parse(line: &str) -> Result<DecapArgs, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.decap)
    }

    #[test]
    fn arguments() {
        let few = parse("decap --interface eth1").unwrap();
        assert_eq!((few.gue_port, few.check, few.xdp_mode), (6080, false, Mode::Auto));
        let many = parse(
            "decap --interface eth1 --interface eth2 --local 10.1.0.11 --vip 10.1.0.100 \
             --vip fd00::100 --source 10.8.0.0/16 --source fd08::/64 --gue-port 666 --check",
        )
        .unwrap();
        assert_eq!((many.interface.len(), many.local.len()), (2, 1));
        assert_eq!((many.vip.len(), many.source.len(), many.gue_port), (2, 2, 666));
        for wrong in [
            "decap",
            "decap --interface eth1 --gue-port 0",
            "decap --interface eth1 --vip 10.1.0.0/24",
            "decap --interface eth1 --source 10.8.0.1/16",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let twice = parse("decap --interface eth1 --interface eth1").unwrap();
        assert!(misuse(&twice).unwrap().contains("eth1 is given twice"));
        assert_eq!(misuse(&few), None);
    }
}
