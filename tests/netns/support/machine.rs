//! A Debian machine with systemd as its process 1, in namespaces: for the package and its unit. Its
//! files are this machine's; what it changes of them stays in memory and goes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::network::Namespace;
use super::process::{self, Process};
use super::wait_for;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/support/machine.sh");

/// Longest that its start, or its end, may take.
const BOOTED_WITHIN: Duration = Duration::from_secs(60);

/// A running one. Ended with everything on it when it goes out of scope.
pub struct Machine {
    starter: Process,
    /// Its process 1, as it is called outside.
    init: u32,
    cgroup: String,
}

impl Machine {
    /// Boots it in a network namespace: one at a time in each test.
    pub fn boot(lab: &Lab, namespace: &Namespace) -> Machine {
        let cgroup = namespace.name().to_owned();
        remove_cgroups(&cgroup);
        let directory = lab.path("machine");
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = namespace.command(SCRIPT);
        command.arg(&cgroup).arg(&directory);
        let mut starter = Process::start(command, &lab.path("machine.log"));
        let id = starter.id();
        // Before it the script has other children.
        let is_systemd = |process: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
            name.is_ok_and(|name| name.trim() == "systemd")
        };
        let init = wait_for("process 1", BOOTED_WITHIN, || {
            let log = starter.output();
            assert!(starter.is_running(), "the machine has ended:\n{log}");
            let children =
                std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            children.split_whitespace().find(is_systemd)?.parse().ok()
        });
        let machine = Machine { starter, init, cgroup };
        wait_for("systemd to be up", BOOTED_WITHIN, || {
            let told = process::told(&machine.try_run("systemctl is-system-running"));
            (told.trim() == "running").then_some(())
        });
        machine
    }

    /// Runs a line of shell on it, whatever comes of it.
    pub fn try_run(&self, line: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd"]);
        command.args(["--target", &self.init.to_string(), "sh", "-c", line]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("PAGER", "cat");
        process::output(command.env("LC_ALL", "C.UTF-8"))
    }

    /// Runs one; panics when it fails.
    pub fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(output.status.success(), "{line}: {}", process::told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a property of a unit is now: `systemctl show`.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --value --property {name} {unit}")).trim().to_owned()
    }

    /// A file of it, as it is reached from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(path.trim_start_matches('/'))
    }

    /// Puts a file onto it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    /// Puts a file of this machine's onto it.
    pub fn copy(&self, file: &Path, path: &str) {
        std::fs::copy(file, self.path(path)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.try_run("journalctl --no-pager --lines 200");
            eprintln!("--- the machine's journal\n{}", process::told(&log));
        }
        // The kernel ends whatever runs on it.
        let _ = Command::new("kill").args(["-9", &self.init.to_string()]).status();
        let until = Instant::now() + BOOTED_WITHIN;
        while self.starter.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        remove_cgroups(&self.cgroup);
    }
}

/// Removes the cgroups that a machine has made; those of one that still runs stay.
fn remove_cgroups(name: &str) {
    let find = format!("find /sys/fs/cgroup -depth -type d -path '*/{name}*' -exec rmdir {{}} +");
    let _ = process::output(Command::new("sh").args(["-c", &find]));
}

/// The Debian package of the binary under test, made once.
pub fn package() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = MADE.get_or_init(|| {
        let directory = tempfile::Builder::new().prefix("guideway-").tempdir().unwrap();
        let file = directory.path().join("guideway.deb");
        let mut command = Command::new("scripts/package");
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        process::run(command.arg(env!("CARGO_BIN_EXE_guideway")).arg(&file));
        (directory, file)
    });
    file
}
