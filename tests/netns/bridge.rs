//! Containers of the balancer's own machine, behind one port that Guideway makes into their bridge.

use crate::support::{Config, Guideway, Lab, Namespace, Service, Site, serve, storm, transfer};

/// A container of `host` on its bridge `br0`, as container engines make it: no offload touched.
fn container(lab: &Lab, host: &Namespace, number: u8) -> Namespace {
    let container = lab.namespace(&format!("c{number}"));
    host.run(&format!(
        "ip link add c{number} type veth peer name eth0 netns {}
         ip link set c{number} master br0 up",
        container.name()
    ));
    container.run(&format!(
        "ip link set eth0 up
         ip address add 10.3.0.1{number}/24 dev eth0
         ip route add default via 10.3.0.1"
    ));
    container
}

#[test]
fn twenty_megabytes_each_way_with_offloads_untouched() {
    let Some(lab) = Lab::new("bridge") else { return };
    let site = Site::one_arm(&lab, 0, 1);
    let host = &site.balancer;
    host.run("ip link add br0 type bridge; ip link set br0 up; ip address add 10.3.0.1/24 dev br0");
    let containers: Vec<_> = (1..=3).map(|number| container(&lab, host, number)).collect();
    let _peers: Vec<_> = (1..)
        .zip(&containers)
        .map(|(number, container)| {
            let name = format!("b{number}");
            serve(container, &name, "--greet 0.0.0.0:7000 --lines 0.0.0.0:7001")
        })
        .collect();
    let mut config = Config::new(&["eth1"], "")
        .with(Service::nat("greet", Site::VIP, 7000, "10.3.0", 3).checked())
        .with(Service::nat("lines", Site::VIP, 7001, "10.3.0", 3).checked())
        // A VIP among the containers, for the containers themselves.
        .with(Service::nat("inside", "10.3.0.100", 7001, "10.3.0", 3).checked());
    config.interfaces.push("{ name: gw0, bridge: br0 }".to_owned());
    config.snat = vec!["{ address: 10.3.0.10, ports: 1024-65535, interface: gw0 }".to_owned()];
    let guideway = Guideway::start(&lab, host, &config);

    let report = storm(&site.client, "--to 10.1.0.100:7000 --count 300 --concurrency 8");
    assert_eq!(report["answered"], 300, "{report}");
    assert_eq!(report["per_backend"].as_object().unwrap().len(), 3, "{report}");
    for options in ["--get 20000000", "--put 20000000"] {
        let report = transfer(&site.client, &format!("--to 10.1.0.100:7001 {options}"));
        assert_eq!(report["is_same"], true, "{options}: {report}");
    }
    for container in &containers {
        let options = "--to 10.3.0.100:7001 --get 20000000 --put 20000000 --seconds 60";
        let report = transfer(container, options);
        assert_eq!(report["is_same"], true, "{}: {report}", container.name());
    }
    assert_eq!(guideway.counter("exceeds_mtu") + guideway.counter("malformed"), 0);
    // The host's own traffic over its bridge is as before.
    host.run("ping -c 2 -i 0.2 -W 2 10.3.0.11");
    assert_eq!(guideway.terminate().code(), Some(0));
    assert!(!host.succeeds("ip link show gw0"), "a clean stop removes the pair it made");
    host.run("ping -c 2 -i 0.2 -W 2 10.3.0.11");
}
