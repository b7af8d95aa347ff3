//! What was measured, as a table, as CSV, and as the ratios that matter.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unit {
    #[default]
    Packets,
    Requests,
    Connections,
    Nanoseconds,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Packets => "packets/s",
            Unit::Requests => "requests/s",
            Unit::Connections => "connections/s",
            Unit::Nanoseconds => "ns",
        }
    }
}

/// One measurement of one round.
#[derive(Clone, Default, Debug)]
pub struct Sample {
    pub load: String,
    pub contender: String,
    pub round: usize,
    pub unit: Unit,
    pub value: f64,
    /// By the generator; 0 where there is none.
    pub offered: f64,
    /// CPU time of the balancer for each packet or request.
    pub user_ns: f64,
    pub system_ns: f64,
    /// Share of the time its busiest thread had a CPU.
    pub busy: f64,
    /// Latency, of TCP rows.
    pub p50_us: f64,
    pub p99_us: f64,
    /// What there was no more of.
    pub limit: String,
    pub note: String,
}

impl Sample {
    /// What a second of the balancer's CPU time is worth, where that time is known: others that take
    /// its core away do not change it.
    fn per_cpu_second(&self) -> Option<f64> {
        let spent = self.user_ns + self.system_ns;
        (spent > 0.0).then(|| 1e9 / spent)
    }
}

/// All samples of one row of the table.
pub struct Row<'a> {
    pub samples: Vec<&'a Sample>,
}

impl Row<'_> {
    pub fn first(&self) -> &Sample {
        self.samples[0]
    }

    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(|sample| of(sample)).collect())
    }

    fn least(&self) -> f64 {
        self.samples.iter().map(|sample| sample.value).fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.samples.iter().map(|sample| sample.value).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The sample in the middle: what it was limited by stands for all.
    fn middle(&self) -> &Sample {
        let middle = self.median(|sample| sample.value);
        let distance = |sample: &&&Sample| (sample.value - middle).abs();
        let found = self.samples.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        found.copied().unwrap_or(self.samples[0])
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Rows in the order in which they were first measured, those of one load together.
pub fn rows(samples: &[Sample]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row> = Vec::new();
    for sample in samples {
        let same = |row: &Row| row.first().contender == sample.contender;
        let (first, last) = (
            rows.iter().position(|row| row.first().load == sample.load).unwrap_or(rows.len()),
            rows.iter()
                .rposition(|row| row.first().load == sample.load)
                .map_or(rows.len(), |at| at + 1),
        );
        match rows[first..last].iter_mut().find(|row| same(row)) {
            Some(row) => row.samples.push(sample),
            None => rows.insert(last, Row { samples: vec![sample] }),
        }
    }
    rows
}

fn aligned(header: &[&str], text_columns: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for (number, column) in table.column_iter_mut().enumerate() {
        let is_text = text_columns.contains(&number);
        column.set_cell_alignment(if is_text { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

fn number(value: f64, digits: usize) -> String {
    if value == 0.0 || value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}

/// A rate in three digits or so.
pub fn rate(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Packets => format!("{:.3} M", value / 1e6),
        Unit::Requests | Unit::Connections => format!("{:.1} k", value / 1e3),
        Unit::Nanoseconds => format!("{value:.0}"),
    }
}

/// The one table.
pub fn table(samples: &[Sample]) -> String {
    let header = [
        "load",
        "balancer",
        "median",
        "least",
        "most",
        "per",
        "user ns",
        "kernel ns",
        "busy %",
        "p50 us",
        "p99 us",
        "limited by",
    ];
    let mut table = aligned(&header, &[0, 1, 5, 11]);
    let mut load_before = "";
    for row in &rows(samples) {
        let first = row.first();
        let unit = first.unit;
        let load = if first.load == load_before { "" } else { first.load.as_str() };
        load_before = &first.load;
        let middle = row.middle();
        let mut limit = middle.limit.clone();
        if !middle.note.is_empty() {
            let _ = write!(limit, " ({})", middle.note);
        }
        table.add_row([
            load.to_owned(),
            first.contender.clone(),
            rate(unit, row.median(|sample| sample.value)),
            rate(unit, row.least()),
            rate(unit, row.most()),
            unit.name().trim_end_matches("/s").to_owned(),
            number(row.median(|sample| sample.user_ns), 0),
            number(row.median(|sample| sample.system_ns), 0),
            number(100.0 * row.median(|sample| sample.busy), 0),
            number(row.median(|sample| sample.p50_us), 0),
            number(row.median(|sample| sample.p99_us), 0),
            limit,
        ]);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Every sample, a line each.
pub fn write_csv(samples: &[Sample], path: &Path) -> Result<()> {
    let mut text = "load,balancer,round,unit,value,offered,user_ns,kernel_ns,busy,p50_us,p99_us,\
                    limited_by,note\n"
        .to_owned();
    for sample in samples {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "'"));
        let _ = writeln!(
            text,
            "{},{},{},{},{:.1},{:.1},{:.1},{:.1},{:.3},{:.0},{:.0},{},{}",
            quote(&sample.load),
            quote(&sample.contender),
            sample.round,
            sample.unit.name(),
            sample.value,
            sample.offered,
            sample.user_ns,
            sample.system_ns,
            sample.busy,
            sample.p50_us,
            sample.p99_us,
            quote(&sample.limit),
            quote(&sample.note),
        );
    }
    Ok(std::fs::write(path, text)?)
}

/// Two rows compared round by round.
pub struct Ratio {
    pub what: String,
    pub of: (String, String),
    pub by: (String, String),
    /// What must be reached, and what is the goal.
    pub must: Option<f64>,
    pub goal: Option<f64>,
}

impl Ratio {
    /// One a round, where both were measured and have what is compared.
    fn values(&self, samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let find = |(load, contender): &(String, String), round: usize| {
            let is_it = |sample: &&Sample| {
                (&sample.load, &sample.contender, sample.round) == (load, contender, round)
            };
            samples.iter().find(is_it).and_then(&of)
        };
        let rounds = samples.iter().map(|sample| sample.round).max().unwrap_or(0);
        let both = |round| Some(find(&self.of, round)? / find(&self.by, round)?);
        (1..=rounds).filter_map(both).collect()
    }
}

/// The ratios, and whether each is what it must be.
pub fn ratios(samples: &[Sample], wanted: &[Ratio]) -> String {
    let header = ["ratio", "median", "least", "by CPU time", "must", "goal", ""];
    let mut table = aligned(&header, &[0, 6]);
    for ratio in wanted {
        let values = ratio.values(samples, |sample| Some(sample.value));
        let by_cpu = median(ratio.values(samples, Sample::per_cpu_second));
        if values.is_empty() {
            continue;
        }
        let middle = median(values.clone());
        let verdict = match (ratio.must, ratio.goal) {
            (Some(must), _) if middle < must => "MISSED",
            (Some(_), Some(goal)) if middle < goal => "reached, below the goal",
            (Some(_), _) => "reached",
            _ => "",
        };
        let wanted =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        table.add_row([
            ratio.what.clone(),
            format!("{middle:.3}"),
            format!("{:.3}", values.iter().copied().fold(f64::INFINITY, f64::min)),
            number(by_cpu, 3),
            wanted(ratio.must),
            wanted(ratio.goal),
            verdict.to_owned(),
        ]);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
