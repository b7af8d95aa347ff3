//! Records of flows: who was behind a SNAT port, in a file and at a collector.

use serde_json::Value;

use crate::support::judge::tshark_fields;
use crate::support::{
    Config, Guideway, Hold, Lab, SOON, Service, Site, serve_all, storm, udp, wait_for, wait_until,
};

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[test]
fn each_flow_has_its_record_in_the_file_and_at_the_collector() {
    let Some(lab) = Lab::new("records") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers = serve_all(&site, "--greet 0.0.0.0:80 --lines 0.0.0.0:81 --udp 0.0.0.0:53");
    let file = lab.path("flows.jsonl");
    let short = "timeouts: { tcp_closing: 1s, tcp_reset: 1s, udp: 1s }";
    let mut config = Config::new(&["eth1"], "10.2.0.10")
        .with(Service::nat("greet", Site::VIP, 80, "10.2.0", 2).line(short))
        .with(Service::nat("lines", Site::VIP, 81, "10.2.0", 2))
        .with(Service::nat("dns", Site::VIP, 53, "10.2.0", 2).line("protocol: udp").line(short));
    config.interfaces.push("{ name: eth2 }".to_owned());
    // The collector listens beside a backend; that nobody answers there does no harm.
    config
        .lines
        .push(format!("flow_records: {{ file: {}, ipfix: \"10.2.0.11:4739\" }}", file.display()));
    let collected = lab.path("collector.pcap");
    let line = format!(
        "tcpdump --immediate-mode -n -U -i eth0 -w {} 'udp port 4739'",
        collected.display()
    );
    let mut collector = site.backends[0].start(&line, "collector.log");
    collector.wait_for_output("listening on");
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:81 --connections 5");
    let report = storm(&site.client, "--to 10.1.0.100:80 --count 100 --concurrency 4");
    assert_eq!(report["answered"], 100, "{report}");
    let report = udp(&site.client, "--to 10.1.0.100:53 --sockets 3 --count 2");
    assert_eq!(report["answered"], 6, "{report}");
    wait_until("all ended flows to be recorded", || lines(&file).len() == 103);
    let records = lines(&file);
    println!("{}", records[0]);
    for record in &records {
        let of = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        assert!(of("client").starts_with("10.1.0."), "{record}");
        assert!(of("snat").starts_with("10.2.0.10:"), "{record}");
        assert!(of("backend_address").starts_with("10.2.0.1"), "{record}");
        let (start, end) = (record["start_unix_ms"].as_u64(), record["end_unix_ms"].as_u64());
        assert!(start > Some(1_700_000_000_000) && start <= end, "{record}");
        // SYN, ACK and FIN at least; both ways of a datagram twice.
        let packets = |way: &str| record[format!("packets_{way}")].as_u64().unwrap();
        let (wanted, reason) = match of("service").as_str() {
            "greet" => (3, "closed"),
            "dns" => (2, "idle"),
            other => panic!("{other}: {record}"),
        };
        assert!(packets("in") >= wanted && packets("out") >= 2, "{record}");
        assert!(record["bytes_in"].as_u64() >= Some(packets("in") * 40), "{record}");
        assert_eq!(of("end"), reason, "{record}");
    }
    // A SNAT port stands for one client at a time, which is what one looks for.
    let asked = guideway.ask("flows", &["--service", "lines"]);
    println!("{}", String::from_utf8_lossy(&asked.stdout));
    let asked = guideway.ask("flows", &["--service", "lines", "--output", "json"]);
    let flows: Vec<Value> = serde_json::from_slice(&asked.stdout).unwrap();
    assert!(flows.len() == 5 && flows.iter().all(|f| f["moved"]["packets_in"].as_u64() > Some(2)));

    // logrotate takes the file away.
    std::fs::rename(&file, lab.path("flows.jsonl.1")).unwrap();
    wait_for("a new file", SOON, || {
        storm(&site.client, "--to 10.1.0.100:80 --count 1 --concurrency 1");
        file.exists().then_some(())
    });
    assert_eq!(hold.close()["alive"], 5);

    // What lives at the end is recorded, too.
    let hold = Hold::open(&site.client, "hold2.log", "--to 10.1.0.100:81 --connections 7");
    let status = guideway.status()["flow_records"].clone();
    assert!(guideway.terminate().success());
    drop(hold);
    let forced = lines(&file).iter().filter(|record| record["end"] == "forced").count();
    assert!(forced >= 7, "{forced} of {status}");
    assert_eq!(status["lost"], 0, "{status}");
    collector.signal("INT");
    collector.wait(SOON);

    let fields = [
        "cflow.sequence",
        "cflow.post_natsource_ipv4_address",
        "cflow.post_naptsource_transport_port",
    ];
    let rows = tshark_fields(&collected, "cflow && !_ws.malformed", &fields);
    let natted: usize = rows.iter().map(|row| row[1].matches("10.2.0.10").count()).sum();
    let written = lines(&file).len() + lines(&lab.path("flows.jsonl.1")).len();
    assert_eq!(natted, written, "{rows:?}");
    assert_eq!(tshark_fields(&collected, "_ws.malformed", &fields).len(), 0);
}
