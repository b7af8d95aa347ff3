//! Programs, threads and time of the bench: bounded, and ended with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use rustix::thread::{CpuSet, LinkNameSpaceType};

/// What all programs of the measurement run at: others use the machine too.
const NICE: i32 = -15;
/// Longest wait for a program to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C and SIGTERM end the bench through its clean-up.
pub fn hear_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        let of = |kind| signal(kind).context("signals");
        (of(SignalKind::interrupt())?, of(SignalKind::terminate())?, of(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async move {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => (), _ = hang_up.recv() => () }
            INTERRUPTED.store(true, Ordering::Relaxed);
            // The next ones are heard and change nothing: the clean-up is under way.
            loop {
                tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => (), _ = hang_up.recv() => () }
            }
        });
    });
    Ok(())
}

/// Sleeps, unless the bench is interrupted.
pub fn nap(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(Duration::from_millis(50)));
    }
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited in vain for {what}");
        }
        nap(Duration::from_millis(20))?;
    }
}

/// Runs a command to its end; its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line of shell.
pub fn shell(line: &str) -> Result<String> {
    run(Command::new("sh").args(["-ec", line]))
}

/// A program in the background; ended when it goes out of scope.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it at the bench's priority, with all it says in the file `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Process> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        set_priority(child.id())?;
        Ok(Process { child, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error, with what it said, when it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("ended with {status}:\n{}", self.output()),
            None => Ok(()),
        }
    }

    /// Waits for its own end; what it said.
    pub fn finish(mut self) -> Result<String> {
        let status = wait_for("a program's end", || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("{status}:\n{}", self.output());
        }
        Ok(self.output())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a process or thread the bench's priority.
pub fn set_priority(id: u32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(id as i32);
    Ok(rustix::process::setpriority_process(pid, NICE)?)
}

/// Puts the calling thread on one core.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Moves the calling thread into a network namespace, for good.
pub fn enter(namespace: &str) -> Result<()> {
    let file = File::open(format!("/run/netns/{namespace}")).context(namespace.to_owned())?;
    use std::os::fd::AsFd;
    let network = Some(LinkNameSpaceType::Network);
    Ok(rustix::thread::move_into_link_name_space(file.as_fd(), network)?)
}

/// Does something in a network namespace, on a thread of its own.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| join(scope.spawn(|| enter(namespace).and_then(|()| work())).join()))
}

/// The end of a thread that does its work in a namespace.
pub fn join<T>(ended: std::thread::Result<Result<T>>) -> Result<T> {
    ended.unwrap_or_else(|_| bail!("a thread of the bench panicked"))
}

/// A thread of the bench that runs until it is told to stop.
pub struct Task {
    thread: Option<JoinHandle<Result<()>>>,
    stop: std::sync::Arc<AtomicBool>,
    pub tid: u32,
}

impl Task {
    /// Runs `work` on `core` in `namespace`; it looks at the flag it is given.
    pub fn start(
        namespace: &str,
        core: usize,
        work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Task> {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let (flag, namespace) = (stop.clone(), namespace.to_owned());
        let thread = std::thread::spawn(move || {
            let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            enter(&namespace).and_then(|()| pin(core)).and_then(|()| set_priority(tid))?;
            tell.send(tid)?;
            work(&flag)
        });
        match told.recv() {
            Ok(tid) => Ok(Task { thread: Some(thread), stop, tid }),
            Err(_) => bail!("a thread did not start: {:?}", join(thread.join()).err()),
        }
    }

    /// It ended by itself, which is an error.
    pub fn check(&mut self) -> Result<()> {
        match &self.thread {
            Some(thread) if thread.is_finished() => {
                self.finish()?;
                bail!("a thread of the bench ended early")
            }
            _ => Ok(()),
        }
    }

    pub fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| join(thread.join()))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
