//! The immutable state workers forward by: made by `compile`, swapped in between batches.

mod lookups;
mod next;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::address_table::AddressTable;
use super::slot_hash::SlotHash;
use super::{
    BackendId, DnatTable, Ledger, Mode, NextHop, Origin, RouteTable, Service, ServiceIndex,
    ServiceTable, SharedList, Target, TunnelSources,
};
use crate::wire::encap::Envelope;
use crate::wire::{Address, FlowKey, MacAddress, PortId};

use lookups::{address_tables, envelopes, targets_of, tunnel_key};
pub use next::{Around, Patch, Spare};
use next::{Version, sorted};

/// The secret that places flows in Maglev tables; nodes of one ECMP group share it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 16]);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(secret)")
    }
}

/// What a backend may still get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// New flows by its share of the table.
    Active,
    /// In the configuration with `drain` or weight 0: keeps its flows, gets no new one.
    Draining,
    /// Its health check fails: gets no new flow, and its old ones get what `on_backend_gone` says.
    Unhealthy,
    /// A healthy one of those that are not in use now, such as a backup: keeps its flows, gets no new
    /// one.
    Standby,
    /// No longer in the configuration: here until its last flow has ended.
    Retired,
}

/// One backend of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Stable number.
    pub id: BackendId,
    /// Stable name within its service: Maglev is keyed by it.
    pub name: Arc<str>,
    /// Its service in this snapshot (a removed one stays as `gone` while flows of it live).
    pub service: ServiceIndex,
    /// Where it listens; with port 0 on the port that a packet was sent to.
    pub socket: SocketAddr,
    /// Whose route is that of its packets, where that is not its own address: the node of a pod.
    pub via: Option<IpAddr>,
    /// How packets get to it: the service's mode when its flows began.
    pub mode: Mode,
    /// Weight as configured.
    pub weight: u16,
    /// What it may still get.
    pub state: BackendState,
    /// The generation in which it became retired; 0 while it is not.
    pub retired_in: u64,
    /// Its flows are over, see [`super::BackendGonePolicy`]: it is dead, or drained long enough.
    pub gone: bool,
    /// Where its frames go. None: no route or no MAC yet; packets are dropped with a reason.
    pub next_hop: Option<NextHop>,
    /// SNAT addresses that may be used towards it: places in [`Snapshot::snat`].
    pub snat: Arc<[u16]>,
}

impl Backend {
    /// Where it listens for what was sent to this port of the VIP.
    pub fn socket_for(&self, vip_port: u16) -> SocketAddr {
        let port = if self.socket.port() == 0 { vip_port } else { self.socket.port() };
        SocketAddr::new(self.socket.ip(), port)
    }

    /// The address whose route is that of its packets.
    pub fn routed_by(&self) -> IpAddr {
        self.via.unwrap_or(self.socket.ip())
    }

    /// Is it no longer in the configuration?
    pub fn is_retired(&self) -> bool {
        self.state == BackendState::Retired
    }
}

/// One source address for NAT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnatAddress {
    /// The address.
    pub address: IpAddr,
    /// Ports that may be used; spans at least 256, so that every shard has one.
    pub ports: RangeInclusive<u16>,
    /// Used only towards backends behind this port, or towards all.
    pub port: Option<PortId>,
    /// It is the machine's own address too: ARP and everything outside `ports` are the kernel's.
    pub shared_address: bool,
}

/// One of our interfaces as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Interface name.
    pub name: Arc<str>,
    /// Its MAC: source of every frame that leaves by it.
    pub mac: MacAddress,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u16,
    /// Carrier and administratively up.
    pub up: bool,
}

/// What packets have to know of a [`Port`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortLine {
    /// Its MAC as a [`word`](MacAddress::word).
    pub mac: u64,
    /// Longest packet that may leave by it, in bytes; 0 while it is down.
    pub mtu_bytes: u16,
}

impl PortLine {
    fn of(port: &Port) -> PortLine {
        PortLine { mac: port.mac.word(), mtu_bytes: if port.up { port.mtu_bytes } else { 0 } }
    }
}

/// How an address is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressRole {
    /// A VIP that is ours alone: ARP and ping are answered here.
    Vip,
    /// A SNAT address that is ours alone: ARP is answered here.
    Snat,
    /// Shared with the machine: the kernel answers ARP and ping.
    Shared,
}

