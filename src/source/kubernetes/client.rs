//! A connection to a cluster's API, and words for what goes wrong on it.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// By a kubeconfig file; without one by the service account of the pod that this runs in. Certificates
/// and tokens are read anew with each connection.
///
/// # Errors
/// What is wrong with the file.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, String> {
    let config = match kubeconfig {
        None => Config::incluster().map_err(|error| {
            format!("{error}: not in a pod? Then `kubeconfig` has to name a file")
        })?,
        Some(file) => {
            let shown = file.display();
            let read = Kubeconfig::read_from(file).map_err(|error| format!("{shown}: {error}"))?;
            let options = KubeConfigOptions {
                context: context.map(str::to_string),
                ..KubeConfigOptions::default()
            };
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| format!("{shown}: {error}"))?
        }
    };
    Client::try_from(config).map_err(|error| told(&error))
}

/// An error as an operator can use it: what the API said, or what was in the way of it.
pub fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!("{}{RULE}", status.message),
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

const RULE: &str = ". A rule is missing in the role of Guideway's account: `guideway kubernetes role` \
                    prints the whole role";

/// An error with all that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The answer's code; 0: there was no answer.
pub fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
