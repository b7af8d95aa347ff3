//! Other people's clients and servers through the balancer: wrk on nginx, iperf3 with TCP and UDP.

use serde_json::Value;

use crate::support::{Config, Guideway, Lab, Nginx, Service, Site};

#[test]
fn wrk_on_two_nginx() {
    let Some(lab) = Lab::new("wrk") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers: Vec<_> = (1..=2)
        .zip(&site.backends)
        .map(|(number, backend)| Nginx::start(&lab, backend, &format!("b{number}"), "80"))
        .collect();
    let web = Service::nat("web", Site::VIP, 80, "10.2.0", 2).checked();
    let mut config = Config::new(&["eth1"], "10.2.0.10").with(web);
    config.interfaces.push("{ name: eth2 }".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    // nginx closes after each answer: every request is a connection of its own.
    let told = site.client.run("wrk -t 1 -c 16 -d 3s --timeout 3s http://10.1.0.100/");
    let number_before = |word: &str| -> u64 {
        let words: Vec<&str> = told.split_whitespace().collect();
        let at = words.iter().position(|found| found.trim_end_matches(',') == word).unwrap();
        words[at - 1].parse().unwrap()
    };
    let requests = number_before("requests");
    assert!(requests > 300, "{told}");
    assert!(!told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
    let created = guideway.counter("flows_created");
    assert!(created >= requests, "{created} flows for {requests} requests");
    assert_eq!(guideway.counter("snat_ports_exhausted") + guideway.counter("tcp_reset"), 0);
}

/// The last report of iperf3 through the VIP.
fn iperf3(site: &Site, options: &str) -> Value {
    let line = format!("iperf3 --json --connect-timeout 3000 -t 2 -c {} {options}", Site::VIP);
    serde_json::from_str(&site.client.run(&line)).unwrap()
}

#[test]
fn iperf3_with_tcp_and_udp() {
    let Some(lab) = Lab::new("iperf") else { return };
    let site = Site::two_arms(&lab, 1, 1);
    let mut server = site.backends[0].start("iperf3 -s --forceflush", "iperf3.log");
    server.wait_for_output("Server listening");
    // Control connection, data connection and datagrams have to meet at one server.
    let service = |name: &str| Service::nat(name, Site::VIP, 5201, "10.2.0", 1);
    let mut config = Config::new(&["eth1"], "10.2.0.10")
        .with(service("control"))
        .with(service("datagrams").line("protocol: udp"));
    config.interfaces.push("{ name: eth2 }".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    for (description, options) in [("up", ""), ("down", "-R")] {
        let report = iperf3(&site, options);
        let bits = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
        println!("iperf3 TCP {description}: {:.0} Mbit/s", bits / 1e6);
        assert!(bits > 50e6, "{description}: {}", report["end"]);
    }
    let report = iperf3(&site, "-u -b 20M -l 1400");
    let sum = &report["end"]["sum"];
    let (sent, lost) = (sum["packets"].as_u64().unwrap(), sum["lost_packets"].as_u64().unwrap());
    println!("iperf3 UDP: {lost} of {sent} datagrams lost");
    assert!(sent > 2000 && lost * 100 <= sent, "{sum}");
    assert_eq!(guideway.counter("malformed") + guideway.counter("exceeds_mtu"), 0);
}
