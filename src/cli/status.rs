//! `guideway status`: what a running Guideway does.

pub(super) mod render;

use std::process::ExitCode;

use super::ask::{AskArgs, LIMIT, block_on, exit_code, is_coloured};
use super::watch::{self, WatchArgs};
use crate::admin;

/// Show what a running Guideway does.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Which counters stand in the tables; JSON and YAML always have all.
    #[arg(long, value_enum, default_value_t)]
    pub counters: CounterChoice,
    /// How often.
    #[command(flatten)]
    pub watch: WatchArgs,
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

/// Asks and prints. Exit code 1 when there is no answer, with the reason on standard error.
pub fn run(args: &StatusArgs) -> ExitCode {
    let output = args.ask.output;
    let shown = watch::show(&args.watch, output, || async {
        let report = admin::fetch(&args.ask.socket, LIMIT).await?;
        output.text(&report, || render::tables(&report, args.counters, is_coloured()))
    });
    exit_code("status", block_on(shown))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;

    use super::*;
    use crate::cli::ask::Output;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        status: StatusArgs,
    }

    #[test]
    fn arguments() {
        let line = Line::parse_from(["status"]).status;
        assert_eq!(line.ask.socket, PathBuf::from("/run/guideway/admin.sock"));
        assert_eq!((line.ask.output, line.counters), (Output::Table, CounterChoice::Nonzero));
        assert!(!line.watch.watch);
        let words = ["status", "--socket", "/tmp/a", "--output", "json", "--counters", "all"];
        let line = Line::parse_from(words).status;
        assert_eq!(line.ask.socket, PathBuf::from("/tmp/a"));
        assert_eq!((line.ask.output, line.counters), (Output::Json, CounterChoice::All));
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
