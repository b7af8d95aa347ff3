//! Objects of the API, made quickly.

use std::net::Ipv4Addr;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::peer::{PORT, REAL};

/// Requests at a time.
const AT_A_TIME: usize = 12;
pub const SPACE: &str = "default";
pub const ENDPOINTS: usize = 20;
/// Made by hand, so that no controller takes them away.
const MADE_BY: &str = "guideway-bench";

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version =
        if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version,
        kind: kind.into(),
        plural: plural.into(),
    }
}

pub fn services(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), SPACE, &resource("", "v1", "Service", "services"))
}

pub fn slices(client: &Client) -> Api<DynamicObject> {
    let kind = resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    Api::namespaced_with(client.clone(), SPACE, &kind)
}

/// What no controller looks after: without a selector, and without node ports, which there are too few of.
pub fn service(name: &str, class: Option<&str>) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "labels": { "bench": "yes" } },
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{ "name": "p", "port": 80, "protocol": "UDP", "targetPort": PORT }],
        },
    });
    if let Some(class) = class {
        service["spec"]["loadBalancerClass"] = json!(class);
    }
    service
}

/// Endpoints of a service, none of which there is.
pub fn invented(number: usize) -> Vec<Ipv4Addr> {
    (0..ENDPOINTS)
        .map(|place| {
            let all = u32::try_from(number * ENDPOINTS + place).unwrap_or_default();
            Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 100, 0, 0)) + all)
        })
        .collect()
}

pub fn slice(service: &str, addresses: &[Ipv4Addr]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": MADE_BY,
            },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "p", "port": PORT, "protocol": "UDP" }],
        "endpoints": endpoints(addresses),
    })
}

fn endpoints(addresses: &[Ipv4Addr]) -> Value {
    let endpoint = |address: &Ipv4Addr| {
        json!({
            "addresses": [address], "nodeName": "n1",
            "conditions": { "ready": true, "serving": true, "terminating": false },
        })
    };
    addresses.iter().map(endpoint).collect()
}

/// Makes services with their slices.
pub async fn make(
    client: &Client,
    names: Vec<(usize, String)>,
    class: Option<&str>,
) -> anyhow::Result<()> {
    stream::iter(names)
        .map(|(number, name)| async move {
            create(&services(client), service(&name, class)).await?;
            create(&slices(client), slice(&name, &invented(number))).await
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

pub async fn create(api: &Api<DynamicObject>, object: Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let name = object.metadata.name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &object).await.with_context(|| format!("making {name}"))?;
    Ok(())
}

/// Another set of endpoints.
pub async fn change(client: &Client, service: &str, addresses: &[Ipv4Addr]) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({ "endpoints": endpoints(addresses) }));
    let name = format!("{service}-1");
    slices(client).patch(&name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The service whose packets are sent: its only endpoint is a real one.
pub async fn make_probed(client: &Client, name: &str) -> anyhow::Result<()> {
    create(&services(client), service(name, None)).await?;
    create(&slices(client), slice(name, &REAL[..1])).await
}
