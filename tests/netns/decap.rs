//! `guideway decap` on a backend whose kernel has no tunnel: packets that a balancer would send, by
//! hand, and a real server that answers the client directly.

use std::process::Command;

use serde_json::Value;

use crate::support::{Lab, Namespace, Process, SOON, output, serve, testpeer, told, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_guideway");
const ENCAPSULATIONS: [&str; 5] = ["ipip", "gre", "gre-key", "gue0", "gue1"];
const OUTER4: &str = "--from 10.1.0.1 --to 10.1.0.11";
const OUTER6: &str = "--from fd00::1 --to fd00::11";
const UDP4: &str = "--client 10.1.0.50:4000 --vip 10.1.0.100:7002";
const UDP6: &str = "--client [fd00::50]:4000 --vip [fd00::100]:7002";

/// A client and a backend on one wire, with IPv4 and IPv6; the backend has the VIPs on lo.
fn site(lab: &Lab) -> (Namespace, Namespace) {
    let (client, backend) = (lab.namespace("client"), lab.namespace("b1"));
    client.connect("eth0", &backend, "eth0", 1);
    for (host, number) in [(&client, 50), (&backend, 11)] {
        host.run(&format!(
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=0
             ip address add 10.1.0.{number}/24 dev eth0
             ip address add fd00::{number}/64 dev eth0 nodad"
        ));
    }
    backend.run(
        "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
         ip address add 10.1.0.100/32 dev lo
         ip address add fd00::100/128 dev lo",
    );
    (client, backend)
}

fn serve_vips(backend: &Namespace) -> Process {
    let options = "--greet 10.1.0.100:7000 --udp 10.1.0.100:7002 --udp [fd00::100]:7002";
    serve(backend, "b1", options)
}

fn command(namespace: &Namespace, options: &str) -> Command {
    let mut command = namespace.command(BINARY);
    command.env("NO_COLOR", "1").arg("decap").args(options.split(' '));
    command
}

/// Starts it and waits until it is on its interface.
fn start(lab: &Lab, namespace: &Namespace, options: &str) -> Process {
    let mut process = Process::start(command(namespace, options), &lab.path("decap.log"));
    process.wait_for_output("decapsulating");
    process
}

/// Ends it and gives the counters that it prints as JSON.
fn stop(mut decap: Process, signal: &str) -> Value {
    decap.signal(signal);
    let status = decap.wait(SOON);
    let output = decap.output();
    assert_eq!(status.code(), Some(0), "{output}");
    let (_, json) = output.rsplit_once("\n{\n").unwrap_or_else(|| panic!("no counters: {output}"));
    let value: Value = serde_json::from_str(&format!("{{\n{json}")).unwrap();
    value["interfaces"][0]["counters"].clone()
}

/// Sends encapsulated packets; how many were answered, all of them rightly?
fn answered(client: &Namespace, options: &str) -> u64 {
    let peer = testpeer();
    let output = client.run(&format!("exec {} raw {options}", peer.display()));
    let report: Value = serde_json::from_str(output.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(report["different"], 0, "{report}");
    report["answered"].as_u64().unwrap()
}

fn is_bare(namespace: &Namespace, interface: &str) -> bool {
    !namespace.run(&format!("ip -details link show {interface}")).contains("xdp")
}

/// SYNs from ports of their own: nobody answers ARP for the VIP here, so the client's kernel cannot
/// reset what it does not know of, and the backend goes on waiting for it.
fn syn(number: usize) -> String {
    format!("--syn --client 10.1.0.50:{} --vip 10.1.0.100:7000", 5000 + 10 * number)
}

/// Three of each kind, over IPv4 and IPv6, and what was counted for them.
fn all_are_answered(lab: &Lab, name: &str, options: &str, mode: &str) {
    let (client, backend) = site(lab);
    let _server = serve_vips(&backend);
    let quick = "--count 1 --timeout-ms 200";
    for options in [UDP4.to_owned(), syn(0)] {
        let options = format!("--encapsulation ipip {OUTER4} {options} {quick}");
        assert_eq!(answered(&client, &options), 0, "{name}: this kernel has the tunnel");
    }
    let decap = start(lab, &backend, options);
    assert!(backend.run("ip link show eth0").contains(mode), "{name}");
    let mut number = 0;
    for encapsulation in ENCAPSULATIONS {
        for outer in [OUTER4, OUTER6] {
            number += 1;
            for inner in [UDP4.to_owned(), UDP6.to_owned(), syn(number)] {
                let line = format!("--encapsulation {encapsulation} {outer} {inner} --count 3");
                assert_eq!(answered(&client, &line), 3, "{name}: {line}");
            }
        }
    }
    // A datagram as large as it may be, and one that is not encapsulated.
    let large = format!("--encapsulation gue1 {OUTER4} {UDP4} --count 3 --bytes 1444");
    assert_eq!(answered(&client, &large), 3, "{name}");
    assert!(client.succeeds("ping -c 1 -W 5 10.1.0.11 >/dev/null"), "{name}");
    let counters = stop(decap, "TERM");
    assert!(is_bare(&backend, "eth0"), "{name}");
    let wanted = [("ipip", 18), ("gre", 36), ("gue", 39)];
    for (kind, frames) in wanted {
        assert_eq!(counters[format!("decapsulated_{kind}")], frames, "{name}: {counters}");
    }
    for (counter, count) in counters.as_object().unwrap() {
        let is_clean = !counter.starts_with("dropped") && !counter.starts_with("passed_");
        assert!(is_clean || count == 0, "{name}: {counters}");
    }
}

#[test]
fn in_the_driver_every_encapsulation_is_answered() {
    let Some(lab) = Lab::new("decapnat") else { return };
    all_are_answered(&lab, "native", "--interface eth0 --output json", "prog/xdp");
}

#[test]
fn in_the_stack_every_encapsulation_is_answered() {
    let Some(lab) = Lab::new("decapgen") else { return };
    let options = "--interface eth0 --output json --xdp-mode generic --vip 10.1.0.100 \
                   --vip fd00::100 --local 10.1.0.11 --local fd00::11 --source 10.1.0.0/24 \
                   --source fd00::/64";
    all_are_answered(&lab, "generic", options, "xdpgeneric");
}

#[test]
fn it_is_no_relay_and_follows_addresses() {
    let Some(lab) = Lab::new("decaprel") else { return };
    let (client, backend) = site(&lab);
    backend.run("sysctl -qw net.ipv4.ip_forward=1; ip address del 10.1.0.100/32 dev lo");
    let decap = start(&lab, &backend, "--interface eth0 --output json");
    let try_one = |vip: &str, to: &str| {
        answered(
            &client,
            &format!(
                "--encapsulation gue0 --from 10.1.0.1 --to {to} --client 10.1.0.50:4000 \
                 --vip {vip} --count 1 --timeout-ms 300"
            ),
        )
    };
    // Somebody else's, the loopback's, and a VIP that is not there yet.
    for vip in ["10.1.0.50:4000", "127.0.0.1:7002", "10.1.0.100:7002"] {
        assert_eq!(try_one(vip, "10.1.0.11"), 0, "{vip}");
    }
    assert_eq!(backend.kernel_counter("Ip", "ForwDatagrams"), 0);
    assert!(!client.succeeds("ip neigh get 10.1.0.200 dev eth0"), "nobody asked");

    backend.run("ip address add 10.1.0.100/32 dev lo");
    let _server = serve_vips(&backend);
    wait_until("the VIP to be taken", || try_one("10.1.0.100:7002", "10.1.0.11") == 1);
    assert_eq!(try_one("10.1.0.100:7002", "10.1.0.12"), 0, "an outer address it has not");
    backend.run("ip address add 10.1.0.12/24 dev eth0");
    wait_until("the address to be taken", || try_one("10.1.0.100:7002", "10.1.0.12") == 1);
    backend.run("ip address del 10.1.0.12/24 dev eth0");
    wait_until("it to be taken no longer", || try_one("10.1.0.100:7002", "10.1.0.12") == 0);

    let counters = stop(decap, "INT");
    assert!(counters["dropped_destination"].as_u64() >= Some(3), "{counters}");
}

/// Description, program it is started by, options, exit code, words of the message.
type Refusal<'a> = (&'a str, &'a [&'a str], &'a str, i32, &'a [&'a str]);

#[test]
fn what_goes_wrong_is_told() {
    let Some(lab) = Lab::new("decaperr") else { return };
    let (_client, backend) = site(&lab);
    let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let refused = |under: &[&str], options: &str| {
        let mut command = backend.command("timeout");
        command.args(["20"]).args(under).args([BINARY, "decap"]).args(options.split(' '));
        let output = output(&mut command);
        (output.status.code(), told(&output))
    };
    let rows: [Refusal<'_>; 6] = [
        ("no interface", &[], "--interface eth9", 1, &["no interface `eth9`", "ip link"]),
        ("no such interface, checked", &[], "--interface eth9 --check", 1, &["`eth9`", "ip link"]),
        ("no rights", &bare, "--interface eth0", 1, &["no permission to", "run as root"]),
        ("twice", &[], "--interface eth0 --interface eth0", 2, &["given twice"]),
        ("no native XDP", &[], "--interface lo --xdp-mode native", 1, &["`lo` takes no XDP"]),
        ("no prefix", &[], "--interface eth0 --source 10.1.0.1/24", 2, &["wanted 10.1.0.0/24"]),
    ];
    for (description, under, options, code, words) in rows {
        let (ended, told) = refused(under, options);
        assert_eq!(ended, Some(code), "{description}: {told}");
        for word in words {
            assert!(told.contains(word), "{description}: no {word:?} in:\n{told}");
        }
        assert!(is_bare(&backend, "eth0") && is_bare(&backend, "lo"), "{description}");
    }
    // All counters: whether a frame has been seen by then is chance.
    let mut decap = start(&lab, &backend, "--interface eth0 --counters all");
    let (ended, told) = refused(&[], "--interface eth0");
    assert_eq!(ended, Some(1), "{told}");
    for word in ["`eth0` already has the XDP program", "bpftool prog show", "xdp off"] {
        assert!(told.contains(word), "{told}");
    }
    // The first one goes on; what counts is shown when asked for, and nothing stays after a crash.
    decap.signal("USR1");
    decap.wait_for_output("FRAMES");
    decap.signal("KILL");
    decap.wait(SOON);
    wait_until("the program to be gone", || is_bare(&backend, "eth0"));

    let mut decap = start(&lab, &backend, "--interface eth0");
    backend.run("ip link del eth0");
    assert_eq!(decap.wait(SOON).code(), Some(1));
    assert!(decap.output().contains("gone from `eth0`"), "{}", decap.output());
}

/// The commands that the check prints are what makes it content.
#[test]
fn the_check_says_what_to_run() {
    let Some(lab) = Lab::new("decapchk") else { return };
    let (_client, backend) = site(&lab);
    backend.run(
        "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0
         sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.accept_local=1
         sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
         ip address del 10.1.0.100/32 dev lo; ip address add 10.1.0.100/24 dev lo
         ip address del fd00::100/128 dev lo; ip address add 10.1.0.101/24 dev eth0",
    );
    let options = "--interface eth0 --vip 10.1.0.100 --vip 10.1.0.101 --vip fd00::100 --check";
    let check = |more: &str| output(&mut command(&backend, &format!("{options}{more}")));
    let before = check("");
    let text = told(&before);
    assert_eq!(before.status.code(), Some(1), "{text}");
    assert!(text.ends_with("8 settings are wrong\n"), "{text}");
    assert!(is_bare(&backend, "eth0"), "it only looks");
    let json: Value = serde_json::from_slice(&check(" --output json").stdout).unwrap();
    assert_eq!((&json["wrong"], &json["settings"][0]["state"]), (&8.into(), &"wrong".into()));
    for command in text.lines().filter_map(|line| line.trim().strip_prefix("# ")) {
        backend.run(command);
    }
    let after = check("");
    assert_eq!(after.status.code(), Some(0), "{}", told(&after));
    assert!(told(&after).ends_with("nothing is set wrong\n"), "{}", told(&after));
}
