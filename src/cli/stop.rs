//! `guideway stop`: ends a running Guideway, if wanted once its flows have ended.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::ask::block_on;
use crate::admin::{self, FetchError, StopRequest};
use crate::source::yaml;

/// End a running Guideway: at once, or with --drain once its flows have ended.
#[derive(clap::Args, Debug)]
pub struct StopArgs {
    /// Let no new flows begin, wait until those there are have ended, but no longer than this (such as
    /// 30s or 5m), then end. New connections are answered as those to a service without backends.
    #[arg(long, value_name = "TIME", value_parser = yaml::duration_in_ms)]
    drain: Option<u32>,
    /// Its admin socket, as `admin.socket` in its configuration says.
    #[arg(long, value_name = "PATH", default_value = admin::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Longest wait for an answer: every worker has to take a snapshot over first.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for what comes after the flows' end.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked how many flows are left.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Asks, and waits for the end. Exit code 1 when there is none, with the reason on standard error.
pub fn run(args: &StopArgs) -> ExitCode {
    match block_on(stop(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guideway stop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn stop(args: &StopArgs) -> anyhow::Result<()> {
    let pid = admin::fetch(&args.socket, LIMIT).await?.pid;
    let drain_ms = args.drain.map(u64::from);
    let report = admin::request_stop(&args.socket, &StopRequest { drain_ms }, LIMIT).await?;
    if let Some(refused) = report.refused {
        bail!(refused);
    }
    let until = Instant::now() + Duration::from_millis(drain_ms.unwrap_or(0)) + END_WITHIN;
    let mut told = None;
    loop {
        let status = match admin::fetch(&args.socket, LIMIT).await {
            Err(FetchError::NotRunning(_)) => break,
            // It ends in the middle of an answer.
            Err(FetchError::NotUnderstood { .. }) => None,
            Err(error) => return Err(error.into()),
            Ok(status) if status.pid != pid => break,
            Ok(status) => status.stopping,
        };
        let flows = status.map(|stopping| stopping.flows);
        if drain_ms.is_some() && flows.is_some() && flows != told {
            println!("flows left: {}", flows.unwrap_or(0));
            told = flows;
        }
        ensure!(Instant::now() < until, "process {pid} has not ended: is it stuck?");
        tokio::time::sleep(ASK_EVERY).await;
    }
    println!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        stop: StopArgs,
    }

    #[test]
    fn arguments() {
        let drain = |words: &[&str]| {
            let line = Line::try_parse_from([&["stop"], words].concat());
            line.map(|line| line.stop.drain).map_err(|error| error.to_string())
        };
        assert_eq!(drain(&[]), Ok(None));
        assert_eq!(drain(&["--drain", "1m30s"]), Ok(Some(90_000)));
        let error = drain(&["--drain", "30"]).unwrap_err();
        assert!(error.contains("has no unit: 30s or 30ms"), "{error}");
    }

    #[test]
    fn nobody_there_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("none.sock");
        let line = Line::parse_from(["stop", "--socket", socket.to_str().unwrap()]).stop;
        assert_eq!(format!("{:?}", run(&line)), format!("{:?}", ExitCode::FAILURE));
    }
}
