//! The Debian package and its unit, on a machine with a real systemd.

use std::process::Output;

use crate::support::page::{self, Step};
use crate::support::{Lab, Machine, Nginx, SOON, Site, package, told, wait_for, wait_until};

const PAGE: &str = include_str!("../../docs/operations.md");
const UNIT: &str = "guideway";

/// Two backends behind a machine that has a package of Guideway lying there.
struct Place {
    machine: Machine,
    site: Site,
    _servers: Vec<Nginx>,
}

impl Place {
    fn make(lab: &Lab) -> Place {
        let site = Site::two_arms(lab, 3, 1);
        let servers = (1..)
            .zip(&site.backends)
            .map(|(number, backend)| Nginx::start(lab, backend, &format!("b{number}"), "80"))
            .collect();
        let machine = Machine::boot(lab, &site.balancer);
        machine.copy(package(), "/root/guideway_0.1.0-1_amd64.deb");
        Place { machine, site, _servers: servers }
    }

    fn install(&self, config: &str) {
        self.machine.run("dpkg --install /root/guideway_0.1.0-1_amd64.deb");
        self.machine.write("/etc/guideway/guideway.yaml", config);
    }

    /// Do backends answer the client?
    fn answers(&self) -> bool {
        self.site.client.succeeds("curl -sf --max-time 2 http://10.1.0.100/")
    }
}

/// The page from installing to removing, as it is written.
#[test]
fn the_page_of_operations_is_true() {
    let Some(lab) = Lab::new("page") else { return };
    let place = Place::make(&lab);
    let steps = page::steps(PAGE);
    let runs = steps.iter().filter(|step| matches!(step, Step::Run { .. })).count();
    assert!(runs >= 20, "only {runs} commands are run of the page");
    for step in &steps {
        match step {
            Step::Write { path, text } => place.machine.write(path, text),
            Step::Run { at_client, line, command, prints } => {
                run_as_said(&place, *at_client, *line, command, prints.as_deref());
            }
        }
    }
}

