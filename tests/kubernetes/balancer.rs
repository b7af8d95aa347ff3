//! Guideway as the cluster's load balancer: `type: LoadBalancer` gets an address, and packets to it go to
//! pods. It runs in front of the cluster, with the role that it prints itself and no more.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Settings, watch};
use crate::leaving::leave;
use crate::space::{Space, text};
use crate::support::{Config, Guideway, Lab, get, output, told};
use crate::{targets, telling};

pub const SOON: Duration = Duration::from_secs(20);

#[test]
fn services_get_addresses_and_their_pods_get_packets() {
    let Some(lab) = Lab::new("k8slb") else { return };
    let cluster = Cluster::start(&lab, Settings { families: "4 6", ..Settings::default() });
    let guideway = start(&lab, &cluster);
    cluster.run_parts(&[
        ("expose", an_address_and_answers),
        ("families", one_address_of_each_family),
        ("whose", only_our_classes),
        ("wishes", addresses_that_are_asked_for),
        ("share", one_address_for_two_services),
        ("ranges", only_those_clients),
        ("types", another_type_and_back),
        ("rolling", no_request_is_lost_by_a_rolling_update),
        ("nodes", targets::pods_see_the_client_by_their_node),
        ("ports", targets::node_ports),
        ("inside", targets::pods_call_the_address),
        ("unplugged", a_dead_node_is_left_quickly),
        ("status", telling::each_service_with_what_is_in_its_way),
        ("told", telling::pools_and_what_a_service_does_not_get),
        ("gone", a_deleted_namespace_does_not_hang),
        ("role", the_account_can_do_no_more),
    ]);
    let config = api_gone(&lab, &cluster, guideway);
    leave(&lab, &cluster, &config);
}

/// As an operator installs it.
fn start(lab: &Lab, cluster: &Cluster<'_>) -> Guideway {
    for words in [&["kubernetes", "crds"][..], &["kubernetes", "role"]] {
        let printed = output(Command::new(env!("CARGO_BIN_EXE_guideway")).args(words));
        assert!(printed.status.success(), "{words:?}: {}", told(&printed));
        let file = lab.write("install.yaml", &String::from_utf8(printed.stdout).unwrap());
        cluster.kubectl(&["apply", "--filename", &file.display().to_string()]);
    }
    let pool = r#"{"apiVersion": "guideway.dev/v1alpha1", "kind": "AddressPool",
        "metadata": {"name": "few"}, "spec": {"addresses": ["203.0.113.200"], "autoAssign": false}}"#;
    let file = lab.write("pool.json", pool);
    cluster.kubectl(&["apply", "--filename", &file.display().to_string()]);
    let kubeconfig = kubeconfig(lab, cluster);
    let mut config = Config::new(&["e0", "e1"], "10.210.0.10");
    config.snat.push("{ address: fd00:210::10, ports: 1024-65535 }".to_owned());
    config.lines.push(format!(
        "kubernetes:\n  - name: main\n    kubeconfig: {kubeconfig}\n    default: true\n    pools:\n      \
         - {{ name: web, addresses: [203.0.113.10-203.0.113.99, \"2001:db8:113::/120\"] }}\n\
         services: []"
    ));
    Guideway::start(lab, &cluster.machine("lb"), &config)
}

/// With the token of its own account.
fn kubeconfig(lab: &Lab, cluster: &Cluster<'_>) -> String {
    let token = cluster.kubectl(&["create", "token", "guideway", "--namespace", "kube-system"]);
    let shown = cluster.kubectl(&["config", "view", "--raw", "--output", "json"]);
    let mut config: Value = serde_json::from_str(&shown).unwrap();
    config["users"][0]["user"] = json!({ "token": token.trim() });
    lab.write("guideway.kubeconfig", &config.to_string()).display().to_string()
}

/// A Deployment and a Service of `type: LoadBalancer` before it.
pub fn expose(space: &Space, name: &str, replicas: usize) {
    space.deploy(name, replicas);
    space.kubectl(&[
        "expose",
        "deployment",
        name,
        "--type=LoadBalancer",
        "--port=80",
        "--target-port=http",
    ]);
    space.wait_for_pods(name, replicas);
}

