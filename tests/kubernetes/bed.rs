//! The test bed itself: what it promises holds, before anything is tested by it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Settings};
use crate::space::{Pod, Space, text};
use crate::support::{Backend, Config, Guideway, Lab, Service, get, wait_until};

/// Of each family: a VIP, and an address of the nodes' network that no node has.
const FAMILIES: [(&str, &str); 2] =
    [("203.0.113.10", "10.210.0.10"), ("2001:db8:113::10", "fd00:210::10")];

#[test]
fn a_real_control_plane_and_guideway_in_front_of_it() {
    let Some(lab) = Lab::new("k8s") else { return };
    let cluster = Cluster::start(&lab, Settings { families: "4 6", ..Settings::default() });
    cluster.run_parts(&[
        ("nodes", nodes_are_ready),
        ("pods", pods_answer_and_leave),
        ("words", logs_and_commands_of_pods),
        ("pending", a_balancer_is_not_there_yet),
        ("vip", guideway_forwards_to_pods),
    ]);
}

fn nodes_are_ready(space: &Space) {
    let version: Value =
        serde_json::from_str(&space.kubectl(&["version", "--output", "json"])).unwrap();
    assert_eq!(version["serverVersion"]["gitVersion"], "v1.36.3", "{version}");
    let nodes = space.get(&["nodes"]);
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for (number, node) in (1..).zip(nodes) {
        let mut addresses = node["status"]["addresses"].as_array().unwrap().iter();
        let internal = addresses.find(|address| address["type"] == "InternalIP").unwrap();
        assert_eq!(internal["address"], format!("10.210.0.1{number}"));
        assert_eq!(node["spec"]["podCIDR"], format!("10.244.{number}.0/24"));
    }
}

/// The client's way to a pod is by its node, with no balancer and no service between.
fn pods_answer_and_leave(space: &Space) {
    space.deploy("web", 3);
    space.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=http"]);
    let pods = space.wait_for_pods("web", 3);
    let on: BTreeSet<_> = pods.iter().map(|pod| &pod.node).collect();
    assert_eq!(on.len(), 3, "one on each node: {pods:?}");
    let mut addresses: Vec<_> = pods.iter().map(|pod| pod.addresses[0].clone()).collect();
    addresses.sort();
    assert_eq!(space.wait_for_endpoints("web", 3), addresses);
    let client = space.cluster.machine("cl");
    for pod in &pods {
        assert_eq!(pod.addresses.len(), 2, "{pod:?}");
        for address in &pod.addresses {
            let told = get(&client, &format!("http://{}/hostname", socket(address, 8080)));
            assert_eq!(told.as_ref(), Ok(&pod.name), "{address}");
        }
    }
    // By kube-proxy's rules, from a node.
    let service = space.get(&["service", "web"]);
    let url = format!("http://{}/hostname", text(&service["spec"]["clusterIP"]));
    let told = get(&space.cluster.machine("n1"), &url).unwrap();
    assert!(pods.iter().any(|pod| pod.name == told), "{told}");

    space.patch("deployment/web", &json!({ "spec": { "replicas": 1 } }));
    space.wait_for_endpoints("web", 1);
    let left = space.wait_for_pods("web", 1);
    assert!(pods.contains(&left[0]), "{left:?}");
}

fn logs_and_commands_of_pods(space: &Space) {
    space.deploy("web", 1);
    let pod = &space.wait_for_pods("web", 1)[0];
    assert_eq!(space.kubectl(&["exec", &pod.name, "--", "hostname"]).trim(), pod.name);
    let client = space.cluster.machine("cl");
    get(&client, &format!("http://{}:8080/echo?msg=written", pod.addresses[0])).unwrap();
    wait_until("the request in the log", || {
        space.kubectl(&["logs", &pod.name]).contains("echo?msg=written")
    });
}

/// Nothing here gives out addresses: that is left to what is tested.
fn a_balancer_is_not_there_yet(space: &Space) {
    space.deploy("web", 1);
    space.kubectl(&["expose", "deployment", "web", "--type=LoadBalancer", "--port=80"]);
    space.wait_for_endpoints("web", 1);
    let service = space.get(&["service", "web"]);
    assert_eq!(service["status"]["loadBalancer"], json!({}), "{service}");
}

/// From the client's link through the machine in front to pods on all nodes, by NAT.
fn guideway_forwards_to_pods(space: &Space) {
    space.deploy("web", 4);
    let pods = space.wait_for_pods("web", 4);
    let mut config = Config::new(&["e0", "e1"], FAMILIES[0].1);
    config.snat.push(format!("{{ address: {}, ports: 1024-65535 }}", FAMILIES[1].1));
    for (family, (vip, _)) in FAMILIES.iter().enumerate() {
        config = config.with(service(&format!("web{family}"), vip, &pods, family).checked());
    }
    let lab = space.cluster.lab();
    let guideway = Guideway::start(lab, &space.cluster.machine("lb"), &config);
    let client = space.cluster.machine("cl");
    let names: BTreeSet<_> = pods.iter().map(|pod| pod.name.clone()).collect();
    for (vip, _) in FAMILIES {
        let url = format!("http://{}/hostname", socket(vip, 80));
        let answered: BTreeSet<_> = (0..40).map(|_| get(&client, &url).unwrap()).collect();
        assert_eq!(answered, names, "{vip}");
    }
    let [forwarded, malformed, too_large] =
        guideway.counters(["forwarded", "malformed", "exceeds_mtu"]);
    // A request is four packets from the client at the least, and three back.
    assert!(forwarded >= 2 * 40 * 7, "{forwarded}");
    assert_eq!((malformed, too_large), (0, 0));
    assert_eq!(guideway.terminate().code(), Some(0));
}

/// A service by NAT to pods, at their addresses of a family.
fn service(name: &str, vip: &str, pods: &[Pod], family: usize) -> Service {
    let backends = pods.iter().map(|pod| Backend {
        name: pod.name.clone(),
        address: pod.addresses[family].clone(),
        port: 8080,
        more: String::new(),
    });
    Service { backends: backends.collect(), ..Service::nat(name, vip, 80, "", 0) }
}

/// Address and port as they stand in a URL.
fn socket(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}
