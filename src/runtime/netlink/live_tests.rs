//! Against the real kernel, in network namespaces of their own. Needs root.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::watch;

use super::view::tests::spec;
use super::{read_topology, watch_topology};
use crate::control::{LinkState, Topology};
use crate::wire::{PortId, Tags};

/// Two namespaces joined by a veth pair `gw0`-`peer0`: 10.9.0.1/24 here, 10.9.0.2/24 and
/// 10.9.0.3/24 there. Gone when dropped.
struct Pair {
    here: String,
    there: String,
}

impl Pair {
    fn new(name: &str) -> Pair {
        let of = |side| format!("guideway-ops-{name}-{side}-{}", std::process::id());
        let pair = Pair { here: of("a"), there: of("b") };
        ip(&format!("netns add {}", pair.here));
        ip(&format!("netns add {}", pair.there));
        ip(&format!("-n {} link set lo up", pair.here));
        pair
    }

    fn join(&self) {
        let (here, there) = (&self.here, &self.there);
        ip(&format!(
            "-n {here} link add gw0 type veth peer name peer0 \
             address 02:00:00:00:00:02 netns {there}"
        ));
        ip(&format!("-n {here} addr add 10.9.0.1/24 dev gw0"));
        ip(&format!("-n {there} addr add 10.9.0.2/24 dev peer0"));
        ip(&format!("-n {there} addr add 10.9.0.3/24 dev peer0"));
        ip(&format!("-n {there} link set peer0 up"));
        // Neighbours that fail in a second, not in a minute.
        for (name, value) in [
            ("base_reachable_time_ms", 200),
            ("retrans_time_ms", 20),
            ("delay_first_probe_time", 0),
        ] {
            let set = format!("echo {value} > /proc/sys/net/ipv4/neigh/gw0/{name}");
            run("ip", &["netns", "exec", here, "sh", "-c", &set]);
        }
        ip(&format!("-n {here} link set gw0 up"));
    }

    /// Moves this thread into the first one.
    fn enter(&self) {
        let namespace = File::open(format!("/run/netns/{}", self.here)).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(words: &str) -> String {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {problem}");
    String::from_utf8(output.stdout).unwrap()
}

/// Tests here make network namespaces, which takes root. In CI they must run.
fn may_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "in CI this test must run as root");
    if !is_root {
        eprintln!("not run: making network namespaces takes root (try: sudo -E make test)");
    }
    is_root
}

/// Runs `test` in a thread of its own, so that the namespace it enters is left with it.
fn in_namespace<F: AsyncFnOnce(&Pair) + Send + 'static>(name: &'static str, test: F) {
    if !may_run() {
        return;
    }
    let thread = std::thread::spawn(move || {
        let pair = Pair::new(name);
        pair.join();
        pair.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&pair));
    });
    thread.join().unwrap();
}

async fn until(
    topologies: &mut watch::Receiver<Topology>,
    what: &str,
    fits: impl FnMut(&Topology) -> bool,
) -> Topology {
    let limit = Duration::from_secs(30);
    let found = tokio::time::timeout(limit, topologies.wait_for(fits)).await;
    if let Ok(found) = found {
        return found.expect("the watcher runs").clone();
    }
    drop(found);
    panic!("{what}: not seen; the last is {:#?}", topologies.borrow())
}

/// Gone or not, of a neighbour that is listed.
fn gone(topology: &Topology, last: u8) -> Option<bool> {
    let address = IpAddr::from([10, 9, 0, last]);
    topology.neighbours.iter().find(|n| n.address == address).map(|n| n.gone)
}

fn link(topology: &Topology) -> &LinkState {
    topology.links.first().expect("one port")
}

