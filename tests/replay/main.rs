//! `guideway replay` from the outside: captures made by code in, bytes, tables and JSON out.

#![cfg(feature = "program")]

mod captures;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;

use captures::{
    CLIENT_MAC, OUR_MAC, Segment, arp_request, capture, datagram, frames, from_client, path, ping,
    tcp,
};
use serde_json::Value;
use tempfile::TempDir;

const NAT_VIP: &str = "10.1.0.100:80";
const DSR_VIP: &str = "10.1.0.101:80";

/// Two services with two backends each, and the world around them.
const CONFIG: &str = "
version: 1
interfaces: [ { name: eth1 } ]
snat: [ { address: 10.1.0.10, ports: 20000-29999 } ]
services:
  - name: web
    address: 10.1.0.100
    port: 80
    protocol: tcp
    mode: nat
    table_size: 251
    backends:
      - { name: b1, address: 10.1.0.51, port: 8080 }
      - { name: b2, address: 10.1.0.52, port: 8080 }
  - name: direct
    address: 10.1.0.101
    port: 80
    protocol: tcp
    mode: l2dsr
    on_backend_gone: keep
    table_size: 251
    health_check: { type: tcp }
    backends:
      - { name: b3, address: 10.1.0.53, port: 80 }
      - { name: b4, address: 10.1.0.54, port: 80 }
replay:
  links: [ { name: eth1, mac: 02:00:00:00:00:01, mtu: 1500 } ]
  own_addresses: [ { address: 10.1.0.1, interface: eth1 } ]
  routes: [ { to: 10.1.0.0/24, interface: eth1 } ]
  neighbours:
    - { address: 10.1.0.51, mac: 02:00:00:00:00:51, interface: eth1 }
    - { address: 10.1.0.52, mac: 02:00:00:00:00:52, interface: eth1 }
    - { address: 10.1.0.53, mac: 02:00:00:00:00:53, interface: eth1 }
    - { address: 10.1.0.54, mac: 02:00:00:00:00:54, interface: eth1 }
";

/// A directory with files, and the command over them.
struct Bench {
    directory: TempDir,
}

/// What a command gave.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    code: Option<i32>,
    shown: String,
    told: String,
}

impl Bench {
    /// The configuration and a capture.
    fn new(frames: &[(u64, Vec<u8>)]) -> Bench {
        let bench = Bench { directory: tempfile::tempdir().unwrap() };
        bench.write("guideway.yaml", CONFIG);
        bench.write("in.pcap", capture(frames));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, more: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
        command.current_dir(self.directory.path());
        command.args(["replay", "--config", "guideway.yaml", "--in", "in.pcap"]);
        if !more.contains(&"--out") {
            command.args(["--out", "out.pcap"]);
        }
        let output = command.args(more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code(), shown: text(output.stdout), told: text(output.stderr) }
    }

    fn json(&self, more: &[&str]) -> Value {
        let answer = self.run(&[more, &["--output", "json"]].concat());
        assert_eq!((answer.code, answer.told.as_str()), (Some(0), ""));
        serde_json::from_str(&answer.shown).unwrap()
    }

    fn sent(&self) -> Vec<(u64, Vec<u8>)> {
        frames(&std::fs::read(self.path("out.pcap")).unwrap())
    }
}

/// One frame of each fate.
fn mixed() -> Vec<(u64, Vec<u8>)> {
    let mut fragment = from_client(4007, NAT_VIP, Segment::Syn);
    // More fragments follow: the flag, and the header checksum less by as much (RFC 1624).
    fragment[20] |= 0x20;
    let sum = u16::from_be_bytes([fragment[24], fragment[25]]).wrapping_sub(0x2000);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut wrong_sum = from_client(4008, NAT_VIP, Segment::Syn);
    wrong_sum[24] ^= 1;
    let cut = from_client(4009, NAT_VIP, Segment::Syn)[..40].to_vec();
    vec![
        (0, from_client(4000, NAT_VIP, Segment::Syn)),
        (0, from_client(4001, DSR_VIP, Segment::Syn)),
        (1, arp_request([10, 1, 0, 100].into())),
        (1, ping([10, 1, 0, 101].into())),
        (5, from_client(4002, "10.1.0.100:81", Segment::Syn)),
        (5, datagram(4003, "10.1.0.100:80", b"nobody")),
        (9, from_client(4004, "10.1.0.77:80", Segment::Syn)),
        (9, arp_request([10, 1, 0, 1].into())),
        (12, fragment),
        (12, wrong_sum),
        (1500, cut),
    ]
}

