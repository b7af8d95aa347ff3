//! From a change to all workers: 10,000 services of 100 backends out of a folder of 100 files and out
//! of a feed, while packets go through. Prints a table and writes `target/bench/control.csv`.
//!
//! `--short` takes a tenth of the services, `--default-tables` Maglev tables of the size that Guideway
//! chooses (16,381 slots) instead of 1,021.

mod plane;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use guideway::control::{Delivery, Form, Merger, Outcome, Part, Source, Unit};
use guideway::source::yaml::folder::{Changed, Folder};

use plane::Plane;
use world::Size;

/// Times that single services and files are changed.
const ENDPOINTS: u32 = 400;
const FILES: u32 = 15;

struct Row {
    what: &'static str,
    times: Vec<Duration>,
    must: &'static str,
    goal: &'static str,
}

impl Row {
    fn at(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[((times.len() - 1) as f64 * share).round() as usize]
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

fn main() -> ExitCode {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let size = Size {
        services: if has("--short") { 1_000 } else { 10_000 },
        table_size: (!has("--default-tables")).then_some(1_021),
    };
    let mut rows = Vec::new();
    if let Err(error) = by_folder(size, &mut rows).and_then(|()| {
        by_feed(size, &mut rows);
        tell(&rows, Path::new("target/bench/control.csv"))
    }) {
        eprintln!("benches/control: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What a reload does with what it has read.
fn take(merger: &mut Merger, folder: &mut Folder) -> Outcome {
    let changes = folder.read().unwrap_or_else(|error| panic!("{error}"));
    let whole = |(name, changed): (String, Changed)| {
        let desired = match changed {
            Changed::Main(main) => main.map(|main| main.desired),
            Changed::Part(part) => part.map(|part| part.desired),
        };
        let desired = desired.unwrap_or_else(|error| panic!("{error}"));
        let part = Part::of(desired.services.into_iter().map(Form::from));
        (name.into(), Delivery::Whole(Part { snat: desired.snat, ..part }))
    };
    merger.take(0, changes.changed.into_iter().map(whole).collect())
}

fn by_folder(size: Size, rows: &mut Vec<Row>) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    world::write_main(at)?;
    let mut bytes = 0;
    for file in 0..world::FILES {
        bytes += world::write_file(at, size, file, 0)?;
    }
    println!(
        "{} services of {} backends, {} files of {} kB",
        size.services,
        world::BACKENDS,
        world::FILES,
        bytes / 1_000 / world::FILES as usize
    );
    let mut plane = Plane::start();
    let (mut folder, mut merger) =
        (Folder::new(at), Merger::new(vec![Source::new("folder", Unit::File)]));
    let mut go = |folder: &mut Folder| {
        timed(|| {
            take(&mut merger, folder);
            plane.take_over(merger.merged());
        })
    };
    let all_new = go(&mut folder);
    rows.push(Row { what: "folder, all new", times: vec![all_new], must: "", goal: "" });
    println!("resident after the first state: {} MB", resident_mb());
    let mut times = vec![];
    for version in 1..=2 {
        for file in 0..world::FILES {
            world::write_file(at, size, file, version)?;
        }
        times.push(go(&mut folder));
    }
    rows.push(Row { what: "folder, all files changed", times, must: "8 s", goal: "4 s" });
    let mut times = vec![];
    for version in 0..FILES {
        world::write_file(at, size, version % world::FILES, 3 + version)?;
        times.push(go(&mut folder));
    }
    rows.push(Row { what: "folder, one file changed", times, must: "150 ms", goal: "60 ms" });
    tell_plane(plane);
    Ok(())
}

fn by_feed(size: Size, rows: &mut Vec<Row>) {
    let mut plane = Plane::start();
    let sources = vec![Source::new("file", Unit::File), Source::new("feed", Unit::Service)];
    let mut merger = Merger::new(sources);
    merger.take(0, vec![("".into(), world::snat())]);
    let forms: Vec<Form> = (0..size.services).map(|place| world::form(size, place, 0)).collect();
    let all_new = timed(|| {
        merger.take(1, vec![("".into(), Delivery::Whole(Part::of(forms)))]);
        plane.take_over(merger.merged());
    });
    rows.push(Row { what: "feed, all new", times: vec![all_new], must: "4 s", goal: "1.5 s" });
    let mut times = vec![];
    for turn in 0..ENDPOINTS {
        let place = turn * 7_919 % size.services;
        let form = world::form(size, place, 1 + turn % 7);
        times.push(timed(|| {
            merger.take(1, vec![("".into(), Delivery::Some(vec![form], vec![]))]);
            plane.take_over(merger.merged());
        }));
    }
    rows.push(Row { what: "feed, one endpoint", times, must: "10 ms", goal: "1 ms" });
    let (services, backends) = plane.counts();
    println!("services {services}, backends {backends}, resident {} MB", resident_mb());
    tell_plane(plane);
}

fn tell_plane(plane: Plane) {
    let (sent, lost, longest) = plane.stop();
    println!("packets {sent}, lost {lost}, longest way {:.1} ms", longest.as_secs_f64() * 1e3);
}

fn resident_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4 / 1024
}

fn tell(rows: &[Row], file: &Path) -> std::io::Result<()> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut csv = "what,times,p50_ms,p99_ms,max_ms,must,goal\n".to_string();
    println!(
        "{:30} {:>5} {:>10} {:>10} {:>10}  {:>7} {:>7}",
        "", "times", "p50 ms", "p99 ms", "max ms", "must", "goal"
    );
    for row in rows {
        let (p50, p99, max) = (ms(row.at(0.5)), ms(row.at(0.99)), ms(row.at(1.0)));
        let (what, count) = (row.what, row.times.len());
        println!(
            "{what:30} {count:>5} {p50:>10.2} {p99:>10.2} {max:>10.2}  {:>7} {:>7}",
            row.must, row.goal
        );
        csv +=
            &format!("\"{what}\",{count},{p50:.3},{p99:.3},{max:.3},{},{}\n", row.must, row.goal);
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, csv)
}
