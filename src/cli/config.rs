//! `guideway config`: the configuration's form, for people and for editors.

use std::process::ExitCode;

use super::ask::{is_closed_pipe, print};
use crate::source::yaml::{REFERENCE, json_schema};

/// Print what a configuration looks like.
#[derive(clap::Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Every key with a sensible value, and above it its unit, default and consequence.
    Default,
    /// The JSON Schema: editors check and complete a file by it.
    Schema {
        /// Of a file beside `guideway.yaml` in a folder.
        #[arg(long)]
        part: bool,
    },
}

/// Prints it.
pub fn run(args: &ConfigArgs) -> ExitCode {
    let text = match &args.what {
        What::Default => REFERENCE.to_string(),
        What::Schema { part } => format!("{:#}\n", json_schema(*part)),
    };
    match print(&text) {
        Err(error) if !is_closed_pipe(&error) => {
            eprintln!("guideway config: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