pub fn service(space: &Space, name: &str) -> Value {
    space.get(&["service", name])
}

pub fn addresses(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().map(|one| text(&one["ip"])).collect()
}

pub fn wait_for_addresses(space: &Space, name: &str, count: usize) -> Vec<String> {
    watch(&format!("{count} addresses of {name}"), SOON, || {
        let service = service(space, name);
        let found = addresses(&service);
        if found.len() == count { Ok(found) } else { Err(service["status"].to_string()) }
    })
}

/// Our condition: reason and message.
pub fn wait_for_reason(space: &Space, name: &str, reason: &str) -> String {
    watch(&format!("{reason} of {name}"), SOON, || {
        let service = service(space, name);
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ours = conditions.into_iter().find(|one| one["type"] == "guideway.dev/Ready");
        match ours {
            Some(ours) if ours["reason"] == reason => Ok(text(&ours["message"])),
            other => Err(format!("{other:?}")),
        }
    })
}

pub fn wait_for_answer(space: &Space, address: &str) -> String {
    let client = space.cluster.machine("cl");
    let url = url(address);
    watch(&format!("an answer of {address}"), SOON, || get(&client, &url))
}

pub fn url(address: &str) -> String {
    if address.contains(':') {
        format!("http://[{address}]/hostname")
    } else {
        format!("http://{address}/hostname")
    }
}

pub fn claims(space: &Space) -> Vec<Value> {
    space.cluster.get(&["addressclaims"])["items"].as_array().unwrap().clone()
}

fn an_address_and_answers(space: &Space) {
    expose(space, "web", 3);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    assert!(vip.starts_with("203.0.113."), "{vip}");
    wait_for_answer(space, &vip);
    let client = space.cluster.machine("cl");
    let pods = space.wait_for_pods("web", 3);
    let names: BTreeSet<String> = pods.into_iter().map(|pod| pod.name).collect();
    let answered: BTreeSet<String> = (0..40).map(|_| get(&client, &url(&vip)).unwrap()).collect();
    assert_eq!(answered, names, "all pods, by one address");

    let service = service(space, "web");
    let finalizers = service["metadata"]["finalizers"].to_string();
    for wanted in ["guideway.dev/release", "service.kubernetes.io/load-balancer-cleanup"] {
        assert!(finalizers.contains(wanted), "{finalizers}");
    }
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ipMode"], "Proxy");
    let claim = space.cluster.get(&["addressclaim", &vip]);
    assert_eq!(claim["spec"]["holders"][0]["uid"], service["metadata"]["uid"]);
    let events = space.kubectl(&["get", "events", "--field-selector", "reason=AddressAssigned"]);
    assert!(events.contains(&format!("{vip} assigned")), "{events}");
    // Nothing is written when nothing has changed.
    let before = service["metadata"]["resourceVersion"].clone();
    space.patch("deployment/web", &json!({ "spec": { "replicas": 2 } }));
    space.wait_for_endpoints("web", 2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(self::service(space, "web")["metadata"]["resourceVersion"], before);
}

fn one_address_of_each_family(space: &Space) {
    space.deploy("web", 2);
    space.apply(
        "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec:\n  type: LoadBalancer\n  \
         ipFamilyPolicy: RequireDualStack\n  selector: { app: web }\n  \
         ports: [{ port: 80, targetPort: http }]\n",
    );
    space.wait_for_pods("web", 2);
    let vips = wait_for_addresses(space, "web", 2);
    assert!(vips.iter().any(|vip| vip.contains(':')), "{vips:?}");
    for vip in &vips {
        wait_for_answer(space, vip);
    }
    space.patch(
        "service/web",
        &json!({ "spec": { "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"] } }),
    );
    let left = wait_for_addresses(space, "web", 1);
    assert!(!left[0].contains(':') && vips.contains(&left[0]), "{left:?} of {vips:?}");
}

