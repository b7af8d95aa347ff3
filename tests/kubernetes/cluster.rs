//! A running cluster: what `cluster.sh` makes, its machines, and kubectl.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::space::Space;
use crate::support::{Lab, Namespace, output, told};

/// Where the programs are. Looked up once; a test without them fails and says what to do.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kubernetes-programs");
    let found = output(Command::new(script).args(["--where", "core"]));
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    assert!(found.status.success(), "no Kubernetes here: run scripts/kubernetes-programs core");
    PathBuf::from(path)
});

/// What a cluster is like. The fields are settings of `cluster.sh`, explained there.
#[derive(Clone, Copy)]
pub struct Settings {
    pub nodes: u8,
    /// `"4"`, or `"4 6"`.
    pub families: &'static str,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { nodes: 3, families: "4" }
    }
}

/// A part of a test: its name, which its Kubernetes namespace gets, and what it does.
pub type Part = (&'static str, fn(&Space));

/// A cluster. It goes with its namespaces when it is dropped, also after a panic.
pub struct Cluster<'a> {
    lab: &'a Lab,
    run_dir: PathBuf,
    settings: Settings,
}

impl Cluster<'_> {
    /// Starts one and waits until all its nodes are ready.
    pub fn start(lab: &Lab, settings: Settings) -> Cluster<'_> {
        let programs = &*PROGRAMS;
        let cluster = Cluster { lab, run_dir: lab.path("cluster"), settings };
        let begin = Instant::now();
        let up = output(cluster.script("up").env("PROGRAMS", programs));
        assert!(up.status.success(), "cluster.sh up: {}\n{}", up.status, told(&up));
        println!("{} nodes are ready after {:.1?}", settings.nodes, begin.elapsed());
        cluster
    }

    fn script(&self, command: &str) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/cluster.sh");
        let mut script = Command::new(path);
        script.arg(command).env("RUN_DIR", &self.run_dir).env("PREFIX", self.lab.prefix());
        script.env("NODES", self.settings.nodes.to_string());
        script.env("FAMILIES", self.settings.families);
        script
    }

    pub fn lab(&self) -> &Lab {
        self.lab
    }

    /// A machine by its name: `n1` and so on, `cp` (control plane), `cl` (client), `lb` (in front).
    pub fn machine(&self, name: &str) -> Namespace {
        Namespace::existing(&(self.lab.prefix() + name), &self.run_dir)
    }

    /// Sends a signal to one of its programs, by the name of its log.
    pub fn signal(&self, program: &str, signal: &str) {
        let file = self.run_dir.join(format!("{program}.pid"));
        let id = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let sent = Command::new("kill").args(["-s", signal, id.trim()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {signal} {program}");
    }

    /// Runs kubectl at the client's; panics with what it said when it fails.
    pub fn kubectl(&self, words: &[&str]) -> String {
        let output = self.try_kubectl(words);
        assert!(output.status.success(), "kubectl {}: {}", words.join(" "), told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs kubectl at the client's, whatever comes of it.
    pub fn try_kubectl(&self, words: &[&str]) -> Output {
        let mut kubectl = self.machine("cl").command(PROGRAMS.join("kubectl"));
        output(kubectl.arg("--kubeconfig").arg(self.run_dir.join("kubeconfig")).args(words))
    }

    /// `kubectl get` as JSON: an object, or a list with `items`.
    pub fn get(&self, words: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "--output", "json"], words].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs parts of a test one after the other, each in a Kubernetes namespace of its own. Goes on
    /// after one that failed, and panics in the end with the names of those that did.
    pub fn run_parts(&self, parts: &[Part]) {
        let mut failed = Vec::new();
        for (name, part) in parts {
            let begin = Instant::now();
            let space = Space::create(self, name);
            let result = catch_unwind(AssertUnwindSafe(|| part(&space)));
            let how = if result.is_ok() { "passed" } else { "FAILED" };
            println!("part {name}: {how} after {:.1?}", begin.elapsed());
            if let Err(reason) = result {
                space.show();
                failed.push(format!("{name}: {}", message(&*reason)));
            }
        }
        assert!(failed.is_empty(), "parts that failed:\n{}", failed.join("\n"));
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let down = self.script("down").status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("cluster.sh down failed; what is left goes with the test's namespaces");
        }
    }
}

/// What a panic said.
fn message(reason: &(dyn Any + Send)) -> &str {
    let text = reason.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| reason.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Asks until there is an answer. What is there instead is printed whenever it changes, and is in the
/// panic when the time is over.
pub fn watch<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    let mut last = String::new();
    loop {
        let seen = match ask() {
            Ok(answer) => {
                println!("{what}: after {:.1?}", begin.elapsed());
                return answer;
            }
            Err(seen) => seen,
        };
        if seen != last {
            println!("waiting for {what}: {seen}");
            last = seen;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain for {what}; last: {last}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
