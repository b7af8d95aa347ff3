//! What all commands that ask a running Guideway have in common.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::admin::{self, Admin, AskError};

/// Where it listens, and how to show what it says.
#[derive(clap::Args, Debug)]
pub struct AskArgs {
    /// Its admin socket, as `admin.socket` in its configuration says.
    #[arg(long, value_name = "PATH", default_value = admin::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// How to show it.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// Aligned tables for people.
    #[default]
    Table,
    /// Everything, for programs.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    /// A value as it is wanted; `for_people` makes the text that is no JSON and no YAML.
    ///
    /// # Errors
    /// A value that cannot be written so: a mistake of ours.
    pub fn text(
        self,
        value: &impl Serialize,
        for_people: impl FnOnce() -> String,
    ) -> anyhow::Result<String> {
        Ok(match self {
            Output::Table => for_people(),
            Output::Json => serde_json::to_string_pretty(value)? + "\n",
            Output::Yaml => {
                let text = serde_saphyr::to_string(value)?;
                if text.ends_with('\n') { text } else { text + "\n" }
            }
        })
    }
}

/// Waits for what a running Guideway says.
pub fn block_on<T, E: Into<anyhow::Error>>(
    answer: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer).map_err(Into::into)
}

/// Longest wait for a connection, or for a report.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Connects and asks; `ask` prints. Exit code 1 when there is no answer, 2 when the question makes no
/// sense to it, with the reason on standard error.
pub fn ask<F: Future<Output = anyhow::Result<()>>>(
    command: &str,
    args: &AskArgs,
    ask: impl FnOnce(Admin) -> F,
) -> ExitCode {
    let asked = block_on(async { ask(admin::connect(&args.socket, LIMIT).await?).await });
    exit_code(command, asked)
}

/// How a command ended that asked: see [`ask`].
pub fn exit_code(command: &str, asked: anyhow::Result<()>) -> ExitCode {
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let status = error.downcast_ref::<tonic::Status>();
            match status {
                Some(status) => eprintln!("guideway {command}: {}", status.message()),
                None => eprintln!("guideway {command}: {error}"),
            }
            let is_wrong = status.is_some_and(|s| s.code() == tonic::Code::InvalidArgument);
            let is_wrong = is_wrong || error.is::<AskError>();
            if is_wrong { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints all of it, or says why that did not go.
pub fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// `guideway status | head` has seen enough; that is no failure.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Colours only where a person sees them and has not said no (no-color.org).
pub fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && !is_colour_refused()
}

/// Somebody does not want colours, or has a terminal without them.
pub fn is_colour_refused() -> bool {
    let said_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    said_no || std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_says_what_json_says_in_the_same_order() {
        let report = crate::admin::sample_report();
        let yaml = Output::Yaml.text(&report, String::new).unwrap();
        assert!(yaml.starts_with("version: \"0.1.0\"\npid: 4242\n"), "{yaml}");
        // A text of several lines, a list of maps, and what is not there.
        for part in ["error: |", "\nservices:\n", "name: web\n", "bridge: null\n", "share: 1.0\n"] {
            assert!(yaml.contains(part), "{part}: {yaml}");
        }
        assert_eq!(Output::Table.text(&report, || "a table\n".to_string()).unwrap(), "a table\n");
    }
}
