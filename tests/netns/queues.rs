//! Two queues, two workers: both directions of a flow meet at its owner, whatever queue they take.

use crate::support::{
    Config, Guideway, Hold, Lab, Namespace, SOON, Service, Site, serve, storm, transfer, udp,
    wait_for,
};

fn start(lab: &Lab, site: &Site) -> Guideway {
    let nat = |name, port| Service::nat(name, Site::VIP, port, "10.2.0", 3);
    let mut config = Config::new(&["eth1", "eth2"], "10.2.0.10")
        .with(nat("greet", 7000))
        .with(nat("lines", 7001))
        .with(nat("datagrams", 7002).line("protocol: udp"));
    config.workers = "count: 2, idle: sleep".to_owned();
    let guideway = Guideway::start(lab, &site.balancer, &config);
    let status = guideway.status();
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    for interface in status["interfaces"].as_array().unwrap() {
        assert_eq!(interface["queues"].as_array().unwrap().len(), 2, "{interface}");
    }
    guideway
}

fn serve_all(site: &Site) -> Vec<crate::support::Process> {
    let options = "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 0.0.0.0:7002";
    (1..)
        .zip(&site.backends)
        .map(|(number, backend)| serve(backend, &format!("b{number}"), options))
        .collect()
}

fn received_by_queue(guideway: &Guideway, interface: usize) -> Vec<u64> {
    let status = guideway.status();
    let queues = status["interfaces"][interface]["queues"].as_array().unwrap().clone();
    queues.iter().map(|queue| queue["received"].as_u64().unwrap()).collect()
}

/// Waits until each frame that was handed over was taken over, and gives their number. Clients and
/// backends may still send the last packets of closed connections, and a frame may be under way in
/// the moment of the look: only both counters of one look, when nothing is under way, must be equal.
fn all_handed_over_arrive(guideway: &Guideway) -> u64 {
    wait_for("every frame that was handed over to be taken over", SOON, || {
        let [handed_over, taken_over] = guideway.counters(["handed_over", "taken_over"]);
        (handed_over == taken_over).then_some(handed_over)
    })
}

#[test]
fn both_queues_and_both_workers_work() {
    let Some(lab) = Lab::new("queues") else { return };
    let site = Site::two_arms(&lab, 3, 2);
    let _peers = serve_all(&site);
    let guideway = start(&lab, &site);
    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 2000 --concurrency 32");
    assert_eq!(report["answered"], 2000, "{report}");
    let report = udp(&site.client, "--to 10.1.0.100:7002 --sockets 50 --count 4");
    assert_eq!((&report["answered"], &report["moved"]), (&200.into(), &0.into()), "{report}");
    let report = transfer(&site.client, "--to 10.1.0.100:7001 --get 20000000 --put 20000000");
    assert_eq!(report["is_same"], true, "{report}");
    for interface in 0..2 {
        let received = received_by_queue(&guideway, interface);
        assert!(received.iter().all(|frames| *frames > 0), "interface {interface}: {received:?}");
    }
    assert!(all_handed_over_arrive(&guideway) > 0, "some flows arrive at the other worker");
    assert_eq!(guideway.counter("hand_over_full") + guideway.counter("not_opening"), 0);
}

/// TCP that tries again every second, and as often as it takes.
const PATIENCE: &str = "sysctl -qw net.ipv4.tcp_rto_max_ms=1000 net.ipv4.tcp_syn_retries=40 \
    net.ipv4.tcp_synack_retries=40 net.ipv4.tcp_orphan_retries=40 net.ipv4.tcp_retries2=100";

#[test]
fn a_third_of_all_packets_lost() {
    let Some(lab) = Lab::new("lossy") else { return };
    let site = Site::two_arms(&lab, 3, 2);
    let lossy: Vec<&Namespace> = site.backends.iter().chain([&site.client]).collect();
    // Before anybody listens: connections have it from their listener.
    let is_patient = lossy.iter().all(|namespace| namespace.succeeds(PATIENCE));
    let _peers = serve_all(&site);
    let guideway = start(&lab, &site);
    let hold = Hold::open(
        &site.client,
        "hold.log",
        "--to 10.1.0.100:7001 --connections 40 --timeout-ms 60000",
    );
    // On both sides' way in: requests, answers and acknowledgments are all lost at times, and
    // senders that time out move to other queues (net.core.txrehash).
    lossy.iter().for_each(|namespace| namespace.lose(30));
    let report = storm(
        &site.client,
        "--to 10.1.0.100:7000 --count 200 --concurrency 200 --timeout-ms 60000",
    );
    // A client that only listens cannot try again by itself: where its last step of the handshake
    // was lost, all hangs on the server's SYN-ACKs, at 1, 3, 7, 15 and 31 seconds. So one in a
    // hundred is not answered in time; without patience a few more.
    let wanted = if is_patient { 185 } else { 170 };
    assert!(report["answered"].as_u64() >= Some(wanted), "{report}");
    // Some were reset by a backend: a SYN that the client had sent twice waited in the other worker's
    // queue until the backend had answered and closed, and began a new flow in the place of the one
    // that went on. It does so no longer (`FlowState::gives_way_to_syn`). Captures of 22 runs
    // showed no other reset before a client had given up. Should one come again, this tells more.
    let failures = report["failures"].as_object().unwrap().iter();
    let turned_away: u64 = failures
        .filter(|(kind, _)| *kind != "no end in time")
        .map(|(_, number)| number.as_u64().unwrap())
        .sum();
    if turned_away > 0 {
        let resets = |host: &Namespace| host.kernel_counter("Tcp", "OutRsts");
        let of_hosts: Vec<u64> = lossy.iter().map(|host| resets(host)).collect();
        println!("turned away: {report}\nresets of backends and client: {of_hosts:?}");
        println!("{}", guideway.status()["counters"]);
    }
    assert!(!is_patient || turned_away <= 2, "{report}");
    let report =
        transfer(&site.client, "--to 10.1.0.100:7001 --get 30000 --put 30000 --seconds 90");
    assert_eq!(report["is_same"], true, "{report}");
    lossy.iter().for_each(|namespace| namespace.lose_nothing());
    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&40.into(), &0.into()), "{report}");
    let handed_over = all_handed_over_arrive(&guideway);
    println!("hand-overs with a third lost: {handed_over}");
    assert!(handed_over > 0);
}
