//! The kernel's own: forwarding, and nftables DNAT as kube-proxy does it.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use super::contender::{Running, Setting};
use super::cpu::{Thread, processes_named};
use super::lab::{BACKEND_COUNT, BALANCER, VIP, backend, command, shell_in};
use super::process::{run, set_priority, wait_for};

/// The kernel's forwarding with what it needs to take the generator's frames; undone when dropped.
struct Forwarding {
    threaded: bool,
}

impl Forwarding {
    fn start(setting: &Setting) -> Result<(Forwarding, Vec<Thread>)> {
        let forwarding = Forwarding { threaded: setting.threaded };
        shell_in(BALANCER, "sysctl -qw net.ipv4.ip_forward=1")?;
        let threads =
            if setting.threaded { vec![napi_thread(setting.cores[0])?] } else { Vec::new() };
        Ok((forwarding, threads))
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let _ = shell_in(
            BALANCER,
            &format!(
                "nft flush ruleset; ip route del {VIP}/32 2>/dev/null || true
                 sysctl -qw net.ipv4.ip_forward=0"
            ),
        );
        if self.threaded {
            let _ = set_threaded(false);
        }
    }
}

/// Receives by a kernel thread on a core of its own: what the kernel forwards then costs that core
/// alone, as the work of an AF_XDP worker does.
fn napi_thread(core: usize) -> Result<Thread> {
    // GRO brings NAPI to a veth without an XDP program, and that takes frames of XDP_TX.
    set_threaded(true)?;
    let thread = wait_for("the NAPI thread of eth1", || {
        Ok(processes_named("napi/eth1-").into_iter().max_by_key(|thread| thread.tid))
    })?;
    set_priority(thread.tid)?;
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    let pid = rustix::process::Pid::from_raw(thread.tid as i32);
    rustix::thread::sched_setaffinity(pid, &cores)?;
    Ok(thread)
}

/// By `ip netns exec`, which shows the namespace's own /sys.
fn set_threaded(on: bool) -> Result<()> {
    let (gro, threaded) = if on { ("on", 1) } else { ("off", 0) };
    let line = format!(
        "ethtool -K eth1 gro {gro} >/dev/null; echo {threaded} >/sys/class/net/eth1/threaded"
    );
    run(std::process::Command::new("ip").args(["netns", "exec", BALANCER, "sh", "-ec", &line]))?;
    Ok(())
}

/// Without translation: the VIP is behind the balancer.
pub fn forwarding(setting: &Setting) -> Result<Running> {
    let (forwarding, threads) = Forwarding::start(setting)?;
    shell_in(BALANCER, &format!("ip route add {VIP}/32 via 10.2.0.2"))?;
    Ok(Running::new(threads, forwarding))
}

/// DNAT to a random backend for each new flow.
pub fn nft(setting: &Setting) -> Result<Running> {
    let (forwarding, threads) = Forwarding::start(setting)?;
    let mut backends = String::new();
    for number in 1..=BACKEND_COUNT {
        let _ = write!(backends, "{} : {} . 8080, ", number - 1, backend(number));
    }
    let rules = format!(
        "add table ip lb
         add chain ip lb pre {{ type nat hook prerouting priority dstnat; }}
         add rule ip lb pre ip daddr {VIP} meta l4proto {{ tcp, udp }} th dport 80 \
         dnat ip to numgen random mod {BACKEND_COUNT} map {{ {backends} }}"
    );
    run(command(BALANCER, "nft").arg(rules))?;
    Ok(Running::new(threads, forwarding))
}

/// Room for a million tracked connections. The limit is the machine's, so it is put back.
pub struct ConntrackLimit {
    before: String,
}

const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const ENOUGH: u64 = 4 << 20;

impl ConntrackLimit {
    /// Raises it, where it is lower and connections are tracked at all.
    pub fn raise() -> Result<Option<ConntrackLimit>> {
        let Ok(before) = fs::read_to_string(CONNTRACK_MAX) else { return Ok(None) };
        if before.trim().parse::<u64>()? >= ENOUGH {
            return Ok(None);
        }
        fs::write(CONNTRACK_MAX, ENOUGH.to_string()).context(CONNTRACK_MAX)?;
        Ok(Some(ConntrackLimit { before }))
    }
}

impl Drop for ConntrackLimit {
    fn drop(&mut self) {
        let _ = fs::write(CONNTRACK_MAX, &self.before);
    }
}
