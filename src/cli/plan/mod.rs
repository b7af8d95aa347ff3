//! `guideway plan FILE`: what a changed configuration would do.

pub(super) mod files;
pub(super) mod render;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::ask::{AskArgs, Output, block_on, is_coloured};
use crate::admin::{self, ChangeReport, ChangeRequest, ChangeVerb};

/// Show what a changed configuration would do: services and backends, shares of Maglev tables, live
/// flows. Exit code 2 when a live flow would not go on, or when the file is refused.
#[derive(clap::Args, Debug)]
pub struct PlanArgs {
    /// The changed file. Where Guideway runs by a folder, it stands for the file of that name in it.
    pub file: PathBuf,
    /// Compare with this file or folder instead of what runs: without live flows, and FILE may be a
    /// folder, too.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub how: AskArgs,
}

/// Longest wait for an answer: a large configuration is parsed, compiled and published meanwhile.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks and prints.
pub fn run(args: &PlanArgs) -> ExitCode {
    let report = match &args.against {
        Some(other) => Ok(files::compare(other, &args.file)),
        None => request(ChangeVerb::Plan, &args.file, false).and_then(|r| ask(&args.how, &r)),
    };
    let code = |report: &ChangeReport| {
        let breaks = report.plan.as_ref().is_none_or(|plan| plan.breaks_flows);
        u8::from(breaks) * 2
    };
    finish("plan", &args.how, report, code)
}

/// A request with the text of a file.
pub(super) fn request(
    verb: ChangeVerb,
    file: &Path,
    confirm: bool,
) -> anyhow::Result<ChangeRequest> {
    if file.is_dir() {
        anyhow::bail!(
            "{} is a folder: name the file in it that has changed, or compare two folders with \
             `plan --against`",
            file.display()
        );
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let (shown, name) = (file.display().to_string(), name.unwrap_or_default());
    Ok(ChangeRequest { verb, shown, name, text, confirm, may_break: false })
}

/// What the running Guideway says to it.
pub(super) fn ask(how: &AskArgs, request: &ChangeRequest) -> anyhow::Result<ChangeReport> {
    block_on(admin::request_change(&how.socket, request, LIMIT))
}

/// Prints the answer; gives 2 when it is no, 1 when there is none, else what `code` says.
pub(super) fn finish(
    command: &str,
    how: &AskArgs,
    report: anyhow::Result<ChangeReport>,
    code: impl Fn(&ChangeReport) -> u8,
) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("guideway {command}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (out, err) = match how.output {
        Output::Table => render::text(&report, is_coloured()),
        output => (output.text(&report, String::new).unwrap_or_default(), String::new()),
    };
    // Nobody is there to be told when the reader has gone.
    let _ = std::io::stdout().write_all(out.as_bytes());
    let _ = std::io::stderr().write_all(err.as_bytes());
    ExitCode::from(if report.refused.is_some() { 2 } else { code(&report) })
}
