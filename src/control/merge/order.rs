//! Who comes before whom.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Owner;
use super::source::{Form, Source};
use crate::control::{SnatSpec, TunnelSourceSpec};

/// Everything that all sources want, the first first.
pub(super) struct Order<'a> {
    pub items: Vec<Item<'a>>,
    sources: &'a [Source],
}

/// One thing that somebody wants.
pub(super) struct Item<'a> {
    /// Place of its source.
    pub source: usize,
    pub part: &'a Arc<str>,
    pub what: What<'a>,
}

pub(super) enum What<'a> {
    TunnelSource(&'a TunnelSourceSpec),
    Snat(&'a SnatSpec),
    Service(&'a Form),
}

impl<'a> Item<'a> {
    /// The service.
    pub fn form(&self) -> Option<&'a Form> {
        match self.what {
            What::Service(form) => Some(form),
            _ => None,
        }
    }

    /// The address that would be ours.
    pub fn address(&self) -> Option<IpAddr> {
        match self.what {
            What::TunnelSource(_) => None,
            What::Snat(spec) => Some(spec.address),
            What::Service(form) => Some(form.spec.address),
        }
    }
}

impl<'a> Order<'a> {
    /// Addresses to translate to and outer networks come before all services, since services need
    /// them. By the order of sources; services of one source by age, then by name; the same name in
    /// two parts of a source by the part's.
    pub fn of(sources: &'a [Source]) -> Order<'a> {
        let mut items = Vec::new();
        for (source, parts) in sources.iter().map(Source::parts).enumerate() {
            let item = |part, what| Item { source, part, what };
            for (name, part) in parts {
                items.extend(part.tunnel_sources.iter().map(|t| item(name, What::TunnelSource(t))));
            }
            for (name, part) in parts {
                items.extend(part.snat.iter().map(|snat| item(name, What::Snat(snat))));
            }
        }
        for (source, parts) in sources.iter().map(Source::parts).enumerate() {
            let item = |part, what| Item { source, part, what };
            let services = parts
                .iter()
                .flat_map(|(name, part)| part.services.values().map(move |form| (name, form)));
            let mut services: Vec<_> = services.collect();
            services.sort_by(|(part, a), (other, b)| {
                (a.created_ms, &a.spec.name, part).cmp(&(b.created_ms, &b.spec.name, other))
            });
            items.extend(services.into_iter().map(|(name, form)| item(name, What::Service(form))));
        }
        Order { items, sources }
    }

    pub fn owner(&self, item: &Item<'_>) -> Owner {
        let source = self.sources[item.source].name();
        let what = match &item.what {
            What::TunnelSource(spec) => {
                format!("tunnel source {}/{}", spec.network, spec.prefix_len)
            }
            What::Snat(spec) => format!("snat {}", spec.address),
            What::Service(form) => format!("service {}", form.spec.name),
        };
        Owner { source: source.clone(), part: item.part.clone(), what }
    }

    /// The owner of the thing at a place, in words.
    pub fn told(&self, place: usize) -> String {
        self.owner(&self.items[place]).to_string()
    }

    /// The beginning of paths in refusals.
    pub fn path(item: &Item<'_>) -> String {
        match &item.what {
            What::TunnelSource(spec) => format!("tunnel_sources[{}]", spec.network),
            What::Snat(spec) => {
                format!("snat[{}]", SocketAddr::new(spec.address, *spec.ports.start()))
            }
            What::Service(form) => format!("services[{}]", form.spec.name),
        }
    }
}
