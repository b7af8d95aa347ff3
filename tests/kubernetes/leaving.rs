//! How services, and a whole cluster, leave Guideway: orphans, and `guideway kubernetes release`.

use std::process::Output;

use serde_json::{Value, json};

use crate::balancer::{
    SOON, addresses, claims, expose, service, wait_for_addresses, wait_for_answer, wait_for_reason,
};
use crate::cluster::{Cluster, watch};
use crate::space::Space;
use crate::support::{Guideway, Lab, output, told};
use crate::telling::status;

/// With the account of an operator, from somewhere else.
fn release(space: &Space, words: &[&str]) -> Output {
    let kubeconfig = space.cluster.lab().path("cluster").join("kubeconfig");
    let mut command = space.cluster.machine("cl").command(env!("CARGO_BIN_EXE_guideway"));
    command.args(["kubernetes", "release", "--kubeconfig"]).arg(kubeconfig).env("NO_COLOR", "1");
    let released = output(command.args(words));
    println!("guideway kubernetes release {}\n{}", words.join(" "), told(&released));
    released
}

/// Nothing of ours is on it.
fn is_clean(service: &Value) -> bool {
    service["metadata"]["finalizers"].is_null()
        && service["status"] == json!({ "loadBalancer": {} })
}

/// `config` is that of a Guideway for which services without a class are its own.
pub fn leave(lab: &Lab, cluster: &Cluster<'_>, config: &str) {
    let space = Space::create(cluster, "leave");
    let lb = cluster.machine("lb");
    let guideway = Guideway::start_text(lab, &lb, config);
    for name in ["web", "api"] {
        expose(&space, name, 1);
    }
    let vips = ["web", "api"].map(|name| wait_for_addresses(&space, name, 1).remove(0));
    vips.iter().for_each(|vip| drop(wait_for_answer(&space, vip)));

    // What is Guideway's by its class would be taken back at once.
    let kept = release(&space, &["leave/web", "--yes"]);
    assert_eq!(kept.status.code(), Some(1), "{}", told(&kept));
    assert!(told(&kept).contains("1 stay: "), "{}", told(&kept));
    assert_eq!(addresses(&service(&space, "web")), [vips[0].clone()]);
    assert_eq!(guideway.terminate().code(), Some(0));

    let config = config.replace("default: true", "default: false");
    let guideway = Guideway::start_text(lab, &lb, &config);
    orphans(&space, &vips);
    assert_eq!(guideway.terminate().code(), Some(0));
    uninstall(space);
}

/// Of a configuration that has their class no more: they are served until they are released.
fn orphans(space: &Space, vips: &[String; 2]) {
    let why = wait_for_reason(space, "web", "Orphaned");
    assert!(why.contains("`guideway kubernetes release leave/web`"), "{why}");
    let events = space.kubectl(&["get", "events", "--field-selector", "reason=Orphaned"]);
    assert!(events.contains("service/web") && events.contains("service/api"), "{events}");
    let shown = told(&status(space, &["leave/web"]));
    assert!(shown.contains("orphaned"), "{shown}");
    vips.iter().for_each(|vip| drop(wait_for_answer(space, vip)));

    let asked = release(space, &["leave/web"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(told(&asked).contains("--yes says so"), "{}", told(&asked));
    assert_eq!(addresses(&service(space, "web")), [vips[0].clone()], "nothing was changed");
    let released = release(space, &["leave/web", "--yes"]);
    assert!(released.status.success(), "{}", told(&released));
    assert!(is_clean(&service(space, "web")), "{}", service(space, "web"));
    assert_eq!(release(space, &["leave/web"]).status.code(), Some(2), "it is not Guideway's");
    watch("nobody who answers", SOON, || {
        let client = space.cluster.machine("cl");
        let answer = client.try_run(&format!("curl -sS -m 1 http://{}/hostname", vips[0]));
        if answer.status.success() { Err("it answers".to_owned()) } else { Ok(()) }
    });
    wait_for_answer(space, &vips[1]);
}

/// Without a Guideway that could take a finalizer off.
fn uninstall(space: Space) {
    let cluster = space.cluster;
    cluster.kubectl(&["delete", "namespace", "leave", "--wait=false"]);
    watch("only what waits for its finalizers", SOON, || {
        let (pods, left) = (space.get(&["pods"]), space.get(&["services"]));
        let count = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
        let is_it = left["items"][0]["metadata"]["name"] == "api" && count(&left) == 1;
        if is_it && count(&pods) == 0 { Ok(()) } else { Err(format!("{} pods", count(&pods))) }
    });
    let released = release(&space, &["--all", "--yes"]);
    assert!(released.status.success(), "{}", told(&released));
    cluster.kubectl(&["wait", "--for=delete", "namespace/leave", "--timeout=30s"]);
    assert_eq!(claims(&space), Vec::<Value>::new());
    let again = release(&space, &["--all"]);
    assert!(told(&again).contains("there is nothing to release"), "{}", told(&again));
}
