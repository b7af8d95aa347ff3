//! The command line: one file a command.
//!
//! Exit codes: 0 fine, 1 failed while running, 2 usage, a refused configuration, or a plan that breaks
//! flows.

pub mod apply;
mod ask;
pub mod capture;
pub mod check;
#[cfg(feature = "afxdp")]
pub mod decap;
pub mod explain;
#[cfg(feature = "afxdp")]
pub mod feed;
pub mod flows;
#[cfg(feature = "afxdp")]
mod log;
pub mod plan;
pub mod replay;
#[cfg(feature = "afxdp")]
pub mod run;
pub mod status;
pub mod stop;
pub mod top;

mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Guideway: a userspace layer-4 load balancer.
#[derive(Parser, Debug)]
#[command(name = "guideway", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Balance: take VIP traffic off the configured interfaces until told to stop.
    #[cfg(feature = "afxdp")]
    Run(run::RunArgs),
    /// Say whether a configuration is fine, without running it.
    Check(check::CheckArgs),
    #[cfg(feature = "afxdp")]
    Decap(decap::DecapArgs),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Flows(flows::FlowsArgs),
    KillFlows(flows::KillFlowsArgs),
    Explain(explain::ExplainArgs),
    Capture(capture::CaptureArgs),
    #[cfg(feature = "afxdp")]
    Feed(feed::FeedArgs),
    Plan(plan::PlanArgs),
    Apply(apply::ApplyArgs),
    Rollback(apply::RollbackArgs),
    Stop(stop::StopArgs),
    Replay(replay::ReplayArgs),
}

/// Runs the command that was given.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        #[cfg(feature = "afxdp")]
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(args),
        #[cfg(feature = "afxdp")]
        Command::Decap(args) => decap::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Flows(args) => flows::run(&args),
        Command::KillFlows(args) => flows::kill(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Capture(args) => capture::run(&args),
        #[cfg(feature = "afxdp")]
        Command::Feed(args) => feed::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Rollback(args) => apply::rollback(&args),
        Command::Stop(args) => stop::run(&args),
        Command::Replay(args) => replay::run(&args),
    }
}
