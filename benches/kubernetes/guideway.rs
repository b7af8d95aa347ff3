//! `guideway run` on the machine in front of the cluster.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::cluster::{PREFIX, script};
use super::peer::{REAL, wait_for_answer};

/// The pool.
pub const VIPS: &str = "10.200.0.0/16";
const BINARY: &str = env!("CARGO_BIN_EXE_guideway");

fn kubectl(folder: &Path) -> Command {
    let mut kubectl = script(&folder.join("cluster"), "run");
    kubectl.arg("kubectl");
    kubectl
}

/// Ended when it is dropped.
pub struct Guideway {
    child: Child,
    started: Instant,
}

impl Guideway {
    /// The definitions of our objects.
    pub fn install(folder: &Path) -> anyhow::Result<()> {
        let printed = Command::new(BINARY).args(["kubernetes", "crds"]).output()?;
        let file = folder.join("crds.yaml");
        std::fs::write(&file, printed.stdout)?;
        let mut apply = kubectl(folder);
        apply.args(["apply", "--filename"]).arg(file);
        ensure!(apply.stdout(Stdio::null()).status()?.success(), "kubectl apply");
        Ok(())
    }

    /// Without a cluster, or with one whose Services without a class are ours or not. It knows nothing of
    /// earlier runs.
    pub fn start(folder: &Path, default: Option<bool>) -> anyhow::Result<Guideway> {
        let state = folder.join("state");
        if state.exists() {
            std::fs::remove_dir_all(&state)?;
        }
        let mut text = format!(
            "version: 1\nworkers: {{ idle: sleep }}\nlimits: {{ flows_per_worker: 65536, backends: 131072 }}\n\
             interfaces: [{{ name: e0 }}, {{ name: e1 }}]\n\
             snat: [{{ address: 10.210.0.10, ports: 1024-65535 }}]\n\
             admin: {{ socket: {} }}\nstate_dir: {}\nservices: []\n",
            folder.join("admin.sock").display(),
            state.display(),
        );
        if let Some(default) = default {
            text += &format!(
                "kubernetes:\n  - name: bench\n    kubeconfig: {}\n    default: {default}\n    \
                 pools: [{{ name: all, addresses: [{VIPS}], reuse_after: 0s }}]\n",
                folder.join("cluster/kubeconfig").display()
            );
        }
        let config = folder.join("guideway.yaml");
        std::fs::write(&config, text)?;
        // The one before has it for some seconds more.
        let mut lease = kubectl(folder);
        lease.args(["delete", "lease", "guideway", "--namespace", "kube-system"]);
        lease.arg("--ignore-not-found").stdout(Stdio::null()).status()?;
        let log = std::fs::File::create(folder.join("guideway.log"))?;
        let mut run = Command::new("nsenter");
        run.arg(format!("--net=/run/netns/{PREFIX}lb")).args(["--", BINARY, "run", "--config"]);
        run.arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        Ok(Guideway { child: run.spawn().context("guideway")?, started })
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// Resident memory after some quiet.
    pub fn settled_mb(&self) -> f64 {
        std::thread::sleep(Duration::from_secs(3));
        let text = std::fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let kb = line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok());
        kb.unwrap_or(f64::NAN) / 1024.0
    }

    fn ticks(&self) -> f64 {
        let text = std::fs::read_to_string(self.proc("stat")).unwrap_or_default();
        // What is before the last bracket may have blanks.
        let numbers = text.rsplit(')').next().unwrap_or_default();
        numbers.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum()
    }

    /// Its CPU time of a while, in percent of a core.
    pub async fn cpu_percent(&self, time: Duration) -> f64 {
        let (before, began) = (self.ticks(), Instant::now());
        tokio::time::sleep(time).await;
        // A hundred ticks are a second.
        (self.ticks() - before) / began.elapsed().as_secs_f64()
    }

    /// From its start to the first packet that a service of the last list gets through.
    pub fn first_answer(&self, vip: IpAddr) -> anyhow::Result<Duration> {
        wait_for_answer(vip, REAL[0], Duration::from_secs(60))?;
        Ok(self.started.elapsed())
    }
}

impl Drop for Guideway {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
    }
}
