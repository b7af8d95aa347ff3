//! `guideway capture` over real connections, read by tshark.

use std::process::Output;

use crate::support::judge::tshark_fields;
use crate::support::{Config, Guideway, Lab, SOON, Service, Site, serve_all, storm, wait_until};

fn start(lab: &Lab, site: &Site) -> Guideway {
    let mut config =
        Config::new(&["eth1"], "10.2.0.10").with(Service::nat("web", Site::VIP, 80, "10.2.0", 2));
    config.interfaces.push("{ name: eth2 }".to_owned());
    Guideway::start(lab, &site.balancer, &config)
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn frames_with_their_verdicts_for_wireshark() {
    let Some(lab) = Lab::new("capture") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers = serve_all(&site, "--greet 0.0.0.0:80");
    let guideway = start(&lab, &site);

    let path = lab.path("all.pcapng");
    let file = path.display().to_string();
    let mut capture = guideway.start_command(
        &lab,
        "capture.log",
        &["capture", "--client", "10.1.0.0/24", "-w", &file],
    );
    // It says so on a terminal only; the file is there once it has begun.
    wait_until("the capture to begin", || path.exists());
    let report = storm(&site.client, "--to 10.1.0.100:80 --count 20 --concurrency 4");
    assert_eq!(report["answered"], 20, "{report}");
    // To a port without a service.
    let nowhere = "--to 10.1.0.100:81 --count 1 --concurrency 1 --timeout-ms 1500";
    assert_eq!(storm(&site.client, nowhere)["answered"], 0);
    std::thread::sleep(std::time::Duration::from_millis(500));
    capture.signal("INT");
    assert!(capture.wait(SOON).success());
    let told = capture.output();
    println!("{told}");
    assert!(told.contains(" 0 lost"), "{told}");

    let fields = ["frame.interface_name", "ip.dst", "tcp.flags.syn", "frame.comment"];
    let rows = tshark_fields(&path, "tcp", &fields);
    let count = |wanted: &dyn Fn(&[String]) -> bool| rows.iter().filter(|row| wanted(row)).count();
    // Each connection's SYN as it came and as it left, under NAT.
    let is_syn = |row: &[String]| row[2] == "1" || row[2] == "True";
    let came = |row: &[String]| {
        row[0] == "eth1"
            && row[1] == Site::VIP
            && row[3].starts_with("forward by eth2, service web")
    };
    assert!(count(&|row| is_syn(row) && came(row)) >= 20, "{:?}", rows.first());
    let left = |row: &[String]| row[0] == "eth2" && row[1].starts_with("10.2.0.1");
    assert!(count(&|row| is_syn(row) && left(row)) >= 20, "{:?}", rows.first());
    // The way back, whose packets bear the client only as they leave.
    let back = |row: &[String]| {
        row[0] == "eth2" && row[1] == "10.2.0.10" && row[3].starts_with("forward by eth1")
    };
    assert!(count(&back) >= 20, "{:?}", rows.first());
    let dropped = count(&|row| row[3].starts_with("drop no_service: To a VIP"));
    assert!((1..5).contains(&dropped), "{dropped}");
    assert_eq!(tshark_fields(&path, "_ws.malformed || ip.checksum.status == 0", &fields).len(), 0);

    // Lines, with a limit; and a question that makes no sense.
    let mut lines = guideway.start_command(
        &lab,
        "lines.log",
        &["capture", "--point", "drop", "--verdict", "no_service", "--count", "1"],
    );
    std::thread::sleep(std::time::Duration::from_millis(500));
    storm(&site.client, nowhere);
    assert!(lines.wait(SOON).success());
    let told = lines.output();
    println!("{told}");
    assert!(
        told.contains("1 frame captured") && told.contains("in  eth1 10.1.0.50 > 10.1.0.100"),
        "{told}"
    );
    let refused = guideway.ask("capture", &["--verdict", "dropped"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(error_text(&refused).contains("verdict `dropped`: expected forward"), "{refused:?}");
}
