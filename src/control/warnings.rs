//! What can be compiled but is hardly meant.

use std::collections::HashMap;
use std::fmt;

use super::{DesiredState, ServiceSpec};
use crate::maglev::{Candidate, MAX_SIZE, next_prime, size_for, size_needed};

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// Where, as in the configuration file.
    pub path: String,
    /// What is odd, and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// Everything odd about a desired state that [`super::validate`] lets pass.
pub fn warnings(desired: &DesiredState) -> Vec<Warning> {
    let services = desired.services.iter().enumerate();
    services
        .flat_map(|(place, service)| warnings_of(&format!("services[{place}]"), service))
        .collect()
}

/// Everything odd about one service, which is called `path`.
pub fn warnings_of(path: &str, service: &ServiceSpec) -> Vec<Warning> {
    let found = [
        small_table(service).map(|text| (format!("{path}.table_size"), text)),
        no_share(service).map(|text| (format!("{path}.backends"), text)),
    ];
    let found = found.into_iter().flatten().map(|(path, text)| Warning { path, text });
    found.chain(twice(path, service)).collect()
}

fn small_table(service: &ServiceSpec) -> Option<String> {
    let candidates = (service.backends.iter())
        .map(|backend| Candidate { name: &backend.name, weight: backend.weight });
    let needed = size_needed(candidates);
    let size = service.table_size.unwrap_or_else(|| size_for(needed));
    if needed <= u64::from(size) {
        return None;
    }
    let prime = u32::try_from(needed).ok().map(next_prime).filter(|&prime| prime <= MAX_SIZE);
    let cure = match prime {
        Some(prime) => format!("use {prime}"),
        None => format!("use {MAX_SIZE}, the largest, or weights closer together"),
    };
    Some(format!(
        "{size} slots are few for these {} backends and their weights, shares will be coarse: \
         {cure} (it moves nearly all slots once)",
        service.backends.len()
    ))
}

fn no_share(service: &ServiceSpec) -> Option<String> {
    let takes = service.backends.iter().any(|backend| backend.weight > 0 && !backend.drain);
    (!takes).then(|| format!("service {} has no backend that takes new flows", service.name))
}

/// Two backends of a service at one socket: it gets both shares.
fn twice(path: &str, service: &ServiceSpec) -> Vec<Warning> {
    let mut sockets = HashMap::new();
    let mut warnings = Vec::new();
    for (number, backend) in service.backends.iter().enumerate() {
        if let Some(other) = sockets.insert((backend.address, backend.port), &backend.name) {
            let socket = backend.place();
            warnings.push(Warning {
                path: format!("{path}.backends[{number}].address"),
                text: format!("{socket} is backend {other} too, and gets both shares"),
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{desired, service};

    #[test]
    fn each_is_told() {
        type Change = fn(&mut ServiceSpec);
        let rows: [(&str, Change, &[&str]); 7] = [
            ("nothing odd", |s| s.table_size = None, &[]),
            ("100 slots each", |s| s.table_size = Some(307), &[]),
            (
                "few slots",
                |s| s.table_size = Some(101),
                &["services[0].table_size: 101 slots are few for these 3 backends and their \
                   weights, shares will be coarse: use 307 (it moves nearly all slots once)"],
            ),
            (
                "weights far apart",
                |s| {
                    s.table_size = None;
                    s.backends[0].weight = 65_535;
                    s.backends[1].weight = 65_535;
                },
                &["services[0].table_size: 65537 slots are few for these 3 backends and their \
                   weights, shares will be coarse: use 131071 (it moves nearly all slots once)"],
            ),
            (
                "no backend",
                |s| s.backends.clear(),
                &["services[0].backends: service web has no backend that takes new flows"],
            ),
            (
                "all drain",
                |s| {
                    s.table_size = None;
                    s.backends.iter_mut().for_each(|b| b.drain = true);
                },
                &["services[0].backends: service web has no backend that takes new flows"],
            ),
            (
                "one socket",
                |s| {
                    s.table_size = None;
                    s.backends[2].address = s.backends[0].address;
                },
                &["services[0].backends[2].address: 10.2.0.11:80 is backend b1 too, and gets \
                   both shares"],
            ),
        ];
        for (description, change, wanted) in rows {
            let mut service = service("web", 3);
            change(&mut service);
            let found: Vec<String> =
                warnings(&desired(vec![service])).iter().map(Warning::to_string).collect();
            assert_eq!(found, wanted, "{description}");
        }
    }
}
