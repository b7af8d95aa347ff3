//! Nanoseconds a packet in the engine alone, over frames in memory, net of making the frames.
//!
//! `make bench-engine` builds it for the native CPU and runs it; `--short` is for CI, and names as
//! `nat`, `new`, `spread`, `ipv6`, `1024`, `maglev` or `memory` choose. Prints a table
//! and writes `target/bench/engine.csv`. Absolute times say as much of the machine as of the engine:
//! three calibration loops in the same run tell the two apart.

mod calibrate;
mod frames;
mod maglev;
mod rows;
mod table;
mod world;

use std::process::ExitCode;

use frames::Family;

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let effort = match () {
        () if has("--tiny") => rows::Effort::TINY,
        () if has("--short") => rows::Effort::SHORT,
        () => rows::Effort::FULL,
    };
    let only: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let calibration = if has("--tiny") {
        calibrate::Calibration { multiply_ns: 0.0, memory_ns: 0.0, parse_ns: 0.0 }
    } else {
        calibrate::run()
    };
    println!("{calibration}");
    if !has("--tiny") && only.iter().all(|name| name == "memory") {
        for family in [Family::V4, Family::V6] {
            let bytes = rows::memory(family, 1 << 20) as f64;
            let megabytes = bytes / 1e6;
            println!("memory of 1,048,576 NAT flows, IPv{}: {megabytes:.1} MB", family.number());
        }
    }
    let mut results = rows::run(&effort, &only);
    if !has("--tiny") && only.iter().all(|name| name == "maglev") {
        results.extend(maglev::run());
    }
    let file = std::path::Path::new("target/bench/engine.csv");
    match table::write(file, &results, &calibration) {
        Ok(()) => {
            println!("{} rows in {}", results.len(), file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
