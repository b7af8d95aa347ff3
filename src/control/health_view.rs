//! What health checks found, as `compile` is told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// A backend's health.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not probed often enough yet: usable, so that a start or a new backend does not wait.
    #[default]
    Unknown,
    /// Usable.
    Up,
    /// Not usable: gets no new flow.
    Down,
}

impl Health {
    /// May it get new flows?
    pub fn is_usable(self) -> bool {
        self != Health::Down
    }
}

/// Health by service and backend name; what is not there is [`Health::Unknown`]. Cheap to clone, and
/// quick to compare with what it was cloned from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HealthView {
    services: Arc<BTreeMap<Arc<str>, Arc<Backends>>>,
}

type Backends = BTreeMap<Arc<str>, Health>;

impl HealthView {
    /// Nothing is known.
    pub fn new() -> HealthView {
        HealthView::default()
    }

    /// Takes what a probe found; gives what was known before.
    pub fn set(&mut self, service: &str, backend: &str, health: Health) -> Health {
        let services = Arc::make_mut(&mut self.services);
        if !services.contains_key(service) {
            services.insert(service.into(), Arc::default());
        }
        let Some(backends) = services.get_mut(service) else { return Health::Unknown };
        match Arc::make_mut(backends).entry(backend.into()) {
            Entry::Occupied(mut known) => known.insert(health),
            Entry::Vacant(unknown) => {
                unknown.insert(health);
                Health::Unknown
            }
        }
    }

    /// What is known.
    pub fn get(&self, service: &str, backend: &str) -> Health {
        let found = self.services.get(service).and_then(|backends| backends.get(backend));
        found.copied().unwrap_or_default()
    }

    /// Forgets those for which `keep` is false, for example what a reload removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let services = Arc::make_mut(&mut self.services);
        services.retain(|service, backends| {
            if backends.keys().any(|backend| !keep(service, backend)) {
                Arc::make_mut(backends).retain(|backend, _| keep(service, backend));
            }
            !backends.is_empty()
        });
    }

    /// Forgets what is known of this service's backends for which `keep` is false.
    pub fn retain_of(&mut self, service: &str, keep: impl Fn(&str) -> bool) {
        let Some(known) = self.services.get(service) else { return };
        if known.keys().all(|backend| keep(backend)) {
            return;
        }
        let services = Arc::make_mut(&mut self.services);
        let Some(backends) = services.get_mut(service).map(Arc::make_mut) else { return };
        backends.retain(|backend, _| keep(backend));
        if backends.is_empty() {
            services.remove(service);
        }
    }

    /// Is it sure that both say the same of a service? Looks at nothing, so it may miss that they do.
    pub fn is_same_of(&self, other: &HealthView, service: &str) -> bool {
        if Arc::ptr_eq(&self.services, &other.services) {
            return true;
        }
        match (self.services.get(service), other.services.get(service)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_and_what_of_it_is_the_same() {
        let mut view = HealthView::new();
        assert_eq!(view.set("web", "b1", Health::Down), Health::Unknown);
        view.set("web", "b2", Health::Up);
        view.set("api", "b1", Health::Up);
        let before = view.clone();
        assert_eq!(view.set("web", "b1", Health::Up), Health::Down);
        assert_eq!((before.get("web", "b1"), view.get("web", "b1")), (Health::Down, Health::Up));
        let same = ["web", "api", "none"].map(|service| view.is_same_of(&before, service));
        assert_eq!(same, [false, true, true]);
        view.retain_of("web", |backend| backend == "b2");
        view.retain_of("api", |_| false);
        assert_eq!((view.get("web", "b1"), view.get("web", "b2")), (Health::Unknown, Health::Up));
        let mut wanted = HealthView::new();
        wanted.set("web", "b2", Health::Up);
        assert_eq!(view, wanted, "a service of which nothing is known is not there");
        view.retain(|_, _| false);
        assert_eq!(view, HealthView::new());
    }
}
