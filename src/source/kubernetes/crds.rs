//! Our own objects in the API: `guideway.dev/v1alpha1` AddressPool and AddressClaim.
//!
//! Their CustomResourceDefinitions are `deploy/kubernetes/crds.yaml`; a test holds them against these types.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::api::AddressClaim;
use super::endpoints::written;
use super::objects::{Claim, Holder, Key};
use super::pool::{Block, Pool};
use super::way::{Target, keeps_source};

fn yes() -> bool {
    true
}

fn hundred() -> u32 {
    100
}

fn minute() -> u32 {
    60
}

fn pods() -> String {
    "pods".to_string()
}

fn snat() -> String {
    "snat".to_string()
}

/// Addresses that services of `type: LoadBalancer` may get.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// Networks (`203.0.113.0/24`), ranges (`203.0.113.10-203.0.113.20`) and single addresses.
    pub addresses: Vec<String>,
    /// Services that ask for nothing get addresses of it.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Of several pools the one with the smallest number comes first.
    #[serde(default = "hundred")]
    pub priority: u32,
    /// Addresses that end in .0 and .255 are left out.
    #[serde(default)]
    pub skip_ends: bool,
    /// Only for services of these namespaces; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Only for services with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_labels: BTreeMap<String, String>,
    /// Rest of an address after it was given back, in seconds.
    #[serde(default = "minute")]
    pub reuse_after_seconds: u32,
    /// Services of several namespaces may share an address.
    #[serde(default)]
    pub share_across_namespaces: bool,
    /// Where packets of its services go, if they say nothing else: `pods`, `nodes` or `nodePorts`.
    #[serde(default = "pods")]
    pub target: String,
    /// Whose address backends see, if they say nothing else: ours (`snat`) or the client's (`keep`).
    #[serde(default = "snat")]
    pub source: String,
}

/// Somebody has the address that this is named after. Making it is the lock: the API lets only one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AddressClaimSpec {
    /// Which Guideway of the cluster has taken it.
    pub manager: String,
    /// The pool it came from.
    pub pool: String,
    /// Who may share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Who has it.
    #[serde(default)]
    pub holders: Vec<ClaimHolder>,
    /// When the last of them left, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_ms: Option<u64>,
    /// Who left last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ClaimService>,
}

/// A Service that has an address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClaimHolder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
}

/// A Service that had an address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClaimService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What has to be applied to a cluster before its services can be served.
pub const DEFINITIONS: &str = include_str!("../../../deploy/kubernetes/crds.yaml");

/// What the claim of an address is called.
pub fn claim_name(address: IpAddr) -> String {
    written(address)
}

/// The address that a claim is named after.
pub fn claimed(name: &str) -> Option<IpAddr> {
    let six = || name.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let address = name.parse().ok().or_else(six)?;
    (claim_name(address) == name).then_some(address)
}

impl AddressPoolSpec {
    /// As it is used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn pool(&self, name: &str) -> Result<Pool, String> {
        if self.addresses.is_empty() {
            return Err("`addresses` is empty".to_string());
        }
        let blocks = Block::parse_all(&self.addresses)?;
        let label = |(key, value): (&String, &String)| (Arc::from(&**key), Arc::from(&**value));
        Ok(Pool {
            name: name.into(),
            blocks,
            auto_assign: self.auto_assign,
            priority: self.priority,
            skip_ends: self.skip_ends,
            namespaces: self.namespaces.iter().map(|name| Arc::from(&**name)).collect(),
            labels: self.service_labels.iter().map(label).collect(),
            reuse_after_ms: u64::from(self.reuse_after_seconds) * 1000,
            share_across_namespaces: self.share_across_namespaces,
            target: Target::parse(&self.target).map_err(|wrong| format!("`target`: {wrong}"))?,
            keep_source: keeps_source(&self.source)
                .map_err(|wrong| format!("`source`: {wrong}"))?,
        })
    }
}

impl AddressClaim {
    /// What it says; none: it is named after no address.
    pub fn claim(&self) -> Option<(IpAddr, Claim)> {
        let address = claimed(self.metadata.name.as_deref()?)?;
        let AddressClaimSpec { manager, pool, share, holders, released_ms, last } = &self.spec;
        let holder = |holder: &ClaimHolder| Holder {
            service: Key::new(&holder.namespace, &holder.name),
            uid: holder.uid.as_str().into(),
        };
        let claim = Claim {
            version: self.metadata.resource_version.clone().unwrap_or_default(),
            manager: manager.as_str().into(),
            pool: pool.as_str().into(),
            share: share.as_deref().map(Arc::from),
            holders: holders.iter().map(holder).collect(),
            released_ms: *released_ms,
            last: last.as_ref().map(|last| Key::new(&last.namespace, &last.name)),
        };
        Some((address, claim))
    }