#[test]
fn every_frame_has_its_line_in_the_table() {
    let bench = Bench::new(&mixed());
    let answer = bench.run(&[]);
    assert_eq!((answer.code, answer.told.as_str()), (Some(0), ""));
    let words: Vec<Vec<&str>> =
        answer.shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let wanted = [
        vec!["VERDICT", "WHY", "FRAMES"],
        vec!["forward", "2"],
        vec!["reply", "arp", "1"],
        vec!["reply", "icmp_echo", "1"],
        vec!["drop", "malformed", "1"],
        vec!["drop", "bad_ipv4_checksum", "1"],
        vec!["drop", "fragment_tiny", "1"],
        vec!["drop", "no_service", "2"],
        vec!["not_ours", "2"],
        vec!["total", "11"],
    ];
    assert_eq!(words[..wanted.len()], wanted, "{}", answer.shown);
    assert!(answer.shown.contains("bytes in 1.5 s; 1 snapshot; 2 flows live at the end"));
    // Aligned: all counts end in one column.
    let ends: BTreeSet<usize> = answer.shown.lines().take(wanted.len()).map(str::len).collect();
    assert_eq!(ends.len(), 1, "{}", answer.shown);

    let all = bench.run(&["--counters", "all"]).shown;
    assert!(all.contains("snat_ports_exhausted") && all.contains("flows_expired"), "{all}");
}

#[test]
fn equal_inputs_give_equal_outputs() {
    let bench = Bench::new(&mixed());
    let first = (bench.json(&[]), std::fs::read(bench.path("out.pcap")).unwrap());
    let second = (bench.json(&[]), std::fs::read(bench.path("out.pcap")).unwrap());
    assert_eq!(first, second);
    let json = first.0;
    assert_eq!(json["received"], 11);
    assert_eq!(json["verdicts"]["total"], 11);
    assert_eq!(json["verdicts"]["drop"]["no_service"], 2);
    assert_eq!(json["verdicts"]["drop"]["snat_ports_exhausted"], 0);
    assert_eq!((&json["transmitted"], &json["transmit_full"]), (&4.into(), &0.into()));
    let times: Vec<u64> = bench.sent().iter().map(|(at_ms, _)| *at_ms).collect();
    assert_eq!(times, [0, 0, 1, 1], "sent on with the time they came");
}

#[test]
fn nat_goes_there_and_back() {
    let vip: SocketAddrV4 = NAT_VIP.parse().unwrap();
    let opening = (0, from_client(4000, NAT_VIP, Segment::Syn));
    let bench = Bench::new(std::slice::from_ref(&opening));
    bench.run(&[]);
    let sent = bench.sent();
    let (mac, snat, backend) = path(&sent[0].1);
    assert_eq!((snat.ip().to_string(), backend.port()), ("10.1.0.10".into(), 8080));
    assert_eq!(mac[5], if backend.ip().octets()[3] == 51 { 0x51 } else { 0x52 });

    // Secrets are fixed, so the answer of that backend to that port can be captured in advance.
    let answer = tcp((mac, backend), (OUR_MAC, snat), Segment::SynAck);
    let stray = tcp((mac, backend), (OUR_MAC, SocketAddrV4::new(*snat.ip(), 1)), Segment::Ack);
    let bench = Bench::new(&[opening, (3, answer), (4, stray)]);
    let json = bench.json(&[]);
    assert_eq!(json["verdicts"]["forward"], 2, "{json:#}");
    let (mac, source, destination) = path(&bench.sent()[1].1);
    assert_eq!((mac, source), (CLIENT_MAC, vip));
    assert_eq!(destination.to_string(), "10.1.0.20:4000");
}

