//! Connections kept open while things change around them.
//!
//! Prints `READY` when all are open, asks each who it is every `--every-ms`, and ends, with a last
//! round, when its standard input closes or the time is over.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::report::{self, Failures};

#[derive(clap::Args)]
pub struct Options {
    /// The VIP and port of a `--lines` server
    #[arg(long)]
    to: SocketAddr,
    /// How many connections
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// From one question to the next, in milliseconds
    #[arg(long, default_value_t = 200)]
    every_ms: u64,
    /// An answer takes at most this long, in milliseconds
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
    /// End by itself after this many seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

#[derive(serde::Serialize)]
struct Report {
    opened: usize,
    alive: usize,
    /// Connections that suddenly met another server: must never be.
    moved: usize,
    failures: Failures,
    /// Connections by the server they were opened to.
    opened_to: BTreeMap<String, u64>,
    /// Of those, the ones alive at the end.
    alive_at: BTreeMap<String, u64>,
    rounds: u64,
}

struct Held {
    stream: BufReader<TcpStream>,
    name: String,
}

pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let limit = Duration::from_millis(options.timeout_ms);
    let mut report = Report {
        opened: 0,
        alive: 0,
        moved: 0,
        failures: Failures::new(),
        opened_to: BTreeMap::new(),
        alive_at: BTreeMap::new(),
        rounds: 0,
    };
    let mut held = Vec::new();
    for _ in 0..options.connections {
        match tokio::time::timeout(limit, open(options.to)).await {
            Ok(Ok(connection)) => {
                report::count(&mut report.opened_to, &connection.name);
                held.push(connection);
            }
            Ok(Err(error)) => {
                report::count(&mut report.failures, &format!("open: {}", report::name_of(&error)));
            }
            Err(_) => report::count(&mut report.failures, "open: no answer in time"),
        }
    }
    report.opened = held.len();
    println!("READY");

    let is_over = watch_input();
    let start = Instant::now();
    loop {
        let is_last =
            is_over.load(Ordering::Relaxed) || start.elapsed().as_secs() >= options.seconds;
        held = ask_all(held, report.rounds, limit, &mut report).await;
        report.rounds += 1;
        if is_last || held.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(options.every_ms)).await;
    }
    report.alive = held.len();
    held.iter().for_each(|connection| report::count(&mut report.alive_at, &connection.name));
    report::print(&report)?;
    Ok(())
}

async fn open(to: SocketAddr) -> std::io::Result<Held> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"NAME\n").await?;
    let mut name = String::new();
    stream.read_line(&mut name).await?;
    Ok(Held { stream, name: name.trim_end().to_owned() })
}

/// Asks every connection at once; gives back those that answered.
async fn ask_all(held: Vec<Held>, round: u64, limit: Duration, report: &mut Report) -> Vec<Held> {
    let asked: Vec<_> = held
        .into_iter()
        .map(|mut connection| {
            tokio::spawn(async move {
                let answer = tokio::time::timeout(limit, ask(&mut connection.stream, round)).await;
                (connection, answer)
            })
        })
        .collect();
    let mut alive = Vec::new();
    for task in asked {
        let Ok((connection, answer)) = task.await else { continue };
        let wanted = format!("{} {round}", connection.name);
        match answer {
            Ok(Ok(line)) if line == wanted => alive.push(connection),
            Ok(Ok(line)) if line.is_empty() => report::count(&mut report.failures, "closed"),
            Ok(Ok(_)) => report.moved += 1,
            Ok(Err(error)) => report::count(&mut report.failures, &report::name_of(&error)),
            Err(_) => report::count(&mut report.failures, "no answer in time"),
        }
    }
    alive
}

async fn ask(stream: &mut BufReader<TcpStream>, round: u64) -> std::io::Result<String> {
    stream.write_all(format!("ECHO {round}\n").as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// True once standard input has ended.
fn watch_input() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = is_over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        seen.store(true, Ordering::Relaxed);
    });
    is_over
}
