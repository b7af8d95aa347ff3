//! `guideway kubernetes release`: Services of a cluster are Guideway's no more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};

use crate::admin::AskError;
use crate::cli::ask::{block_on, exit_code, is_coloured, print};
use crate::cli::table::{Aligned, doubtful, plain};
use crate::control::KubernetesSpec;
use crate::source::kubernetes::objects::Key;
use crate::source::kubernetes::release::{Leaving, Released};
use crate::source::yaml;

/// Take Guideway's finalizers, status and claims off Services: of those whose class is none of its
/// configuration's any more, or with --all of everything before an uninstall. No Guideway has to run.
#[derive(clap::Args, Debug)]
pub struct ReleaseArgs {
    /// These Services.
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "all", value_parser = key)]
    services: Vec<Key>,
    /// All that are Guideway's, and all claims of addresses.
    #[arg(long, conflicts_with = "services")]
    all: bool,
    /// Guideway's configuration, which says how the cluster is reached.
    #[arg(long, value_name = "PATH", required_unless_present = "kubeconfig")]
    config: Option<PathBuf>,
    /// Which of its clusters, where it has several.
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with = "kubeconfig")]
    cluster: Option<String>,
    /// How the cluster is reached, without a configuration.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    kubeconfig: Option<PathBuf>,
    /// Which context of it; else the current one.
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Whose Services, as `manager` in the configuration says.
    #[arg(long, value_name = "NAME", requires = "kubeconfig", default_value = "guideway")]
    manager: String,
    /// The namespace of Guideway's Lease.
    #[arg(long, value_name = "NAMESPACE", requires = "kubeconfig", default_value = "kube-system")]
    lease_namespace: String,
    /// It is meant.
    #[arg(long, short)]
    yes: bool,
}

fn key(text: &str) -> Result<Key, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Key::new(namespace, name))
        }
        _ => Err("expected NAMESPACE/NAME".to_string()),
    }
}

/// Shows what would be done, and does it with --yes. Exit code 0: all of it is done; 1: some of it is
/// not; 2: --yes is missing, or the question makes no sense.
pub fn run(args: &ReleaseArgs) -> ExitCode {
    exit_code("kubernetes release", block_on(release(args)))
}

async fn release(args: &ReleaseArgs) -> anyhow::Result<()> {
    let spec = spec(args)?;
    eprintln!("looking at the cluster, and whether a Guideway writes for it…");
    let mut leaving = Leaving::look(&spec).await.map_err(|why| anyhow!(why))?;
    let chosen = chosen(args, &leaving)?;
    let (kept, released): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|released| released.is_taken_back);
    let deletes = args.all && leaving.leader.is_none();
    let claims = if deletes { leaving.claims().len() } else { 0 };
    print(&table(&released, &kept, is_coloured()))?;
    if claims > 0 {
        print(&format!("all claims of addresses are deleted: {claims}\n"))?;
    }
    if let (Some(leader), false) = (&leaving.leader, kept.is_empty()) {
        let many = kept.len();
        print(&format!(
            "{many} stay: {leader} writes for this cluster, and would take them back by their class. \
             Stop it first, delete them, or change their type\n"
        ))?;
    }
    let keys: Vec<Key> = released.into_iter().map(|released| released.key).collect();
    if keys.is_empty() && claims == 0 {
        return if kept.is_empty() { print("there is nothing to release\n") } else { not_all() };
    }
    if !args.yes {
        return Err(AskError("nothing was changed: if that is meant, --yes says so".into()).into());
    }
    let failed = leaving.release(&keys).await;
    let (deleted, not_deleted) = if deletes { leaving.delete_claims().await } else { (0, vec![]) };
    let services = keys.len() - failed.len();
    print(&format!("released: {services} Services, {deleted} claims deleted\n"))?;
    let failed = failed.iter().map(|(key, why)| format!("{key}: {why}"));
    let not_deleted = not_deleted.iter().map(|(address, why)| format!("{address}: {why}"));
    let failed: Vec<String> = failed.chain(not_deleted).collect();
    match failed.is_empty() {
        true if kept.is_empty() => Ok(()),
        true => not_all(),
        false => bail!("the API did not take all of it:\n{}", failed.join("\n")),
    }
}