#[test]
fn a_configuration_takes_over_and_flows_stay() {
    const FLOWS: u16 = 40;
    let burst = |at_ms: u64, ports: std::ops::Range<u16>, segment| {
        ports.map(move |port| (at_ms, from_client(port, DSR_VIP, segment)))
    };
    let mut sent = Vec::new();
    sent.extend(burst(0, 4000..4000 + FLOWS, Segment::Syn));
    sent.extend(burst(100, 4000..4000 + FLOWS, Segment::Ack));
    sent.extend(burst(3000, 4000..4000 + FLOWS, Segment::Ack));
    sent.extend(burst(3001, 5000..5000 + FLOWS, Segment::Syn));
    let bench = Bench::new(&sent);
    let without_b3 = CONFIG.replace("      - { name: b3, address: 10.1.0.53, port: 80 }\n", "");
    bench.write("without-b3.yaml", without_b3);
    let down = CONFIG.replace("  links:", "  down: [ direct/b4 ]\n  links:");
    bench.write("b4-down.yaml", down);
    let rows = [("without-b3.yaml", 0x54), ("b4-down.yaml", 0x53)];
    for (file, only) in rows {
        let json = bench.json(&["--then", &format!("2.5={file}")]);
        assert_eq!(json["verdicts"]["forward"], 4 * FLOWS, "{json:#}");
        assert_eq!(json["snapshots"][1]["at_ms"], 2500, "{file}: {json:#}");
        assert_eq!(json["snapshots"][1]["file"], file);
        let to: Vec<u8> = bench.sent().iter().map(|(_, frame)| frame[5]).collect();
        let bursts: Vec<&[u8]> = to.chunks(FLOWS.into()).collect();
        assert!(bursts[0].contains(&0x53) && bursts[0].contains(&0x54));
        assert_eq!((bursts[1], bursts[2]), (bursts[0], bursts[0]), "{file}: flows stay");
        assert!(bursts[3].iter().all(|&to| to == only), "{file}: {:x?}", bursts[3]);
    }
}

#[test]
fn idle_flows_end_in_the_pauses_of_a_capture() {
    let ms = 3 * 3_600_000;
    let bench = Bench::new(&[
        (0, from_client(4000, NAT_VIP, Segment::Syn)),
        (ms, from_client(4001, NAT_VIP, Segment::Syn)),
    ]);
    let json = bench.json(&[]);
    assert_eq!(json["events"]["flows_created"], 2);
    assert_eq!(json["events"]["flows_expired"], 1);
    assert_eq!(json["live_flows"], 1);
}

#[test]
fn what_cannot_be_is_said_with_the_right_code() {
    let bench = Bench::new(&mixed());
    bench.write("text.pcap", "this is no capture at all, it is text");
    bench.write("broken.yaml", CONFIG.replace("port: 80\n", "port: 80000\n"));
    bench.write("unseen.yaml", CONFIG.replace("  links:", "  down: [ web/b1 ]\n  links:"));
    bench.write("other.yaml", CONFIG.replace("{ name: eth1 }", "{ name: eth1 }, { name: eth2 }"));
    let whole = std::fs::read(bench.path("in.pcap")).unwrap();
    bench.write("cut.pcap", &whole[..whole.len() - 3]);
    let rows: &[(&[&str], i32, &str)] = &[
        (&["--out", "in.pcap"], 2, "--out is the file of --in"),
        (&["--out", "no/such/place.pcap"], 1, "no/such/place.pcap: No such file"),
        (&["--port", "eth9"], 2, "--port eth9: wanted one of eth1"),
        (&["--then", "1=broken.yaml"], 2, "broken.yaml"),
        (&["--then", "1=other.yaml"], 2, "it is fixed while Guideway runs"),
        (&["--then", "1=unseen.yaml"], 2, "web has no health check, so nothing can find b1 down"),
        (&["--then", "soon=other.yaml"], 2, "is not SECONDS=FILE"),
    ];
    for (more, code, wanted) in rows {
        let answer = bench.run(more);
        assert_eq!(answer.code, Some(*code), "{more:?}: {answer:?}");
        assert!(answer.told.contains(wanted), "{more:?}: {}", answer.told);
        assert_eq!(answer.shown, "", "{more:?}");
    }
    for (capture, wanted) in [
        ("none.pcap", "in.pcap: No such file"),
        ("text.pcap", "in.pcap: the capture begins with"),
        ("cut.pcap", "in.pcap: record 11 of the capture: the file ends within it"),
    ] {
        std::fs::remove_file(bench.path("in.pcap")).unwrap();
        let _ = std::fs::rename(bench.path(capture), bench.path("in.pcap"));
        let answer = bench.run(&[]);
        assert_eq!(answer.code, Some(1), "{capture}: {answer:?}");
        assert!(answer.told.contains(wanted), "{capture}: {}", answer.told);
        bench.write("in.pcap", "x");
    }
}

#[test]
fn what_never_happens_is_remarked() {
    let bench = Bench::new(&mixed());
    let answer = bench.run(&["--then", "60=guideway.yaml"]);
    assert_eq!(answer.code, Some(0));
    assert!(answer.told.contains("guideway.yaml never took over: the capture ends after 1.5 s"));
}
