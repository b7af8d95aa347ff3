//! The machine as such: configuration, kernel, permissions, memory, CPUs, clock.

use super::facts::Facts;
use super::finding::Finding;
use crate::control::IdlePolicy;

/// Oldest kernel with all that is used.
const OLDEST: (u32, u32) = (5, 11);
/// From here on the kernel keeps neighbours fresh by itself (`NTF_EXT_MANAGED`).
const KEEPS_NEIGHBOURS: (u32, u32) = (5, 16);
// Bits of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// Clocks that are read without a system call.
const QUICK_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

/// Looks at all of it.
pub fn look(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![configuration(facts), kernel(facts)];
    if facts.running.is_none() {
        // One that runs has had what it needs, and may have given it up since.
        findings.push(capabilities(facts));
        findings.extend(bpffs(facts));
        findings.push(locked_memory(facts));
        findings.push(huge_pages(facts));
    }
    findings.extend(cores(facts));
    findings.extend(isolation(facts));
    findings.push(frequency(facts));
    findings.push(clock(facts));
    findings
}

fn configuration(facts: &Facts) -> Finding {
    const CHECK: &str = "configuration";
    match &facts.config {
        Some(Ok(config)) => {
            let services = config.desired.services.len();
            let interfaces = config.node.interfaces.len();
            Finding::ok(CHECK, "", format!("services: {services}, interfaces: {interfaces}"))
        }
        Some(Err(error)) => Finding::fail(
            CHECK,
            "",
            error.clone(),
            "`guideway check FILE` shows each place; --config says which file is meant. What depends \
             on it was not looked at",
        ),
        None => Finding::fail(CHECK, "", "it was not read", "--config says which file is meant"),
    }
}

