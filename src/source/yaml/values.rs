//! Services as plain values, such as a feed sends: read by the same rules as those of a file, and
//! refused in the same words.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::error::{ConfigError, Finding, Place};
use super::reader::{Findings, Item, Section};
use super::schema::{self, Schema};
use super::tree::{Kind, Node, is_null};
use super::{desired, open_root, parse_by, refuse_size, scalar};
use crate::control::{Refusal, ServiceSpec};
use crate::forwarding::FlowTimeouts;

pub use super::feeds::host_of;
pub use super::folder::names as names_in;

/// Keys whose values are numbers, or true or false; all others are texts. `port` is one only where a
/// range is no value.
const NUMBERS: &[&str] = &[
    "weight",
    "dscp",
    "max_flows",
    "table_size",
    "min_healthy",
    "gre_key",
    "gue_port",
    "gue_version",
    "rise",
    "fall",
];
const TRUTHS: &[&str] = &["shared_address", "gue_checksum", "verify", "backup", "drain", "healthy"];

/// Reads a service with the keys of `services[]`; what is null is not there. Its path in refusals is
/// `services[NAME]`.
///
/// # Errors
/// All that a file would be refused for, but for what the service may mean ([`control::validate_service`]
/// knows that).
///
/// [`control::validate_service`]: crate::control::validate_service
pub fn service_of(name: &str, value: &Value) -> Result<ServiceSpec, Vec<Refusal>> {
    let node = Node::of(value);
    let findings = Findings::default();
    let item = Item { node: &node, path: format!("services[{name}]") };
    let section = Section::open(item, &schema::SERVICE, &findings);
    let read = section.and_then(|section| desired::service(&section, &FlowTimeouts::default()));
    let found = findings.into_vec();
    match read.filter(|_| found.is_empty()) {
        Some(spec) => Ok(spec),
        None => Err(found.into_iter().map(refusal).collect()),
    }
}

fn refusal(finding: Finding) -> Refusal {
    let Finding { path, problem, wanted, hint, .. } = finding;
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    Refusal { path, problem, wanted: format!("{wanted}{hint}") }
}

/// What a file says that is served to balancers.
#[derive(Clone, PartialEq, Debug)]
pub struct Served {
    /// As the file says.
    pub revision: Option<u64>,
    /// Values of the services with their names, in the file's order.
    pub services: Vec<(String, Value)>,
}

/// Reads a file of services as values. Unknown keys and values of another kind are refused; what the
/// values mean is judged by the balancers.
///
/// # Errors
/// All problems that were found.
pub fn parse_served(name: &str, text: &str) -> Result<Served, ConfigError> {
    if let Some(error) = refuse_size(name, text) {
        return Err(error);
    }
    parse_by(name, text, served).map(|(_, _, served)| served)
}

fn served(tree: &Node, findings: &Findings) -> Option<Served> {
    let root = open_root(tree, &schema::SERVED, findings)?;
    root.get("version", scalar::number::<u32>(1..=1))?;
    let revision = root.optional("revision", scalar::number(1..=u64::MAX))?;
    let mut services: Vec<(String, Value)> = vec![];
    for Item { node, path } in root.list("services")?.unwrap_or_default() {
        let section = Section::open(Item { node, path: path.clone() }, &schema::SERVICE, findings)?;
        let name = section.get("name", scalar::text)?;
        if services.iter().any(|(other, _)| *other == name) {
            section.refuse("name", format!("`{name}` is there twice"), "a name of its own");
        }
        let value = value_of(node, &path, findings)?;
        services.push((name, value));
    }
    Some(Served { revision, services })
}

/// A tree's values; numbers and truths where the key says so.
fn value_of(node: &Node, path: &str, findings: &Findings) -> Option<Value> {
    let Kind::Map(entries) = &node.kind else { return one(node, "", path, findings) };
    let mut map = Map::new();
    for (key, node) in entries {
        let path = format!("{path}.{}", key.text);
        let value = match &node.kind {
            Kind::Map(_) => value_of(node, &path, findings)?,
            Kind::List(items) => {
                let item = |node: &Arc<Node>| value_of(node, &path, findings);
                Value::Array(items.iter().map(item).collect::<Option<_>>()?)
            }
            Kind::Scalar { text, plain: true } if is_null(text) => continue,
            Kind::Scalar { .. } => one(node, &key.text, &path, findings)?,
        };
        map.insert(key.text.clone(), value);
    }
    Some(Value::Object(map))
}

fn one(node: &Node, key: &str, path: &str, findings: &Findings) -> Option<Value> {
    let Kind::Scalar { text, .. } = &node.kind else { return Some(Value::Null) };
    // Of a service itself it may be `8000-8100`.
    let is_port = key == "port" && path.matches('.').count() > 1;
    let (value, wanted) = if NUMBERS.contains(&key) || is_port {
        let text = text.strip_suffix('%').map_or(text.as_str(), str::trim_end);
        let number = text.parse::<u32>().ok();
        (number.map(|number| Value::Number(Number::from(number))), "a number up to 4294967295")
    } else if TRUTHS.contains(&key) {
        (text.parse().ok().map(Value::Bool), "`true` or `false`")
    } else {
        (Some(Value::String(text.clone())), "")
    };
    if value.is_none() {
        findings.add(Finding::new(path, Some(node.place), node.noun(), wanted));
    }
    value
}

