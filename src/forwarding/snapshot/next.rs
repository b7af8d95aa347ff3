//! The next snapshot out of the previous one and what is different in it.
//!
//! It has to be quick where little changes: one backend of a million. What workers ask for each packet
//! (services, targets) stays in plain arrays, so that reading costs no more; instead of copying them,
//! the arrays of a snapshot that no worker runs any more are brought up to date. All else is shared
//! between the two, or made anew when something in it has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::slot_hash::SlotHash;
use super::super::{
    BackendId, DnatTable, Ledger, Mode, RouteTable, Service, ServiceIndex, ServiceTable, Target,
    TunnelSources,
};
use super::lookups::{
    address_tables, copy_of_targets, envelopes, resize_targets, target_of, targets_of, tunnel_key,
};
use super::{Backend, ClusterKey, Port, PortLine, Snapshot, SnatAddress};
use crate::wire::Address;
use crate::wire::encap::Envelope;

/// Versions that a spare may lag behind: two when workers keep up.
const MOST_RECENT: usize = 4;

/// What is different in the next snapshot.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Services that are new or changed, by ascending place, without a gap behind the last one.
    pub services: Vec<(ServiceIndex, Service)>,
    /// How many there are then.
    pub services_len: usize,
    /// Backends that are new, changed or no longer there, by ascending id.
    pub backends: Vec<(BackendId, Option<Backend>)>,
    /// One more than the largest id then.
    pub backends_len: usize,
    /// The rest as it is then.
    pub around: Around,
}

/// What a snapshot has beside services and backends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Around {
    /// See [`Snapshot::snat`].
    pub snat: Vec<SnatAddress>,
    /// See [`Snapshot::tunnel_sources`].
    pub tunnel_sources: TunnelSources,
    /// See [`Snapshot::ports`].
    pub ports: Vec<Port>,
    /// The machine's own addresses, in any order.
    pub own_addresses: Vec<Address>,
    /// See [`Snapshot::routes`].
    pub routes: RouteTable,
    /// Places flows in Maglev tables.
    pub cluster_key: ClusterKey,
}

/// The arrays of a snapshot that nobody runs any more.
#[derive(Debug)]
pub struct Spare {
    generation: u64,
    version: Option<Arc<Version>>,
    services: Vec<Service>,
    targets: Vec<Target>,
}

/// Where one snapshot differs from the one before.
#[derive(Debug)]
pub(super) struct Version {
    generation: u64,
    /// None: nearly everywhere.
    places: Option<(Vec<ServiceIndex>, Vec<BackendId>)>,
}

impl Version {
    /// Of a snapshot that comes from nowhere.
    pub fn first(generation: u64) -> Vec<Arc<Version>> {
        vec![Arc::new(Version { generation, places: None })]
    }

    fn of(generation: u64, patch: &Patch, previous: &Snapshot) -> Version {
        // Then a copy is as quick. Another port changes the targets of backends that are not named.
        let is_most = patch.backends.len() > previous.targets.len() / 4 + 1024
            || previous.has_other_lines(patch);
        let places = (!is_most && previous.ports == patch.around.ports).then(|| {
            let services = patch.services.iter().map(|(index, _)| *index).collect();
            (services, patch.backends.iter().map(|(id, _)| *id).collect())
        });
        Version { generation, places }
    }
}

impl Snapshot {
    /// Gives its arrays back, to be used for a later one.
    pub fn into_spare(self) -> Spare {
        let Snapshot { generation, services, targets, recent, .. } = self;
        Spare { generation, version: recent.last().cloned(), services, targets }
    }

    /// Would [`Snapshot::next`] make another one of this than it is?
    pub fn is_changed_by(&self, patch: &Patch) -> bool {
        let Around { snat, tunnel_sources, ports, own_addresses, routes, cluster_key } =
            &patch.around;
        !patch.services.is_empty()
            || !patch.backends.is_empty()
            || patch.services_len != self.services.len()
            || self.snat != *snat
            || self.tunnel_sources != *tunnel_sources
            || self.ports != *ports
            || *self.own_addresses != sorted(own_addresses.clone())
            || self.routes != *routes
            || self.cluster_key != *cluster_key
    }

