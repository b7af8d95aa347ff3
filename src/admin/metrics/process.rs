//! What the kernel says of this process, under the names that all Prometheus clients use.

use std::fs;

use super::text::{Exposition, Kind};

/// Clock ticks of `/proc/PID/stat` in a second: a constant of the kernel's interface (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory, descriptors, time; none of what the kernel does not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessStatus {
    /// In memory now.
    pub resident_bytes: Option<u64>,
    /// Address space.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Processor time, by all threads.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Most it may have.
    pub max_fds: Option<u64>,
}

impl ProcessStatus {
    /// Of this process, now.
    pub fn read() -> ProcessStatus {
        let file = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let mut status = ProcessStatus::default();
        status.take_status(&file("status").unwrap_or_default());
        status.cpu_seconds = file("stat").ok().and_then(|stat| cpu_seconds(&stat));
        status.max_fds = file("limits").ok().and_then(|limits| max_fds(&limits));
        // The folder itself is open while it is read.
        status.open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64 - 1);
        status
    }

    /// `/proc/PID/status`.
    fn take_status(&mut self, text: &str) {
        let number = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.resident_bytes = number("VmRSS:").map(|kib| kib * 1024);
        self.virtual_bytes = number("VmSize:").map(|kib| kib * 1024);
        self.threads = number("Threads:");
    }

    /// Writes its families.
    pub fn write(&self, all: &mut Exposition) {
        use Kind::{Counter, Gauge};
        let rows = [
            ("process_resident_memory_bytes", "Memory in use.", self.resident_bytes),
            ("process_virtual_memory_bytes", "Address space in use.", self.virtual_bytes),
            ("process_open_fds", "Open file descriptors.", self.open_fds),
            ("process_max_fds", "Most open file descriptors.", self.max_fds),
            ("process_threads", "Threads.", self.threads),
        ];
        for (name, help, value) in rows {
            if let Some(value) = value {
                all.single(Gauge, name, help, value);
            }
        }
        if let Some(cpu) = self.cpu_seconds {
            all.single(Counter, "process_cpu_seconds_total", "Processor time of all threads.", cpu);
        }
    }
}

/// User and system time out of `/proc/PID/stat`: fields 14 and 15. The second one is the name in
/// brackets, which may have blanks and brackets in it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The soft limit of `/proc/PID/limits`; none where there is no limit.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let mut status = ProcessStatus::default();
        status.take_status("Name:\tgw\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n");
        assert_eq!((status.virtual_bytes, status.resident_bytes), (Some(2 << 20), Some(1 << 20)));
        assert_eq!(status.threads, Some(7));
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 99 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("42"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 4096                 files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(max_fds("Max open files            unlimited  unlimited files"), None);
    }

    #[test]
    fn of_this_process() {
        let status = ProcessStatus::read();
        assert!(status.resident_bytes > Some(100_000), "{status:?}");
        assert!(status.open_fds >= Some(3) && status.threads >= Some(1), "{status:?}");
        assert!(status.cpu_seconds.is_some(), "{status:?}");
    }
}