fn only_our_classes(space: &Space) {
    space.deploy("web", 1);
    for (name, class) in [("ours", "guideway.dev/external"), ("theirs", "example.org/other")] {
        space.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec:\n  \
             type: LoadBalancer\n  loadBalancerClass: {class}\n  selector: {{ app: web }}\n  \
             ports: [{{ port: 80, targetPort: http }}]\n"
        ));
    }
    let vip = wait_for_addresses(space, "ours", 1).remove(0);
    wait_for_answer(space, &vip);
    let theirs = service(space, "theirs");
    assert_eq!(theirs["status"], json!({ "loadBalancer": {} }));
    assert!(theirs["metadata"]["finalizers"].is_null(), "{theirs}");
    let managers = theirs["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("guideway"), "{managers}");
}

fn addresses_that_are_asked_for(space: &Space) {
    let asking = |name: &str, annotation: &str| {
        space.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  \
             annotations: {{ {annotation} }}\nspec:\n  type: LoadBalancer\n  \
             selector: {{ app: web }}\n  ports: [{{ port: 80 }}]\n"
        ));
    };
    asking("by-address", "guideway.dev/addresses: 203.0.113.77");
    assert_eq!(wait_for_addresses(space, "by-address", 1), ["203.0.113.77"]);
    asking("as-metallb", "metallb.io/loadBalancerIPs: 203.0.113.78");
    assert_eq!(wait_for_addresses(space, "as-metallb", 1), ["203.0.113.78"]);
    asking("by-pool", "guideway.dev/pool: few");
    assert_eq!(wait_for_addresses(space, "by-pool", 1), ["203.0.113.200"]);
    asking("late", "guideway.dev/pool: few");
    let why = wait_for_reason(space, "late", "AddressPoolExhausted");
    assert!(why.contains("all IPv4 addresses of few are in use"), "{why}");
    asking("taken", "guideway.dev/addresses: 203.0.113.77");
    let why = wait_for_reason(space, "taken", "AddressInUse");
    assert!(why.contains("203.0.113.77 is that of wishes/by-address"), "{why}");
    asking("nowhere", "guideway.dev/addresses: 192.0.2.1");
    wait_for_reason(space, "nowhere", "AddressNotInPool");
    let event = space.kubectl(&["get", "events", "--field-selector", "reason=AddressNotInPool"]);
    assert!(event.contains("192.0.2.1 is in no pool"), "{event}");

    // Another wish moves a service; one that cannot be had leaves it where it is.
    let wish = |address: &str| {
        let annotations = json!({ "guideway.dev/addresses": address });
        space.patch("service/by-address", &json!({ "metadata": { "annotations": annotations } }));
    };
    wish("203.0.113.200");
    wait_for_reason(space, "by-address", "AddressInUse");
    assert_eq!(addresses(&service(space, "by-address")), ["203.0.113.77"]);
    wish("203.0.113.79");
    watch("the other address", SOON, || {
        let found = addresses(&service(space, "by-address"));
        if found == ["203.0.113.79"] { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

fn one_address_for_two_services(space: &Space) {
    space.deploy("web", 1);
    for (name, port) in [
        ("tcp", "{ port: 80, targetPort: http }"),
        ("udp", "{ port: 80, protocol: UDP, targetPort: 8081 }"),
    ] {
        space.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  \
             annotations: {{ guideway.dev/share: both }}\nspec:\n  type: LoadBalancer\n  \
             selector: {{ app: web }}\n  ports: [{port}]\n"
        ));
        wait_for_addresses(space, name, 1);
    }
    let tcp = wait_for_addresses(space, "tcp", 1);
    assert_eq!(tcp, wait_for_addresses(space, "udp", 1));
    let pod = space.wait_for_pods("web", 1).remove(0).name;
    assert_eq!(wait_for_answer(space, &tcp[0]), pod);
    let client = space.cluster.machine("cl");
    let asked = format!("echo hostname | timeout 3 nc -u -w 1 {} 80", tcp[0]);
    watch("an answer by UDP", SOON, || {
        let said = told(&client.try_run(&asked)).trim().to_owned();
        if said == pod { Ok(()) } else { Err(said) }
    });
    // The first one goes: the address stays the other one's.
    space.kubectl(&["delete", "service", "tcp"]);
    watch("one holder", SOON, || {
        let claim = space.cluster.get(&["addressclaim", &tcp[0]]);
        let holders = claim["spec"]["holders"].as_array().unwrap().clone();
        if holders.len() == 1 { Ok(()) } else { Err(format!("{holders:?}")) }
    });
    assert_eq!(addresses(&service(space, "udp")), tcp);
}

fn only_those_clients(space: &Space) {
    expose(space, "web", 1);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    wait_for_answer(space, &vip);
    let client = space.cluster.machine("cl");
    let allow = |range: &str| {
        space.patch("service/web", &json!({ "spec": { "loadBalancerSourceRanges": [range] } }));
    };
    allow("192.0.2.0/24");
    watch("a client that is shut out", SOON, || {
        let answer = client.try_run(&format!("curl -sS -m 1 {}", url(&vip)));
        if answer.status.success() { Err("it answers".to_owned()) } else { Ok(()) }
    });
    allow("198.51.100.0/24");
    wait_for_answer(space, &vip);
}

fn another_type_and_back(space: &Space) {
    expose(space, "web", 1);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    wait_for_answer(space, &vip);
    let change = |to: &str| space.patch("service/web", &json!({ "spec": { "type": to } }));
    change("ClusterIP");
    watch("nothing of ours on it", SOON, || {
        let service = service(space, "web");
        let is_clean = service["metadata"]["finalizers"].is_null()
            && service["status"] == json!({ "loadBalancer": {} });
        if is_clean {
            Ok(())
        } else {
            Err(format!("{} {}", service["metadata"], service["status"]))
        }
    });
    let claim = space.cluster.get(&["addressclaim", &vip]);
    assert_eq!(claim["spec"]["holders"], json!([]), "it rests");
    change("LoadBalancer");
    assert_eq!(wait_for_addresses(space, "web", 1)[0], vip, "what clients know");
    wait_for_answer(space, &vip);
}

/// Every request a connection of its own, while all pods are replaced by others.
fn no_request_is_lost_by_a_rolling_update(space: &Space) {
    expose(space, "web", 4);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    wait_for_answer(space, &vip);
    let before: BTreeSet<String> =
        space.wait_for_pods("web", 4).into_iter().map(|pod| pod.name).collect();
    let (client, address) = (space.cluster.machine("cl"), url(&vip));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (asked, lost) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, mut lost) = (0, vec![]);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                asked += 1;
                lost.extend(get(&client, &address).err());
            }
            (asked, lost)
        });
        space.kubectl(&["rollout", "restart", "deployment", "web"]);
        space.kubectl(&["rollout", "status", "deployment", "web", "--timeout=60s"]);
        space.wait_for_pods("web", 4);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    let after = space.wait_for_pods("web", 4);
    assert!(after.iter().all(|pod| !before.contains(&pod.name)), "all are others");
    println!("{asked} requests during a rolling update, {} lost", lost.len());
    assert!(asked > 100, "{asked}");
    assert_eq!(lost, Vec::<String>::new());
}

