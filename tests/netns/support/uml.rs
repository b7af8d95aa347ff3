//! Machines with a kernel of their own: user-mode Linux, where the host's kernel lacks what a test
//! wants of a peer (VLANs, tunnels, SCTP).
//!
//! A guest sees the host's files read-only, at their places, and writes into a directory of the lab
//! only. Its Ethernet is a tap in a namespace: a port of a switch, or an interface of a host. Not a
//! packet socket on a veth: the host takes VLAN tags out of frames before packet sockets see them.

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::lab::Lab;
use super::network::Namespace;
use super::peers::testpeer;
use super::process::Process;
use super::{SOON, wait_for};

/// Enough for servers and all modules of tunnels; what is not touched costs the host nothing.
const MEMORY: &str = "mem=96M";

/// What only takes time at boot: hundreds of old terminals, measuring memory for RAID, the loop of
/// delays. It is a third of a second without, and three with them.
const QUICK: [&str; 3] = [
    "pty.legacy_count=0",
    "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks",
    "lpj=4894720",
];

/// As in a lab's namespaces: what wants IPv6 sets `net.ipv6.conf.all.disable_ipv6=0`. The module is
/// loaded by the first program that asks for a socket, and would greet all routers and groups.
const SILENT: &str = "ipv6.disable_ipv6=1";

/// The guest's first process. It reads numbers of commands from the console, which is our pipe, and
/// leaves output and status beside them. The pipe's end, also by our death, turns the guest off.
///
/// Its modules are where Debian has them, which is not where modprobe looks; the kernel itself is
/// told too, so that `ip link add … type vlan` loads what it needs.
///
/// Segments leave as they go over a wire. The driver has no switch for checksums: it may leave one
/// to the host, which completes it at the first veth with `tx off`, as all of a lab's are.
const INIT: &str = r#"#!/bin/sh
export PATH=/run/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t hostfs job DIRECTORY -o DIRECTORY
cd DIRECTORY
mkdir -p /run/bin /run/kmod/lib
ln -s /usr/lib/uml/modules /run/kmod/lib/modules
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/kmod "$@"\n' >/run/bin/modprobe
chmod +x /run/bin/modprobe
echo /run/bin/modprobe >/proc/sys/kernel/modprobe
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip link set lo up
ip link set vec0 name eth0
ip link set eth0 up
ethtool -K eth0 tso off gso off gro off
echo up >ready
while read -r number; do
    sh -e $number.sh >$number.out 2>&1 </dev/null
    echo $? >$number.part
    mv $number.part $number.status
done
echo o >/proc/sysrq-trigger
sleep 60
"#;

/// A running guest. Its console is shown when the test panics.
pub struct Uml {
    name: String,
    process: Process,
    directory: PathBuf,
    commands: Cell<u32>,
}

impl Uml {
    /// Boots a guest whose `eth0` is the other end of the tap `interface`, which is made in
    /// `namespace` when it is not there, and runs `script` in it.
    pub fn start(lab: &Lab, namespace: &Namespace, interface: &str, script: &str) -> Uml {
        let name = format!("uml-{}-{interface}", namespace.name());
        let directory = lab.path(&name);
        // One on the same tap that was stopped before has left its own.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        make_tap(namespace, interface);
        let process = boot(namespace, interface, &directory);
        let mut uml = Uml { name, process, directory, commands: Cell::new(0) };
        wait_for(&format!("{} to boot", uml.name), SOON, || {
            assert!(uml.process.is_running(), "{} ended:\n{}", uml.name, uml.process.output());
            uml.directory.join("ready").exists().then_some(())
        });
        // The driver asked the tap for all offloads when it opened it, and drops the segments that
        // come of that. A guest that takes its interface down and up again needs this again.
        namespace.run(&format!("ethtool -K {interface} tx off >/dev/null"));
        uml.run(script);
        uml
    }

    /// The same as a port of a switch, with an address and a prefix length.
    pub fn plug(lab: &Lab, switch: &Namespace, port: &str, address: &str, script: &str) -> Uml {
        make_tap(switch, port);
        switch.run(&format!("ip link set {port} master br0"));
        let script = format!("ip address add {address} dev eth0\n{script}");
        Uml::start(lab, switch, port, &script)
    }

