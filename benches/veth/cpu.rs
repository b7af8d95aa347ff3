//! Time that threads and the whole machine had on a CPU, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};

/// A thread whose time is of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thread {
    pub process: u32,
    pub tid: u32,
}

/// What a thread had so far, in nanoseconds.
#[derive(Clone, Copy, Default, Debug)]
pub struct Times {
    /// On a CPU.
    pub ran: f64,
    /// Ready, while others were on it.
    pub waited: f64,
    /// Share of `ran` in user space, by the kernel's ticks.
    user_ticks: f64,
    system_ticks: f64,
}

impl Times {
    pub fn since(self, before: Times) -> Times {
        Times {
            ran: self.ran - before.ran,
            waited: self.waited - before.waited,
            user_ticks: self.user_ticks - before.user_ticks,
            system_ticks: self.system_ticks - before.system_ticks,
        }
    }

    pub fn plus(self, other: Times) -> Times {
        Times {
            ran: self.ran + other.ran,
            waited: self.waited + other.waited,
            user_ticks: self.user_ticks + other.user_ticks,
            system_ticks: self.system_ticks + other.system_ticks,
        }
    }

    /// Nanoseconds in user space.
    pub fn user(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks > 0.0 { self.ran * self.user_ticks / ticks } else { 0.0 }
    }

    /// Nanoseconds in the kernel.
    pub fn system(&self) -> f64 {
        self.ran - self.user()
    }
}

/// A thread's times so far.
pub fn times(thread: Thread) -> Result<Times> {
    let place = format!("/proc/{}/task/{}", thread.process, thread.tid);
    let scheduled = fs::read_to_string(format!("{place}/schedstat")).context("a thread's times")?;
    let stat = fs::read_to_string(format!("{place}/stat")).context("a thread's times")?;
    let mut numbers = scheduled.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
    // The name, in brackets, may have spaces in it.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| -> f64 {
        after.split_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0.0)
    };
    Ok(Times {
        ran: numbers.next().unwrap_or(0.0),
        waited: numbers.next().unwrap_or(0.0),
        user_ticks: field(11),
        system_ticks: field(12),
    })
}

/// Times of several threads together, and of the busiest of them by itself.
pub fn sums(threads: &[Thread]) -> Result<Vec<Times>> {
    threads.iter().map(|thread| times(*thread)).collect()
}

/// Threads of a process whose name begins so.
pub fn threads_named(process: u32, beginning: &str) -> Vec<Thread> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let named = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let tid = thread.file_name().to_str()?.parse().ok()?;
        name.starts_with(beginning).then_some(Thread { process, tid })
    });
    let mut named: Vec<_> = named.collect();
    named.sort_by_key(|thread| thread.tid);
    named
}

/// Processes with that name, for kernel threads and the children of servers.
pub fn processes_named(beginning: &str) -> Vec<Thread> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = processes.filter_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        name.starts_with(beginning).then_some(Thread { process: id, tid: id })
    });
    named.collect()
}

/// Share of all CPUs' time that was idle between two readings of [`machine`].
pub fn idle_share(before: &[u64], after: &[u64]) -> f64 {
    let spent: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let idle = spent.get(3).copied().unwrap_or(0) + spent.get(4).copied().unwrap_or(0);
    idle as f64 / spent.iter().take(8).sum::<u64>().max(1) as f64
}

/// The machine's times since its start: user, nice, system, idle, iowait, irq, softirq, steal.
pub fn machine() -> Result<Vec<u64>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    Ok(first.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect())
}

/// Processes that want a CPU on average, over the last minute.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("?").to_owned()
}
