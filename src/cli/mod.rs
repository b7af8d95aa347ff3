//! The command line: one file a command.
//!
//! Exit codes: 0 fine, 1 failed while running, 2 usage, a refused configuration, or a plan that breaks
//! flows.

pub mod apply;
mod ask;
pub mod capture;
pub mod check;
pub mod completions;
pub mod config;
pub mod decap;
pub mod doctor;
pub mod drain;
pub mod explain;
pub mod feed;
pub mod flows;
pub mod kubernetes;
mod log;
pub mod plan;
pub mod replay;
pub mod run;
pub mod services;
pub mod status;
pub mod stop;
pub mod top;

mod moment;
mod table;
mod watch;

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
    Run(run::RunArgs),
    /// Say whether a configuration is fine, without running it.
    Check(check::CheckArgs),
    Decap(decap::DecapArgs),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Services(services::ServicesArgs),
    Backends(services::BackendsArgs),
    Flows(flows::FlowsArgs),
    KillFlows(flows::KillFlowsArgs),
    Explain(explain::ExplainArgs),
    Capture(capture::CaptureArgs),
    Feed(feed::FeedArgs),
    Kubernetes(kubernetes::KubernetesArgs),
    Plan(plan::PlanArgs),
    Apply(apply::ApplyArgs),
    Rollback(apply::RollbackArgs),
    Drain(drain::DrainArgs),
    Undrain(drain::UndrainArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Stop(stop::StopArgs),
    Replay(replay::ReplayArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// Runs the command that was given.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(args),
        Command::Decap(args) => decap::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Services(args) => services::services(&args),
        Command::Backends(args) => services::backends(&args),
        Command::Flows(args) => flows::run(&args),
        Command::KillFlows(args) => flows::kill(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Feed(args) => feed::run(&args),
        Command::Kubernetes(args) => kubernetes::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Rollback(args) => apply::rollback(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Undrain(args) => drain::undrain(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Stop(args) => stop::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}