#[test]
fn follows_links_routes_and_neighbours() {
    in_namespace("watch", async |pair| {
        let interfaces = vec![spec("gw0", None)];
        let first = read_topology(&interfaces).unwrap();
        assert!(link(&first).ifindex > 0 && link(&first).mtu_bytes == 1500);
        assert!(first.is_own(IpAddr::from([10, 9, 0, 1])) && first.local_port_range.is_some());

        let address = |last| (PortId(0), Tags::NONE, IpAddr::from([10, 9, 0, last]));
        let (want, wanted) = watch::channel(BTreeSet::from([address(2), address(3)]));
        let (out, mut seen) = watch::channel(Topology::default());
        let watcher = tokio::spawn(watch_topology(interfaces, wanted, out));
        let seen = &mut seen;
        let both = |t: &Topology| gone(t, 2) == Some(false) && gone(t, 3) == Some(false);
        until(seen, "both neighbours", both).await;
        let kernel_has = |what: &str| ip(&format!("neigh show {what}"));
        assert!(kernel_has("10.9.0.2").contains("managed"), "{}", kernel_has(""));

        ip("route add 192.0.2.0/24 via 10.9.0.3");
        let routed = |t: &Topology| t.routes.iter().any(|r| r.gateway == Some(address(3).2));
        until(seen, "the new route", routed).await;
        ip("route del 192.0.2.0/24");
        until(seen, "no route", |t| !routed(t)).await;

        ip(&format!("-n {} addr del 10.9.0.3/24 dev peer0", pair.there));
        let failed = until(seen, "10.9.0.3 gone", |t| gone(t, 3) == Some(true)).await;
        assert_eq!(failed.neighbours.last().map(|n| n.mac.0), Some([2, 0, 0, 0, 0, 2]));
        ip(&format!("-n {} addr add 10.9.0.3/24 dev peer0", pair.there));
        until(seen, "10.9.0.3 back", both).await;

        want.send_replace(BTreeSet::from([address(2)]));
        let mut tries = 0..3000;
        while kernel_has("10.9.0.3").contains("managed") {
            assert!(tries.next().is_some(), "never released: {}", kernel_has(""));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        ip(&format!("-n {} link set peer0 down", pair.there));
        let down = |t: &Topology| !link(t).up && gone(t, 2).is_none() && t.routes.is_empty();
        until(seen, "the link down, and all that went with it", down).await;
        ip(&format!("-n {} link set peer0 up", pair.there));
        let up = |t: &Topology| link(t).up && gone(t, 2) == Some(false) && !t.routes.is_empty();
        let before = until(seen, "the link up, and its neighbour asked again", up).await;

        ip("link del gw0");
        until(seen, "the link deleted", |t| link(t).ifindex == 0 && !link(t).up).await;
        ip("link add other0 type veth peer name other1");
        pair.join();
        let after = until(seen, "the link made anew", up).await;
        assert_ne!(link(&before).ifindex, link(&after).ifindex);

        drop(want);
        watcher.abort();
        assert!(watcher.await.unwrap_err().is_cancelled());
        assert!(!kernel_has("10.9.0.2").contains("managed"), "{}", kernel_has(""));
    });
}

#[test]
fn follows_ipv6_beside_ipv4() {
    in_namespace("six", async |pair| {
        let (here, there) = (&pair.here, &pair.there);
        for address in ["fd09::2/64", "fe80::2/64"] {
            ip(&format!("-n {there} addr add {address} dev peer0 nodad"));
        }
        ip(&format!("-n {here} addr add fd09::1/64 dev gw0"));
        let interfaces = vec![spec("gw0", None)];
        let first = read_topology(&interfaces).unwrap();
        let own: IpAddr = "fd09::1".parse().unwrap();
        assert!(first.is_own(own), "the kernel tries an address before it has it");

        let address = |text: &str| (PortId(0), Tags::NONE, text.parse::<IpAddr>().unwrap());
        let router = address("fe80::2");
        let (_want, wanted) = watch::channel(BTreeSet::from([address("fd09::2"), router]));
        let (out, mut seen) = watch::channel(Topology::default());
        let watcher = tokio::spawn(watch_topology(interfaces, wanted, out));
        let seen = &mut seen;
        let knows = |t: &Topology, (.., address): (PortId, Tags, IpAddr)| {
            t.neighbours.iter().any(|n| n.address == address && !n.gone)
        };
        let both = |t: &Topology| knows(t, address("fd09::2")) && knows(t, router);
        until(seen, "both neighbours", both).await;
        for neighbour in ["fd09::2", "fe80::2"] {
            let shown = ip(&format!("-6 neigh show {neighbour} dev gw0"));
            assert!(shown.contains("managed"), "{shown}");
        }
        ip("-6 route add 2001:db8::/32 via fe80::2 dev gw0 metric 7");
        ip("route add 192.0.2.0/24 via inet6 fe80::2 dev gw0");
        let by_router = |t: &Topology, network: &str| {
            let mut routes = t.routes.iter().filter(|r| r.gateway == Some(router.2));
            routes.any(|r| r.network == network.parse::<IpAddr>().unwrap())
        };
        let routed = |t: &Topology| by_router(t, "2001:db8::") && by_router(t, "192.0.2.0");
        let topology = until(seen, "routes by a link-local router", routed).await;
        let metric = topology.routes.iter().find(|r| r.gateway == Some(router.2) && r.metric == 7);
        assert!(metric.is_some(), "{:?}", topology.routes);

        // Somebody else has it: the kernel finds out, and does not use it.
        ip(&format!("-n {there} addr add fd09::9/64 dev peer0 nodad"));
        ip("addr add fd09::9/64 dev gw0");
        let mut tries = 0..100;
        while !ip("-6 addr show dev gw0").contains("dadfailed") {
            assert!(tries.next().is_some(), "never refused: {}", ip("-6 addr show dev gw0"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!read_topology(&[spec("gw0", None)]).unwrap().is_own("fd09::9".parse().unwrap()));
        ip("-6 addr del fd09::1/64 dev gw0");
        until(seen, "the address gone", |t| !t.is_own(own)).await;
        watcher.abort();
    });
}

#[test]
fn neighbours_and_routes_of_a_bridge_are_its_ports() {
    in_namespace("bridge", async |_| {
        ip("link add br0 type bridge");
        ip("addr del 10.9.0.1/24 dev gw0");
        ip("link set gw0 master br0");
        ip("addr add 10.9.0.1/24 dev br0");
        ip("link set br0 up");
        ip("link add port0 type veth peer name port0b");
        ip("link set port0b master br0");
        ip("link set port0b up");
        ip("link set port0 up");
        let interfaces = vec![spec("port0", Some("br0"))];
        let goal = BTreeSet::from([(PortId(0), Tags::NONE, IpAddr::from([10, 9, 0, 2]))]);
        let (_want, wanted) = watch::channel(goal);
        let (out, mut seen) = watch::channel(Topology::default());
        let watcher = tokio::spawn(watch_topology(interfaces, wanted, out));
        let there = |t: &Topology| gone(t, 2) == Some(false) && !t.routes.is_empty();
        let topology = until(&mut seen, "the container's address", there).await;
        assert!(link(&topology).bridge_ifindex.is_some_and(|b| b != link(&topology).ifindex));
        assert!(ip("neigh show 10.9.0.2 dev br0").contains("managed"));
        watcher.abort();
    });
}
