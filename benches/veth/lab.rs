//! The network of the bench: three namespaces in a row, and a way back that avoids the one between.
//!
//! ```text
//! client eth0 ── eth1 balancer eth2 ── eth0 backends        client back0 ── back0 backends
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::process::{run, shell};

pub const CLIENT: &str = "guideway-bench-client";
pub const BALANCER: &str = "guideway-bench-lb";
pub const BACKENDS: &str = "guideway-bench-back";
const ALL: [&str; 3] = [CLIENT, BALANCER, BACKENDS];

/// The balanced address; clients know its MAC, so nobody has to answer ARP for it.
pub const VIP: &str = "10.1.0.100";
/// What Guideway translates clients to.
pub const SNAT: &str = "10.2.0.10";
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// Backends 10.2.2.1 and up, all in one namespace.
pub const BACKEND_COUNT: usize = 100;

/// Address of the backend with this number, from 1.
pub fn backend(number: usize) -> String {
    format!("10.2.2.{number}")
}

/// A command in a namespace. By nsenter: `ip netns exec` would hide pinned bpf objects.
pub fn command(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// Runs a line of shell in a namespace.
pub fn shell_in(namespace: &str, line: &str) -> Result<String> {
    run(command(namespace, "sh").args(["-ec", line]))
}

/// The namespaces, and a directory with a bpffs; all gone when it is dropped.
pub struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    /// Makes it, with `queues` queues on both links of the balancer.
    pub fn new(queues: usize) -> Result<Lab> {
        if !rustix::process::geteuid().is_root() {
            bail!("network namespaces, AF_XDP and BPF need root: run it as root");
        }
        remove_namespaces();
        let directory = tempfile::Builder::new().prefix("guideway-bench").tempdir()?;
        let lab = Lab { directory };
        std::fs::create_dir(lab.path("bpf"))?;
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(lab.path("bpf")))?;
        for namespace in ALL {
            shell(&format!("ip netns add {namespace}; ip -n {namespace} link set lo up"))?;
            shell_in(
                namespace,
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
                net.ipv6.conf.default.disable_ipv6=1 net.ipv4.conf.all.rp_filter=0 \
                net.ipv4.conf.default.rp_filter=0 net.core.somaxconn=8192 \
                net.ipv4.tcp_max_syn_backlog=8192 net.ipv4.tcp_tw_reuse=1 \
                net.ipv4.ip_local_port_range='1024 65000'",
            )?;
        }
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        link(
            (CLIENT, "eth0", "02:00:00:00:01:01"),
            (BALANCER, "eth1", "02:00:00:00:01:02"),
            &queues,
        )?;
        link(
            (BALANCER, "eth2", "02:00:00:00:02:01"),
            (BACKENDS, "eth0", "02:00:00:00:02:02"),
            &queues,
        )?;
        link((CLIENT, "back0", "02:00:00:00:03:01"), (BACKENDS, "back0", "02:00:00:00:03:02"), "")?;
        addresses()?;
        Ok(lab)
    }

    /// A path in the directory.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join(inside)
    }

    /// Writes a file into it.
    pub fn write(&self, inside: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(inside);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove_namespaces();
        let _ = Command::new("umount").arg("-l").arg(self.path("bpf")).status();
    }
}

/// A veth pair, both ends up. No unfinished checksums: they do not cross AF_XDP, and all get the same.
fn link(here: (&str, &str, &str), there: (&str, &str, &str), queues: &str) -> Result<()> {
    let ((here_ns, here_name, _), (there_ns, there_name, _)) = (here, there);
    shell(&format!(
        "ip link add {here_name} netns {here_ns} {queues} type veth peer name {there_name} \
         netns {there_ns} {queues}"
    ))?;
    for (namespace, name, mac) in [here, there] {
        shell_in(
            namespace,
            &format!(
                "ip link set {name} address {mac}; ethtool -K {name} tx off >/dev/null; ip link set {name} up"
            ),
        )?;
    }
    Ok(())
}

/// Addresses, routes and neighbours, all fixed: nothing is asked for while measuring.
fn addresses() -> Result<()> {
    shell_in(
        CLIENT,
        &format!(
        "ip address add 10.1.0.50/24 dev eth0; ip neigh add {VIP} lladdr 02:00:00:00:01:02 dev eth0
         ip neigh add 10.1.0.1 lladdr 02:00:00:00:01:02 dev eth0; ip route add default via 10.1.0.1"
    ),
    )?;
    shell_in(
        BALANCER,
        &format!(
            "ip address add 10.1.0.1/24 dev eth1; ip address add 10.2.0.1/16 dev eth2
         ip neigh add 10.1.0.50 lladdr 02:00:00:00:01:01 dev eth1
         ip neigh add 10.2.0.2 lladdr 02:00:00:00:02:02 dev eth2
         ip route add 10.128.0.0/9 via 10.1.0.50
         for number in $(seq {BACKEND_COUNT}); do
             echo neigh add 10.2.2.$number lladdr 02:00:00:00:02:02 dev eth2
         done | ip -batch -"
        ),
    )?;
    shell_in(
        BACKENDS,
        &format!(
            "ip address add 10.2.0.2/16 dev eth0; ip address add {VIP}/32 dev lo
         ip neigh add 10.2.0.1 lladdr 02:00:00:00:02:01 dev eth0
         ip neigh add {SNAT} lladdr 02:00:00:00:02:01 dev eth0
         ip route add local 10.2.2.0/24 dev lo; ip route add default via 10.2.0.1
         ip rule add from {VIP} table 100; ip route add default dev back0 table 100
         ip neigh add 10.1.0.50 lladdr 02:00:00:00:03:01 dev back0"
        ),
    )?;
    Ok(())
}

/// Removes the namespaces and what still runs in them, ours or of a run that was killed.
fn remove_namespaces() {
    for namespace in ALL.iter().filter(|name| Path::new("/run/netns").join(name).exists()) {
        let pids = run(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
        for pid in pids.split_whitespace() {
            // Our own threads leave by themselves.
            if pid != std::process::id().to_string() {
                let _ = run(Command::new("kill").args(["-9", pid]));
            }
        }
        let _ = run(Command::new("ip").args(["netns", "delete", namespace]));
    }
}
