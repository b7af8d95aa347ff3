//! When things go wrong: what it says, and that it says what to do.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, Service, Site, refused, refused_under, serve_all,
    storm, wait_until,
};

/// (what is wrong, change of the configuration's text, exit code, words of the message)
type Row = (&'static str, (&'static str, String), i32, &'static [&'static str]);

fn config() -> Config {
    Config::new(&["eth1"], "10.1.0.10").with(Service::nat("greet", Site::VIP, 7000, "10.1.0", 1))
}

fn check(description: &str, (code, told): (Option<i32>, String), wanted: (i32, &[&str])) {
    assert_eq!(code, Some(wanted.0), "{description}: {told}");
    for word in wanted.1 {
        assert!(told.contains(word), "{description}: no {word:?} in:\n{told}");
    }
    assert!(!told.contains("panicked"), "{description}: {told}");
}

fn is_bare(namespace: &Namespace, interface: &str) -> bool {
    !namespace.run(&format!("ip -details link show {interface}")).contains("xdp")
}

const OWN: &str = "10.1.0.1 is in use by the machine itself (on eth1)";
const TWICE: &str = "services:\n  - { name: other, address: 10.1.0.100, port: 7000, backends: \
                     [ { name: x, address: 10.1.0.12, port: 80 } ] }\n";

/// Configurations that do not fit the machine; `disk` is a directory on a disk that is full.
fn misfits(disk: &str) -> Vec<Row> {
    vec![
        ("no file of that kind", ("version: 1", "version: x".into()), 2, &["wanted", "^"]),
        ("no such interface", ("name: eth1", "name: eth9".into()), 1, &["`eth9`", "ip link"]),
        (
            "the VIP is the machine's",
            ("address: 10.1.0.100", "address: 10.1.0.1".into()),
            2,
            &[OWN, "shared_address: true", "^"],
        ),
        (
            "the SNAT address is the machine's",
            ("address: 10.1.0.10,", "address: 10.1.0.1,".into()),
            2,
            &[OWN, "shared_address: true", "^"],
        ),
        (
            "shared SNAT ports that the machine's own connections use",
            ("address: 10.1.0.10,", "address: 10.1.0.1, shared_address: true,".into()),
            2,
            &["ip_local_port_range", "^"],
        ),
        ("two services on one socket", ("services:\n", TWICE.into()), 2, &["10.1.0.100", "^"]),
        (
            "a backend that is the machine",
            ("address: 10.1.0.11", "address: 10.1.0.1".into()),
            2,
            &["10.1.0.1 is this machine itself", "^"],
        ),
        (
            "a full disk",
            ("state_dir: ", format!("state_dir: {disk} # ")),
            1,
            &["cluster key", "make room", "space"],
        ),
        (
            "a file where the socket should be",
            ("admin.sock", "file".into()),
            1,
            &["exists and is not a socket", "admin.socket"],
        ),
        (
            "more workers than queues",
            ("idle: sleep", "count: 3, idle: sleep".into()),
            1,
            &["worker 2 has no queue", "workers.count", "ethtool -L"],
        ),
        (
            "zero copy where there is none",
            ("name: eth1", "name: eth1, zero_copy: required".into()),
            1,
            &["zero copy is required on `eth1`", "zero_copy: auto"],
        ),
    ]
}

