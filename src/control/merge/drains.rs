//! Backends that somebody drains by hand: what the `admin` source wants. It owns no services; it says of
//! those that other sources own which of their backends get no new flow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::{BackendSpec, ServiceSpec, Shared};

/// Drains there may be at a time.
const MOST_DRAINS: usize = 4_096;

/// A backend that is drained by hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drain {
    /// Its name.
    pub backend: String,
    /// The service that it is drained in; none: each that has a backend of that name, now and later.
    pub service: Option<String>,
    /// Who asked for it, by number.
    pub uid: Option<u32>,
    /// Who asked for it, by name, where the machine knows one.
    pub user: Option<String>,
    /// Since when, in Unix milliseconds.
    pub since_unix_ms: u64,
    /// When it ends by itself; none: when somebody ends it.
    pub until_unix_ms: Option<u64>,
}

impl Drain {
    /// Its time is over.
    pub fn is_over(&self, now_unix_ms: u64) -> bool {
        self.until_unix_ms.is_some_and(|until| until <= now_unix_ms)
    }

    /// Is it about backends of this service?
    pub fn is_in(&self, service: &str) -> bool {
        self.service.as_deref().is_none_or(|of| of == service)
    }
}

/// All drains; of a backend and a service, or of a backend in all services, there is one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drains(BTreeMap<String, Vec<Drain>>);

impl Drains {
    /// By the names of backends, then of services.
    pub fn iter(&self) -> impl Iterator<Item = &Drain> {
        self.0.values().flatten()
    }

    /// Adds one; that of the same backend and service is replaced. False: there is no room for more.
    #[must_use]
    pub fn begin(&mut self, drain: Drain) -> bool {
        let is_full = self.iter().count() >= MOST_DRAINS;
        let of_it = self.0.entry(drain.backend.clone()).or_default();
        match of_it.binary_search_by(|known| known.service.cmp(&drain.service)) {
            Ok(place) => {
                if let Some(known) = of_it.get_mut(place) {
                    *known = drain;
                }
            }
            Err(_) if is_full => return false,
            Err(place) => of_it.insert(place, drain),
        }
        true
    }

    /// Takes out all that `ends` says, and gives them.
    pub fn end(&mut self, mut ends: impl FnMut(&Drain) -> bool) -> Vec<Drain> {
        let mut ended = Vec::new();
        for of_it in self.0.values_mut() {
            ended.extend(of_it.extract_if(.., |drain| ends(drain)));
        }
        self.0.retain(|_, of_it| !of_it.is_empty());
        ended
    }

    /// The service as it is wanted with these drains: the very same where none is about it.
    pub(super) fn applied_to(&self, service: Shared<ServiceSpec>) -> Shared<ServiceSpec> {
        let is_held = |backend: &BackendSpec| {
            let of_it = self.0.get(&backend.name);
            let holds = of_it.is_some_and(|of_it| of_it.iter().any(|d| d.is_in(&service.name)));
            holds && !backend.drain
        };
        if self.0.is_empty() || !service.backends.iter().any(is_held) {
            return service;
        }
        let held: Vec<bool> = service.backends.iter().map(is_held).collect();
        let mut drained = service;
        for (backend, held) in drained.backends.iter_mut().zip(held) {
            backend.drain |= held;
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::service;

    fn drain(backend: &str, service: Option<&str>) -> Drain {
        Drain {
            backend: backend.to_string(),
            service: service.map(str::to_string),
            uid: Some(0),
            user: None,
            since_unix_ms: 5,
            until_unix_ms: None,
        }
    }

    fn drains(all: &[Drain]) -> Drains {
        let mut drains = Drains::default();
        all.iter().for_each(|one| assert!(drains.begin(one.clone())));
        drains
    }

    #[test]
    fn one_for_each_backend_and_service() {
        let mut all = drains(&[drain("b2", None), drain("b1", Some("web")), drain("b1", None)]);
        let names = |drains: &Drains| -> Vec<_> {
            drains.iter().map(|d| (d.backend.clone(), d.service.clone())).collect()
        };
        let web = Some("web".to_string());
        let wanted =
            vec![("b1".to_string(), None), ("b1".to_string(), web), ("b2".to_string(), None)];
        assert_eq!(names(&all), wanted);
        let longer = Drain { until_unix_ms: Some(9), ..drain("b2", None) };
        assert!(all.begin(longer.clone()));
        assert_eq!((names(&all), all.iter().last()), (wanted, Some(&longer)));
        assert_eq!(all.end(|d| d.is_over(8)), []);
        assert_eq!(all.end(|d| d.is_over(9)), [longer]);
        assert_eq!(all.end(|d| d.backend == "b1").len(), 2);
        assert_eq!(all, Drains::default());
    }

    #[test]
    fn there_are_not_more_than_can_be() {
        let name = |number: usize| format!("b{number}");
        let many: Vec<Drain> = (0..MOST_DRAINS).map(|n| drain(&name(n), None)).collect();
        let mut all = drains(&many);
        assert!(!all.begin(drain("one-more", None)));
        assert!(all.begin(drain("b7", None)), "one that is there is replaced");
        assert_eq!(all.iter().count(), MOST_DRAINS);
    }

    #[test]
    fn only_what_is_meant_drains() {
        let web = Shared::from(service("web", 2));
        let rows = [
            ("none", vec![], [false, false]),
            ("in all services", vec![drain("b1", None)], [true, false]),
            ("in this one", vec![drain("b2", Some("web"))], [false, true]),
            ("in another one", vec![drain("b2", Some("dns"))], [false, false]),
            ("of another name", vec![drain("b3", None)], [false, false]),
            ("both", vec![drain("b1", None), drain("b2", Some("web"))], [true, true]),
        ];
        for (description, all, wanted) in rows {
            let applied = drains(&all).applied_to(web.clone());
            let found: Vec<bool> = applied.backends.iter().map(|b| b.drain).collect();
            assert_eq!(found, wanted, "{description}");
            assert_eq!(applied.is_same(&web), wanted == [false, false], "{description}");
        }
    }
}