/// Everything a worker needs to decide about a packet. Immutable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up by one with each publication; the first is 1.
    pub generation: u64,
    /// By [`ServiceIndex`].
    pub services: Vec<Service>,
    /// By [`BackendId`]; holes are ids not in use.
    pub backends: SharedList<Option<Backend>>,
    /// NAT source addresses.
    pub snat: Vec<SnatAddress>,
    /// Outer sources of tunnels.
    pub tunnel_sources: TunnelSources,
    /// By [`PortId`].
    pub ports: Vec<Port>,
    /// Ways back to clients.
    pub routes: RouteTable,
    cluster_key: ClusterKey,
    slot_hash: SlotHash,
    by_vip: ServiceTable,
    /// Sorted.
    addresses: Arc<[(Address, AddressRole)]>,
    by_address: AddressTable,
    /// By [`BackendId`].
    targets: Vec<Target>,
    /// By [`BackendId`]; empty when no backend is reached by a tunnel.
    envelopes: Arc<[Envelope]>,
    dnat: DnatTable,
    /// Backends that are reached by a tunnel, by address, sorted.
    tunnel_backends: Arc<[(Address, BackendId)]>,
    /// The machine's own addresses, sorted.
    own_addresses: Arc<[Address]>,
    /// By [`PortId`].
    port_lines: Box<[PortLine]>,
    ledger: Ledger,
    /// Removed services and retired backends: all that is only here for its flows.
    leaving: usize,
    /// Where this one and the last few before it differ from the one before each; this one last.
    recent: Vec<Arc<Version>>,
    origin: Origin,
}

/// The parts of a snapshot that `compile` chooses; look-up structures are made from them.
#[derive(Clone, Debug)]
pub struct SnapshotParts {
    /// See [`Snapshot::generation`].
    pub generation: u64,
    /// See [`Snapshot::services`].
    pub services: Vec<Service>,
    /// See [`Snapshot::backends`].
    pub backends: Vec<Option<Backend>>,
    /// See [`Snapshot::snat`].
    pub snat: Vec<SnatAddress>,
    /// See [`Snapshot::tunnel_sources`].
    pub tunnel_sources: TunnelSources,
    /// See [`Snapshot::ports`].
    pub ports: Vec<Port>,
    /// The machine's own addresses: packets to them are the kernel's. In any order.
    pub own_addresses: Vec<Address>,
    /// See [`Snapshot::routes`].
    pub routes: RouteTable,
    /// Places flows in Maglev tables.
    pub cluster_key: ClusterKey,
}

