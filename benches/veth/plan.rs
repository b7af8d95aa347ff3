//! Which rows, in which order, for how long; and the ratios that matter.

use std::time::Duration;

use anyhow::{Result, bail};

use super::contender::{Contender, FEW_MODES, MODES, NAT, Setting};
use super::generator::Sink;
use super::kernel::ConntrackLimit;
use super::lab::Lab;
use super::packets::{self, Spans, flows_name};
use super::results::{Ratio, Sample};
use super::{Options, cpu, hand_over, proxy, tcp};

/// Flow entries for rows with a known number of flows, and for rows of new ones.
const FLOWS: usize = 1 << 21;
const NEW_FLOWS: usize = 1 << 23;

/// Parts that can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// Packets of known flows
    Packets,
    /// New flows
    New,
    /// Hand-overs between two workers
    HandOver,
    /// TCP by wrk
    Tcp,
}

/// Takes what was measured.
type Take<'a> = &'a mut dyn FnMut(Sample);

pub struct Plan {
    parts: Vec<Part>,
    short: bool,
    native_sink: bool,
    rounds: usize,
    spans: Spans,
    /// Cores of the generator and of two workers.
    generator_core: usize,
    worker_cores: [usize; 2],
    load_at_start: String,
}

impl Plan {
    pub fn new(options: &Options) -> Result<Plan> {
        let cores = std::thread::available_parallelism()?.get();
        if cores < 2 {
            bail!("a generator and a worker need a core each: this machine has one");
        }
        let all = [Part::Packets, Part::New, Part::HandOver, Part::Tcp];
        let short = options.short;
        Ok(Plan {
            parts: if options.only.is_empty() { all.to_vec() } else { options.only.clone() },
            short,
            native_sink: options.native_sink,
            rounds: options.rounds.unwrap_or(if short { 2 } else { 3 }),
            spans: Spans {
                window: Duration::from_millis(if short { 500 } else { 1500 }),
                frames_a_flow: if short { 2 } else { 4 },
            },
            generator_core: 0,
            worker_cores: [1, if cores > 2 { 2 } else { 0 }],
            load_at_start: cpu::load(),
        })
    }