    /// Runs a line of shell inside; panics with its output when it fails.
    pub fn run(&self, line: &str) -> String {
        let (status, output) = self.try_run(line);
        assert_eq!(status, 0, "in {}: {line}\n{output}", self.name);
        output
    }

    /// Runs a line of shell inside, whatever comes of it: its exit status, and all it said.
    ///
    /// One at a time. What it leaves in the background must not keep its output open, or that is
    /// not seen here: see [`Uml::start_inside`].
    pub fn try_run(&self, line: &str) -> (i32, String) {
        let number = self.commands.get() + 1;
        self.commands.set(number);
        let path = |end: &str| self.directory.join(format!("{number}.{end}"));
        std::fs::write(path("sh"), line).unwrap();
        self.process.write_input(&format!("{number}\n"));
        let status = wait_for(&format!("{line:?} in {}", self.name), SOON, || {
            std::fs::read_to_string(path("status")).ok()
        });
        (status.trim().parse().unwrap(), read(&path("out")))
    }

    pub fn succeeds(&self, line: &str) -> bool {
        self.try_run(line).0 == 0
    }

    /// Starts a line of shell in the background; its output is in the guest's file `/run/NAME.log`.
    pub fn start_inside(&self, line: &str, name: &str) {
        let line = line.replace('\'', r"'\''");
        self.run(&format!("setsid sh -ec 'exec {line}' >/run/{name}.log 2>&1 </dev/null &"));
    }

    /// Waits until something that was started inside has written `text`.
    pub fn wait_for_output(&self, name: &str, text: &str) {
        let mut output = String::new();
        let found = (0..100).any(|_| {
            output = self.run(&format!("cat /run/{name}.log"));
            output.contains(text) || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(found, "no {text:?} from {name} in {}:\n{output}", self.name);
    }

    /// Starts the test peer's servers inside: `options` as on its command line, without the name.
    pub fn serve(&self, name: &str, options: &str) {
        let peer = testpeer();
        self.start_inside(&format!("{} serve --name {name} {options}", peer.display()), name);
        self.wait_for_output(name, "READY");
    }

    /// The MAC of its `eth0`.
    pub fn mac(&self) -> String {
        self.run("cat /sys/class/net/eth0/address").trim().to_owned()
    }
}

/// Makes a tap, unless it is there.
fn make_tap(namespace: &Namespace, name: &str) {
    namespace.run(&format!(
        "ip link show {name} >/dev/null 2>&1 || ip tuntap add dev {name} mode tap
         ip link set {name} up"
    ));
}

/// Starts the kernel. In a PID namespace of its own: programs of the guest are processes that the
/// kernel's process traces, and without it they would go on as programs of the host, system calls
/// and all, when it is killed. `timeout` is there for the test that hangs.
fn boot(namespace: &Namespace, interface: &str, directory: &Path) -> Process {
    let place = directory.to_str().unwrap();
    let init = directory.join("init");
    std::fs::write(&init, INIT.replace("DIRECTORY", place)).unwrap();
    std::fs::set_permissions(&init, Permissions::from_mode(0o755)).unwrap();
    let mut command = namespace.command("unshare");
    command.args(["--fork", "--pid", "--kill-child", "timeout", "-s", "KILL", "600"]);
    command.args(["linux.uml", MEMORY, "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]);
    command.args(QUICK).arg(format!("init={}", init.display()));
    command.args(["con=null", "con0=fd:0,fd:1", "umid=guest", SILENT]);
    command.arg(format!("uml_dir={place}/")).arg(format!("vec0:transport=tap,ifname={interface}"));
    Process::start(command, &directory.join("console.log"))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// Pulls the plug: the first process of its PID namespace is killed, and all others with it.
impl Drop for Uml {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console of {}\n{}", self.name, self.process.output());
        }
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-s", "KILL", child]).status();
        }
        // `unshare` ends when all of them are gone, and the tap is free again.
        let mut looks = 0..200;
        while looks.next().is_some() && self.process.is_running() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
