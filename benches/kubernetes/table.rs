//! What was measured, beside what it has to be.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A row.
pub struct Row {
    pub what: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub must: f64,
    pub goal: f64,
}

/// That share of some times is as short or shorter, in milliseconds.
pub fn at_ms(times: &[Duration], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len().saturating_sub(1) as f64 * share).round() as usize;
    times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Prints rows, and writes them.
pub fn tell(rows: &[Row], file: &Path) -> std::io::Result<()> {
    let mut csv = "what,value,unit,must,goal,reached\n".to_string();
    println!("\n{:58} {:>10} {:6} {:>8} {:>8}", "", "measured", "", "must", "goal");
    for Row { what, value, unit, must, goal } in rows {
        let reached = match () {
            () if value <= goal => "goal",
            () if value <= must => "must",
            () => "no",
        };
        println!("{what:58} {value:>10.1} {unit:6} {must:>8} {goal:>8}  {reached}");
        let _ = writeln!(csv, "\"{what}\",{value:.3},{unit},{must},{goal},{reached}");
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, csv)
}
