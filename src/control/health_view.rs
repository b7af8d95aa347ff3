//! What health checks found, as `compile` is told.

use std::collections::BTreeMap;

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

/// Health by service and backend name; what is not there is [`Health::Unknown`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HealthView {
    services: BTreeMap<String, BTreeMap<String, Health>>,
}

impl HealthView {
    /// Nothing is known.
    pub fn new() -> HealthView {
        HealthView::default()
    }

    /// Takes what a probe found; gives what was known before.
    pub fn set(&mut self, service: &str, backend: &str, health: Health) -> Health {
        let backends = self.services.entry(service.to_string()).or_default();
        backends.insert(backend.to_string(), health).unwrap_or_default()
    }

    /// What is known.
    pub fn get(&self, service: &str, backend: &str) -> Health {
        let found = self.services.get(service).and_then(|backends| backends.get(backend));
        found.copied().unwrap_or_default()
    }

    /// Forgets those for which `keep` is false, for example what a reload removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.services.retain(|service, backends| {
            backends.retain(|backend, _| keep(service, backend));
            !backends.is_empty()
        });
    }
}
