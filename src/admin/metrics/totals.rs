//! Traffic of services. Backends come and go with their counts, but a counter must never fall: it
//! would be taken for a restart, and its whole value for new traffic.

use std::collections::{HashMap, HashSet};

use crate::admin::{BackendStatus, ServiceStatus, TrafficStatus};

/// What each service has had, and what was last seen of its backends.
#[derive(Debug, Default)]
pub struct Totals {
    services: HashMap<String, Total>,
}

#[derive(Debug, Default)]
struct Total {
    sum: TrafficStatus,
    backends: HashMap<String, TrafficStatus>,
}

impl Totals {
    /// Adds what has come since the last time; forgets services that are gone. Each name is there once.
    pub fn follow(&mut self, services: &[ServiceStatus]) {
        let names: HashSet<&str> = services.iter().map(|service| &*service.name).collect();
        self.services.retain(|name, _| names.contains(&**name));
        for service in services {
            let total = self.services.entry(service.name.clone()).or_default();
            for BackendStatus { name, traffic, .. } in &service.backends {
                let before = total.backends.get(name).copied().unwrap_or_default();
                total.sum = total.sum.plus(&traffic.since(&before));
            }
            let now = service.backends.iter();
            total.backends = now.map(|backend| (backend.name.clone(), backend.traffic)).collect();
        }
    }

    /// All a service has had.
    pub fn of(&self, service: &str) -> TrafficStatus {
        self.services.get(service).map(|total| total.sum).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    /// Description, packets of backends, total.
    type Row<'a> = (&'a str, &'a [(&'a str, u64)], u64);

    #[test]
    fn totals_never_fall() {
        let [service] = &sample_report().services[..] else { panic!("one service") };
        let of = |counts: &[(&str, u64)]| {
            let backend = |&(name, packets_in): &(&str, u64)| {
                let mut backend = service.backends[0].clone();
                backend.name = name.to_string();
                backend.traffic = TrafficStatus { packets_in, ..TrafficStatus::default() };
                backend
            };
            let backends = counts.iter().map(backend).collect();
            vec![ServiceStatus { backends, ..service.clone() }]
        };
        let rows: [Row<'_>; 5] = [
            ("the first look", &[("b1", 10), ("b2", 5)], 15),
            ("more", &[("b1", 12), ("b2", 5)], 17),
            ("one is gone", &[("b1", 13)], 18),
            ("it is back, with a new number", &[("b1", 13), ("b2", 2)], 20),
            ("it began anew between two looks", &[("b1", 4), ("b2", 2)], 24),
        ];
        let mut totals = Totals::default();
        for (description, counts, wanted) in rows {
            totals.follow(&of(counts));
            assert_eq!(totals.of("web").packets_in, wanted, "{description}");
        }
        totals.follow(&[]);
        assert_eq!(totals.of("web").packets_in, 0, "gone");
    }
}
