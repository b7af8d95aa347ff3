//! A Kubernetes namespace of a part of a test, and what parts do in it.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, watch};

/// Time for what ought to take a second or two, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(40);

/// A Kubernetes namespace. It is deleted when this is dropped.
pub struct Space<'a> {
    pub cluster: &'a Cluster<'a>,
    pub name: String,
}

/// A pod that is ready.
#[derive(Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    /// Of each family that the cluster has, IPv4 first.
    pub addresses: Vec<String>,
    pub node: String,
}

impl<'a> Space<'a> {
    pub fn create(cluster: &'a Cluster<'a>, name: &str) -> Space<'a> {
        cluster.kubectl(&["create", "namespace", name]);
        Space { cluster, name: name.to_owned() }
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, words: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", &self.name], words].concat())
    }

    /// `kubectl get` in this namespace, as JSON.
    pub fn get(&self, words: &[&str]) -> Value {
        self.cluster.get(&[&["--namespace", &self.name], words].concat())
    }

    /// Applies objects, as YAML.
    pub fn apply(&self, yaml: &str) {
        let path = self.cluster.lab().write("apply.yaml", yaml);
        self.kubectl(&["apply", "--filename", &path.display().to_string()]);
    }

    /// Changes an object by a JSON merge patch.
    pub fn patch(&self, object: &str, patch: &Value) {
        self.kubectl(&["patch", object, "--type", "merge", "--patch", &patch.to_string()]);
    }

    /// A Deployment of web servers that tell their pod's name at `:8080/hostname`. They stop two
    /// seconds after they are told to, as servers behind a balancer should.
    pub fn deploy(&self, name: &str, replicas: usize) {
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.56
          args: [netexec, --http-port=8080, --udp-port=8081]
          ports: [{{ name: http, containerPort: 8080 }}]
          readinessProbe: {{ httpGet: {{ path: /healthz, port: http }}, periodSeconds: 1 }}
          lifecycle: {{ preStop: {{ sleep: {{ seconds: 2 }} }} }}
"
        ));
    }

    /// Waits until this many of an application's pods are ready and no other is there.
    pub fn wait_for_pods(&self, app: &str, count: usize) -> Vec<Pod> {
        watch(&format!("{count} pods of {app}"), SOON, || {
            let pods = self.get(&["pods", "--selector", &format!("app={app}")]);
            let pods = pods["items"].as_array().unwrap();
            let ready: Vec<_> = pods.iter().filter_map(ready_pod).collect();
            let seen = format!("{} are there, {} of them ready", pods.len(), ready.len());
            if ready.len() == count && pods.len() == count { Ok(ready) } else { Err(seen) }
        })
    }

    /// Waits until a service's slices have this many ready endpoints; their addresses, in order.
    pub fn wait_for_endpoints(&self, service: &str, count: usize) -> Vec<String> {
        watch(&format!("{count} endpoints of {service}"), SOON, || {
            let selector = format!("kubernetes.io/service-name={service}");
            let slices = self.get(&["endpointslices", "--selector", &selector]);
            let slices = slices["items"].as_array().unwrap();
            let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array());
            let ready = endpoints.flatten().filter(|one| one["conditions"]["ready"] == true);
            let mut found: Vec<_> = ready.map(|one| text(&one["addresses"][0])).collect();
            found.sort();
            if found.len() == count { Ok(found) } else { Err(format!("{found:?}")) }
        })
    }

    /// Prints what is in it, after a failure.
    pub fn show(&self) {
        let what = "pods,services,endpointslices,events";
        let shown = ["get", what, "--output", "wide", "--namespace", &self.name];
        println!("{}", crate::support::told(&self.cluster.try_kubectl(&shown)));
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        // The next part does not wait for it.
        self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

fn ready_pod(pod: &Value) -> Option<Pod> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    conditions.iter().any(is_ready).then(|| Pod {
        name: text(&pod["metadata"]["name"]),
        addresses: pod["status"]["podIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| text(&one["ip"]))
            .collect(),
        node: text(&pod["spec"]["nodeName"]),
    })
}

/// A JSON string's text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