/// Kubernetes takes 50 s to notice; new connections must not wait for that.
fn a_dead_node_is_left_quickly(space: &Space) {
    expose(space, "web", 3);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    wait_for_answer(space, &vip);
    let (client, switch) = (space.cluster.machine("cl"), space.cluster.machine("sw"));
    // Every node is known to answer.
    std::thread::sleep(Duration::from_secs(2));
    switch.run("ip link set n3 nomaster");
    let unplugged = std::time::Instant::now();
    let mut last_failure = Duration::ZERO;
    while unplugged.elapsed() < Duration::from_secs(8) {
        let asked = unplugged.elapsed();
        if !client.try_run(&format!("curl -sS -m 1 {}", url(&vip))).status.success() {
            last_failure = asked;
        }
    }
    switch.run("ip link set n3 master br0");
    println!(
        "the last new connection that failed began {last_failure:.1?} after the node was unplugged"
    );
    assert!(last_failure < Duration::from_secs(4), "{last_failure:?}");
}

fn a_deleted_namespace_does_not_hang(space: &Space) {
    for number in 0..5 {
        let name = format!("s{number}");
        space.kubectl(&["create", "service", "loadbalancer", &name, "--tcp=80"]);
    }
    for number in 0..5 {
        wait_for_addresses(space, &format!("s{number}"), 1);
    }
    let held = |space: &Space| {
        let is_held = |claim: &&Value| claim["spec"]["holders"][0]["namespace"] == "gone";
        claims(space).iter().filter(is_held).count()
    };
    assert_eq!(held(space), 5);
    space.cluster.kubectl(&["delete", "namespace", "gone", "--timeout=30s"]);
    assert_eq!(held(space), 0);
}

