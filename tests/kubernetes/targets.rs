//! Where packets go: to nodes as they are, to node ports; and what pods meet that call the address.

use std::collections::BTreeSet;

use crate::balancer::{
    SOON, expose, service, url, wait_for_addresses, wait_for_answer, wait_for_reason,
};
use crate::cluster::watch;
use crate::space::Space;
use crate::support::{get, told};

/// Waits until new connections get to all pods and to nobody else.
fn wait_for_all(space: &Space, vip: &str, pods: &BTreeSet<String>) {
    let client = space.cluster.machine("cl");
    watch(&format!("all pods by {vip}"), SOON, || {
        let answers = (0..20).map(|_| get(&client, &url(vip)));
        let answered: Result<BTreeSet<String>, String> = answers.collect();
        answered.and_then(|found| if found == *pods { Ok(()) } else { Err(format!("{found:?}")) })
    });
}

fn pods(space: &Space, count: usize) -> BTreeSet<String> {
    space.wait_for_pods("web", count).into_iter().map(|pod| pod.name).collect()
}

fn balanced(space: &Space, name: &str, target: &str, spec: &str) {
    space.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  \
         annotations: {{ guideway.dev/target: {target} }}\nspec:\n  type: LoadBalancer\n  \
         {spec}\n  selector: {{ app: web }}\n  ports: [{{ port: 80, targetPort: http }}]\n"
    ));
}

/// Target `nodes` with `externalTrafficPolicy: Local`: direct return to the nodes that have pods, where
/// kube-proxy does the rest.
pub fn pods_see_the_client_by_their_node(space: &Space) {
    space.deploy("web", 2);
    for (name, policy) in [("local", "Local"), ("cluster", "Cluster")] {
        balanced(space, name, "nodes", &format!("externalTrafficPolicy: {policy}"));
    }
    let pods = pods(space, 2);
    for name in ["local", "cluster"] {
        let vip = wait_for_addresses(space, name, 1).remove(0);
        let ingress = &service(space, name)["status"]["loadBalancer"]["ingress"][0];
        assert_eq!(ingress["ipMode"], "VIP", "kube-proxy has to know the address");
        wait_for_all(space, &vip, &pods);
    }
    let vip = wait_for_addresses(space, "local", 1).remove(0);
    let client = space.cluster.machine("cl");
    let seen = get(&client, &format!("http://{vip}/clientip")).unwrap();
    assert!(seen.starts_with("198.51.100.2:"), "{seen}");
}

/// For clusters of which nothing else can be reached.
pub fn node_ports(space: &Space) {
    space.deploy("web", 2);
    balanced(space, "web", "nodePorts", "externalTrafficPolicy: Cluster");
    let pods = pods(space, 2);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    wait_for_all(space, &vip, &pods);
    assert_eq!(service(space, "web")["status"]["loadBalancer"]["ingress"][0]["ipMode"], "Proxy");
    balanced(space, "none", "nodePorts", "allocateLoadBalancerNodePorts: false");
    let why = wait_for_reason(space, "none", "NoNodePort");
    assert!(why.contains("tcp 80 has no node port"), "{why}");
}

/// With `ipMode: Proxy` their packets come to Guideway, as any router would send them; with `VIP`
/// kube-proxy finishes them.
pub fn pods_call_the_address(space: &Space) {
    for node in ["n1", "n2", "n3"] {
        let node = space.cluster.machine(node);
        node.run("ip route replace 203.0.113.0/24 via 10.210.0.2");
    }
    expose(space, "web", 2);
    balanced(space, "nodes", "nodes", "externalTrafficPolicy: Cluster");
    let pods = pods(space, 2);
    for name in ["web", "nodes"] {
        let vip = wait_for_addresses(space, name, 1).remove(0);
        wait_for_answer(space, &vip);
        for pod in &pods {
            let words = ["exec", "--namespace", &space.name, pod, "--", "curl", "-sS", "-m", "2"];
            watch(&format!("an answer of {name} for {pod}"), SOON, || {
                let said = space.cluster.try_kubectl(&[&words[..], &[&url(&vip)]].concat());
                let answer = told(&said).trim().to_owned();
                if pods.contains(&answer) { Ok(()) } else { Err(answer) }
            });
        }
    }
}
