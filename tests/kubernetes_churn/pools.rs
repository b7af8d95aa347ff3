//! The pools that there may be, as plain lists of addresses, and as Guideway reads them.

use std::net::IpAddr;
use std::sync::Arc;

use guideway::source::kubernetes::objects::{Key, Service};
use guideway::source::kubernetes::pool::{Block, Pool};
use guideway::source::kubernetes::way::Target;

/// A pool, the obvious way.
#[derive(Clone, Debug)]
pub struct PlainPool {
    pub name: Arc<str>,
    /// Each address of it, those that are skipped left out.
    pub addresses: Vec<IpAddr>,
    pub auto_assign: bool,
    pub namespaces: Vec<Arc<str>>,
    pub label: Option<(Arc<str>, Arc<str>)>,
    pub shares_across: bool,
    pub reuse_after_ms: u64,
    pub target: Target,
    /// As Guideway has it.
    pub pool: Pool,
}

impl PlainPool {
    /// Small ones, so that addresses are scarce. `width`: of a range, which users make longer or shorter.
    pub fn new(name: &str, width: u64) -> PlainPool {
        let (first, last) = match name {
            "config" => (vec!["203.0.113.0", "2001:db8::"], 2),
            // Overlaps with the one before.
            "wide" => (vec!["203.0.113.1", "2001:db8::1"], width),
            "named" => (vec!["203.0.113.2", "198.51.100.255"], width.min(2)),
            "near" => (vec!["192.0.2.4", "2001:db8:1::"], width),
            _ => (vec!["192.0.2.16"], width),
        };
        let next = |from: IpAddr, more: u64| -> IpAddr {
            match from {
                IpAddr::V4(from) => std::net::Ipv4Addr::from(u32::from(from) + more as u32).into(),
                IpAddr::V6(from) => {
                    std::net::Ipv6Addr::from(u128::from(from) + u128::from(more)).into()
                }
            }
        };
        let firsts: Vec<IpAddr> = first.iter().map(|text| text.parse().unwrap()).collect();
        let blocks = firsts.iter().map(|&from| format!("{from}-{}", next(from, last)));
        let blocks = blocks.map(|text| Block::parse(&text).unwrap()).collect();
        let skip_ends = name == "named";
        let is_end = |address: &IpAddr| {
            skip_ends && matches!(address, IpAddr::V4(at) if [0, 255].contains(&at.octets()[3]))
        };
        let all = firsts.iter().flat_map(|&from| (0..=last).map(move |more| next(from, more)));
        let mut plain = PlainPool {
            name: name.into(),
            addresses: all.filter(|address| !is_end(address)).collect(),
            auto_assign: name != "named",
            namespaces: if name == "near" { vec!["shop".into()] } else { vec![] },
            label: (name == "gold").then(|| ("tier".into(), "gold".into())),
            shares_across: name == "wide",
            target: if name == "wide" { Target::NodePorts } else { Target::Pods },
            reuse_after_ms: if name == "config" { 60_000 } else { 5_000 },
            pool: Pool::new(name, blocks),
        };
        plain.pool.skip_ends = skip_ends;
        plain.pool.auto_assign = plain.auto_assign;
        plain.pool.namespaces = plain.namespaces.clone();
        plain.pool.labels = plain.label.clone().into_iter().collect();
        plain.pool.share_across_namespaces = plain.shares_across;
        plain.pool.reuse_after_ms = plain.reuse_after_ms;
        plain.pool.target = plain.target;
        plain.pool.priority = if name == "gold" { 1 } else { 100 };
        plain
    }

    pub fn admits(&self, key: &Key, service: &Service) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(&key.namespace))
            && self.label.as_ref().is_none_or(|label| service.labels.contains(label))
    }
}
