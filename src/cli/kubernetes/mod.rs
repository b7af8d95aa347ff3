//! `guideway kubernetes`: what a cluster has to know of Guideway, how it is doing, and how Guideway leaves
//! it.

mod release;
mod role;
mod status;

use std::process::ExitCode;

use crate::source::kubernetes::crds::DEFINITIONS;

/// Services of `type: LoadBalancer`: install, look, and leave a Kubernetes cluster.
#[derive(clap::Args, Debug)]
pub struct KubernetesArgs {
    #[command(subcommand)]
    command: KubernetesCommand,
}

#[derive(clap::Subcommand, Debug)]
enum KubernetesCommand {
    /// Print the CustomResourceDefinitions: `guideway kubernetes crds | kubectl apply -f -`.
    Crds,
    /// Print the account, its role and what limits it: `guideway kubernetes role | kubectl apply -f -`.
    Role(role::RoleArgs),
    Status(status::StatusArgs),
    Release(release::ReleaseArgs),
}

/// Runs the command.
pub fn run(args: &KubernetesArgs) -> ExitCode {
    let printed = match &args.command {
        KubernetesCommand::Crds => Ok(DEFINITIONS.to_string()),
        KubernetesCommand::Role(args) => {
            let texts = role::role(&args.namespace, &args.account);
            let texts: Result<Vec<String>, _> = texts.iter().map(serde_saphyr::to_string).collect();
            texts.map(|texts| texts.join("---\n"))
        }
        KubernetesCommand::Status(args) => return status::run(args),
        KubernetesCommand::Release(args) => return release::run(args),
    };
    match printed {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guideway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
