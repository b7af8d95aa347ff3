//! `guideway doctor`: looks at the machine before it hurts, and at a running Guideway while it does.
//!
//! `read` collects what there is to know, once; all other files are checks: functions from these
//! facts to findings.

mod facts;
mod finding;
mod interfaces;
mod machine;
mod network;
mod read;
mod running;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use super::ask::{AskArgs, is_closed_pipe, is_coloured, print};
use facts::Facts;
use finding::{Finding, State};

/// Look at this machine: kernel, interfaces, addresses, ways to backends, and a running Guideway if
/// there is one. Each line is OK, WARN or FAIL, with what to do. Exit code 1 when one is FAIL.
#[derive(clap::Args, Debug)]
pub struct DoctorArgs {
    /// The configuration: a file, or a folder of files with a `guideway.yaml` among them.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/guideway/guideway.yaml")]
    config: PathBuf,
    /// Only what is not fine.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    ask: AskArgs,
}

/// Looks and prints.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let facts = read::facts(&args.config, &args.ask.socket);
    let mut findings = look(&facts);
    if args.quiet {
        findings.retain(|finding| finding.state != State::Ok);
    }
    let text = args
        .ask
        .output
        .text(&finding::for_programs(&findings), || finding::for_people(&findings, is_coloured()));
    match text.and_then(|text| print(&text)) {
        Err(error) if !is_closed_pipe(&error) => {
            eprintln!("guideway doctor: {error}");
            ExitCode::FAILURE
        }
        _ if findings.iter().any(|finding| finding.state == State::Fail) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// All checks, in the order in which things have to be right.
fn look(facts: &Facts) -> Vec<Finding> {
    let mut findings = machine::look(facts);
    findings.extend(interfaces::look(facts));
    findings.extend(network::look(facts));
    findings.extend(running::look(facts));
    findings
}
