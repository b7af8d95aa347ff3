//! `guideway top` on a pseudo terminal.

use crate::support::{Config, Guideway, Lab, SOON, Service, Site, serve_all, storm};

#[test]
fn top_draws_what_happens_until_q() {
    let Some(lab) = Lab::new("top") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers = serve_all(&site, "--greet 0.0.0.0:80");
    let mut config =
        Config::new(&["eth1"], "10.2.0.10").with(Service::nat("web", Site::VIP, 80, "10.2.0", 2));
    config.interfaces.push("{ name: eth2 }".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &config);

    let mut top = guideway.start_on_terminal(&lab, "top.log", "top --interval 0.2");
    top.wait_for_output("10.1.0.100:80");
    let report = storm(&site.client, "--to 10.1.0.100:80 --count 2000 --concurrency 8");
    assert_eq!(report["answered"], 2000, "{report}");
    // Columns of blocks: packets were counted.
    top.wait_for_output("█");
    top.write_input("2");
    top.wait_for_output("b2");
    top.write_input("4");
    top.wait_for_output("forward");
    top.write_input("q");
    assert!(top.wait(SOON).success());

    // Without a terminal it says what to do.
    let refused = guideway.ask("top", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("needs a terminal"), "{refused:?}");
}