/// What the role lets through by `patch services`, the policy does not.
fn the_account_can_do_no_more(space: &Space) {
    space.kubectl(&["create", "service", "loadbalancer", "web", "--tcp=80"]);
    wait_for_addresses(space, "web", 1);
    let file = space.cluster.lab().path("guideway.kubeconfig");
    let config: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let token = text(&config["users"][0]["user"]["token"]);
    let server = text(&config["clusters"][0]["cluster"]["server"]);
    let client = space.cluster.machine("cl");
    // By itself: kubectl would do more than that.
    let as_guideway = |patch: &str| {
        let mut curl = client.command("curl");
        curl.args(["-sS", "-k", "-X", "PATCH", "--fail-with-body", "-d", patch]);
        curl.args(["-H", "Content-Type: application/merge-patch+json"]);
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        output(curl.arg(format!("{server}/api/v1/namespaces/role/services/web")))
    };
    for patch in [
        r#"{"spec": {"selector": {"app": "mine"}}}"#,
        r#"{"metadata": {"labels": {"a": "b"}}}"#,
        r#"{"metadata": {"annotations": {"a": "b"}}}"#,
    ] {
        let refused = as_guideway(patch);
        assert!(!refused.status.success(), "{patch}");
        assert!(
            told(&refused).contains("finalizers and status of a Service only"),
            "{}",
            told(&refused)
        );
    }
    let taken =
        as_guideway(r#"{"metadata": {"finalizers": ["guideway.dev/release", "example.org/x"]}}"#);
    assert!(taken.status.success(), "{}", told(&taken));
    space.patch("service/web", &json!({ "metadata": { "finalizers": ["guideway.dev/release"] } }));
}

/// With the API server gone forwarding goes on, and a restart begins with what was last known.
fn api_gone(lab: &Lab, cluster: &Cluster<'_>, guideway: Guideway) -> String {
    let space = Space::create(cluster, "api");
    expose(&space, "web", 2);
    let vip = wait_for_addresses(&space, "web", 1).remove(0);
    wait_for_answer(&space, &vip);
    // What is in force is kept within some seconds.
    std::thread::sleep(Duration::from_secs(4));
    cluster.signal("apiserver", "STOP");
    let client = cluster.machine("cl");
    assert!(get(&client, &url(&vip)).is_ok());
    let config = std::fs::read_to_string(guideway.config()).unwrap();
    guideway.kill();
    let guideway = Guideway::start_text(lab, &cluster.machine("lb"), &config);
    wait_for_answer(&space, &vip);
    let status = guideway.status();
    assert!(status["clusters"][0]["known_unix_ms"].is_null(), "{}", status["clusters"]);
    cluster.signal("apiserver", "CONT");
    watch("the cluster to be known again", Duration::from_secs(60), || {
        let cluster = guideway.status()["clusters"][0].clone();
        if cluster["known_unix_ms"].is_null() { Err(cluster.to_string()) } else { Ok(()) }
    });
    assert!(get(&client, &url(&vip)).is_ok());
    let pods = guideway.service("api.web.80.tcp")["backends"].as_array().map(Vec::len);
    assert_eq!(pods, Some(2));
    drop(space);
    assert_eq!(guideway.terminate().code(), Some(0));
    config
}
