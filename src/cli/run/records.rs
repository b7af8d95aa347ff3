//! The thread that writes records of flows to a file and sends them to a collector.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rtrb::{Consumer, Producer, RingBuffer};

use super::dataplane::worker_count;
use crate::admin::FlowRecordsStatus;
use crate::cli::moment::now_unix_ms;
use crate::control::NodeSpec;
use crate::dataplane::{End, FlowEvent, FlowEventKind, FlowFilter, FlowWalk};
use crate::records::{Clock, FlowRecord, ipfix, line};
use crate::runtime::{Publisher, clock, walk_flows};

/// How often it is looked for ends of flows.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest that a record waits for others to fill a message to the collector.
const SEND_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether the file is still there by its name, and how often a failure is told.
const CHECK_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Records taken in one go, and most that wait for a message.
const MOST_AT_ONCE: usize = 4096;

/// What was done so far.
#[derive(Debug, Default)]
pub struct RecordCounts {
    written: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl RecordCounts {
    /// For status.
    pub fn status(&self) -> FlowRecordsStatus {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FlowRecordsStatus { written: of(&self.written), sent: of(&self.sent), lost: of(&self.lost) }
    }
}

/// The workers' ends of rings to the recorder, and its own.
type Rings = (Vec<Producer<FlowEvent>>, Vec<Consumer<FlowEvent>>);

/// A ring to the recorder for each worker; none when nobody wants records.
///
/// # Errors
/// When an interface does not tell its queues, and so how many workers there are.
pub fn rings(node: &NodeSpec) -> anyhow::Result<Rings> {
    let Some(spec) = &node.flow_records else { return Ok(Rings::default()) };
    let workers = worker_count(node)?;
    Ok((0..workers).map(|_| RingBuffer::new(spec.waiting_per_worker)).unzip())
}

/// The running thread, if somebody wants records.
pub struct Recording(Option<Running>);

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Recorder>,
    counts: Arc<RecordCounts>,
}

impl Recording {
    /// Opens the file and the socket, and begins.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn begin(
        node: &NodeSpec,
        rings: Vec<Consumer<FlowEvent>>,
        publisher: Arc<Publisher>,
    ) -> anyhow::Result<Recording> {
        let Some(spec) = &node.flow_records else { return Ok(Recording(None)) };
        let counts = Arc::new(RecordCounts::default());
        let file = spec.file.as_ref().map(|path| RecordFile::open(path)).transpose()?;
        let collector = spec.ipfix.map(Collector::new).transpose()?;
        let told = None;
        let mut recorder =
            Recorder { rings, publisher, counts: counts.clone(), file, collector, told };
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = stop.clone();
        let thread = std::thread::Builder::new().name("gw-records".into()).spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                if recorder.turn() == 0 {
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            recorder
        })?;
        Ok(Recording(Some(Running { stop, thread, counts })))
    }

    /// For status.
    pub fn counts(&self) -> Option<Arc<RecordCounts>> {
        self.0.as_ref().map(|running| running.counts.clone())
    }

    /// Records what has ended, and all flows that are still there, as ended by force: nobody knows them
    /// any more after this process.
    pub fn end(self) {
        let Some(Running { stop, thread, .. }) = self.0 else { return };
        stop.store(true, Ordering::Relaxed);
        let Ok(mut recorder) = thread.join() else {
            tracing::error!("the thread that writes records of flows has panicked");
            return;
        };
        while recorder.turn() > 0 {}
        recorder.last_words();
    }
}

struct Recorder {
    /// By worker.
    rings: Vec<Consumer<FlowEvent>>,
    publisher: Arc<Publisher>,
    counts: Arc<RecordCounts>,
    file: Option<RecordFile>,
    collector: Option<Collector>,
    /// When a failure was told last.
    told: Option<Instant>,
}

impl Recorder {
    /// Takes what there is, at most so many of each worker; says how many.
    fn turn(&mut self) -> usize {
        let snapshot = self.publisher.current();
        let clock = clock_now();
        let mut records = Vec::new();
        for (worker, ring) in (0..).zip(&mut self.rings) {
            let events = std::iter::from_fn(|| ring.pop().ok()).take(MOST_AT_ONCE);
            records.extend(events.filter_map(|e| FlowRecord::of(&e, worker, &snapshot, clock)));
        }
        let taken = records.len();
        self.put(records, false);
        taken
    }