fn kernel(facts: &Facts) -> Finding {
    let found = facts.kernel.clone();
    match version(&found) {
        None => Finding::warn("kernel", "", found, "its version is not understood"),
        Some(version) if version < OLDEST => {
            Finding::fail("kernel", "", found, "Linux 5.11 or newer is needed")
        }
        Some(version) if version < KEEPS_NEIGHBOURS => Finding::warn(
            "kernel",
            "",
            found,
            "before Linux 5.16 the kernel does not keep neighbours fresh by itself: Guideway makes \
             it do so, with more ARP and NDP traffic",
        ),
        Some(_) => Finding::ok("kernel", "", found),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn capabilities(facts: &Facts) -> Finding {
    let has = |bit: u32| facts.capabilities & (1 << bit) != 0;
    // CAP_SYS_ADMIN holds for what was split off from it.
    let wanted = [
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
        ("CAP_NET_RAW", has(CAP_NET_RAW)),
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_PERFMON", has(CAP_PERFMON) || has(CAP_SYS_ADMIN)),
    ];
    let missing: Vec<&str> = wanted.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Finding::ok("capabilities", "", "all that are needed");
    }
    let found = format!("{} missing", missing.join(", "));
    Finding::fail("capabilities", "", found, "run this and Guideway as root, or with all four")
}

fn bpffs(facts: &Facts) -> Option<Finding> {
    let dir = facts.good_config()?.node.bpf_dir.display().to_string();
    let can_mount = facts.capabilities & (1 << CAP_SYS_ADMIN) != 0;
    Some(match (facts.has_bpffs, can_mount) {
        (true, _) => Finding::ok("bpffs", "", format!("there is one at {dir}")),
        (false, true) => Finding::ok("bpffs", "", format!("none at {dir} yet: mounted at start")),
        (false, false) => Finding::fail(
            "bpffs",
            "",
            format!("none at {dir}, and no CAP_SYS_ADMIN to mount one"),
            "as root: `mount -t bpf bpf /sys/fs/bpf`",
        ),
    })
}

fn locked_memory(facts: &Facts) -> Finding {
    let needed = facts.frame_memory_bytes();
    let found = |limit: &str| format!("limit {limit}, frames need {}", size(needed));
    match facts.memlock_bytes {
        _ if facts.capabilities & (1 << CAP_IPC_LOCK) != 0 => {
            Finding::ok("memlock", "", found("none (CAP_IPC_LOCK)"))
        }
        None => Finding::ok("memlock", "", found("none")),
        Some(limit) if limit >= needed => Finding::ok("memlock", "", found(&size(limit))),
        Some(limit) => Finding::fail(
            "memlock",
            "",
            found(&size(limit)),
            "`ulimit -l unlimited`, LimitMEMLOCK=infinity in the unit, CAP_IPC_LOCK, or fewer \
             `limits.frames_per_queue`",
        ),
    }
}

fn huge_pages(facts: &Facts) -> Finding {
    let ((free, page_bytes), needed) = (facts.huge_pages, facts.frame_memory_bytes());
    let found = match free * page_bytes >= needed && free > 0 {
        true => format!("{free} of {} free: frames lie in them", size(page_bytes)),
        false => format!(
            "{free} free, frames need {}: they lie in ordinary memory, which is fine",
            size(needed)
        ),
    };
    Finding::ok("hugepages", "", found)
}

fn cores(facts: &Facts) -> Vec<Finding> {
    let workers = facts.workers();
    let cores: Vec<Option<usize>> = (0..workers).map(|worker| facts.core_of(worker)).collect();
    let mut findings = Vec::new();
    let is_online = |core: &usize| facts.cpus.contains(core);
    for core in cores.iter().flatten().filter(|core| !is_online(core)) {
        findings.push(Finding::fail(
            "cpus",
            "",
            format!("core {core} is not online"),
            "another core in `workers.cores`, of those that `lscpu` shows as on-line",
        ));
    }
    let online = facts.cpus.len();
    if workers > online {
        let found = format!("{workers} workers on {online} cores: some share one");
        findings.push(Finding::warn("cpus", "", found, format!("`workers.count: {online}`")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("cpus", "", format!("{workers} workers, {online} cores online")));
    }
    findings
}

fn isolation(facts: &Facts) -> Option<Finding> {
    let idle = facts.good_config()?.node.workers.idle;
    let cores = (0..facts.workers()).filter_map(|worker| facts.core_of(worker));
    let shared: Vec<String> =
        cores.filter(|core| !facts.isolated.contains(core)).map(|core| core.to_string()).collect();
    let check = "isolation";
    Some(match (idle, shared.is_empty()) {
        (_, true) => Finding::ok(check, "", "workers have their cores to themselves"),
        (IdlePolicy::Busy, false) => Finding::warn(
            check,
            "",
            format!("workers never sleep, and others use core {}, too", shared.join(", ")),
            format!("`isolcpus={}` for the kernel, or `workers.idle: auto`", shared.join(",")),
        ),
        (_, false) => Finding::ok(
            check,
            "",
            format!("core {} is shared with others: idle workers sleep", shared.join(", ")),
        ),
    })
}

fn frequency(facts: &Facts) -> Finding {
    let check = "frequency";
    let cores = (0..facts.workers()).filter_map(|worker| facts.core_of(worker));
    let governors: Vec<(usize, &String)> =
        cores.filter_map(|core| Some((core, facts.governors.get(&core)?))).collect();
    let slow = governors.iter().find(|(_, governor)| *governor != "performance");
    match (governors.first(), slow) {
        (None, _) => Finding::ok(check, "", "the kernel does not change it, or does not tell"),
        (Some(_), None) => Finding::ok(check, "", "performance"),
        (_, Some((core, governor))) => Finding::warn(
            check,
            "",
            format!("core {core} is governed by `{governor}`: slow after each rest"),
            "`cpupower frequency-set -g performance`",
        ),
    }
}

fn clock(facts: &Facts) -> Finding {
    let clock = facts.clock_source.as_str();
    if QUICK_CLOCKS.contains(&clock) {
        return Finding::ok("clock", "", clock);
    }
    let found = if clock.is_empty() { "the kernel does not tell" } else { clock };
    Finding::warn(
        "clock",
        "",
        found,
        "each batch reads the time, which is a system call by this one: `tsc=reliable` for the \
         kernel where the machine's is good, or another host",
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State::{self, Fail, Ok, Warn};
    use super::super::testing::{busy, facts, told};
    use super::*;

    type Change = fn(&mut Facts);

    #[test]
    fn faults_by_row() {
        let rows: &[(&str, &str, Change, State, &str)] = &[
            ("as it should be", "kernel", |_| {}, Ok, "6.18.5"),
            ("an old kernel", "kernel", |f| f.kernel = "5.10.0-8-amd64".into(), Fail, "5.10"),
            ("a middling one", "kernel", |f| f.kernel = "5.15.1".into(), Warn, "5.15"),
            ("a strange one", "kernel", |f| f.kernel = "x".into(), Warn, "x"),
            ("root", "capabilities", |_| {}, Ok, "all"),
            ("nobody", "capabilities", |f| f.capabilities = 0, Fail, "CAP_NET_ADMIN, CAP_NET_RAW"),
            ("no BPF of its own", "capabilities", |f| f.capabilities &= !(1 << CAP_BPF), Ok, "all"),
            (
                "neither BPF nor SYS_ADMIN",
                "capabilities",
                |f| f.capabilities &= !(1 << CAP_BPF | 1 << CAP_SYS_ADMIN),
                Fail,
                "CAP_BPF missing",
            ),
            ("mounted", "bpffs", |f| f.has_bpffs = true, Ok, "there is one"),
            ("to be mounted", "bpffs", |_| {}, Ok, "mounted at start"),
            ("not to be mounted", "bpffs", |f| f.capabilities = 0, Fail, "no CAP_SYS_ADMIN"),
            ("no limit", "memlock", |_| {}, Ok, "CAP_IPC_LOCK"),
            (
                "a limit",
                "memlock",
                |f| (f.capabilities, f.memlock_bytes) = (0, Some(8 << 20)),
                Fail,
                "limit 8 MiB, frames need 16 MiB",
            ),
            (
                "enough",
                "memlock",
                |f| (f.capabilities, f.memlock_bytes) = (0, Some(64 << 20)),
                Ok,
                "limit 64 MiB",
            ),
            ("no huge pages", "hugepages", |_| {}, Ok, "ordinary memory"),
            ("huge pages", "hugepages", |f| f.huge_pages = (64, 2 << 20), Ok, "lie in them"),
            ("cores", "cpus", |_| {}, Ok, "2 workers, 4 cores online"),
            ("few cores", "cpus", |f| f.cpus = vec![0], Warn, "2 workers on 1 cores"),
            ("shared cores", "isolation", |_| {}, Ok, "idle workers sleep"),
            ("busy on shared cores", "isolation", busy, Warn, "never sleep"),
            ("own cores", "isolation", |f| f.isolated = vec![0, 1], Ok, "to themselves"),
            ("no governor", "frequency", |_| {}, Ok, "does not tell"),
            (
                "a governor",
                "frequency",
                |f| f.governors = [(0, "powersave".to_string())].into(),
                Warn,
                "core 0 is governed by `powersave`",
            ),
            ("another core's", "frequency", |f| f.governors = [(3, "x".into())].into(), Ok, ""),
            ("a quick clock", "clock", |_| {}, Ok, "tsc"),
            ("a slow one", "clock", |f| f.clock_source = "hpet".into(), Warn, "hpet"),
            ("a bad file", "configuration", |f| f.config = Some(Err("x:1".into())), Fail, "x:1"),
        ];
        for (description, check, change, state, found) in rows {
            let mut facts = facts();
            change(&mut facts);
            told(description, &look(&facts), check, *state, found);
        }
    }

    #[test]
    fn configured_cores_are_looked_at() {
        let mut facts = facts();
        let Some(Result::Ok(config)) = &mut facts.config else { panic!("there is one") };
        config.node.workers.cores = Some(vec![0, 9]);
        told("a core too many", &look(&facts), "cpus", Fail, "core 9 is not online");
    }
}
