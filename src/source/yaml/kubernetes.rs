//! `kubernetes:` -> [`KubernetesSpec`].

use super::feeds::name;
use super::reader::Section;
use super::scalar::{Scalar, Wrong, boolean, choice, duration_ms, number, path, text};
use super::schema;
use crate::control::{AddressPoolSpec, KubernetesSpec};
use crate::source::kubernetes::pool::Block;
use crate::source::kubernetes::way::Target;

/// More is a mistake: each takes some connections.
const MOST_CLUSTERS: usize = 16;
/// What is ours where nothing is said.
const CLASS: &str = "guideway.dev/external";
const DAY_MS: u32 = 24 * 60 * 60 * 1000;
static TARGETS: [(&str, Target); 3] = Target::WORDS;
static SOURCES: [(&str, &str); 2] = [("snat", "snat"), ("keep", "keep")];

pub(super) fn read(root: &Section<'_>) -> Option<Vec<KubernetesSpec>> {
    let clusters = root.maps("kubernetes", &schema::KUBERNETES, cluster)?;
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    root.own_names("kubernetes", MOST_CLUSTERS, &names)?;
    Some(clusters)
}

fn cluster(section: &Section<'_>) -> Option<KubernetesSpec> {
    let name_of_it = section.get("name", name);
    let kubeconfig = section.optional("kubeconfig", path);
    let context = section.optional("context", text);
    let classes = section.scalars("classes", class);
    let default = section.get("default", boolean);
    let manager = section.get("manager", label);
    let lease_namespace = section.get("lease_namespace", label);
    let pools = section.maps("pools", &schema::ADDRESS_POOL, pool);
    let names: Vec<&str> = pools.iter().flatten().map(|pool| pool.name.as_str()).collect();
    section.own_names("pools", usize::MAX, &names)?;
    Some(KubernetesSpec {
        name: name_of_it?,
        kubeconfig: kubeconfig?,
        context: context?,
        classes: classes?.unwrap_or_else(|| vec![CLASS.to_string()]),
        default: default?,
        manager: manager?,
        lease_namespace: lease_namespace?,
        pools: pools?,
    })
}

fn pool(section: &Section<'_>) -> Option<AddressPoolSpec> {
    let name_of_it = section.get("name", name);
    let addresses = section.scalars("addresses", addresses);
    let auto_assign = section.get("auto_assign", boolean);
    let priority = section.get("priority", number(0..=u64::from(u32::MAX)));
    let skip_ends = section.get("skip_ends", boolean);
    let namespaces = section.scalars("namespaces", label);
    let reuse_after_ms = section.get("reuse_after", duration_ms(0, DAY_MS));
    let share_across_namespaces = section.get("share_across_namespaces", boolean);
    let target = section.get("target", choice(&TARGETS));
    let source = section.get("source", choice(&SOURCES));
    let addresses = addresses?.unwrap_or_default();
    if addresses.is_empty() {
        section.refuse("addresses", "it is empty", "at least one network, range or address");
        return None;
    }
    Some(AddressPoolSpec {
        name: name_of_it?,
        addresses,
        auto_assign: auto_assign?,
        priority: priority?,
        skip_ends: skip_ends?,
        namespaces: namespaces?.unwrap_or_default(),
        reuse_after_ms: reuse_after_ms?,
        share_across_namespaces: share_across_namespaces?,
        target: target?.word().to_string(),
        source: source?.to_string(),
    })
}

fn addresses(scalar: Scalar<'_>) -> Result<String, Wrong> {
    let text = text(scalar)?;
    let wanted = "`203.0.113.0/24`, `203.0.113.10-203.0.113.20` or one address";
    match Block::parse(&text) {
        Ok(_) => Ok(text),
        Err(problem) => Err(Wrong { problem, wanted: wanted.to_string(), hint: None }),
    }
}

/// As the API has names of namespaces (RFC 1123).
fn label(scalar: Scalar<'_>) -> Result<String, Wrong> {
    let text = text(scalar)?;
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if !text.is_empty() && text.len() <= 63 && ends && text.bytes().all(is_good) {
        return Ok(text);
    }
    let wanted = "1 to 63 of a-z 0-9 -, no - at its ends".to_string();
    Err(Wrong { problem: "no name that Kubernetes takes".to_string(), wanted, hint: None })
}

/// As the API has it: a label, or one behind a domain.
fn class(scalar: Scalar<'_>) -> Result<String, Wrong> {
    let text = text(scalar)?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if text.len() <= 253 && text.bytes().all(is_good) && text.matches('/').count() <= 1 {
        return Ok(text);
    }
    let wanted = "a class such as `guideway.dev/external`".to_string();
    Err(Wrong { problem: "no class that Kubernetes takes".to_string(), wanted, hint: None })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_refused_of_clusters() {
        let rows = [
            ("name: a", ""),
            ("name: a, kubeconfig: /k, classes: [a.b/c, d], default: true", ""),
            ("name: a, pools: [{ name: p, addresses: [203.0.113.0/24, \"2001:db8::/64\"] }]", ""),
            ("name: A", "kubernetes[0].name: no name"),
            ("name: a, kubeconfig: k", "kubernetes[0].kubeconfig: `k` is not a whole path"),
            ("name: a, classes: [\"a b\"]", "kubernetes[0].classes[0]: no class"),
            ("name: a, manager: -x", "kubernetes[0].manager: no name that Kubernetes takes"),
            (
                "name: a, pools: [{ name: p, addresses: [] }]",
                "kubernetes[0].pools[0].addresses: it is empty",
            ),
            (
                "name: a, pools: [{ name: p, addresses: [203.0.113.0/40] }]",
                "kubernetes[0].pools[0].addresses[0]: `203.0.113.0/40` has a longer prefix",
            ),
            (
                "name: a, pools: [{ name: p, addresses: [10.0.0.1] }, { name: p, addresses: [::1] }]",
                "kubernetes[0].pools[1].name: `p` is pools[0] already",
            ),
            (
                "name: a, pools: [{ name: p, addresses: [10.0.0.1], target: nodePorts, source: keep }]",
                "",
            ),
            (
                "name: a, pools: [{ name: p, addresses: [10.0.0.1], target: node }]",
                "kubernetes[0].pools[0].target: `node` is not known",
            ),
            ("name: a }, { name: a", "kubernetes[1].name: `a` is kubernetes[0] already"),
        ];
        for (cluster, wanted) in rows {
            let file = "version: 1\ninterfaces: [{ name: eth1 }]\nservices: []\nkubernetes: [{ CLUSTER }]\n"
                .replace("CLUSTER", cluster);
            match crate::source::yaml::parse("f", &file) {
                Ok(_) => assert_eq!(wanted, "", "{cluster}"),
                Err(error) => {
                    let told = error.to_string();
                    assert!(!wanted.is_empty() && told.contains(wanted), "{cluster}: {told}");
                }
            }
        }
    }
}
