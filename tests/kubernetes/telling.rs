//! What people are told: `guideway kubernetes status`, the status of pools, events, and errors of ports.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::balancer::{SOON, expose, service, wait_for_addresses, wait_for_reason};
use crate::cluster::watch;
use crate::space::{Space, text};
use crate::support::{output, told};

/// `guideway kubernetes status` of the Guideway that runs.
pub fn status(space: &Space, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
    command.args(["kubernetes", "status", "--socket"]).arg(space.cluster.lab().path("admin.sock"));
    output(command.args(words))
}

/// What it tells of one Service of this namespace.
fn status_of(space: &Space, name: &str) -> Value {
    let asked = status(space, &[&format!("{}/{name}", space.name), "--output", "json"]);
    assert!(asked.status.success(), "{}", told(&asked));
    let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
    report["clusters"][0]["services"][0].clone()
}

fn wait_for_status(space: &Space, name: &str, wanted: &Value) -> Value {
    watch(&format!("{wanted} of {name}"), SOON, || {
        let found = status_of(space, name);
        let is_so = wanted.as_object().unwrap().iter().all(|(key, value)| found[key] == *value);
        if is_so { Ok(found) } else { Err(found.to_string()) }
    })
}

pub fn each_service_with_what_is_in_its_way(space: &Space) {
    expose(space, "web", 2);
    let vip = wait_for_addresses(space, "web", 1).remove(0);
    let found = wait_for_status(space, "web", &json!({ "ready": 2, "state": "serving" }));
    assert_eq!(found["addresses"], json!([{ "address": vip, "pool": "web" }]));
    assert_eq!((&found["target"], &found["source"]), (&json!("pods"), &json!("snat")));
    assert_eq!(found["services"], json!([format!("{}.web.80.tcp", space.name)]));

    space.patch("deployment/web", &json!({ "spec": { "replicas": 0 } }));
    // The last pods may be there for a while, draining.
    let why = "there is no endpoint: does a pod have the labels of its selector?";
    let wanted = json!({ "ready": 0, "state": "no_endpoint", "message": why });
    wait_for_status(space, "web", &wanted);

    space.apply(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: late\n  \
         annotations: { guideway.dev/pool: nowhere }\nspec:\n  type: LoadBalancer\n  \
         selector: { app: web }\n  ports: [{ port: 80 }]\n",
    );
    let wanted = json!({ "state": "no_address", "reason": "UnknownAddressPool" });
    wait_for_status(space, "late", &wanted);

    let shown = told(&status(space, &[]));
    let line = |begin: &str| shown.lines().find(|line| line.starts_with(begin)).map(str::to_owned);
    println!("{shown}");
    assert!(line("main ").is_some_and(|line| line.contains("yes")), "{shown}");
    let late = line(&format!("{}/late", space.name)).unwrap();
    assert!(late.contains("UnknownAddressPool: there is no pool `nowhere`"), "{late}");
    assert!(line("web ").is_some_and(|line| line.contains("ipv4")), "{shown}");
    assert_eq!(status(space, &["nowhere/web"]).status.code(), Some(2));
}

fn pool(space: &Space) -> Value {
    space.cluster.get(&["addresspool", "counted"])
}

fn wait_for_count(space: &Space, wanted: [u64; 4]) {
    let [addresses, used, resting, free] = wanted;
    let wanted = json!({ "addresses": addresses, "used": used, "resting": resting, "free": free });
    watch(&format!("{wanted}"), SOON, || {
        let found = pool(space)["status"]["ipv4"].clone();
        if found == wanted { Ok(()) } else { Err(found.to_string()) }
    });
}

pub fn pools_and_what_a_service_does_not_get(space: &Space) {
    space.apply(
        "apiVersion: guideway.dev/v1alpha1\nkind: AddressPool\nmetadata: { name: counted }\nspec:\n  \
         addresses: [203.0.113.220-203.0.113.222, \"2001:db8:113:1::/64\"]\n  \
         autoAssign: false\n  reuseAfterSeconds: 1\n",
    );
    wait_for_count(space, [3, 0, 0, 3]);
    assert_eq!(pool(space)["status"]["ipv6"]["free"], i64::MAX);
    space.apply(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: asks\n  \
         annotations: { guideway.dev/pool: counted }\nspec:\n  type: LoadBalancer\n  \
         externalTrafficPolicy: Local\n  selector: { app: web }\n  ports:\n  \
         - { name: a, port: 80 }\n  - { name: b, port: 9, targetPort: 10, protocol: SCTP }\n",
    );
    wait_for_addresses(space, "asks", 1);
    wait_for_count(space, [3, 1, 0, 2]);
    let why = wait_for_reason(space, "asks", "ProtocolNotSupported");
    assert!(why.contains("sctp 9 is not balanced") && why.contains("the client's"), "{why}");
    let ports = &service(space, "asks")["status"]["loadBalancer"]["ingress"][0]["ports"];
    let error = "guideway.dev/ProtocolNotSupported";
    assert_eq!(
        *ports,
        json!([
            { "port": 80, "protocol": "TCP" },
            { "port": 9, "protocol": "SCTP", "error": error },
        ])
    );
    // Told once, though something else changes.
    space.patch("service/asks", &json!({ "metadata": { "labels": { "a": "b" } } }));
    let counted = |reason: &str| {
        let events = space.get(&["events", "--field-selector", &format!("reason={reason}")]);
        events["items"].as_array().unwrap().len()
    };
    for reason in ["ProtocolNotSupported", "ClientAddressHidden"] {
        watch(reason, SOON, || {
            let count = counted(reason);
            if count == 1 { Ok(()) } else { Err(format!("{count} events")) }
        });
    }

    // Nothing is written while nothing changes, though pools are counted each ten seconds.
    let version = |object: &Value| text(&object["metadata"]["resourceVersion"]);
    let before = (version(&pool(space)), version(&service(space, "asks")));
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!((version(&pool(space)), version(&service(space, "asks"))), before);

    space.kubectl(&["delete", "service", "asks"]);
    wait_for_count(space, [3, 0, 0, 3]);
    space.cluster.kubectl(&["delete", "addresspool", "counted"]);
}
