//! The clients and servers that tests and demo put around the balancer.
//!
//! Real sockets, ordinary behaviour, and a report as JSON at the end. Everything is bounded by count
//! and by time, so that a test that dies leaves nothing running for long.

mod fragments;
mod grpc;
mod hold;
mod pattern;
mod raw;
mod report;
mod serve;
mod storm;
mod transfer;
mod udp;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Clients and servers for Guideway's tests", disable_help_subcommand = true)]
enum Command {
    /// Serve TCP and UDP, answering with a name
    Serve(serve::Options),
    /// Many short TCP connections; latencies, failures and shares
    Storm(storm::Options),
    /// Connections kept open, asked again and again who is at the other end
    Hold(hold::Options),
    /// One transfer, every byte compared
    Transfer(transfer::Options),
    /// UDP questions, each from one of several sockets
    Udp(udp::Options),
    /// Encapsulated packets by a raw socket, and their answers
    Raw(raw::Options),
    /// UDP questions in fragments of any order by a raw socket, and their answers
    Fragments(fragments::Options),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Command::parse() {
        Command::Serve(options) => serve::run(options).await,
        Command::Storm(options) => storm::run(options).await,
        Command::Hold(options) => hold::run(options).await,
        Command::Transfer(options) => transfer::run(options).await,
        Command::Udp(options) => udp::run(options).await,
        Command::Raw(options) => raw::run(&options),
        Command::Fragments(options) => fragments::run(&options),
    }
}