impl Snapshot {
    /// Builds the look-ups.
    pub fn new(parts: SnapshotParts) -> Snapshot {
        let by_vip = ServiceTable::new(&parts.services);
        let (addresses, by_address) = address_tables(&parts.services, &parts.snat);
        let targets = targets_of(parts.backends.iter(), &parts.services, &parts.ports);
        let envelopes = envelopes(&targets, &parts.services);
        let mut tunnel_backends: Vec<_> =
            parts.backends.iter().flatten().filter_map(tunnel_key).collect();
        tunnel_backends.sort_unstable();
        let retired = parts.backends.iter().flatten().filter(|backend| backend.is_retired());
        let leaving = retired.count() + parts.services.iter().filter(|s| s.gone).count();
        let SnapshotParts {
            generation,
            services,
            backends,
            snat,
            tunnel_sources,
            ports,
            own_addresses,
            routes,
            cluster_key,
        } = parts;
        let port_lines = ports.iter().map(PortLine::of).collect();
        let backends = backends.into_iter().collect();
        let dnat = DnatTable::new(&services, &backends);
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
            dnat,
            tunnel_backends: tunnel_backends.into(),
            own_addresses: sorted(own_addresses).into(),
            port_lines,
            ledger: Ledger::default(),
            leaving,
            recent: Version::first(generation),
            origin: Origin::default(),
        }
    }

    /// The same with what the next `compile` has to know.
    pub fn with_ledger(mut self, ledger: Ledger) -> Snapshot {
        self.ledger = ledger;
        self
    }

    /// What `compile` wrote down for the next one.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The same with what it was compiled from.
    pub fn with_origin(mut self, origin: Origin) -> Snapshot {
        self.origin = origin;
        self
    }

    /// What it was compiled from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key its tables are made with.
    pub fn cluster_key(&self) -> ClusterKey {
        self.cluster_key
    }

    /// Would workers forward the same by the other one? Generation and ledger do not count. Cheap
    /// where tables are shared, as they are when `compile` found nothing to change in them.
    pub fn same_as(&self, other: &Snapshot) -> bool {
        // What is not compared (look-ups, addresses) is made from what is.
        self.services == other.services
            && self.backends == other.backends
            && self.snat == other.snat
            && self.tunnel_sources == other.tunnel_sources
            && self.ports == other.ports
            && self.routes == other.routes
            && self.own_addresses == other.own_addresses
            && self.cluster_key == other.cluster_key
    }

    /// No retired backend and no removed service: the end of flows and the passing of time alone
    /// change nothing, so there is no need to compile again for them.
    pub fn is_settled(&self) -> bool {
        self.leaving == 0
    }

    /// Do ids of backends that were cut still rest? Only another look at live flows sets them free.
    pub fn has_resting_ids(&self) -> bool {
        !self.ledger.cut.is_empty()
    }

    /// When time alone changes something next: a backend's drain is over, or it gets more of its share.
    pub fn next_change_ms(&self) -> Option<u64> {
        let next = [self.ledger.next_gone_ms, self.ledger.next_warmer_ms];
        next.into_iter().flatten().min()
    }

    /// How many slots each backend has, by [`BackendId`]: its share of new flows, for status.
    pub fn slot_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.backends.len()];
        for id in self.services.iter().flat_map(|service| service.slots.iter()) {
            if let Some(count) = counts.get_mut(id.index()) {
                *count += 1;
            }
        }
        counts
    }

    /// A snapshot with no service: what workers run before the first is published.
    pub fn empty() -> Snapshot {
        Snapshot::new(SnapshotParts {
            generation: 0,
            services: vec![],
            backends: vec![],
            snat: vec![],
            tunnel_sources: TunnelSources::default(),
            ports: vec![],
            own_addresses: vec![],
            routes: RouteTable::default(),
            cluster_key: ClusterKey([0; 16]),
        })
    }

    /// The place of the service a packet with this key is for.
    #[inline(always)]
    pub fn service_of_key(&self, key: &FlowKey) -> Option<ServiceIndex> {
        self.by_vip.find(key)
    }

    /// The service a packet with this key is for.
    #[inline]
    pub fn find_service(&self, key: &FlowKey) -> Option<(ServiceIndex, &Service)> {
        let index = self.by_vip.find(key)?;
        Some((index, self.services.get(index.index())?))
    }

    /// The backend Maglev gives a new flow of `service`; none when none is usable.
    ///
    /// A pure function of key, table and cluster key: every node of an ECMP group agrees.
    #[inline]
    pub fn select(&self, service: &Service, key: &FlowKey) -> Option<&Backend> {
        let id = *service.slots.get(self.slot(service, key)?)?;
        self.backend(id)
    }

    /// The Maglev slot of a flow; none when the table is empty.
    #[inline]
    pub fn slot(&self, service: &Service, key: &FlowKey) -> Option<usize> {
        let len = service.slots.len();
        // Multiply-shift spreads the hash over the slots without a division (Lemire 2019).
        (len > 0).then(|| {
            ((u128::from(self.slot_hash.of(&service.rules.hash.of(key))) * len as u128) >> 64)
                as usize
        })
    }

    /// The DNAT service whose backend has sent a packet with this key to a client; none of a packet
    /// to the machine itself, such as an answer to a health check.
    #[inline]
    pub fn find_dnat(&self, key: &FlowKey) -> Option<ServiceIndex> {
        let service = self.dnat.find(key)?;
        let is_client = key.destination.is_one_host() && !self.is_own(key.destination);
        is_client.then_some(service)
    }

    /// The backends at this address that are reached by a tunnel.
    pub fn tunnel_backends(&self, address: Address) -> impl Iterator<Item = BackendId> + '_ {
        let first = self.tunnel_backends.partition_point(|&(at, _)| at < address);
        let rest = self.tunnel_backends.iter().skip(first);
        rest.take_while(move |&&(at, _)| at == address).map(|&(_, id)| id)
    }

    /// All sockets of DNAT backends, and their services.
    pub fn dnat(&self) -> &DnatTable {
        &self.dnat
    }

    /// Has the machine itself this address?
    #[inline]
    pub fn is_own(&self, address: Address) -> bool {
        self.own_addresses.binary_search(&address).is_ok()
    }

    /// The machine's own addresses, sorted.
    pub fn own_addresses(&self) -> &[Address] {
        &self.own_addresses
    }

    /// A backend by id.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.index())?.as_ref()
    }

    /// A backend's service.
    #[inline]
    pub fn service_of(&self, backend: &Backend) -> Option<&Service> {
        self.services.get(backend.service.index())
    }

    /// A port by id.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    /// What packets have to know of a port.
    #[inline]
    pub fn port_line(&self, id: PortId) -> Option<&PortLine> {
        self.port_lines.get(id.index())
    }

    /// What packets have to know of a backend; none when no backend has this id.
    #[inline]
    pub fn target(&self, id: BackendId) -> Option<&Target> {
        self.targets.get(id.index()).filter(|target| target.is_there())
    }

    /// The same without asking whether there is one: to fetch its line.
    #[inline]
    pub fn target_line(&self, id: BackendId) -> Option<&Target> {
        self.targets.get(id.index())
    }

    /// The envelope of a backend that is reached by a tunnel and an untagged link.
    #[inline]
    pub fn envelope(&self, id: BackendId) -> Option<&Envelope> {
        self.envelopes.get(id.index())
    }

    /// Backend ids are below this.
    #[inline]
    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// How an address is ours, if it is.
    #[inline]
    pub fn address_role(&self, address: Address) -> Option<AddressRole> {
        self.by_address.get(address)
    }

    /// Is the address one that is ours for SNAT, and for nothing else?
    #[inline(always)]
    pub fn is_snat_alone(&self, address: Address) -> bool {
        self.address_role(address) == Some(AddressRole::Snat)
    }

    /// Every address of ours with its role, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, AddressRole)> + '_ {
        self.addresses.iter().map(|&(address, role)| (address.ip(), role))
    }

    /// The SNAT address that owns this address and port, by its place in [`Snapshot::snat`].
    #[inline]
    pub fn find_snat(&self, address: Address, port: u16) -> Option<u16> {
        // Asked of every client's address: nearly all are none of ours, and pools may be many.
        self.address_role(address)?;
        let ip = address.ip();
        let owns = |snat: &SnatAddress| snat.address == ip && snat.ports.contains(&port);
        self.snat.iter().position(owns).map(|place| place as u16)
    }
}