    /// The object for a claim. Of one that is there its version has to be the last one.
    pub fn of(address: IpAddr, claim: &Claim) -> AddressClaim {
        let holder = |holder: &Holder| ClaimHolder {
            namespace: holder.service.namespace.to_string(),
            name: holder.service.name.to_string(),
            uid: holder.uid.to_string(),
        };
        let last = |key: &Key| ClaimService {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        };
        let spec = AddressClaimSpec {
            manager: claim.manager.to_string(),
            pool: claim.pool.to_string(),
            share: claim.share.as_deref().map(str::to_string),
            holders: claim.holders.iter().map(holder).collect(),
            released_ms: claim.released_ms,
            last: claim.last.as_ref().map(last),
        };
        let version = Some(claim.version.clone()).filter(|version| !version.is_empty());
        AddressClaim {
            api_version: "guideway.dev/v1alpha1".to_string(),
            kind: "AddressClaim".to_string(),
            metadata: ObjectMeta {
                name: Some(claim_name(address)),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::testing::claim;
    use crate::source::kubernetes::usage::Usage;
    use serde_json::{Value, json};

    /// What a field is, without its words: type, items, required fields.
    fn shape(schema: &Value, all: &Value) -> Value {
        let schema = match schema["$ref"].as_str() {
            Some(name) => &all["$defs"][name.rsplit('/').next().unwrap()],
            None => schema,
        };
        if let Some(any) = schema["anyOf"].as_array() {
            return shape(any.iter().find(|one| one["type"] != "null").unwrap(), all);
        }
        let kind = match &schema["type"] {
            Value::Array(types) => types.iter().find(|one| **one != "null").unwrap().clone(),
            kind => kind.clone(),
        };
        let mut found = json!({ "type": kind });
        if let Some(fields) = schema["properties"].as_object() {
            let fields = fields.iter().map(|(name, field)| (name.clone(), shape(field, all)));
            found["properties"] = Value::Object(fields.collect());
            let mut required: Vec<String> =
                serde_json::from_value(schema["required"].clone()).unwrap_or_default();
            required.sort();
            found["required"] = json!(required);
        }
        if schema["items"].is_object() {
            found["items"] = shape(&schema["items"], all);
        }
        found
    }

    #[test]
    fn the_definitions_are_those_of_the_types() {
        let pool = serde_json::to_value(schemars::schema_for!(AddressPoolSpec)).unwrap();
        let claim = serde_json::to_value(schemars::schema_for!(AddressClaimSpec)).unwrap();
        let mut texts = DEFINITIONS.split("\n---\n");
        let usage = serde_json::to_value(schemars::schema_for!(Usage)).unwrap();
        let all = [(pool, Some(usage), "AddressPool"), (claim, None, "AddressClaim")];
        for (types, status, kind) in all {
            let shown: Value = serde_saphyr::from_str(texts.next().unwrap()).unwrap();
            assert_eq!(shown["spec"]["names"]["kind"], kind);
            let schema = &shown["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let shown = shape(&schema["properties"]["spec"], &Value::Null);
            assert_eq!(shown, shape(&types, &types), "{kind}");
            let told = &schema["properties"]["status"];
            let told = (!told.is_null()).then(|| shape(told, &Value::Null));
            assert_eq!(told, status.map(|types| shape(&types, &types)), "status of {kind}");
        }
        assert_eq!(texts.next(), None);
    }

    #[test]
    fn names_of_claims_and_back() {
        for (address, name) in [
            ("203.0.113.7", "203.0.113.7"),
            ("2001:db8::7", "2001-0db8-0000-0000-0000-0000-0000-0007"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(claim_name(address), name);
            assert_eq!(claimed(name), Some(address));
        }
        for wrong in ["web", "2001-db8--7", "203.0.113", ""] {
            assert_eq!(claimed(wrong), None, "{wrong}: one address, one name");
        }
    }

    #[test]
    fn claims_as_objects_and_back() {
        let address: IpAddr = "2001:db8::7".parse().unwrap();
        let mut claim = claim("web");
        claim.share = Some("key".into());
        claim.last = Some(Key::new("a", "b"));
        claim.released_ms = Some(5);
        let object = AddressClaim::of(address, &claim);
        assert_eq!(object.claim(), Some((address, claim)));
    }

    #[test]
    fn pools_that_say_little_or_nonsense() {
        let parse = |text: &str| {
            let spec: AddressPoolSpec = serde_json::from_str(text).unwrap();
            spec.pool("p")
        };
        let pool = parse(r#"{"addresses": ["203.0.113.0/24"]}"#).unwrap();
        assert_eq!(pool, Pool::new("p", vec![Block::parse("203.0.113.0/24").unwrap()]));
        assert!(parse(r#"{"addresses": []}"#).unwrap_err().contains("empty"));
        assert!(parse(r#"{"addresses": ["x"]}"#).unwrap_err().contains("`x`"));
    }
}
