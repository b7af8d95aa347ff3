//! What all commands that ask a running Guideway have in common.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::admin::{self, Admin};

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
}

/// Waits for what a running Guideway says.
pub fn block_on<T, E: Into<anyhow::Error>>(
    answer: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer).map_err(Into::into)
}

/// Longest wait for a connection.
const LIMIT: Duration = Duration::from_secs(5);

/// Connects and asks; `ask` prints. Exit code 1 when there is no answer, 2 when the question makes no
/// sense to it, with the reason on standard error.
pub fn ask<F: Future<Output = anyhow::Result<()>>>(
    command: &str,
    args: &AskArgs,
    ask: impl FnOnce(Admin) -> F,
) -> ExitCode {
    match block_on(async { ask(admin::connect(&args.socket, LIMIT).await?).await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let status = error.downcast_ref::<tonic::Status>();
            match status {
                Some(status) => eprintln!("guideway {command}: {}", status.message()),
                None => eprintln!("guideway {command}: {error}"),
            }
            let is_wrong = status.is_some_and(|s| s.code() == tonic::Code::InvalidArgument);
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
