//! What an operator asks of a running Guideway: flows, explain, kill-flows, over real connections.

use std::process::Output;

use serde_json::Value;

use crate::support::{Config, Guideway, Hold, Lab, Service, Site, serve_all};

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn flows_are_shown_explained_and_ended() {
    let Some(lab) = Lab::new("ask") else { return };
    let site = Site::two_arms(&lab, 2, 1);
    let _servers = serve_all(&site, "--lines 0.0.0.0:80");
    let mut config =
        Config::new(&["eth1"], "10.2.0.10").with(Service::nat("web", Site::VIP, 80, "10.2.0", 2));
    config.interfaces.push("{ name: eth2 }".to_owned());
    let guideway = Guideway::start(&lab, &site.balancer, &config);
    let hold = Hold::open(&site.client, "hold.log", "--to 10.1.0.100:80 --connections 40");

    let flows = |more: &[&str]| -> Vec<Value> {
        let output = guideway.ask("flows", more);
        serde_json::from_str(&text(&output).0).unwrap()
    };
    let all = flows(&["--output", "json"]);
    assert_eq!(all.len(), 40);
    for flow in &all {
        assert_eq!(
            (&flow["service"], &flow["state"]),
            (&"web".into(), &"established".into()),
            "{flow}"
        );
        assert_eq!(
            (&flow["vip"], &flow["snat_address"]),
            (&Site::VIP.into(), &"10.2.0.10".into()),
            "{flow}"
        );
    }
    let of = |backend: &str| flows(&["--output", "json", "--backend", backend]).len();
    assert_eq!(of("b1") + of("b2"), 40);
    assert_eq!(flows(&["--output", "json", "--limit", "7"]).len(), 7);
    let (table, _) = text(&guideway.ask("flows", &["--limit", "7"]));
    println!("{table}");
    assert!(
        table.contains("7 flows, and there are more") && table.contains("established"),
        "{table}"
    );

    // What is said of a flow that is there is what it does.
    let flow = &all[0];
    let from = format!("{}:{}", flow["client"].as_str().unwrap(), flow["client_port"]);
    let to = format!("{}:80", Site::VIP);
    let (told, _) = text(&guideway.ask("explain", &["--from", &from, "--to", &to]));
    println!("{told}");
    let backend = flow["backend"].as_str().unwrap();
    let snat = format!("{}:{}", flow["snat_address"].as_str().unwrap(), flow["snat_port"]);
    for part in [
        "service web",
        &format!("its backend {backend} stays"),
        &format!("packet: {snat} to 10.2.0.1"),
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    let refused = guideway.ask("flows", &["--service", "wbe"]);
    assert_eq!(
        (refused.status.code(), text(&refused).1.contains("no service `wbe`")),
        (Some(2), true)
    );
    let refused = guideway.ask("kill-flows", &[]);
    assert_eq!((refused.status.code(), text(&refused).1.contains("which flows?")), (Some(2), true));

    let before = of("b1");
    let (told, _) = text(&guideway.ask("kill-flows", &["--backend", "b1"]));
    assert_eq!(told, format!("{before} {} ended\n", if before == 1 { "flow" } else { "flows" }));
    assert_eq!((of("b1"), of("b2")), (0, 40 - before));
    assert_eq!(guideway.counter("flows_ended_by_hand"), before as u64);
    // A connection that is not known any more is told so.
    let report = hold.close();
    assert_eq!(report["alive"], 40 - before, "{report}");
}
