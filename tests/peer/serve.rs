//! The servers.
//!
//! `--greet` says its name and closes first, so that TIME_WAIT is the server's. `--lines` understands
//! `NAME`, `ECHO text`, `GET bytes seed bytes_per_second` and `PUT bytes seed`, a line each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::grpc;
use crate::pattern::Pattern;

/// Clients of one listener at a time.
const BACKLOG: u32 = 4096;
const CHUNK_BYTES: usize = 16 * 1024;

#[derive(clap::Args)]
pub struct Options {
    /// The name it answers with
    #[arg(long)]
    name: String,
    /// Say the name and close first
    #[arg(long)]
    greet: Vec<SocketAddr>,
    /// Understand lines
    #[arg(long)]
    lines: Vec<SocketAddr>,
    /// Answer each datagram with the name, a blank and the datagram
    #[arg(long)]
    udp: Vec<SocketAddr>,
    /// Answer gRPC's health check
    #[arg(long)]
    grpc: Vec<SocketAddr>,
    /// The same over TLS, with `--pair`
    #[arg(long)]
    grpc_tls: Vec<SocketAddr>,
    /// A file with certificate and key
    #[arg(long)]
    pair: Option<PathBuf>,
    /// End by itself after this many seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let name: Arc<str> = options.name.into();
    for address in options.greet {
        tokio::spawn(greet(listen(address)?, name.clone()));
    }
    for address in options.lines {
        tokio::spawn(serve_lines(listen(address)?, name.clone()));
    }
    for address in options.udp {
        tokio::spawn(answer_datagrams(UdpSocket::bind(address).await?, name.clone()));
    }
    let tls = options.grpc_tls.into_iter().map(|address| (address, options.pair.clone()));
    for (address, pair) in options.grpc.into_iter().map(|address| (address, None)).chain(tls) {
        tokio::spawn(async move { grpc::serve(address, pair).await.expect("a gRPC server") });
    }
    println!("READY");
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    Ok(())
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn greet(listener: TcpListener, name: Arc<str>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let line = format!("{name}\n");
        // One write and a close: the kernel sends the name and the FIN before the client's FIN.
        let _ = stream.write_all(line.as_bytes()).await;
    }
}

async fn serve_lines(listener: TcpListener, name: Arc<str>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let name = name.clone();
        tokio::spawn(async move {
            // A client that goes away is its own affair: it has the failure in its report.
            let _ = serve_client(stream, &name).await;
        });
    }
}

async fn serve_client(stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse().ok());
        match (words.first().copied(), number(1), number(2)) {
            (Some("NAME"), _, _) => stream.write_all(format!("{name}\n").as_bytes()).await?,
            (Some("ECHO"), _, _) => {
                stream.write_all(format!("{name} {}\n", words[1..].join(" ")).as_bytes()).await?;
            }
            (Some("GET"), Some(bytes), Some(seed)) => {
                stream.write_all(format!("{name}\n").as_bytes()).await?;
                send(stream.get_mut(), bytes, seed, number(3).unwrap_or(0)).await?;
            }
            (Some("PUT"), Some(bytes), Some(seed)) => {
                let verdict = match compare(&mut stream, bytes, seed).await? {
                    None => "same".to_owned(),
                    Some(place) => format!("different at {place}"),
                };
                stream.write_all(format!("{name} {verdict}\n").as_bytes()).await?;
            }
            _ => stream.write_all(b"what?\n").await?,
        }
    }
}

/// Sends the pattern of `seed`, at most `bytes_per_second` (0: as fast as it goes).
async fn send(
    stream: &mut TcpStream,
    bytes: u64,
    seed: u64,
    bytes_per_second: u64,
) -> std::io::Result<()> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    let start = tokio::time::Instant::now();
    while left > 0 {
        let len = left.min(CHUNK_BYTES as u64) as usize;
        pattern.fill(&mut chunk[..len]);
        stream.write_all(&chunk[..len]).await?;
        left -= len as u64;
        if bytes_per_second > 0 {
            let due = (bytes - left) as f64 / bytes_per_second as f64;
            tokio::time::sleep_until(start + Duration::from_secs_f64(due)).await;
        }
    }
    Ok(())
}

/// Reads `bytes` and gives the place of the first that is not the pattern's.
pub async fn compare(
    stream: &mut (impl AsyncReadExt + Unpin),
    bytes: u64,
    seed: u64,
) -> std::io::Result<Option<u64>> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    while done < bytes {
        let wanted = (bytes - done).min(CHUNK_BYTES as u64) as usize;
        let len = stream.read(&mut chunk[..wanted]).await?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(place) = pattern.first_difference(&chunk[..len]) {
            return Ok(Some(done + place as u64));
        }
        done += len as u64;
    }
    Ok(None)
}

async fn answer_datagrams(socket: UdpSocket, name: Arc<str>) {
    let mut datagram = vec![0; 65536];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut datagram).await else { continue };
        let mut answer = format!("{name} ").into_bytes();
        answer.extend_from_slice(&datagram[..len]);
        let _ = socket.send_to(&answer, from).await;
    }
}