fn not_all() -> anyhow::Result<()> {
    bail!("some Services stay with the Guideway that runs")
}

/// How the cluster is reached, and whose services.
fn spec(args: &ReleaseArgs) -> anyhow::Result<KubernetesSpec> {
    let Some(config) = &args.config else {
        return Ok(KubernetesSpec {
            name: String::new(),
            kubeconfig: args.kubeconfig.clone(),
            context: args.context.clone(),
            classes: vec![],
            default: false,
            manager: args.manager.clone(),
            lease_namespace: args.lease_namespace.clone(),
            pools: vec![],
        });
    };
    let clusters = yaml::load(&main_file(config))?.node.kubernetes;
    let names: Vec<String> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let is_it = |cluster: &KubernetesSpec| match &args.cluster {
        Some(name) => cluster.name == *name,
        None => names.len() == 1,
    };
    let wrong = || {
        let names = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        AskError(format!("--cluster has to name one of the configuration's clusters: {names}"))
    };
    Ok(clusters.into_iter().find(is_it).ok_or_else(wrong)?)
}

fn main_file(config: &Path) -> PathBuf {
    if config.is_dir() { config.join(yaml::folder::MAIN) } else { config.to_path_buf() }
}

/// Those that were asked for.
fn chosen(args: &ReleaseArgs, leaving: &Leaving) -> Result<Vec<Released>, AskError> {
    let mut ours = leaving.services();
    if args.all {
        return Ok(ours);
    }
    for key in &args.services {
        if !ours.iter().any(|one| one.key == *key) {
            let why = if leaving.has(key) { "is not Guideway's" } else { "is not there" };
            return Err(AskError(format!("Service {key} {why}")));
        }
    }
    let wanted: BTreeSet<&Key> = args.services.iter().collect();
    ours.retain(|one| wanted.contains(&one.key));
    Ok(ours)
}

fn table(released: &[Released], kept: &[Released], coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "SERVICE|ADDRESS|WHAT BECOMES OF IT");
    let mut row = |one: &Released, what| {
        let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "-".to_string() } else { addresses.join(", ") };
        table.row([plain(&one.key), plain(addresses), what]);
    };
    released.iter().for_each(|one| row(one, plain("finalizers, status and claims are taken off")));
    kept.iter().for_each(|one| row(one, doubtful("stays with the Guideway that runs")));
    table.text()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        release: ReleaseArgs,
    }

    #[test]
    fn arguments() {
        let rows = [
            (&["shop/web", "--kubeconfig", "/k"][..], true),
            (&["shop/web", "shop/api", "--config", "/c", "--cluster", "main"], true),
            (&["--all", "--kubeconfig", "/k", "--context", "c", "--manager", "m"], true),
            (&["--all"], false),
            (&["--kubeconfig", "/k"], false),
            (&["--all", "shop/web", "--kubeconfig", "/k"], false),
            (&["web", "--kubeconfig", "/k"], false),
            (&["--all", "--config", "/c", "--kubeconfig", "/k"], false),
            (&["--all", "--cluster", "main", "--kubeconfig", "/k"], false),
        ];
        for (words, is_fine) in rows {
            let line = Line::try_parse_from([&["release"], words].concat());
            assert_eq!(line.is_ok(), is_fine, "{words:?}: {line:?}");
        }
    }

    #[test]
    fn what_becomes_of_each() {
        let one = |name: &str, addresses: &[&str]| Released {
            key: Key::new("shop", name),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            is_taken_back: false,
        };
        let wanted = "SERVICE   ADDRESS                       WHAT BECOMES OF IT\n\
                      shop/web  203.0.113.10, 2001:db8::10    finalizers, status and claims are taken off\n\
                      shop/api  -                             stays with the Guideway that runs\n";
        let table =
            table(&[one("web", &["203.0.113.10", "2001:db8::10"])], &[one("api", &[])], false);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&table), squeezed(wanted));
    }
}