#[test]
fn a_configuration_that_does_not_fit_the_machine() {
    let Some(lab) = Lab::new("errconf") else { return };
    let site = Site::one_arm(&lab, 1, 2);
    let disk = lab.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let place = disk.display().to_string();
    site.balancer.run(&format!("mount -t tmpfs -o size=4k tmpfs {place}"));
    let _unmount = Unmount(disk);
    site.balancer.try_run(&format!("cat /dev/zero > {place}/full"));
    lab.write("file", "");
    for (description, (from, to), code, words) in misfits(&place) {
        let text = config().text(&lab);
        assert!(text.contains(from), "{description}");
        let told = refused(&lab, &site.balancer, &text.replace(from, &to));
        check(description, told, (code, words));
        assert!(is_bare(&site.balancer, "eth1"), "{description}: nothing is left on the interface");
    }
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn interfaces_and_rights() {
    let Some(lab) = Lab::new("errlink") else { return };
    let site = Site::one_arm(&lab, 1, 2);
    let text = config().text(&lab);
    let try_start = || refused(&lab, &site.balancer, &text);

    site.balancer.run("ip link set eth1 mtu 3000");
    check("a large MTU", try_start(), (1, &["MTU of `eth1` is 3000", "ip link set eth1 mtu 1"]));
    site.balancer.run("ip link set eth1 mtu 1500");

    site.switches[0].run("ip link set lb mtu 9000");
    let native = text.replace("name: eth1", "name: eth1, xdp_mode: native");
    let told = refused(&lab, &site.balancer, &native);
    check("a peer with a large MTU", told, (1, &["eth1", "lower the MTU"]));
    site.switches[0].run("ip link set lb mtu 1500");

    site.balancer.run("ip link set lo mtu 1500");
    let native = text.replace("name: eth1", "name: lo, xdp_mode: native");
    let told = refused(&lab, &site.balancer, &native);
    check("no native XDP", told, (1, &["`lo` takes no XDP program", "no native XDP"]));
    site.balancer.run("ip link set lo mtu 65536");

    let bare: &[&str] = &["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let told = refused_under(&lab, &site.balancer, &text, bare);
    check("no rights", told, (1, &["no permission to", "CAP_NET_ADMIN", "run as root"]));
    // For most of it, CAP_SYS_ADMIN stands for the lesser ones.
    for missing in ["net_admin,-sys_admin", "bpf,-sys_admin", "net_raw"] {
        let set = format!("--bounding-set=-{missing}");
        let under: &[&str] = &["setpriv", &set];
        let told = refused_under(&lab, &site.balancer, &text, under);
        check(missing, told, (1, &["no permission to", "CAP_NET_ADMIN"]));
    }

    // A program that is not ours; loaded by Guideway, but pinned where it does not know of it.
    let elsewhere =
        text.replace(&*lab.path("bpf").to_string_lossy(), "/sys/fs/bpf/guideway-errlink");
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config());
    let elsewhere = elsewhere.replace("admin.sock", "other.sock");
    let told = refused(&lab, &site.balancer, &elsewhere);
    let words: &[&str] = &["already has the XDP program", "bpftool prog show", "xdp off"];
    check("another program", told, (1, words));
    assert_eq!(guideway.terminate().code(), Some(0));
    assert!(is_bare(&site.balancer, "eth1"));
    let _ = std::fs::remove_dir("/sys/fs/bpf/guideway-errlink");
}

#[test]
fn unreachable_backends_stand_in_status() {
    let Some(lab) = Lab::new("errback") else { return };
    let site = Site::one_arm(&lab, 1, 1);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000");
    // The machine has a way to the last one, but by an interface that Guideway does not have.
    site.balancer.connect("eth9", &site.client, "eth9", 1);
    site.balancer.run("ip address add 10.9.0.1/24 dev eth9");
    let mut service = Service::nat("greet", Site::VIP, 7000, "10.1.0", 4).checked();
    service.backends[3].address = "10.9.0.5".to_owned();
    service.backends[1].address = "10.1.0.99".to_owned();
    service.backends[2].address = "192.0.2.1".to_owned();
    let config = Config::new(&["eth1"], "10.1.0.10").with(service);
    let guideway = Guideway::start_unready(&lab, &site.balancer, &config);
    let missing = |name: &str| guideway.backend("greet", name)["next_hop"]["missing"].to_string();
    let health = |name: &str| guideway.backend("greet", name)["health"]["health"].clone();
    wait_until("health to be known", || [health("b2"), health("b3")] == ["down", "down"]);
    assert!(missing("b2").contains("no MAC for 10.1.0.99 on eth1"), "{}", missing("b2"));
    assert!(missing("b3").contains("no route to 192.0.2.1"), "{}", missing("b3"));
    assert!(missing("b4").contains("no route to 10.9.0.5 by any of our interfaces"));
    let reason = guideway.backend("greet", "b3")["health"]["reason"].to_string();
    assert!(reason.contains("unreachable"), "{reason}");
    wait_until("b1 to be up", || health("b1") == "up");
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 100");
    assert_eq!(report["per_backend"]["b1"], 100, "{report}");
}

#[test]
fn a_link_that_goes_down_and_comes_up() {
    let Some(lab) = Lab::new("linkdown") else { return };
    let site = Site::two_arms(&lab, 2, 2);
    let _peers = serve_all(&site, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001");
    let config = Config::new(&["eth1", "eth2"], "10.2.0.10")
        .with(Service::nat("greet", Site::VIP, 7000, "10.2.0", 2).checked())
        .with(Service::nat("lines", Site::VIP, 7001, "10.2.0", 2));
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let options = "--to 10.1.0.100:7001 --connections 10 --timeout-ms 30000";
    let hold = Hold::open(&site.client, "hold.log", options);
    for (place, interface) in ["eth1", "eth2"].iter().enumerate() {
        let is_up = || guideway.status()["interfaces"][place]["up"] == true;
        site.balancer.run(&format!("ip link set {interface} down"));
        wait_until("the link to be seen down", || !is_up());
        std::thread::sleep(Duration::from_millis(500));
        site.balancer.run(&format!("ip link set {interface} up"));
        wait_until("the link to be seen up", is_up);
        guideway.wait_until_serving();
        let report = storm(&site.client, "--to 10.1.0.100:7000 --count 200");
        assert_eq!(report["answered"], 200, "{interface}: {report}");
    }
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&json!(10), &json!(0)), "{report}");
}
