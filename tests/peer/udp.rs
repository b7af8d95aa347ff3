//! UDP questions, each from one of several sockets, one at a time on each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::pattern::Pattern;
use crate::report::{self, Failures};

#[derive(clap::Args)]
pub struct Options {
    /// The VIP and port
    #[arg(long)]
    to: SocketAddr,
    /// Sockets, each with a source port of its own
    #[arg(long, default_value_t = 20)]
    sockets: u64,
    /// Questions from each
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Bytes of a question
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// An answer takes at most this long, in milliseconds
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
}

#[derive(Default, serde::Serialize)]
struct Report {
    sent: u64,
    answered: u64,
    /// Answers that were not the question's bytes.
    different: u64,
    failures: Failures,
    per_backend: BTreeMap<String, u64>,
    /// Sockets that were answered by more than one server.
    moved: u64,
}

pub async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut report = Report::default();
    for socket in 0..options.sockets {
        ask_from_one(&options, socket, &mut report).await?;
    }
    report::print(&report)
}

async fn ask_from_one(options: &Options, number: u64, report: &mut Report) -> std::io::Result<()> {
    let any = if options.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(options.to).await?;
    let mut names = BTreeSet::new();
    let mut question = vec![0; options.bytes];
    let mut answer = vec![0; 65536];
    for place in 0..options.count {
        Pattern::new(number * options.count + place + 1).fill(&mut question);
        report.sent += 1;
        if let Err(error) = socket.send(&question).await {
            report::count(&mut report.failures, &report::name_of(&error));
            continue;
        }
        let limit = Duration::from_millis(options.timeout_ms);
        match tokio::time::timeout(limit, socket.recv(&mut answer)).await {
            Ok(Ok(len)) => {
                let blank = answer[..len].iter().position(|byte| *byte == b' ').unwrap_or(len);
                let name = String::from_utf8_lossy(&answer[..blank]).into_owned();
                report.answered += 1;
                let is_same = answer[..len].get(blank + 1..) == Some(&question[..]);
                report.different += u64::from(!is_same);
                report::count(&mut report.per_backend, &name);
                names.insert(name);
            }
            Ok(Err(error)) => report::count(&mut report.failures, &report::name_of(&error)),
            Err(_) => report::count(&mut report.failures, "no answer in time"),
        }
    }
    report.moved += u64::from(names.len() > 1);
    Ok(())
}
