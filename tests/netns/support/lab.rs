//! A test's place: a directory, a bpf file system, and the right to make namespaces, one test at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;

use super::network::Namespace;
use super::process;

/// Tests of this process take turns by the first, tests of other processes by the second.
static TURN: Mutex<()> = Mutex::new(());
const LOCK_FILE: &str = "/tmp/guideway-tests.lock";

/// Everything a namespaced test owns. Dropped last: declare it first.
pub struct Lab {
    name: String,
    directory: tempfile::TempDir,
    _lock: File,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes the place for the test `name` (at most 8 characters: it is part of names that are
    /// limited). None, with the reason printed, where the test cannot run: not root, and not in CI.
    pub fn new(name: &str) -> Option<Lab> {
        if !rustix::process::geteuid().is_root() {
            let reason = format!("{name} makes network namespaces and needs root");
            assert!(std::env::var_os("CI").is_none(), "{reason}, in CI always");
            eprintln!("NOT RUN: {reason} (try: sudo -E make test TEST={name})");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = File::create(LOCK_FILE).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        remove_namespaces(name);
        let directory = tempfile::Builder::new().prefix("guideway-").tempdir().unwrap();
        let lab = Lab { name: name.to_owned(), directory, _lock: lock, _turn: turn };
        for inside in ["bpf", "state"] {
            std::fs::create_dir(lab.path(inside)).unwrap();
        }
        process::run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(lab.path("bpf")));
        Some(lab)
    }

    /// What the names of the test's namespaces begin with.
    pub fn prefix(&self) -> String {
        format!("guideway-{}-", self.name)
    }

    /// A path in the test's directory.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join(inside)
    }

    /// Writes a file into the test's directory.
    pub fn write(&self, inside: &str, text: &str) -> PathBuf {
        let path = self.path(inside);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Makes the namespace `guideway-TEST-ROLE`.
    pub fn namespace(&self, role: &str) -> Namespace {
        Namespace::create(&(self.prefix() + role), self.directory.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove_namespaces(&self.name);
        let _ = Command::new("umount").arg("-l").arg(self.path("bpf")).status();
    }
}

/// Removes the test's namespaces and what still runs in them, its own or of a run that was killed.
fn remove_namespaces(test: &str) {
    let prefix = format!("guideway-{test}-");
    let Ok(entries) = std::fs::read_dir(Path::new("/run/netns")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            let pids = process::output(Command::new("ip").args(["netns", "pids", &name]));
            for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}
