//! Many seeds, on as many threads as there are cores: so many, or until time is up, or until stopped.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::summary::Summary;
use super::world::World;

/// What CI runs: about a minute on two cores.
const DEFAULT_SEEDS: Range<u64> = 0..2500;
/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Which seeds are run, and for how long.
#[derive(Clone, Debug)]
pub struct Seeds {
    pub range: Range<u64>,
    /// For so long at most.
    time: Option<Duration>,
}

impl Seeds {
    /// As the environment says: `GUIDEWAY_SIM_SEEDS=17..18`, or `17..` for all from there, and
    /// `GUIDEWAY_SIM_TIME` in seconds.
    pub fn wanted() -> Seeds {
        let time = std::env::var("GUIDEWAY_SIM_TIME").ok();
        let time = time.filter(|text| !text.is_empty()).map(|text| {
            let seconds = text.parse().unwrap_or_else(|_| panic!("{text:?} are no seconds"));
            Duration::from_secs(seconds)
        });
        let Ok(text) = std::env::var("GUIDEWAY_SIM_SEEDS") else {
            return Seeds { range: DEFAULT_SEEDS, time };
        };
        let parse = || {
            let (from, to) = text.split_once("..")?;
            let to = if to.trim().is_empty() { u64::MAX } else { to.trim().parse().ok()? };
            Some(from.trim().parse().ok()?..to)
        };
        let range = parse();
        let range = range
            .unwrap_or_else(|| panic!("GUIDEWAY_SIM_SEEDS is {text:?}, wanted such as 0..300"));
        Seeds { range, time }
    }

    /// No end is known: somebody looks on.
    fn is_open(&self) -> bool {
        self.range.end == u64::MAX
    }

    /// Runs them, until one fails; gives how many, and what happened in all of them.
    pub fn run(&self) -> (u64, Summary) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let all = Progress::new(self);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| all.work());
            }
            if self.is_open() {
                scope.spawn(|| all.show());
            }
        });
        let failed = all.failed.into_inner().unwrap();
        assert!(failed.is_empty(), "failed: {}", failed.join(", "));
        let (count, summary) = all.done.into_inner().unwrap();
        println!("{count} seeds in {:.1} s: {summary:?}", all.begin.elapsed().as_secs_f64());
        (count, summary)
    }
}

/// How far it has come.
struct Progress<'a> {
    seeds: &'a Seeds,
    begin: Instant,
    next: AtomicU64,
    is_over: AtomicBool,
    done: Mutex<(u64, Summary)>,
    failed: Mutex<Vec<String>>,
}

impl Progress<'_> {
    fn new(seeds: &Seeds) -> Progress<'_> {
        Progress {
            seeds,
            begin: Instant::now(),
            next: AtomicU64::new(seeds.range.start),
            is_over: AtomicBool::new(false),
            done: Mutex::new((0, Summary::default())),
            failed: Mutex::new(vec![]),
        }
    }

    /// One thread's seeds.
    fn work(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            let is_late = self.seeds.time.is_some_and(|time| self.begin.elapsed() > time);
            if !self.seeds.range.contains(&seed) || is_late {
                break;
            }
            match run(seed) {
                Ok(summary) => {
                    let mut done = self.done.lock().unwrap();
                    done.0 += 1;
                    done.1.add(&summary);
                }
                Err(command) => {
                    println!("seed {seed} failed; again by: {command}");
                    self.failed.lock().unwrap().push(format!("seed {seed} (again by: {command})"));
                    break;
                }
            }
        }
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// A line now and then.
    fn show(&self) {
        let mut next = PROGRESS;
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let elapsed = self.begin.elapsed();
            if elapsed < next {
                continue;
            }
            next += PROGRESS;
            let (count, all) = self.done.lock().unwrap().clone();
            let (seconds, current) = (elapsed.as_secs_f64(), self.next.load(Ordering::Relaxed));
            println!(
                "[{seconds:5.0} s] {count} seeds, {:.1} a second, now at {}: {} flows, {} frames, \
                 {} MB, {} reset, {} silent, {} moved",
                count as f64 / seconds,
                current.saturating_sub(1),
                all.flows,
                all.frames,
                all.bytes / 1_000_000,
                all.reset,
                all.silent,
                all.moved,
            );
        }
    }
}

/// Runs a seed; if it fails, gives the command that runs it again.
pub fn run(seed: u64) -> Result<Summary, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).map_err(|_| {
        format!("GUIDEWAY_SIM_SEEDS={seed}..{} cargo test --test sim every_seed", seed + 1)
    })
}
