//! One transfer to or from a `--lines` server, every byte compared.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::pattern::Pattern;
use crate::{report, serve};

#[derive(clap::Args)]
pub struct Options {
    /// The VIP and port
    #[arg(long)]
    to: SocketAddr,
    /// Bytes to fetch
    #[arg(long, default_value_t = 0)]
    get: u64,
    /// Bytes to bring
    #[arg(long, default_value_t = 0)]
    put: u64,
    /// What the bytes are made of
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bytes a second of what is fetched; 0: as fast as it goes
    #[arg(long, default_value_t = 0)]
    bytes_per_second: u64,
    /// It must be over by then
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

#[derive(serde::Serialize)]
struct Report {
    backend: String,
    bytes: u64,
    is_same: bool,
    problem: Option<String>,
    seconds: f64,
}

pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let mut backend = String::new();
    let limit = Duration::from_secs(options.seconds);
    let problem = match tokio::time::timeout(limit, transfer(&options, &mut backend)).await {
        Ok(Ok(difference)) => difference,
        Ok(Err(error)) => Some(report::name_of(&error)),
        Err(_) => Some("not over in time".to_owned()),
    };
    report::print(&Report {
        backend,
        bytes: options.get + options.put,
        is_same: problem.is_none(),
        problem,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Fetches, then brings; gives what was different.
async fn transfer(options: &Options, backend: &mut String) -> std::io::Result<Option<String>> {
    let mut stream = BufReader::new(TcpStream::connect(options.to).await?);
    let mut line = String::new();
    if options.get > 0 {
        let Options { get, seed, bytes_per_second, .. } = options;
        stream.write_all(format!("GET {get} {seed} {bytes_per_second}\n").as_bytes()).await?;
        stream.read_line(&mut line).await?;
        *backend = line.trim_end().to_owned();
        if let Some(place) = serve::compare(&mut stream, *get, *seed).await? {
            return Ok(Some(format!("fetched byte {place} is different")));
        }
    }
    if options.put > 0 {
        bring(stream.get_mut(), options.put, options.seed).await?;
        line.clear();
        stream.read_line(&mut line).await?;
        let (name, verdict) = line.trim_end().split_once(' ').unwrap_or(("", "no answer"));
        *backend = name.to_owned();
        if verdict != "same" {
            return Ok(Some(format!("brought bytes are {verdict}")));
        }
    }
    Ok(None)
}

async fn bring(stream: &mut TcpStream, bytes: u64, seed: u64) -> std::io::Result<()> {
    stream.write_all(format!("PUT {bytes} {seed}\n").as_bytes()).await?;
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(chunk.len() as u64) as usize;
        pattern.fill(&mut chunk[..len]);
        stream.write_all(&chunk[..len]).await?;
        left -= len as u64;
    }
    Ok(())
}
