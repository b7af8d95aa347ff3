//! `guideway apply FILE` and `guideway rollback`: another configuration for a running Guideway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::ask::AskArgs;
use super::plan::{ask, finish, request};
use crate::admin::{ChangeReport, ChangeRequest, ChangeVerb};

/// Put a changed configuration in force: validate it, show what it does, replace the configured file
/// and wait until every worker runs it. The former file is kept for `guideway rollback`.
#[derive(clap::Args, Debug)]
pub struct ApplyArgs {
    /// The changed file. Where Guideway runs by a folder, it replaces the file of that name in it.
    pub file: PathBuf,
    /// It is meant, also when it removes more than half of at least 10 services.
    #[arg(long)]
    pub confirm: bool,
    /// It is meant, also when live flows break by it.
    #[arg(long, short)]
    pub yes: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub how: AskArgs,
}

/// Put back the file that the last `guideway apply` has replaced. Once more: forth again.
#[derive(clap::Args, Debug)]
pub struct RollbackArgs {
    /// Which file of the folder, where Guideway runs by one.
    pub file: Option<PathBuf>,
    /// It is meant, also when it removes more than half of at least 10 services.
    #[arg(long)]
    pub confirm: bool,
    /// It is meant, also when live flows break by it.
    #[arg(long, short)]
    pub yes: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub how: AskArgs,
}

/// Applies. Exit code 0: it is in force everywhere.
pub fn apply(args: &ApplyArgs) -> ExitCode {
    let report = request(ChangeVerb::Apply, &args.file, args.confirm);
    let report = report.map(|request| ChangeRequest { may_break: args.yes, ..request });
    finish("apply", &args.how, report.and_then(|request| ask(&args.how, &request)), code)
}

/// Goes back. Exit code 0: the former one is in force everywhere.
pub fn rollback(args: &RollbackArgs) -> ExitCode {
    let name = args.file.as_deref().and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let request = ChangeRequest {
        verb: ChangeVerb::Rollback,
        shown: name.clone(),
        name,
        text: String::new(),
        confirm: args.confirm,
        may_break: args.yes,
    };
    finish("rollback", &args.how, ask(&args.how, &request), code)
}

/// 2: it has to be confirmed, or live flows would break. 1: a worker does not take it up.
fn code(report: &ChangeReport) -> u8 {
    match &report.applied {
        None => 2,
        Some(applied) => u8::from(!applied.is_everywhere),
    }
}