    /// Is it sure that the XDP programs take the same for both, and that the same addresses are
    /// announced on the same ports? Quick, of two that follow one another.
    pub fn takes_the_same_as(&self, previous: &Snapshot) -> bool {
        self.by_vip.is_same(&previous.by_vip)
            && Arc::ptr_eq(&self.addresses, &previous.addresses)
            && Arc::ptr_eq(&self.tunnel_backends, &previous.tunnel_backends)
            && self.dnat.is_same(&previous.dnat)
            && self.snat == previous.snat
            && self.tunnel_sources == previous.tunnel_sources
            && self.own_addresses == previous.own_addresses
            && self.ports == previous.ports
            && self.routes == previous.routes
    }

    /// The next snapshot. `spare` saves time and changes nothing of what comes of it.
    pub fn next(&self, patch: Patch, ledger: Ledger, spare: Option<Spare>) -> Snapshot {
        let generation = self.generation + 1;
        let version = Version::of(generation, &patch, self);
        let leaving = self.leaving_with(&patch);
        let arrays = spare.and_then(|spare| self.catch_up(spare));
        let copies = || (self.services.clone(), copy_of_targets(&self.targets));
        let (mut services, mut targets) = arrays.unwrap_or_else(copies);
        let are_others = self.has_other_keys(&patch);
        let has = |mode: fn(Mode) -> bool| self.is_touched(&patch, mode);
        let (has_dnat, has_tunnel) =
            (has(|mode| mode == Mode::Dnat), has(|mode| mode.tunnel().is_some()));
        let are_other_services = self.has_other_lines(&patch);
        let Patch { services: new_services, services_len, backends: new, backends_len, around } =
            patch;
        let Around { snat, tunnel_sources, ports, own_addresses, routes, cluster_key } = around;
        put_services(&mut services, new_services, services_len);
        let tunnel_backends = match has_tunnel {
            true => self.tunnels_with(&new),
            false => self.tunnel_backends.clone(),
        };
        let of = |backend: &Option<Backend>| target_of(backend, &services, &ports);
        resize_targets(&mut targets, backends_len);
        for (id, backend) in &new {
            if let Some(target) = targets.get_mut(id.index()) {
                *target = of(backend);
            }
        }
        let new = new.into_iter().map(|(id, backend)| (id.index(), backend));
        let backends = self.backends.with(new, backends_len, &None);
        let are_all_others = are_other_services || ports != self.ports;
        if are_all_others {
            targets = targets_of(backends.iter(), &services, &ports);
        }
        let envelopes = self.envelopes_with(&targets, &services, has_tunnel || are_all_others);
        let port_lines = ports.iter().map(PortLine::of).collect();
        let (addresses, by_address) = match are_others || snat != self.snat {
            true => address_tables(&services, &snat),
            false => (self.addresses.clone(), self.by_address.clone()),
        };
        let by_vip = if are_others { ServiceTable::new(&services) } else { self.by_vip.clone() };
        // A backend on all ports of its service follows the service's.
        let has_other_dnat = has_dnat || (are_others && !self.dnat.is_empty());
        let dnat =
            if has_other_dnat { DnatTable::new(&services, &backends) } else { self.dnat.clone() };
        Snapshot {
            generation,
            services,
            backends,
            snat,
            tunnel_sources,
            ports,
            routes,
            cluster_key,
            slot_hash: SlotHash::new(cluster_key.0),
            by_vip,
            addresses,
            by_address,
            targets,
            envelopes,
            port_lines,
            dnat,
            tunnel_backends,
            own_addresses: sorted(own_addresses).into(),
            ledger,
            leaving,
            recent: self.recent_with(version),
            origin: Default::default(),
        }
    }

