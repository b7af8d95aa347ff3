//! Two or three network namespaces in a row: client, balancer, server, joined by veth pairs.

use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

use guideway::io::afxdp::{InterfaceOptions, OpenOptions, XdpMode, ZeroCopy};
use guideway::wire::MacAddress;

pub const CLIENT: &str = "10.77.0.1";
pub const SERVER: &str = "10.77.0.2";
pub const VIP: &str = "10.77.0.100";
pub const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub const LEFT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
pub const RIGHT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
pub const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 4]);

/// Removes its namespaces and its bpffs when dropped.
pub struct Lab {
    tag: String,
    pub bpf_dir: PathBuf,
}

impl Lab {
    /// Client `c0` -- `left` of the balancer, and `right` of the balancer -- `s0` of the server.
    pub fn new(tag: &str, left_queues: u32, right_queues: u32) -> Lab {
        let tag = format!("guideway-{}-{tag}", std::process::id());
        let bpf_dir = std::env::temp_dir().join(format!("{tag}-bpf"));
        let lab = Lab { tag, bpf_dir };
        lab.remove();
        for place in ["c", "b", "s"] {
            run(&format!("ip netns add {}", lab.name(place)));
            run(&format!("ip -n {} link set lo up", lab.name(place)));
        }
        lab.join("c", "c0", CLIENT_MAC, "left", LEFT_MAC, left_queues);
        lab.join("s", "s0", SERVER_MAC, "right", RIGHT_MAC, right_queues);
        let (c, s) = (lab.name("c"), lab.name("s"));
        run(&format!("ip -n {c} addr add {CLIENT}/24 dev c0"));
        run(&format!("ip -n {s} addr add {SERVER}/24 dev s0"));
        // Nobody answers ARP here: the balancer has no addresses.
        for to in [SERVER, VIP] {
            run(&format!("ip -n {c} neigh add {to} lladdr {LEFT_MAC} dev c0"));
        }
        run(&format!("ip -n {s} neigh add {CLIENT} lladdr {RIGHT_MAC} dev s0"));
        lab
    }

    fn join(
        &self,
        place: &str,
        end: &str,
        end_mac: MacAddress,
        ours: &str,
        mac: MacAddress,
        queues: u32,
    ) {
        let (far, near) = (self.name(place), self.name("b"));
        let many = format!("numtxqueues {queues} numrxqueues {queues}");
        run(&format!(
            "ip link add {end} netns {far} {many} type veth peer name {ours} netns {near} {many}"
        ));
        for (netns, name, mac) in [(&far, end, end_mac), (&near, ours, mac)] {
            run(&format!("ip netns exec {netns} sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"));
            run(&format!("ip -n {netns} link set {name} address {mac} up"));
        }
        // Partial checksums cannot be told from wrong ones.
        run(&format!("ip netns exec {far} ethtool -K {end} tx off"));
    }

    pub fn name(&self, place: &str) -> String {
        format!("{}-{place}", self.tag)
    }

    /// Runs `work` in a namespace, on a thread of its own.
    pub fn spawn<T: Send + 'static>(
        &self,
        place: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.name(place));
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(path).unwrap();
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(kind),
            )
            .unwrap();
            work()
        })
    }

    /// Like [`spawn`](Self::spawn), to its end; a panic goes on here.
    pub fn within<T: Send + 'static>(
        &self,
        place: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        join(self.spawn(place, work))
    }

    pub fn ip(&self, place: &str, command: &str) {
        run(&format!("ip -n {} {command}", self.name(place)));
    }

    /// Both interfaces of the balancer, or the first.
    pub fn options(&self, interfaces: usize, workers: usize) -> OpenOptions {
        let take = |name: &&str| InterfaceOptions {
            name: name.to_string(),
            mode: XdpMode::Auto,
            zero_copy: ZeroCopy::Auto,
            drop_without_worker: true,
        };
        OpenOptions {
            interfaces: ["left", "right"].iter().take(interfaces).map(take).collect(),
            workers,
            frames_per_queue: 1024,
            frame_bytes: 2048,
            bpf_dir: self.bpf_dir.clone(),
        }
    }

    fn remove(&self) {
        for place in ["c", "b", "s"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(place)]).output();
        }
        let _ = Command::new("umount").arg(&self.bpf_dir).output();
        let _ = std::fs::remove_dir(&self.bpf_dir);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.remove();
    }
}

pub fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub fn run(line: &str) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Root, or a clear word why not; in CI not being root is a failure.
pub fn may_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none(), "AF_XDP and namespaces need root, and CI has it");
        println!("skipped: AF_XDP and network namespaces need root; run with sudo, or in CI");
    }
    root
}
