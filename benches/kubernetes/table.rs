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

/// All rows.
#[derive(Default)]
pub struct Rows(Vec<Row>);

impl Rows {
    /// Tells it at once: the whole takes minutes.
    pub fn add(&mut self, row: Row) {
        println!("{}: {:.1} {}", row.what, row.value, row.unit);
        self.0.push(row);
    }

    /// Prints a table, and writes it.
    pub fn tell(&self, file: &Path) -> std::io::Result<()> {
        let mut csv = "what,value,unit,must,goal,reached\n".to_string();
        println!("\n{:62} {:>8} {:4} {:>6} {:>6}", "", "measured", "", "must", "goal");
        for Row { what, value, unit, must, goal } in &self.0 {
            let reached = match () {
                () if value <= goal => "goal",
                () if value <= must => "must",
                () => "no",
            };
            println!("{what:62} {value:>8.1} {unit:4} {must:>6} {goal:>6}  {reached}");
            let _ = writeln!(csv, "\"{what}\",{value:.3},{unit},{must},{goal},{reached}");
        }
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, csv)
    }
}