    /// Flows that live at the end.
    fn last_words(&mut self) {
        let publisher = self.publisher.clone();
        let snapshot = publisher.current();
        let clock = clock_now();
        let begin = || FlowWalk::to_show(FlowFilter::default());
        let walked = walk_flows(publisher.workers(), begin, |worker, walk| {
            let records = walk.found.iter().filter_map(|(entry, meter)| {
                let (kind, end) = (FlowEventKind::Ended, Some(End::Cut));
                let event = FlowEvent { kind, entry: *entry, end, meter: *meter };
                FlowRecord::of(&event, worker, &snapshot, clock)
            });
            self.put(records.collect(), false);
            std::ops::ControlFlow::Continue(())
        });
        if let Err(error) = walked {
            tracing::warn!(%error, "not all flows that live at the end are recorded");
        }
        self.put(Vec::new(), true);
    }

    fn put(&mut self, records: Vec<FlowRecord>, is_last: bool) {
        let count = records.len() as u64;
        match self.file.as_mut().map(|file| file.put(&records)) {
            None => {}
            Some(Ok(())) => add(&self.counts.written, count),
            Some(Err(error)) => self.lose(count, "the file of flow records is not written", &error),
        }
        let Some(put) = self.collector.as_mut().map(|c| c.put(records, is_last)) else { return };
        add(&self.counts.sent, put.sent);
        if let Some(error) = put.problem {
            self.lose(put.lost, "flow records are not sent", &error);
        }
    }

    /// Counts records as lost, and tells why, but not for each.
    fn lose(&mut self, count: u64, what: &str, error: &io::Error) {
        add(&self.counts.lost, count);
        if self.told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "{what}: records are lost, see `guideway status`");
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn clock_now() -> Clock {
    Clock { now_ticks_ms: clock::now().0, now_unix_ms: now_unix_ms() }
}

/// The file, begun anew when it was renamed or removed.
struct RecordFile {
    path: PathBuf,
    file: File,
    checked: Instant,
    /// A line may have been written in part, when the disk was full: the next one begins on a new line.
    is_torn: bool,
}

impl RecordFile {
    fn open(path: &Path) -> anyhow::Result<RecordFile> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("flow_records.file: {}", folder.display()))?;
        }
        let file = open(path).with_context(|| format!("flow_records.file: {}", path.display()))?;
        Ok(RecordFile { path: path.to_owned(), file, checked: Instant::now(), is_torn: false })
    }

    fn put(&mut self, records: &[FlowRecord]) -> io::Result<()> {
        if self.checked.elapsed() > CHECK_EVERY {
            self.checked = Instant::now();
            let now = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
            let ours = self.file.metadata().map(|ours| (ours.dev(), ours.ino()))?;
            if now.ok() != Some(ours) {
                (self.file, self.is_torn) = (open(&self.path)?, false);
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut text = if self.is_torn { String::from("\n") } else { String::new() };
        text.extend(records.iter().map(line));
        let written = self.file.write_all(text.as_bytes());
        self.is_torn = written.is_err();
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// The collector's end: a socket, and records that wait for others.
struct Collector {
    socket: UdpSocket,
    exporter: ipfix::Exporter,
    waiting: Vec<FlowRecord>,
    first: Instant,
}

/// What became of records for the collector.
#[derive(Default)]
struct Put {
    sent: u64,
    lost: u64,
    problem: Option<io::Error>,
}

impl Collector {
    fn new(to: SocketAddr) -> anyhow::Result<Collector> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).context("flow_records.ipfix: a socket")?;
        socket.connect(to).with_context(|| format!("flow_records.ipfix: {to}"))?;
        let exporter = ipfix::Exporter::default();
        Ok(Collector { socket, exporter, waiting: Vec::new(), first: Instant::now() })
    }

    /// Sends what fills messages, and what waited for long enough.
    fn put(&mut self, records: Vec<FlowRecord>, is_last: bool) -> Put {
        if self.waiting.is_empty() {
            self.first = Instant::now();
        }
        self.waiting.extend(records);
        let is_due = is_last || self.first.elapsed() >= SEND_AFTER;
        let mut put = Put::default();
        // A dozen records fill a message.
        while self.waiting.len() >= if is_due { 1 } else { 16 } {
            let before = self.waiting.len();
            let now_s = u32::try_from(now_unix_ms() / 1000).unwrap_or(u32::MAX);
            let Some(message) = self.exporter.message(&mut self.waiting, now_s) else { break };
            let count = (before - self.waiting.len()) as u64;
            match self.send(&message) {
                Ok(_) => put.sent += count,
                Err(error) => {
                    put.lost += count;
                    put.problem = Some(error);
                }
            }
        }
        put
    }
    /// Sends a message. A refusal is told at the next one that is sent, which does not go out then: it is sent
    /// once more. Collectors that are away for a while lose what they did not get, as UDP is.
    fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self.socket.send(message) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.socket.send(message)
            }
            sent => sent,
        }
    }
}
