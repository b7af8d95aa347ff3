//! Packets recorded on both sides while a test runs, and tshark as their judge: it takes them apart
//! by itself, and adds up every checksum.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::lab::Lab;
use super::network::Namespace;
use super::process::{self, Process};

/// What may not be in a record. Of errors that quote a packet cut short (RFC 1812 section 4.3.2.3, RFC
/// 4443 section 3.2) their own checksums count, and not the quoted segment's: tshark adds up what is left
/// of it. A TCP checksum of all ones is the same as zero to whoever receives it (RFC 1071 section 2); once
/// in 65,536 segments the kernel writes it so, and tshark remarks on that.
const WRONG: &str = concat!(
    "(_ws.expert.group == \"Checksum\" && !(tcp.checksum == 0xffff)",
    " && !((icmp.type == 3 && icmp.code == 4) || icmpv6.type == 2))",
    " || (((icmp.type == 3 && icmp.code == 4) || icmpv6.type == 2)",
    " && (icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || ip.checksum.status == 0))",
    " || _ws.expert.group == \"Malformed\"",
);

/// One record for each interface.
pub struct Judge {
    records: Vec<(String, PathBuf, Process)>,
}

impl Judge {
    /// Begins to record at these interfaces of a namespace; best those of a switch, where frames are as they
    /// travel, whatever the hosts do to them.
    pub fn listen(lab: &Lab, namespace: &Namespace, interfaces: &[&str]) -> Judge {
        let record = |interface: &&str| {
            let path = lab.path(&format!("{}-{interface}.pcap", namespace.name()));
            // Buffers that hold what comes while the machine is busy, and each packet given at once: the
            // kernel would collect them for up to a second, and lose the last ones with the end.
            let line = format!(
                "tcpdump --immediate-mode -n -U -s 0 -B 16384 -i {interface} -w {} 'ip or ip6'",
                path.display()
            );
            let mut tcpdump = namespace.start(&line, &format!("tcpdump-{interface}.log"));
            tcpdump.wait_for_output("listening on");
            ((*interface).to_owned(), path, tcpdump)
        };
        Judge { records: interfaces.iter().map(record).collect() }
    }

    /// Ends the records and asks tshark: in each there have to be packets for each of these display
    /// filters, and nothing wrong in any.
    pub fn decide(self, wanted: &[&str]) {
        let paths = self.records.into_iter().map(|(interface, path, mut tcpdump)| {
            wait_until_nothing_comes(&path);
            tcpdump.signal("INT");
            tcpdump.wait(Duration::from_secs(10));
            let told = tcpdump.output();
            assert!(told.contains("\n0 packets dropped by kernel"), "{interface}: {told}");
            (interface, path)
        });
        for (interface, path) in paths.collect::<Vec<_>>() {
            let counts = count(&path, &[&[WRONG], wanted].concat());
            if counts[0] > 0 {
                let wrong = tshark(&path, &["-Y", WRONG]);
                let few: Vec<_> = wrong.lines().take(20).collect();
                panic!("at {interface} tshark finds {} wrong:\n{}", counts[0], few.join("\n"));
            }
            for (filter, count) in wanted.iter().zip(&counts[1..]) {
                assert!(*count > 0, "at {interface} there is no {filter}");
            }
        }
    }
}

/// Packets that wait in a buffer when tcpdump is told to end are not written.
fn wait_until_nothing_comes(record: &Path) {
    let len = || std::fs::metadata(record).map_or(0, |record| record.len());
    let mut before = len();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(200));
        let now = len();
        if now == before {
            return;
        }
        before = now;
    }
}

/// How many packets each filter lets pass: all in one reading, which takes a second or more.
fn count(record: &Path, filters: &[&str]) -> Vec<u64> {
    let told = tshark(record, &["-q", "-z", &format!("io,stat,0,{}", filters.join(","))]);
    let row = told.lines().find(|line| line.contains("<>"));
    let cells = row.unwrap_or_else(|| panic!("{told}")).split('|').skip(2);
    // Frames and bytes of each.
    let numbers = cells.filter_map(|cell| cell.trim().parse().ok()).step_by(2);
    let counts: Vec<u64> = numbers.collect();
    assert_eq!(counts.len(), filters.len(), "{told}");
    counts
}

/// These fields of the packets that a display filter lets pass, a row a packet.
pub fn tshark_fields(record: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let options = fields.iter().flat_map(|field| ["-e", field]);
    let options = ["-Y", filter, "-T", "fields"].into_iter().chain(options).collect::<Vec<_>>();
    let rows = tshark(record, &options);
    rows.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect()
}

fn tshark(record: &Path, options: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(record);
    for option in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
        command.args(["-o", &format!("{option}:TRUE")]);
    }
    // Ports mean to us what they mean to nobody else, and it knows no GUE.
    for port in ["udp.port==7002-7003", "udp.port==5000", "udp.port==53"] {
        command.args(["-d", &format!("{port},data")]);
    }
    command.args(["-d", "tcp.port==7001,data", "-d", "tcp.port==7011,data"]);
    command.args(["-d", "udp.port==6080,ip"]);
    process::run(command.args(options))
}
