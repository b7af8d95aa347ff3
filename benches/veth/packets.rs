//! Packet rows: frames a second from the generator through a contender to the sink.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::contender::{Contender, Running, Setting};
use super::cpu::{self, Thread, Times};
use super::generator::{Generator, Sink, Traffic};
use super::guideway;
use super::lab::Lab;
use super::process::nap;
use super::results::{Sample, Unit};

/// For how long.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    pub window: Duration,
    /// Frames that every flow has had on average before the window begins, where that matters.
    pub frames_a_flow: u64,
}

/// Shortest and longest time before the window.
const WARM_UP: Duration = Duration::from_millis(400);
const WARM_UP_LIMIT: Duration = Duration::from_secs(15);
/// With less than this share of what was offered lost, the generator was the limit.
const ALL_OF_IT: f64 = 0.97;
/// A thread that ran or waited for this share of the window had no time left.
const FULL: f64 = 0.93;

/// One reading of everything.
struct Reading {
    at: Instant,
    generated: u64,
    arrived: u64,
    threads: Vec<Times>,
}

/// What one window showed.
pub struct Window {
    seconds: f64,
    generated: f64,
    pub arrived: f64,
    threads: Vec<Times>,
}

impl Window {
    /// Frames a second that arrived.
    pub fn rate(&self) -> f64 {
        self.arrived / self.seconds
    }

    /// The balancer's threads together.
    pub fn all(&self) -> Times {
        self.threads.iter().fold(Times::default(), |all, one| all.plus(*one))
    }

    /// Nanoseconds of the balancer's threads for each frame that arrived.
    pub fn nanoseconds(&self) -> f64 {
        self.all().ran / self.arrived.max(1.0)
    }

    fn share(&self, of: impl Fn(&Times) -> f64) -> f64 {
        self.threads.iter().map(of).fold(0.0, f64::max) / 1e9 / self.seconds
    }

    /// The busiest thread's share of the time on a CPU, and waiting for one that others had.
    pub fn busy(&self) -> (f64, f64) {
        (self.share(|times| times.ran), self.share(|times| times.waited))
    }

    /// What there was no more of.
    fn limit(&self, contender: Contender) -> String {
        let (ran, waited) = self.busy();
        let all = self.all();
        let kernel = 100.0 * all.system() / all.ran.max(1.0);
        let mut limit = if self.arrived > ALL_OF_IT * self.generated {
            "generator".to_owned()
        } else if ran + waited < FULL {
            format!("receiving, beside the generator (worker {:.0} % busy)", 100.0 * ran)
        } else if !contender.is_afxdp() {
            "its core, in the kernel".to_owned()
        } else if kernel >= 50.0 {
            format!("its core: kernel transmit {kernel:.0} %")
        } else {
            format!("its core: own code {:.0} %", 100.0 - kernel)
        };
        if waited > 0.05 {
            limit += &format!("; others had {:.0} % of it", 100.0 * waited);
        }
        limit
    }

    /// The row of the table.
    pub fn sample(&self, load: &str, contender: Contender, round: usize) -> Sample {
        let all = self.all();
        Sample {
            load: load.to_owned(),
            contender: contender.name().to_owned(),
            round,
            unit: Unit::Packets,
            value: self.rate(),
            offered: self.generated / self.seconds,
            user_ns: all.user() / self.arrived.max(1.0),
            system_ns: all.system() / self.arrived.max(1.0),
            busy: self.busy().0,
            limit: self.limit(contender),
            ..Sample::default()
        }
    }
}

/// The ends of a packet row, under way.
pub struct Ends<'a> {
    pub generator: Generator,
    pub sink: &'a Sink,
}

impl Ends<'_> {
    fn read(&self, threads: &[Thread]) -> Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            generated: self.generator.generated()?,
            arrived: self.sink.arrived()?,
            threads: cpu::sums(threads)?,
        })
    }

    /// Waits until `frames` have arrived, or for as long as is sensible.
    pub fn warm_up(&mut self, frames: u64) -> Result<()> {
        let (start, before) = (Instant::now(), self.sink.arrived()?);
        nap(WARM_UP)?;
        while self.sink.arrived()? - before < frames && start.elapsed() < WARM_UP_LIMIT {
            self.generator.check()?;
            nap(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// What happens in so long a time.
    pub fn watch(&mut self, threads: &[Thread], time: Duration) -> Result<Window> {
        let before = self.read(threads)?;
        nap(time)?;
        self.generator.check()?;
        let after = self.read(threads)?;
        let threads = after.threads.iter().zip(&before.threads);
        Ok(Window {
            seconds: after.at.duration_since(before.at).as_secs_f64(),
            generated: (after.generated - before.generated) as f64,
            arrived: (after.arrived - before.arrived) as f64,
            threads: threads.map(|(after, before)| after.since(*before)).collect(),
        })
    }
}

/// The packet rows. Each has namespaces of its own: what one contender leaves in its interfaces, such
/// as NAPI in a thread or tracked connections, is not there for the next.
pub struct Bench {
    pub spans: Spans,
    pub native_sink: bool,
    pub generator_core: usize,
    pub setting: Setting,
    /// SYN flows used up so far: no contender meets a flow of an earlier one.
    pub used: u32,
}

impl Bench {
    /// Known flows.
    pub fn known(&mut self, contender: Contender, flows: u32, round: usize) -> Result<Sample> {
        let frames_a_flow = if contender.knows_flows() { self.spans.frames_a_flow } else { 0 };
        let warm_up = u64::from(flows) * frames_a_flow;
        let (window, note, _) = self.watch(contender, Traffic::Udp { flows }, warm_up)?;
        Ok(Sample { note, ..window.sample(&flows_name(flows), contender, round) })
    }

    /// Every frame a SYN of a new flow.
    pub fn new_flows(&mut self, contender: Contender, round: usize) -> Result<Sample> {
        let (window, note, generated) =
            self.watch(contender, Traffic::Syn { first: self.used }, 0)?;
        self.used = self.used.wrapping_add(generated as u32);
        Ok(Sample { note, ..window.sample("new flows", contender, round) })
    }

    /// One window; with what Guideway dropped, and the frames generated in all.
    fn watch(
        &self,
        contender: Contender,
        traffic: Traffic,
        warm_up: u64,
    ) -> Result<(Window, String, u64)> {
        let lab = Lab::new(1)?;
        let sink = Sink::attach(self.native_sink)?;
        let running = contender.start(&lab, &self.setting)?;
        let generator = Generator::start(traffic, self.generator_core)?;
        let mut ends = Ends { generator, sink: &sink };
        ends.warm_up(warm_up)?;
        let window = ends.watch(&running.threads, self.spans.window)?;
        ends.generator.finish()?;
        let generated = ends.generator.generated()?;
        sink.check(contender.form()).with_context(|| contender.name())?;
        Ok((window, drops(&running)?, generated))
    }
}

fn drops(running: &Running) -> Result<String> {
    let Some(guideway) = &running.guideway else { return Ok(String::new()) };
    Ok(guideway::drops(&guideway.status()?))
}

pub fn flows_name(flows: u32) -> String {
    match flows {
        0..1024 => format!("{flows} flows"),
        1024..1_048_576 => format!("{}k flows", flows / 1024),
        _ => format!("{}M flows", flows / 1_048_576),
    }
}
