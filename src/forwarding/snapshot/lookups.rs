//! What a snapshot's look-ups are made of, from services and backends.

use std::sync::Arc;

use super::super::address_table::AddressTable;
use super::super::{BackendId, Service, Target};
use super::{AddressRole, Backend, Port, SnatAddress};
use crate::arch;
use crate::wire::Address;
use crate::wire::encap::Envelope;

/// What packets have to know of a backend, or that there is none.
pub(super) fn target_of(backend: &Option<Backend>, services: &[Service], ports: &[Port]) -> Target {
    let Some(backend) = backend else { return Target::NONE };
    Target::of(backend, services.get(backend.service.index()), ports)
}

/// A line a backend, by id.
pub(super) fn targets_of<'a>(
    backends: impl Iterator<Item = &'a Option<Backend>> + Clone,
    services: &[Service],
    ports: &[Port],
) -> Vec<Target> {
    // They are asked for in no order: with a million of them the TLB counts too.
    let mut targets = arch::room_in_large_pages(backends.clone().count());
    targets.extend(backends.map(|backend| target_of(backend, services, ports)));
    targets
}

/// Another array of the same lines.
pub(super) fn copy_of_targets(targets: &[Target]) -> Vec<Target> {
    let mut copy = arch::room_in_large_pages(targets.len());
    copy.extend_from_slice(targets);
    copy
}

/// Cuts it, or fills it up with lines of no backend. A vector that grew by itself would lie in small
/// pages.
pub(super) fn resize_targets(targets: &mut Vec<Target>, len: usize) {
    if len > targets.capacity() {
        // Somewhat more, so that not each new backend moves all of them.
        let mut longer = arch::room_in_large_pages(len + len / 16);
        longer.append(targets);
        *targets = longer;
    }
    targets.resize(len, Target::NONE);
}

/// What is the same in all envelopes for each backend; nothing when no backend needs one.
pub(super) fn envelopes(targets: &[Target], services: &[Service]) -> Arc<[Envelope]> {
    let of = |target: &Target| target.envelope(services.get(target.service as usize)?);
    let has_any = targets.iter().any(|target| target.mode.tunnel().is_some());
    let made = targets.iter().map(|target| of(target).unwrap_or(Envelope::NONE));
    if has_any { made.collect() } else { Arc::from([]) }
}

/// Every address of ours with its role: sorted, and to be looked up.
pub(super) fn address_tables(
    services: &[Service],
    snat: &[SnatAddress],
) -> (Arc<[(Address, AddressRole)]>, AddressTable) {
    let addresses = addresses_of(services, snat);
    let by_address = AddressTable::new(&addresses);
    (addresses.into(), by_address)
}

/// Every address of ours with its role, sorted.
fn addresses_of(services: &[Service], snat: &[SnatAddress]) -> Vec<(Address, AddressRole)> {
    let vips = services.iter().map(|s| {
        let role = if s.shared_address { AddressRole::Shared } else { AddressRole::Vip };
        (Address::from(s.vip.ip()), role)
    });
    let snat = snat.iter().map(|s| {
        let role = if s.shared_address { AddressRole::Shared } else { AddressRole::Snat };
        (Address::from(s.address), role)
    });
    let mut addresses: Vec<_> = vips.chain(snat).collect();
    // Stable, and VIPs come first: an address that is VIP and SNAT answers pings too.
    addresses.sort_by_key(|&(address, _)| address);
    addresses.dedup_by_key(|&mut (address, _)| address);
    addresses
}

/// Address and id of a backend that is reached by a tunnel.
pub(super) fn tunnel_key(backend: &Backend) -> Option<(Address, BackendId)> {
    backend.mode.tunnel()?;
    Some((backend.socket.ip().into(), backend.id))
}

#[cfg(test)]
impl super::Snapshot {
    /// Which look-ups are others than those of `other`. All fields stand here by name, so that a new
    /// one is not forgotten.
    pub fn other_lookups(&self, other: &super::Snapshot) -> Vec<&'static str> {
        let super::Snapshot {
            // Theirs is to say what there is: `same_as` compares it.
            generation: _,
            services: _,
            backends: _,
            snat: _,
            tunnel_sources: _,
            ports: _,
            routes: _,
            cluster_key: _,
            // For the next compile.
            ledger: _,
            recent: _,
            origin: _,
            slot_hash,
            by_vip,
            addresses,
            by_address,
            targets,
            envelopes,
            dnat,
            tunnel_backends,
            own_addresses,
            port_lines,
            leaving,
        } = self;
        let same = [
            ("slot_hash", *slot_hash == other.slot_hash),
            ("by_vip", *by_vip == other.by_vip),
            ("addresses", *addresses == other.addresses),
            ("by_address", *by_address == other.by_address),
            ("targets", *targets == other.targets),
            ("envelopes", *envelopes == other.envelopes),
            ("dnat", *dnat == other.dnat),
            ("tunnel_backends", *tunnel_backends == other.tunnel_backends),
            ("own_addresses", *own_addresses == other.own_addresses),
            ("port_lines", *port_lines == other.port_lines),
            ("leaving", *leaving == other.leaving),
        ];
        same.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
    }
}