/// Some of it takes a moment to come true, so it is looked at again where nothing is changed by that.
fn run_as_said(
    place: &Place,
    at_client: bool,
    line: usize,
    command: &str,
    prints: Option<&[String]>,
) {
    let run = || -> Output {
        if at_client {
            place.site.client.try_run(&format!("exec 2>&1; {command}"))
        } else {
            place.machine.try_run(&format!("cd /root; exec 2>&1; {command}"))
        }
    };
    let Some(prints) = prints else {
        let output = run();
        assert!(output.status.success(), "line {line}: {command}\n{}", told(&output));
        return;
    };
    let only_looks = [
        "guideway status",
        "guideway backends",
        "systemctl status",
        "systemctl is-",
        "curl",
        "journalctl",
    ];
    let tries = if only_looks.iter().any(|start| command.starts_with(start)) { 40 } else { 1 };
    let mut last = String::new();
    for _ in 0..tries {
        last = told(&run());
        if page::is_as_said(&last, prints) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    panic!(
        "line {line} of the page: {command}\n--- said\n{}\n--- printed\n{last}",
        prints.join("\n")
    );
}

const CONFIG: &str = "
version: 1
interfaces: [{ name: eth1 }, { name: eth2 }]
workers: { idle: sleep }
limits: { flows_per_worker: 65536, frames_per_queue: 2048 }
snat: [{ address: 10.2.0.10, interface: eth2 }]
services:
  - name: web
    address: 10.1.0.100
    port: 80
    backends: [{ name: b1, address: 10.2.0.11 }, { name: b2, address: 10.2.0.12 }]
";

#[test]
fn systemd_starts_it_drops_what_it_needs_not_and_restarts_what_hangs() {
    let Some(lab) = Lab::new("unit") else { return };
    let place = Place::make(&lab);
    let machine = &place.machine;
    place.install(&CONFIG.replace("eth2", "eth7"));
    let started = machine.try_run("systemctl start guideway");
    assert!(!started.status.success(), "an interface that is not there: {}", told(&started));
    assert!(machine.run("journalctl -u guideway -o cat").contains("no interface `eth7`"));
    machine.run("systemctl stop guideway");

    // What a refused file ends is not started anew.
    machine.write("/etc/guideway/guideway.yaml", "version: 1\ninterfaces: []\nservices: []\n");
    assert!(!machine.try_run("systemctl start guideway").status.success());
    assert_eq!(machine.property(UNIT, "ActiveState"), "failed");
    assert_eq!(machine.property(UNIT, "ExecMainStatus"), "2");

    machine.write("/etc/guideway/guideway.yaml", CONFIG);
    machine
        .write("/etc/systemd/system/guideway.service.d/quick.conf", "[Service]\nWatchdogSec=4\n");
    machine.run("systemctl daemon-reload; systemctl reset-failed; systemctl start guideway");
    assert_eq!(machine.property(UNIT, "ActiveState"), "active", "ready once start is over");
    assert_eq!(machine.property(UNIT, "StatusText"), "1 services, 1 workers, generation 1");
    assert!(place.answers());
    may_no_more_than_it_needs(machine);
    reloads_and_tells(&place);
    hangs_and_is_replaced(&place);

    machine.run("systemctl stop guideway");
    assert_eq!(machine.property(UNIT, "Result"), "success");
    let pinned = machine.run("ls /sys/fs/bpf/guideway; ip -o link show type veth");
    assert!(!pinned.contains("eth1:\n") && !pinned.contains("xdp"), "{pinned}");
    assert!(!place.answers(), "nobody balances any more");
}

/// Of the process, and of each of its threads.
fn may_no_more_than_it_needs(machine: &Machine) {
    let pid = machine.property(UNIT, "MainPID");
    let threads = machine.run(&format!(
        "grep -hE '^(Name|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/{pid}/task/*/status"
    ));
    let mut name = "";
    for line in threads.lines() {
        let (key, value) = line.split_once(":\t").unwrap();
        // CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF; workers have none.
        let control = "0000008000003000";
        let is_worker = name.starts_with("gw-worker");
        let none = "0000000000000000";
        match key {
            "Name" => name = value,
            "CapPrm" | "CapEff" | "CapBnd" => {
                let wanted = if is_worker && key != "CapBnd" { none } else { control };
                assert_eq!(value, wanted, "{key} of {name}: {threads}");
            }
            "NoNewPrivs" => assert_eq!(value, "1", "{name}"),
            _ => assert_eq!(value, "2", "{name} has its calls filtered"),
        }
    }
    assert!(threads.contains("gw-worker-0") && threads.contains("gw-control"), "{threads}");
}

fn reloads_and_tells(place: &Place) {
    let machine = &place.machine;
    let pid = machine.property(UNIT, "MainPID");
    machine.write("/etc/guideway/guideway.yaml", &CONFIG.replace("port: 80", "port: 81"));
    machine.run("systemctl reload guideway");
    let ports = |port: u16| {
        place.site.client.succeeds(&format!("curl -sf --max-time 1 http://10.1.0.100:{port}/"))
    };
    wait_until("the other port", || !ports(80));
    wait_until("the reload to be over", || machine.property(UNIT, "SubState") == "running");
    let bad = CONFIG.replace("port: 80", "port: 80x");
    machine.write("/etc/guideway/guideway.yaml", &bad);
    let reloaded = machine.try_run("systemctl reload guideway");
    assert!(!reloaded.status.success(), "a bad file is refused to whoever reloads");
    assert!(machine.run("journalctl -u guideway -o cat").contains("`80x` is not a number"));
    assert_eq!(machine.property(UNIT, "ActiveState"), "active", "and changes nothing");
    machine.write("/etc/guideway/guideway.yaml", CONFIG);
    machine.run("systemctl reload guideway");
    wait_until("the first port again", || place.answers());
    assert_eq!(machine.property(UNIT, "MainPID"), pid);
}

/// A process that does nothing any more is killed, and another one takes its place; so is one of which
/// a single worker does nothing any more.
fn hangs_and_is_replaced(place: &Place) {
    let machine = &place.machine;
    let mut pid = machine.property(UNIT, "MainPID");
    // Fed while all is well: longer than it waits.
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(machine.property(UNIT, "MainPID"), pid);
    machine.run(&format!("kill -STOP {pid}"));
    pid = replaced(machine, &pid, 1);
    assert!(place.answers(), "by the programs that the first one left");

    // Only the freezer of the first cgroups takes single threads.
    let freezer = "/sys/fs/cgroup/freezer";
    if !machine.path(freezer).join("cgroup.procs").exists() {
        return;
    }
    machine.run(&format!(
        "mkdir {freezer}/hung
         worker=$(grep -l gw-worker-0 /proc/{pid}/task/*/comm | cut -d/ -f5)
         echo $worker >{freezer}/hung/tasks; echo FROZEN >{freezer}/hung/freezer.state"
    ));
    let log = || machine.run("journalctl -u guideway -o cat");
    wait_until("a second kill", || log().matches("Watchdog timeout").count() == 2);
    assert!(log().contains("these workers do not answer: [0]"), "{}", log());
    // What is frozen cannot even be killed.
    machine.run(&format!("echo THAWED >{freezer}/hung/freezer.state"));
    replaced(machine, &pid, 2);
    assert!(place.answers());
}

/// Waits until systemd has put another process in the place of this one, and gives its number.
fn replaced(machine: &Machine, pid: &str, restarts: u32) -> String {
    let now = wait_for("a new process", SOON, || {
        let now = machine.property(UNIT, "MainPID");
        (now != pid && now != "0").then_some(now)
    });
    wait_until("it to be ready", || machine.property(UNIT, "ActiveState") == "active");
    assert!(machine.run("journalctl -u guideway -o cat").contains("Watchdog timeout"));
    assert_eq!(machine.property(UNIT, "NRestarts"), restarts.to_string());
    now
}