    /// What the figures depend on, in one line.
    pub fn circumstances(&self) -> String {
        let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown CPU");
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
        format!(
            "{model}, {cores} cores, Linux {}; {} rounds; others' load {} at the start (all of the \
             bench runs at nice -15)",
            kernel.trim(),
            self.rounds,
            self.load_at_start
        )
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn setting(&self, max_flows: usize, threaded: bool) -> Setting {
        Setting { cores: vec![self.worker_cores[0]], max_flows, threaded }
    }

    /// Runs all of it. Rounds alternate all contenders, so that each meets the same neighbours.
    pub fn run(&self, take: Take) -> Result<()> {
        let _limit = ConntrackLimit::raise()?;
        if self.wants(Part::Packets) || self.wants(Part::New) {
            self.packets(take)?;
        }
        if self.wants(Part::HandOver) {
            self.hand_over(take)?;
        }
        if self.wants(Part::Tcp) {
            self.tcp(take)?;
        }
        Ok(())
    }

    /// Known flows: how many, and who.
    fn known(&self) -> Vec<(u32, Vec<Contender>)> {
        if self.short {
            let few = FEW_MODES.into_iter().map(Contender::Guideway);
            let some = [Contender::Bare].into_iter().chain(few).chain([Contender::Nft]).collect();
            return vec![(1 << 10, some), (1 << 16, vec![Contender::Bare, NAT])];
        }
        let modes = MODES.iter().map(Contender::Guideway);
        let kernel = [Contender::Nft, Contender::Kernel];
        let all = || [Contender::Bare].into_iter().chain(modes.clone()).chain(kernel);
        // To the device alone all flows are the same.
        let first = all().chain([Contender::OwnDevice]);
        vec![(1 << 10, first.collect()), (1 << 16, all().collect()), (1 << 20, all().collect())]
    }

    fn new_flows(&self) -> Vec<Contender> {
        let modes = MODES.iter().map(Contender::Guideway);
        match self.short {
            true => vec![Contender::Bare, NAT],
            false => [Contender::Bare].into_iter().chain(modes).chain([Contender::Nft]).collect(),
        }
    }

    fn packets(&self, take: Take) -> Result<()> {
        let mut bench = packets::Bench {
            spans: self.spans,
            native_sink: self.native_sink,
            generator_core: self.generator_core,
            setting: self.setting(FLOWS, true),
            used: 0,
        };
        for round in 1..=self.rounds {
            if self.wants(Part::Packets) {
                bench.setting = self.setting(FLOWS, true);
                for (flows, contenders) in self.known() {
                    for contender in contenders {
                        take(bench.known(contender, flows, round)?);
                    }
                }
            }
            if self.wants(Part::New) {
                bench.setting = self.setting(NEW_FLOWS, true);
                for contender in self.new_flows() {
                    take(bench.new_flows(contender, round)?);
                }
            }
        }
        Ok(())
    }

    fn hand_over(&self, take: Take) -> Result<()> {
        let lab = Lab::new(2)?;
        let sink = Sink::attach(self.native_sink)?;
        for round in 1..=if self.short { 1 } else { self.rounds } {
            let cores = (self.generator_core, self.worker_cores);
            hand_over::measure(&lab, &sink, self.spans, cores, round)?
                .into_iter()
                .for_each(&mut *take);
        }
        Ok(())
    }

    fn tcp(&self, take: Take) -> Result<()> {
        let lab = Lab::new(1)?;
        let _servers = proxy::servers(&lab)?;
        let bench = tcp::Bench {
            lab: &lab,
            setting: self.setting(FLOWS, false),
            client_core: self.generator_core,
            time: Duration::from_secs(if self.short { 1 } else { 3 }),
        };
        let modes = MODES.iter().filter(|mode| mode.has_tcp).map(Contender::Guideway);
        let rivals = [Contender::Nft, Contender::Haproxy, Contender::Nginx];
        let contenders: Vec<_> = match self.short {
            true => [NAT].into_iter().chain(rivals).collect(),
            false => modes.chain(rivals).collect(),
        };
        for round in 1..=if self.short { 1 } else { self.rounds } {
            for contender in &contenders {
                bench.measure(*contender, round)?.into_iter().for_each(&mut *take);
            }
        }
        Ok(())
    }
}

/// The figures of interest. What must be and what is wished for stands in no other place.
pub fn ratios() -> Vec<Ratio> {
    let row = |load: &str, contender: Contender| (load.to_owned(), contender.name().to_owned());
    let new = "new flows";
    let (small, large) = (flows_name(1 << 10), flows_name(1 << 20));
    let mut all = Vec::new();
    let mut add = |of: (String, String), by: (String, String), must, goal| {
        let what = match of.0 == by.0 {
            true => format!("{}: {} / {}", of.0, of.1, by.1),
            false => format!("{}: {} / {}, {}", of.0, of.1, by.0, by.1),
        };
        all.push(Ratio { what, of, by, must, goal });
    };
    for mode in MODES.iter().map(Contender::Guideway) {
        let bare = |load: &str| row(load, Contender::Bare);
        add(row(&small, mode), bare(&small), Some(0.90), Some(0.96));
        add(row(&flows_name(1 << 16), mode), bare(&flows_name(1 << 16)), None, None);
        add(row(&large, mode), bare(&large), Some(0.85), Some(0.93));
        add(row(new, mode), bare(&small), Some(0.75), Some(0.90));
    }
    add(row(&small, Contender::OwnDevice), row(&small, Contender::Bare), None, None);
    let loads = [small.clone(), flows_name(1 << 16), large, new.to_owned()];
    let tcp = [tcp::Kind::KeepAlive.name().to_owned(), tcp::Kind::Close.name().to_owned()];
    for mode in MODES.iter().map(Contender::Guideway) {
        for load in loads.iter().chain(&tcp) {
            add(row(load, mode), row(load, Contender::Nft), Some(1.0), None);
        }
    }
    for load in &tcp {
        add(row(load, NAT), row(load, Contender::Haproxy), None, None);
        add(row(load, NAT), row(load, Contender::Nginx), None, None);
    }
    let queues = |workers: &str| row(&format!("2 queues, {workers}"), NAT);
    add(queues("2 workers"), queues("1 worker"), None, None);
    all
}
