//! The cluster, which goes with its namespaces when this ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

pub const PREFIX: &str = "guideway-kbench-";

struct Cluster {
    run_dir: PathBuf,
    programs: String,
}

/// What makes the cluster and gets into it, for a folder of a run.
pub fn script(run_dir: &Path, command: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/cluster.sh");
    let mut script = Command::new(path);
    script.arg(command).env("RUN_DIR", run_dir).env("PREFIX", PREFIX);
    script
}

/// What only takes time from what is measured.
const QUIET: [&str; 4] = ["proxy-n1", "kubelet-n1", "scheduler", "controller-manager"];

impl Cluster {
    fn script(&self, command: &str) -> Command {
        let mut script = script(&self.run_dir, command);
        // One node: who runs on it is not real, and nothing else is asked of it.
        script.env("PROGRAMS", &self.programs).env("NODES", "1");
        script
    }

    /// STOP, and not an end, so that `down` finds it; CONT before that, or it would not hear its end.
    fn signal(&self, program: &str, signal: &str) -> anyhow::Result<()> {
        let file = self.run_dir.join(format!("{program}.pid"));
        let id = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Command::new("kill").args(["-s", signal, id.trim()]).status()?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Some may not have been started.
        for program in QUIET {
            let _ = self.signal(program, "CONT");
        }
        let _ = self.script("down").status();
    }
}

/// Starts all of it, and this program in the client's namespace.
pub fn run(short: bool) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = Command::new(root.join("scripts/kubernetes-programs"))
        .args(["--where", "core"])
        .output()?;
    if !found.status.success() {
        bail!("no Kubernetes here: run scripts/kubernetes-programs core");
    }
    let programs = String::from_utf8(found.stdout)?.trim().to_string();
    let folder = tempfile::Builder::new().prefix("guideway-kbench-").tempdir()?;
    let cluster = Cluster { run_dir: folder.path().join("cluster"), programs };
    println!("starting a control plane");
    if !cluster.script("up").status()?.success() {
        bail!("the cluster did not start");
    }
    for program in QUIET {
        cluster.signal(program, "STOP")?;
    }
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/run/netns/{PREFIX}cl")).arg("--").arg(std::env::current_exe()?);
    inside.arg("--inside").arg(folder.path()).args(short.then_some("--short"));
    let done = inside.status()?;
    drop(cluster);
    if !done.success() {
        bail!("the part in the client's namespace ended with {done}");
    }
    Ok(())
}
