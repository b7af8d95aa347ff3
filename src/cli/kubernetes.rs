//! `guideway kubernetes`: what a cluster has to know of Guideway.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::source::kubernetes::crds::DEFINITIONS;

/// What a Kubernetes cluster has to know of Guideway.
#[derive(clap::Args, Debug)]
pub struct KubernetesArgs {
    #[command(subcommand)]
    command: KubernetesCommand,
}

#[derive(clap::Subcommand, Debug)]
enum KubernetesCommand {
    /// Print the CustomResourceDefinitions: `guideway kubernetes crds | kubectl apply -f -`.
    Crds,
    /// Print the account, its role and what limits it: `guideway kubernetes role | kubectl apply -f -`.
    Role(RoleArgs),
}

/// Whose role.
#[derive(clap::Args, Debug)]
struct RoleArgs {
    /// The namespace of the account, and of the Lease.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    namespace: String,
    /// The account's name.
    #[arg(long, value_name = "NAME", default_value = "guideway")]
    account: String,
}

/// Runs the command.
pub fn run(args: &KubernetesArgs) -> ExitCode {
    let printed = match &args.command {
        KubernetesCommand::Crds => Ok(DEFINITIONS.to_string()),
        KubernetesCommand::Role(args) => {
            let texts = role(&args.namespace, &args.account);
            let texts: Result<Vec<String>, _> = texts.iter().map(serde_saphyr::to_string).collect();
            texts.map(|texts| texts.join("---\n"))
        }
    };
    match printed {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guideway: {error:#}");
            ExitCode::FAILURE
        }
    }
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
