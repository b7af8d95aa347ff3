//! Programs started by a test: bounded, and ended with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use super::wait_for;

/// A program in the background; killed when it goes out of scope.
pub struct Process {
    child: Child,
    log: PathBuf,
    what: String,
}

impl Process {
    /// Starts `command` with output and errors in the file `log`.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let file = File::create(log).unwrap();
        let what = format!("{command:?}");
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        Process { child, log: log.to_owned(), what }
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has written `text`.
    pub fn wait_for_output(&mut self, text: &str) {
        let what = format!("{text:?} from {}", self.what);
        wait_for(&what, super::SOON, || {
            let output = self.output();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || output.contains(text), "{} ended:\n{output}", self.what);
            output.contains(text).then_some(())
        });
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, for example `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success(), "kill -s {name} {id}");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Writes to its standard input.
    pub fn write_input(&self, text: &str) {
        let mut input = self.child.stdin.as_ref().unwrap();
        input.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end; panics when it takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait_for(&what, limit, || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; panics with its output when it fails.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, whatever that is.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// All that a command said.
pub fn told(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}
