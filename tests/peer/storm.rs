//! Many short TCP connections to a `--greet` server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use crate::report::{self, Failures, Latencies};

#[derive(clap::Args)]
pub struct Options {
    /// The VIP and port
    #[arg(long)]
    to: SocketAddr,
    /// Connections in all
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 32)]
    concurrency: u64,
    /// Source addresses, taken in turn; none: the system's choice
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// One connection takes at most this long, in milliseconds
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    /// No new connection after this many seconds
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

#[derive(serde::Serialize)]
struct Report {
    attempted: u64,
    answered: u64,
    failures: Failures,
    per_backend: BTreeMap<String, u64>,
    connect: Latencies,
    connects_above_1_s: usize,
    seconds: f64,
}

#[derive(Default)]
struct Tally {
    failures: Failures,
    per_backend: BTreeMap<String, u64>,
    connects: Vec<Duration>,
}

pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let options = Arc::new(options);
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..options.concurrency)
        .map(|_| tokio::spawn(work(options.clone(), next.clone(), start)))
        .collect();
    let mut all = Tally::default();
    for task in tasks {
        let tally = task.await?;
        all.connects.extend(tally.connects);
        tally
            .failures
            .into_iter()
            .for_each(|(name, n)| *all.failures.entry(name).or_default() += n);
        tally
            .per_backend
            .into_iter()
            .for_each(|(name, n)| *all.per_backend.entry(name).or_default() += n);
    }
    let answered = all.per_backend.values().sum();
    report::print(&Report {
        attempted: answered + all.failures.values().sum::<u64>(),
        answered,
        connects_above_1_s: all.connects.iter().filter(|took| took.as_secs() >= 1).count(),
        connect: Latencies::of(all.connects),
        failures: all.failures,
        per_backend: all.per_backend,
        seconds: start.elapsed().as_secs_f64(),
    })
}

async fn work(options: Arc<Options>, next: Arc<AtomicU64>, start: Instant) -> Tally {
    let mut tally = Tally::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.count || start.elapsed().as_secs() >= options.seconds {
            return tally;
        }
        let limit = Duration::from_millis(options.timeout_ms);
        let asked = ask(&options, number, &mut tally.connects);
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(name)) => report::count(&mut tally.per_backend, &name),
            Ok(Err(error)) => report::count(&mut tally.failures, &report::name_of(&error)),
            Err(_) => report::count(&mut tally.failures, "no end in time"),
        }
    }
}

/// One connection: its connect time is noted, the answer is the server's name.
async fn ask(
    options: &Options,
    number: u64,
    connects: &mut Vec<Duration>,
) -> std::io::Result<String> {
    let socket = if options.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = options.from.get(number as usize % options.from.len().max(1)) {
        socket.bind(SocketAddr::new(*from, 0))?;
    }
    let before = Instant::now();
    let mut stream = socket.connect(options.to).await?;
    connects.push(before.elapsed());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.trim_end() {
        "" => Err(std::io::ErrorKind::UnexpectedEof.into()),
        name => Ok(name.to_owned()),
    }
}
