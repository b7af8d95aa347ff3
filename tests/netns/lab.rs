//! The lab itself: sites, servers and clients, with a plain kernel address in place of a VIP.

use crate::support::{Hold, Lab, Nginx, Site, serve, storm, transfer, udp};

#[test]
fn servers_and_clients_meet_without_a_balancer() {
    let Some(lab) = Lab::new("lab") else { return };
    let site = Site::one_arm(&lab, 2, 2);
    let backend = &site.backends[0];
    let _peer = serve(
        backend,
        "b1",
        "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001 --udp 0.0.0.0:7002 --seconds 120",
    );
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.11:7001 --connections 5");

    let report = storm(&site.client, "--to 10.1.0.11:7000 --count 500 --concurrency 8");
    assert_eq!(report["per_backend"]["b1"], 500, "{report}");
    let report = transfer(&site.client, "--to 10.1.0.11:7001 --get 3000000 --put 3000000");
    assert_eq!(report["is_same"], true, "{report}");
    let report = udp(&site.client, "--to 10.1.0.11:7002 --sockets 3 --count 5");
    assert_eq!((&report["answered"], &report["different"]), (&15.into(), &0.into()), "{report}");

    let nginx = Nginx::start(&lab, backend, "b1", "80");
    assert_eq!(crate::support::get(&site.client, "http://10.1.0.11/"), Ok("b1".to_owned()));
    nginx.stop();
    assert!(crate::support::get(&site.client, "http://10.1.0.11/").is_err());

    let report = hold.close();
    assert_eq!((&report["alive"], &report["moved"]), (&5.into(), &0.into()), "{report}");
}

#[test]
fn loss_is_what_was_asked_for() {
    let Some(lab) = Lab::new("loss") else { return };
    let site = Site::one_arm(&lab, 1, 2);
    let _peer = serve(&site.backends[0], "b1", "--udp 0.0.0.0:7002 --seconds 120");
    site.backends[0].lose(30);
    let report = udp(&site.client, "--to 10.1.0.11:7002 --sockets 2 --count 100 --timeout-ms 20");
    let answered = report["answered"].as_u64().unwrap();
    assert!((80..=190).contains(&answered), "{report}");
    site.backends[0].lose_nothing();
    let report = udp(&site.client, "--to 10.1.0.11:7002 --sockets 2 --count 20");
    assert!(report["answered"].as_u64() >= Some(38), "{report}");
}
