//! What a cluster has to know of Guideway: its account, its role, and what limits that.

use serde_json::{Value, json};

/// Whose role.
#[derive(clap::Args, Debug)]
pub struct RoleArgs {
    /// The namespace of the account, and of the Lease.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub namespace: String,
    /// The account's name.
    #[arg(long, value_name = "NAME", default_value = "guideway")]
    pub account: String,
}

/// All that Guideway asks a cluster for, and no more.
pub fn role(namespace: &str, account: &str) -> Vec<Value> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let subjects = json!([{ "kind": "ServiceAccount", "name": account, "namespace": namespace }]);
    let rbac = "rbac.authorization.k8s.io/v1";
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": account, "namespace": namespace },
        }),
        json!({
            "apiVersion": rbac, "kind": "ClusterRole", "metadata": { "name": account },
            "rules": [
                // `patch` for finalizers: the policy below leaves it no more than that.
                rule("", &["services"], &["get", "list", "watch", "patch"]),
                rule("", &["services/status"], &["patch"]),
                rule("", &["nodes"], &["list", "watch"]),
                rule("discovery.k8s.io", &["endpointslices"], &["list", "watch"]),
                rule("guideway.dev", &["addresspools"], &["list", "watch"]),
                rule("guideway.dev", &["addresspools/status"], &["patch"]),
                rule(
                    "guideway.dev",
                    &["addressclaims"],
                    &["get", "list", "watch", "create", "update", "delete"],
                ),
                rule("events.k8s.io", &["events"], &["create", "patch"]),
            ],
        }),
        json!({
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": account },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account },
            "subjects": subjects,
        }),
        json!({
            "apiVersion": rbac, "kind": "Role",
            "metadata": { "name": account, "namespace": namespace },
            "rules": [rule("coordination.k8s.io", &["leases"], &["get", "create", "update"])],
        }),
        json!({
            "apiVersion": rbac, "kind": "RoleBinding",
            "metadata": { "name": account, "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account },
            "subjects": subjects,
        }),
        policy(namespace, account),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": account },
            "spec": { "policyName": account, "validationActions": ["Deny"] },
        }),
    ]
}

/// A role cannot say "finalizers only"; this does.
fn policy(namespace: &str, account: &str) -> Value {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let same = |what: &str| format!("object.{what} == oldObject.{what}");
    let labels = "(has(object.metadata.labels) ? object.metadata.labels : {}) == \
                  (has(oldObject.metadata.labels) ? oldObject.metadata.labels : {})";
    let annotations = "(has(object.metadata.annotations) ? object.metadata.annotations : {}) == \
                       (has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {})";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": account },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                "resources": ["services"],
            }] },
            "matchConditions": [{
                "name": "guideway", "expression": format!("request.userInfo.username == '{user}'"),
            }],
            "validations": [{
                "expression": format!("{} && {labels} && {annotations}", same("spec")),
                "message": "Guideway may change finalizers and status of a Service only",
            }],
        },
    })
}
