//! What the machine does at this moment: a loop of dependent multiplications (the core's speed), a
//! random look at 64 MiB (the memory's), and a bare parse (etherparse and the caches).

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use guideway::wire::{Headers, parse_into};

use super::frames::{Family, Frames};

/// Minimum of several turns, in nanoseconds a step.
pub struct Calibration {
    pub multiply_ns: f64,
    pub memory_ns: f64,
    pub parse_ns: f64,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "calibration: dependent multiply {:.2} ns, random line of 64 MiB {:.1} ns, bare parse \
             {:.1} ns",
            self.multiply_ns, self.memory_ns, self.parse_ns
        )
    }
}

pub fn run() -> Calibration {
    Calibration { multiply_ns: multiply(), memory_ns: memory(), parse_ns: parse() }
}

/// The least of five turns of `steps` steps.
fn least(steps: u32, mut turn: impl FnMut()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        turn();
        begin.elapsed().as_nanos() as f64 / f64::from(steps)
    };
    (0..5).map(time).fold(f64::INFINITY, f64::min)
}

fn multiply() -> f64 {
    const STEPS: u32 = 5_000_000;
    least(STEPS, || {
        let mut value = black_box(3u64);
        for _ in 0..STEPS {
            value = black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        black_box(value);
    })
}

fn memory() -> f64 {
    const STEPS: u32 = 500_000;
    // A line holds the place of the next one: each look waits for the one before.
    let lines = (64usize << 20) / 64;
    let mut next = vec![[0u64; 8]; lines];
    for (place, line) in next.iter_mut().enumerate() {
        line[0] = ((place * 1_664_525 + 1_013_904_223) % lines) as u64;
    }
    least(STEPS, || {
        let mut at = black_box(1usize);
        for _ in 0..STEPS {
            at = next[at][0] as usize;
        }
        black_box(at);
    })
}

fn parse() -> f64 {
    const STEPS: u32 = 1 << 20;
    let mut frames = Frames::new(Family::V4, 1024);
    frames.make(0, 1024, 0x10);
    let mut headers = Headers::NONE;
    least(STEPS, || {
        for step in 0..STEPS as usize {
            let kind = parse_into(frames.bytes(step & 1023), &mut headers);
            black_box((kind.is_ok(), &mut headers));
        }
    })
}
