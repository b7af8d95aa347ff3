//! What a hand-over costs: two queues, all frames by the first, with one worker and with two.
//!
//! The generator's frames all arrive at one queue, and veth tells no hash, so with two workers half
//! of the flows belong to the other one. CPU time of all workers for a frame, with one worker and
//! with two, differs by the hand-overs and by nothing else; on two cores the second worker shares
//! one with the generator, so frames a second say less than that time.

use anyhow::{Context, Result};

use super::contender::{Contender, NAT, Setting};
use super::generator::{Generator, Sink, Traffic};
use super::guideway::event;
use super::lab::Lab;
use super::packets::{Ends, Spans, Window};
use super::results::{Sample, Unit};

/// Flows of these rows.
const FLOWS: u32 = 1024;

/// Three rows: one worker, two workers, and the difference for each frame that was handed over.
pub fn measure(
    lab: &Lab,
    sink: &Sink,
    spans: Spans,
    (generator, workers): (usize, [usize; 2]),
    round: usize,
) -> Result<Vec<Sample>> {
    let (one, _) = run(lab, sink, spans, generator, &workers[..1])?;
    let (two, handed_over) = run(lab, sink, spans, generator, &workers)?;
    let row = |window: &Window, load: &str| Sample {
        load: load.to_owned(),
        ..window.sample(load, NAT, round)
    };
    let cost = (two.nanoseconds() - one.nanoseconds()) / handed_over.max(0.01);
    let hand_over = Sample {
        load: "a hand-over".to_owned(),
        contender: NAT.name().to_owned(),
        round,
        unit: Unit::Nanoseconds,
        value: cost,
        note: format!("{:.0} % of frames were handed over", 100.0 * handed_over),
        limit: "CPU time of both workers, less that of one".to_owned(),
        ..Sample::default()
    };
    Ok(vec![row(&one, "2 queues, 1 worker"), row(&two, "2 queues, 2 workers"), hand_over])
}

/// One window, and the share of its frames that was handed over.
fn run(
    lab: &Lab,
    sink: &Sink,
    spans: Spans,
    generator: usize,
    cores: &[usize],
) -> Result<(Window, f64)> {
    let setting = Setting { cores: cores.to_vec(), max_flows: 65536, threaded: false };
    let contender: Contender = NAT;
    let running = contender.start(lab, &setting)?;
    let guideway = running.guideway.as_ref().context("a Guideway")?;
    let generator = Generator::start(Traffic::Udp { flows: FLOWS }, generator)?;
    let mut ends = Ends { generator, sink };
    ends.warm_up(u64::from(FLOWS) * spans.frames_a_flow)?;
    let before = event(&guideway.status()?, "handed_over");
    let window = ends.watch(&running.threads, spans.window)?;
    let after = event(&guideway.status()?, "handed_over");
    ends.generator.finish()?;
    sink.check(contender.form())?;
    // The two requests for status lie around the window and are short beside it.
    let share = (after - before) as f64 / window.arrived.max(1.0);
    Ok((window, share))
}