impl Node {
    /// The tree of a value, without places.
    fn of(value: &Value) -> Node {
        let kind = match value {
            Value::Object(map) => {
                let there = map.iter().filter(|(key, value)| !is_absent(key, value));
                let entry = |(key, value): (&String, &Value)| {
                    (
                        super::tree::Key { text: key.clone(), place: nowhere() },
                        Arc::new(Node::of(value)),
                    )
                };
                Kind::Map(there.map(entry).collect())
            }
            Value::Array(items) => {
                Kind::List(items.iter().map(|item| Arc::new(Node::of(item))).collect())
            }
            Value::String(text) => Kind::Scalar { text: text.clone(), plain: !is_null(text) },
            Value::Null => Kind::Scalar { text: String::new(), plain: true },
            other => Kind::Scalar { text: other.to_string(), plain: true },
        };
        Node::without_place(nowhere(), kind)
    }
}

/// Not set; an empty list is not set either, but for the backends, which have to be said.
fn is_absent(key: &str, value: &Value) -> bool {
    let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
    value.is_null() || is_empty_list && key != "backends"
}

fn nowhere() -> Place {
    Place::new(1, 1, 1)
}

/// All keys that a service may have, such as `affinity` or `health_check.body`.
pub fn features() -> Vec<String> {
    let schemas = [
        &schema::SERVICE,
        &schema::TUNNEL,
        &schema::SERVICE_TIMEOUTS,
        &schema::HEALTH_CHECK,
        &schema::BACKEND,
    ];
    let keys = |schema: &&Schema| {
        let of = schema.path.trim_start_matches("services[]").trim_start_matches('.');
        let of = of.trim_end_matches("[]").to_string();
        let name = move |key: &str| {
            if of.is_empty() { key.to_string() } else { format!("{of}.{key}") }
        };
        schema.fields.iter().map(|field| name(field.key)).collect::<Vec<_>>()
    };
    schemas.iter().flat_map(keys).collect()
}

/// The keys that a service has, by the names of [`features`].
pub fn used(value: &Value) -> Vec<String> {
    let mut names = vec![];
    collect(value, "", &mut names);
    names.sort();
    names.dedup();
    names
}

fn collect(value: &Value, of: &str, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, value)| !is_absent(key, value)) {
                let name = if of.is_empty() { key.clone() } else { format!("{of}.{key}") };
                collect(value, &name, names);
                names.push(name);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, of, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::yaml;

    /// Two services with about every key.
    const SERVICES: &str = "\
services:
  - name: web
    address: 10.1.0.100
    port: 8000-8010
    mode: gue
    tunnel: { dscp: 3, gue_port: 6081, gue_version: 1, gue_checksum: false }
    affinity: 10m
    max_flows: 7
    allow: [10.0.0.0/8, 192.168.0.0/16]
    mss: 1300
    table_size: 251
    min_healthy: 30 %
    slow_start: 30s
    timeouts: { udp: 10s, tcp_reset: 4m }
    health_check: { type: https, status: \"200-299,401\", verify: false, port: 8443, rise: 1 }
    health: feed
    backends:
      - { name: b1, address: 10.2.0.11, weight: 3, healthy: false }
      - { name: b2, address: 10.2.0.12, drain: true, backup: true }
  - name: dns
    address: 10.1.0.101
    port: 53
    protocol: udp
    backends: []
";

    #[test]
    fn a_service_of_values_is_that_of_a_file() {
        let file = format!(
            "version: 1\ninterfaces: [{{ name: eth1 }}]\nsnat: [{{ address: 10.1.0.10 }}]\n\
             tunnel_sources: [10.9.0.0/16]\n{SERVICES}"
        );
        let wanted = yaml::parse("f", &file).unwrap_or_else(|error| panic!("{error}")).desired;
        let served = parse_served("f", &format!("version: 1\n{SERVICES}")).unwrap();
        assert_eq!(served.services.len(), 2);
        for ((name, value), wanted) in served.services.iter().zip(&wanted.services) {
            assert_eq!(service_of(name, value).unwrap(), **wanted, "{name}");
        }
        let known = features();
        let used: Vec<String> = used(&served.services[0].1);
        assert!(used.contains(&"health_check.rise".to_string()), "{used:?}");
        assert!(used.contains(&"backends.healthy".to_string()), "{used:?}");
        assert!(used.iter().all(|name| known.contains(name)), "{used:?}");
    }

    #[test]
    fn refused_in_the_words_of_a_file() {
        let service = "name: web, address: 10.1.0.100, port: 80, backends: [], ";
        let rows = [
            "protocol: tpc",
            "affinity: 5",
            "min_healthy: 300",
            "health_check: { type: tcp, interval: 2 }",
            "mode: dscp",
        ];
        for row in rows {
            let text = format!("version: 1\nservices: [{{ {service}{row} }}]\n");
            let file = format!("{text}interfaces: [{{ name: eth1 }}]\n");
            let wanted = yaml::parse("f", &file).unwrap_err();
            let served = parse_served("f", &text).unwrap();
            let refused = service_of("web", &served.services[0].1).unwrap_err();
            assert_eq!(refused.len(), wanted.problems.len(), "{row}: {refused:?}");
            for (refusal, wanted) in refused.iter().zip(&wanted.problems) {
                assert_eq!(refusal.problem, wanted.problem, "{row}");
                assert!(refusal.wanted.starts_with(&wanted.wanted), "{row}: {refusal}");
                assert_eq!(refusal.path, wanted.path.replace("[0]", "[web]"), "{row}");
            }
        }
    }

    #[test]
    fn files_that_are_not_served() {
        let rows = [
            ("version: 1\nservices:\n  - { name: a, adress: x }\n", "unknown key"),
            ("version: 1\nservices: [{ name: a, max_flows: many }]\n", "a number"),
            ("version: 1\nservices: [{ name: a }, { name: a }]\n", "twice"),
            ("version: 1\ninterfaces: []\nservices: []\n", "unknown key"),
            ("services: []\n", "it is missing"),
        ];
        for (text, wanted) in rows {
            let error = parse_served("f", text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