    /// The arrays of an older snapshot as this one has them; none when it is too old for that.
    fn catch_up(&self, spare: Spare) -> Option<(Vec<Service>, Vec<Target>)> {
        let Spare { generation, version, mut services, mut targets } = spare;
        let at = self.recent.iter().position(|recent| recent.generation == generation)?;
        let mut newer = self.recent.iter().skip(at);
        // Another one of the same number would have other changes behind it.
        if !newer.next().zip(version).is_some_and(|(known, its)| Arc::ptr_eq(known, &its)) {
            return None;
        }
        let (mut places, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for version in newer {
            let (changed_services, changed_backends) = version.places.as_ref()?;
            places.extend(changed_services.iter().map(|place| place.index()));
            ids.extend(changed_backends.iter().map(|id| id.index()));
        }
        services.truncate(self.services.len());
        for place in places {
            let Some(new) = self.services.get(place) else { continue };
            if let Some(old) = services.get_mut(place) {
                old.clone_from(new);
            } else if services.len() == place {
                services.push(new.clone());
            } else {
                return None;
            }
        }
        resize_targets(&mut targets, self.targets.len());
        for id in ids {
            if let (Some(old), Some(new)) = (targets.get_mut(id), self.targets.get(id)) {
                *old = *new;
            }
        }
        (services.len() == self.services.len()).then_some((services, targets))
    }

    fn recent_with(&self, version: Version) -> Vec<Arc<Version>> {
        // Nobody catches up over a snapshot that is other nearly everywhere.
        if version.places.is_none() {
            return vec![Arc::new(version)];
        }
        let kept = self.recent.len().saturating_sub(MOST_RECENT - 1);
        let older = self.recent.iter().skip(kept).cloned();
        older.chain([Arc::new(version)]).collect()
    }

    /// Is there another service, or one at another place or address?
    fn has_other_keys(&self, patch: &Patch) -> bool {
        let key = |service: &Service| {
            (service.vip, service.last_port, service.protocol, service.shared_address)
        };
        let is_other = |(place, new): &(ServiceIndex, Service)| {
            self.services.get(place.index()).is_none_or(|old| key(old) != key(new))
        };
        patch.services_len != self.services.len() || patch.services.iter().any(is_other)
    }

    /// Is a service another one in what stands in its backends' lines? Then those of backends that
    /// are not named are others, too. It is seldom so, and all are made anew.
    fn has_other_lines(&self, patch: &Patch) -> bool {
        let line = |service: &Service| (service.timeouts, service.gone, service.vip.is_ipv4());
        patch.services.iter().any(|(place, new)| {
            self.services.get(place.index()).is_some_and(|old| line(old) != line(new))
        })
    }

    /// Has a backend of such a mode changed, come or gone?
    fn is_touched(&self, patch: &Patch, is_such: fn(Mode) -> bool) -> bool {
        patch.backends.iter().any(|(id, new)| {
            let either = self.backend(*id).into_iter().chain(new);
            either.into_iter().any(|backend| is_such(backend.mode))
        })
    }

    /// They are as many as the targets, or none.
    fn envelopes_with(
        &self,
        targets: &[Target],
        services: &[Service],
        are_others: bool,
    ) -> Arc<[Envelope]> {
        let is_other_len = !self.envelopes.is_empty() && targets.len() != self.envelopes.len();
        match are_others || is_other_len {
            true => envelopes(targets, services),
            false => self.envelopes.clone(),
        }
    }

    fn tunnels_with(&self, new: &[(BackendId, Option<Backend>)]) -> Arc<[(Address, BackendId)]> {
        let is_known = |id: BackendId| new.binary_search_by_key(&id, |(id, _)| *id).is_ok();
        let kept = self.tunnel_backends.iter().copied().filter(|&(_, id)| !is_known(id));
        let added = new.iter().filter_map(|(_, backend)| tunnel_key(backend.as_ref()?));
        let mut all: Vec<_> = kept.chain(added).collect();
        all.sort_unstable();
        all.into()
    }

    /// How many services and backends are only here for their flows, after this patch.
    fn leaving_with(&self, patch: &Patch) -> usize {
        let mut leaving = self.leaving;
        let mut change = |before: bool, after: bool| {
            leaving = (leaving + usize::from(after)).saturating_sub(usize::from(before));
        };
        for (place, new) in &patch.services {
            let before = self.services.get(place.index()).is_some_and(|old| old.gone);
            change(before, new.gone);
        }
        for old in self.services.iter().skip(patch.services_len) {
            change(old.gone, false);
        }
        for (id, new) in &patch.backends {
            let is_retired = |backend: &Backend| backend.is_retired();
            let before = self.backend(*id).is_some_and(is_retired);
            change(before, new.as_ref().is_some_and(is_retired));
        }
        leaving
    }
}

pub(super) fn sorted(mut addresses: Vec<Address>) -> Vec<Address> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn put_services(services: &mut Vec<Service>, new: Vec<(ServiceIndex, Service)>, len: usize) {
    services.truncate(len);
    for (place, service) in new {
        match services.get_mut(place.index()) {
            Some(old) => *old = service,
            None => services.push(service),
        }
    }
}
