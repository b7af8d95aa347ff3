//! Guideway over AF_XDP on veth, beside a bare AF_XDP forwarder, the kernel's own and proxies.
//!
//! `make bench` runs it, `make bench-short` a shorter form; root, and network namespaces called
//! `guideway-bench-…`, which are gone afterwards. What the rows mean: docs/performance.md.
//!
//! | file | what it is |
//! | --- | --- |
//! | `plan` | which rows, how long, in which order; the ratios that matter |
//! | `contender`, `guideway`, `forwarder`, `kernel`, `proxy` | who is measured; a mode is one row |
//! | `packets`, `tcp`, `hand_over` | one measurement of each kind, and what limited it |
//! | `generator`, `arrival` | the ends of the packet rows, with bpf/bench.bpf.c; what has to arrive |
//! | `results`, `plot` | table, ratios, CSV, SVG |
//! | `lab`, `process`, `cpu` | namespaces, programs and threads, their time |

mod arrival;
mod contender;
mod cpu;
mod forwarder;
mod generator;
mod guideway;
mod hand_over;
mod kernel;
mod lab;
mod packets;
mod plan;
mod plot;
mod process;
mod proxy;
mod results;
mod tcp;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use plan::Plan;
use results::Sample;

#[derive(Parser)]
#[command(about = "Guideway over AF_XDP on veth, beside others", disable_version_flag = true)]
struct Options {
    /// Fewer and shorter rows: under 90 seconds
    #[arg(long)]
    short: bool,
    /// Rounds, each with all rows
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<plan::Part>,
    /// The receiving end counts by native XDP, which costs AF_XDP senders a copy, not by tc
    #[arg(long)]
    native_sink: bool,
    /// Where the CSV and the SVG go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    out: PathBuf,
    /// Said by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("not run: it loads the machine for minutes; run it by `make bench`");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    process::hear_signals()?;
    let plan = Plan::new(options)?;
    let start = Instant::now();
    let mut samples = Vec::new();
    let result = plan.run(&mut |sample| {
        tell(start, &sample);
        samples.push(sample);
    });
    // What was measured before a failure is worth having.
    if !samples.is_empty() {
        report(options, &plan, &samples)?;
    }
    result
}

/// A line of progress.
fn tell(start: Instant, sample: &Sample) {
    let what = format!("{}, {}", sample.load, sample.contender);
    let value = results::rate(sample.unit, sample.value);
    eprintln!(
        "[{:5.0} s] round {} {what:36} {value:>9} {:13} {}",
        start.elapsed().as_secs_f64(),
        sample.round,
        sample.unit.name(),
        sample.limit
    );
}

fn report(options: &Options, plan: &Plan, samples: &[Sample]) -> Result<()> {
    std::fs::create_dir_all(&options.out)?;
    results::write_csv(samples, &options.out.join("veth.csv"))?;
    let title = "AF_XDP on veth (copy mode), medians";
    plot::write_svg(samples, title, &options.out.join("veth.svg"))?;
    println!("\n{}\n\n{}", plan.circumstances(), results::table(samples));
    println!("{}", results::ratios(samples, &plan::ratios()));
    println!("written: veth.csv and veth.svg in {}", options.out.display());
    Ok(())
}
