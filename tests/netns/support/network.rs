//! Namespaces, veth pairs, bridges, and the usual sites made of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::lab::Lab;
use super::process::{self, Process};

/// A network namespace. Its `Lab` removes it.
pub struct Namespace {
    name: String,
    directory: PathBuf,
}

impl Namespace {
    pub fn create(name: &str, directory: &Path) -> Namespace {
        process::run(Command::new("ip").args(["netns", "add", name]));
        let namespace = Namespace { name: name.to_owned(), directory: directory.to_owned() };
        namespace.run("ip link set lo up");
        namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.conf.all.rp_filter=0");
        namespace.run("sysctl -qw net.ipv4.conf.default.rp_filter=0");
        namespace
    }

    /// One that a script has made, by its name: only `tests/kubernetes` has such.
    #[allow(dead_code)]
    pub fn existing(name: &str, directory: &Path) -> Namespace {
        assert!(Path::new("/run/netns").join(name).exists(), "no namespace {name}");
        Namespace { name: name.to_owned(), directory: directory.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command to be run inside. By nsenter: `ip netns exec` would hide pinned bpf objects.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Runs a line of shell inside; panics when it fails.
    pub fn run(&self, line: &str) -> String {
        process::run(self.command("sh").args(["-ec", line]))
    }

    /// Runs a line of shell inside, whatever comes of it.
    pub fn try_run(&self, line: &str) -> Output {
        process::output(self.command("sh").args(["-ec", line]))
    }

    pub fn succeeds(&self, line: &str) -> bool {
        self.try_run(line).status.success()
    }

    /// Starts a line of shell in the background; `log` names the file of its output.
    pub fn start(&self, line: &str, log: &str) -> Process {
        let mut command = self.command("sh");
        command.args(["-ec", &format!("exec {line}")]);
        Process::start(command, &self.directory.join(log))
    }

    /// A veth pair from here to there, both ends up, with `queues` queues each.
    ///
    /// The transmit checksum offload is off at both ends: partial checksums do not cross AF_XDP.
    pub fn connect(&self, name: &str, there: &Namespace, there_name: &str, queues: u32) {
        let both = format!("numtxqueues {queues} numrxqueues {queues}");
        process::run(Command::new("sh").args([
            "-ec",
            &format!(
                "ip link add {name} netns {} {both} type veth peer name {there_name} netns {} {both}",
                self.name, there.name
            ),
        ]));
        for (namespace, name) in [(self, name), (there, there_name)] {
            namespace.run(&format!("ethtool -K {name} tx off >/dev/null; ip link set {name} up"));
        }
    }

    /// Turns IPv6 on for an interface, with an address that is used at once.
    pub fn add_ipv6(&self, interface: &str, address: &str) {
        self.run(&format!(
            "sysctl -qw net.ipv6.conf.{interface}.accept_dad=0 net.ipv6.conf.{interface}.accept_ra=0
             sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 net.ipv6.conf.{interface}.disable_ipv6=0
             ip -6 address add {address} dev {interface} nodad"
        ));
    }

    /// The MAC of an interface.
    pub fn mac(&self, interface: &str) -> String {
        let show = format!("ip -br link show {interface} | awk '{{ print $3 }}'");
        self.run(&show).trim().to_owned()
    }

    /// A counter of the kernel's as `/proc/net/snmp` names it, for example `Tcp` and `OutRsts`.
    pub fn kernel_counter(&self, protocol: &str, name: &str) -> u64 {
        let text = self.run("cat /proc/net/snmp");
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{protocol}:")));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut both = names.split(' ').zip(values.split(' '));
        both.find(|(one, _)| *one == name).unwrap().1.parse().unwrap()
    }

    /// Drops each packet that comes in with this chance (0 to 100), the same way for all protocols.
    pub fn lose(&self, percent: u32) {
        self.run(&format!(
            "nft add table ip loss
             nft 'add chain ip loss in {{ type filter hook prerouting priority -300; }}'
             nft 'add rule ip loss in iifname != lo numgen random mod 100 < {percent} drop'"
        ));
    }

    /// Ends the loss.
    pub fn lose_nothing(&self) {
        self.run("nft delete table ip loss");
    }
}

/// The usual set-up: a client, the balancer, backends, and a switch or two.
pub struct Site {
    pub client: Namespace,
    pub balancer: Namespace,
    pub backends: Vec<Namespace>,
    /// Bridges: the clients' side, and, with two arms, the backends' side.
    pub switches: Vec<Namespace>,
}

/// Only the balancer's links have several queues. A packet that has passed one device with several
/// carries the queue's number on to the next one, and all would end up in the first queue.
impl Site {
    pub const VIP: &'static str = "10.1.0.100";
    pub const CLIENT: &'static str = "10.1.0.50";
    pub const BALANCER: &'static str = "10.1.0.1";
    pub const VIP_6: &'static str = "2001:db8:1::100";
    pub const BALANCER_6: &'static str = "2001:db8:1::1";

    /// One arm: everybody on one switch, 10.1.0.0/24; backends are 10.1.0.11 and up. The balancer's
    /// interface is `eth1`.
    pub fn one_arm(lab: &Lab, backends: u8, queues: u32) -> Site {
        let front = switch(lab, "front");
        let (client, balancer) = (lab.namespace("client"), lab.namespace("lb"));
        plug(&client, "eth0", &front, "client", &format!("{}/24", Site::CLIENT), 1);
        plug(&balancer, "eth1", &front, "lb", &format!("{}/24", Site::BALANCER), queues);
        let backends = (1..=backends)
            .map(|number| {
                let backend = lab.namespace(&format!("b{number}"));
                let address = format!("10.1.0.{}/24", 10 + number);
                plug(&backend, "eth0", &front, &format!("b{number}"), &address, 1);
                backend
            })
            .collect();
        Site { client, balancer, backends, switches: vec![front] }
    }

    /// Two arms: clients on `eth1` in 10.1.0.0/24, backends on `eth2` in 10.2.0.0/24, 10.2.0.11 and
    /// up; the balancer is 10.1.0.1 and 10.2.0.1, and no router.
    pub fn two_arms(lab: &Lab, backends: u8, queues: u32) -> Site {
        let (front, back) = (switch(lab, "front"), switch(lab, "back"));
        let (client, balancer) = (lab.namespace("client"), lab.namespace("lb"));
        plug(&client, "eth0", &front, "client", &format!("{}/24", Site::CLIENT), 1);
        plug(&balancer, "eth1", &front, "lb", &format!("{}/24", Site::BALANCER), queues);
        plug(&balancer, "eth2", &back, "lb", "10.2.0.1/24", queues);
        let backends = (1..=backends)
            .map(|number| {
                let backend = lab.namespace(&format!("b{number}"));
                let address = format!("10.2.0.{}/24", 10 + number);
                plug(&backend, "eth0", &back, &format!("b{number}"), &address, 1);
                backend
            })
            .collect();
        Site { client, balancer, backends, switches: vec![front, back] }
    }

    /// Gives everybody IPv6, too: 2001:db8:1::/64 in front and, with two arms, 2001:db8:2::/64 at the
    /// back, each host with the last number of its IPv4 address.
    pub fn with_ipv6(self) -> Site {
        let has_two_arms = self.switches.len() > 1;
        self.client.add_ipv6("eth0", "2001:db8:1::50/64");
        self.balancer.add_ipv6("eth1", "2001:db8:1::1/64");
        if has_two_arms {
            self.balancer.add_ipv6("eth2", "2001:db8:2::1/64");
        }
        let net = if has_two_arms { 2 } else { 1 };
        for (number, backend) in (11..).zip(&self.backends) {
            backend.add_ipv6("eth0", &format!("2001:db8:{net}::{number}/64"));
        }
        self
    }
}

/// A namespace with a bridge `br0`, which says nothing by itself: tests count packets.
pub fn switch(lab: &Lab, role: &str) -> Namespace {
    let switch = lab.namespace(role);
    switch.run("ip link add br0 type bridge mcast_snooping 0; ip link set br0 up");
    switch
}

/// Connects an interface to a switch's bridge and gives it an address.
pub fn plug(
    host: &Namespace,
    interface: &str,
    switch: &Namespace,
    port: &str,
    address: &str,
    queues: u32,
) {
    host.connect(interface, switch, port, queues);
    switch.run(&format!("ip link set {port} master br0"));
    host.run(&format!("ip address add {address} dev {interface}"));
}
