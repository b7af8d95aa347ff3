//! `guideway status`: what a running Guideway does.

mod render;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::ask::{Output, block_on, is_closed_pipe, is_coloured};
use crate::admin::{self, StatusReport};

/// Show what a running Guideway does.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// Its admin socket, as `admin.socket` in its configuration says.
    #[arg(long, value_name = "PATH", default_value = admin::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Which counters stand in the tables; JSON always has all.
    #[arg(long, value_enum, default_value_t)]
    pub counters: CounterChoice,
}

/// Which counters to show.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CounterChoice {
    /// Also those that are 0.
    All,
    /// Those that counted something.
    #[default]
    Nonzero,
}

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks and prints. Exit code 1 when there is no answer, with the reason on standard error.
pub fn run(args: &StatusArgs) -> ExitCode {
    let shown = fetch(args).and_then(|report| {
        let text = match args.output {
            Output::Json => serde_json::to_string_pretty(&report)? + "\n",
            Output::Table => render::tables(&report, args.counters, is_coloured()),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guideway status: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(args: &StatusArgs) -> anyhow::Result<StatusReport> {
    block_on(admin::fetch(&args.socket, LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        status: StatusArgs,
    }

    #[test]
    fn arguments() {
        let line = Line::parse_from(["status"]).status;
        assert_eq!(line.socket, PathBuf::from("/run/guideway/admin.sock"));
        assert_eq!((line.output, line.counters), (Output::Table, CounterChoice::Nonzero));
        let words = ["status", "--socket", "/tmp/a", "--output", "json", "--counters", "all"];
        let line = Line::parse_from(words).status;
        assert_eq!(line.socket, PathBuf::from("/tmp/a"));
        assert_eq!((line.output, line.counters), (Output::Json, CounterChoice::All));
        assert!(Line::try_parse_from(["status", "--output", "xml"]).is_err());
    }

    #[test]
    fn nobody_there_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("none.sock");
        let socket = socket.to_str().unwrap();
        let line = Line::parse_from(["status", "--socket", socket]).status;
        assert_eq!(format!("{:?}", run(&line)), format!("{:?}", ExitCode::FAILURE));
    }
}
