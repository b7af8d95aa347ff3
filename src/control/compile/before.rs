//! The previous snapshot, indexed by what stays the same over time.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::forwarding::{Backend, BackendId, BackendState, Mode, Service, ServiceIndex, Snapshot};
use crate::wire::Protocol;

/// What makes a service the same one in two snapshots.
pub(super) type Identity = (SocketAddr, Protocol);

pub(super) fn identity_of(service: &Service) -> Identity {
    (service.vip, service.protocol)
}

/// The previous snapshot and its indices.
pub(super) struct Before<'a> {
    pub snapshot: &'a Snapshot,
    services: HashMap<Identity, ServiceIndex>,
    backends: HashMap<(ServiceIndex, &'a str, SocketAddr, Mode), BackendId>,
    /// By service: ids of the backends that were configured, ascending.
    configured: Vec<Vec<BackendId>>,
}

impl<'a> Before<'a> {
    pub fn of(snapshot: &'a Snapshot) -> Before<'a> {
        let services = (snapshot.services.iter().enumerate())
            .map(|(place, service)| (identity_of(service), ServiceIndex(place as u32)))
            .collect();
        let mut backends = HashMap::with_capacity(snapshot.backends.len());
        let mut configured = vec![Vec::new(); snapshot.services.len()];
        for backend in snapshot.backends.iter().flatten() {
            let Backend { service, name, socket, mode, .. } = backend;
            backends.insert((*service, &**name, *socket, *mode), backend.id);
            if backend.state != BackendState::Retired {
                configured[backend.service.index()].push(backend.id);
            }
        }
        Before { snapshot, services, backends, configured }
    }

    /// The service as it was, also when it was gone.
    pub fn service(&self, identity: Identity) -> Option<(ServiceIndex, &'a Service)> {
        let index = *self.services.get(&identity)?;
        Some((index, &self.snapshot.services[index.index()]))
    }

    /// The backend's id, also when it was retired.
    pub fn find(
        &self,
        service: ServiceIndex,
        name: &str,
        (socket, mode): (SocketAddr, Mode),
    ) -> Option<BackendId> {
        self.backends.get(&(service, name, socket, mode)).copied()
    }

    pub fn backend(&self, id: BackendId) -> Option<&'a Backend> {
        self.snapshot.backend(id)
    }

    /// Backends of a service that were configured, by ascending id.
    pub fn configured(&self, service: ServiceIndex) -> impl Iterator<Item = &'a Backend> + '_ {
        self.configured[service.index()].iter().filter_map(|&id| self.snapshot.backend(id))
    }
}
