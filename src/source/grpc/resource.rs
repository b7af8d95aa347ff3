//! One service on its way: plain values -> resource -> what is wanted.

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::LazyLock;

use prost::Message;
use serde_json::Value;
use siphasher::sip::SipHasher13;

use super::proto::{Resource, Service};
use crate::control::{Form, Refusal, Shared};
use crate::source::yaml::values::{features, service_of, used};

/// What a service may need.
static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| features().into_iter().collect());

/// A resource out of a service's values, with the hash of its content as its version.
///
/// # Errors
/// That the values are none of a service.
pub fn make(name: &str, value: &Value, created_unix_ms: u64) -> Result<Resource, String> {
    let needs = used(value);
    let service: Service =
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let mut resource = Resource {
        name: name.to_string(),
        version: String::new(),
        created_unix_ms,
        needs,
        service: Some(service),
    };
    let mut hasher = SipHasher13::new();
    hasher.write(&resource.encode_to_vec());
    resource.version = format!("{:016x}", hasher.finish());
    Ok(resource)
}

/// What a resource wants.
///
/// # Errors
/// All that is wrong with it, in the words of a configuration file.
pub(super) fn form_of(resource: &Resource) -> Result<Form, Vec<Refusal>> {
    let Resource { name, created_unix_ms, needs, service, .. } = resource;
    let refusal = |field: &str, problem: String, wanted: &str| Refusal {
        path: format!("services[{name}].{field}"),
        problem,
        wanted: wanted.to_string(),
    };
    let lacking = needs.iter().filter(|need| !KNOWN.contains(*need));
    let lacking: Vec<Refusal> = lacking
        .map(|need| {
            let need: String = need.chars().take(64).flat_map(char::escape_default).collect();
            let problem = format!("this balancer does not know `{need}`");
            refusal("needs", problem, "a newer Guideway, or a service that does without")
        })
        .collect();
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let Some(service) = service else {
        return Err(vec![refusal("service", "it is missing".to_string(), "the service")]);
    };
    if service.name.as_ref() != Some(name) {
        let problem = format!("it is not `{name}`");
        return Err(vec![refusal("name", problem, "the name of the resource")]);
    }
    let value = serde_json::to_value(service);
    let value = value.map_err(|error| vec![refusal("", error.to_string(), "a service")])?;
    let spec = Shared::from(service_of(name, &value)?);
    Ok(Form { spec, created_ms: *created_unix_ms })
}

/// The first name that is there more than once.
pub fn used_twice<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::yaml::values::parse_served;

    fn web() -> Value {
        let text = "version: 1\nservices:\n  - { name: web, address: 10.1.0.100, port: 80, \
                    affinity: 5m, backends: [{ name: b1, address: 10.2.0.1, weight: 2 }] }\n";
        parse_served("f", text).unwrap().services.remove(0).1
    }

    #[test]
    fn another_content_is_another_version() {
        let first = make("web", &web(), 7).unwrap();
        assert_eq!(make("web", &web(), 7).unwrap(), first);
        assert_eq!(first.version.len(), 16);
        let mut changed = web();
        changed["backends"][0]["weight"] = json!(3);
        assert_ne!(make("web", &changed, 7).unwrap().version, first.version);
        assert!(first.needs.contains(&"affinity".to_string()), "{:?}", first.needs);
        let form = form_of(&first).unwrap();
        assert_eq!((form.created_ms, form.spec.backends[0].weight), (7, 2));
        assert!(make("web", &json!({ "quic": true }), 7).unwrap_err().contains("quic"));
    }

    #[test]
    fn what_is_refused_of_a_resource_by_itself() {
        let good = make("web", &web(), 0).unwrap();
        type Row = (&'static str, fn(&mut Resource), &'static str);
        let rows: [Row; 4] = [
            ("a feature", |r| r.needs.push("quic".to_string()), "does not know `quic`"),
            ("no service", |r| r.service = None, "it is missing"),
            ("another name", |r| r.name = "api".to_string(), "it is not `api`"),
            (
                "a wrong word",
                |r| r.service.as_mut().unwrap().protocol = Some("quic".to_string()),
                "services[web].protocol: `quic` is not known; wanted: `tcp`, `udp` or `sctp`",
            ),
        ];
        for (description, change, wanted) in rows {
            let mut resource = good.clone();
            change(&mut resource);
            let refused = form_of(&resource).unwrap_err();
            assert_eq!(refused.len(), 1, "{description}");
            assert!(refused[0].to_string().contains(wanted), "{description}: {}", refused[0]);
        }
    }

    /// A key that the proto lacks cannot be sent, and one that the schema lacks cannot be read.
    #[test]
    fn the_proto_has_the_keys_of_a_file() {
        let service = Service {
            tunnel: Some(Default::default()),
            timeouts: Some(Default::default()),
            health_check: Some(Default::default()),
            backends: vec![Default::default()],
            ..Service::default()
        };
        let mut fields = vec![];
        for (key, value) in serde_json::to_value(service).unwrap().as_object().unwrap() {
            let inside = value.as_array().map_or(value, |items| items.first().unwrap_or(value));
            let inside = inside.as_object().into_iter().flatten();
            fields.extend(inside.map(|(inner, _)| format!("{key}.{inner}")));
            fields.push(key.clone());
        }
        fields.sort();
        let mut keys = features();
        keys.sort();
        assert_eq!(fields, keys);
    }

    #[test]
    fn names_that_are_there_twice() {
        assert_eq!(used_twice(["a", "b", "a", "b"].into_iter()), Some("a"));
        assert_eq!(used_twice(["a", "b"].into_iter()), None);
    }
}
