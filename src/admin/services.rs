//! Services and backends of a snapshot, as status shows them.

use super::{
    BackendStatus, HealthStatus, NextHopStatus, ServiceState, ServiceStatus, TrafficStatus,
};
use crate::dataplane::Traffic;
use crate::forwarding::{Backend, BackendId, BackendState, Service, Snapshot};
use crate::wire::Tags;

/// What workers have counted and learned of backends, all together.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Live flows by backend id.
    pub live: Vec<u32>,
    /// By backend id.
    pub traffic: Vec<Traffic>,
    /// Path MTUs that were lowered; of one backend, the least counts.
    pub path_mtus: Vec<(BackendId, u16)>,
}

impl Measured {
    /// One worker's part.
    pub fn add(&mut self, live: &[u32], traffic: &[Traffic], path_mtus: &[(BackendId, u16)]) {
        self.live.resize(self.live.len().max(live.len()), 0);
        self.live.iter_mut().zip(live).for_each(|(sum, flows)| *sum += flows);
        self.traffic.resize(self.traffic.len().max(traffic.len()), Traffic::default());
        self.traffic.iter_mut().zip(traffic).for_each(|(sum, more)| *sum = sum.plus(*more));
        self.path_mtus.extend_from_slice(path_mtus);
    }

    fn path_mtu_of(&self, id: BackendId) -> Option<u16> {
        let of_it = self.path_mtus.iter().filter(|&&(other, _)| other == id);
        of_it.map(|&(_, mtu_bytes)| mtu_bytes).min()
    }
}

/// All services of `snapshot`, sorted by name. `health` gives what is thought of (service, backend).
pub fn services_of(
    snapshot: &Snapshot,
    measured: &Measured,
    health: impl Fn(&str, &str) -> Option<HealthStatus>,
) -> Vec<ServiceStatus> {
    let mut slots = vec![0u64; snapshot.backends.len()];
    for id in snapshot.services.iter().flat_map(|service| service.slots.iter()) {
        if let Some(count) = slots.get_mut(id.index()) {
            *count += 1;
        }
    }
    let mut weights = vec![0u64; snapshot.services.len()];
    let mut members: Vec<Vec<&Backend>> = vec![vec![]; snapshot.services.len()];
    for backend in snapshot.backends.iter().flatten() {
        let place = backend.service.index();
        if let (Some(weight), Some(members)) = (weights.get_mut(place), members.get_mut(place)) {
            *weight += promised_weight(backend);
            members.push(backend);
        }
    }
    let mut services: Vec<_> = snapshot
        .services
        .iter()
        .zip(members.iter().zip(&weights))
        .map(|(service, (members, &weight))| {
            let mut backends: Vec<_> = members
                .iter()
                .map(|&backend| BackendStatus {
                    name: backend.name.to_string(),
                    // Of several ports, the first.
                    socket: backend.socket_for(service.vip.port()),
                    last_port: last_port(service, backend),
                    weight: backend.weight,
                    state: backend.state,
                    health: health(&service.name, &backend.name),
                    share: fraction(
                        slots.get(backend.id.index()).copied().unwrap_or(0),
                        service.slots.len() as u64,
                    ),
                    promised_share: fraction(promised_weight(backend), weight),
                    flows: measured.live.get(backend.id.index()).copied().unwrap_or(0).into(),
                    traffic: traffic(measured, backend),
                    path_mtu_bytes: measured.path_mtu_of(backend.id),
                    next_hop: next_hop(snapshot, backend),
                })
                .collect();
            backends.sort_by(|a, b| a.name.cmp(&b.name));
            ServiceStatus {
                name: service.name.to_string(),
                vip: service.vip,
                last_port: service.last_port,
                protocol: service.protocol,
                mode: service.mode.to_string(),
                state: match (service.gone, service.slots.is_empty()) {
                    (true, _) => ServiceState::Removed,
                    (false, true) => ServiceState::NoBackend,
                    (false, false) => ServiceState::Serving,
                },
                table_size: service.slots.len(),
                flows: backends.iter().map(|backend| backend.flows).sum(),
                backends,
            }
        })
        .collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

/// The last of several ports on which a backend listens.
fn last_port(service: &Service, backend: &Backend) -> Option<u16> {
    let on_all = backend.socket.port() == 0 || backend.mode.keeps_port();
    service.last_port.filter(|_| on_all)
}

fn traffic(measured: &Measured, backend: &Backend) -> TrafficStatus {
    let traffic = measured.traffic.get(backend.id.index()).copied().unwrap_or_default();
    TrafficStatus {
        packets_in: traffic.packets_in,
        bytes_in: traffic.bytes_in,
        packets_out: traffic.packets_out,
        bytes_out: traffic.bytes_out,
    }
}

fn promised_weight(backend: &Backend) -> u64 {
    if backend.state == BackendState::Active { backend.weight.into() } else { 0 }
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The hop itself, or the first thing that is missing on the way to it.
fn next_hop(snapshot: &Snapshot, backend: &Backend) -> NextHopStatus {
    let name = |port, tags| {
        let name = snapshot.port(port).map_or("?", |port| &*port.name);
        if tags == Tags::NONE { name.to_string() } else { format!("{name} {tags}") }
    };
    if let Some(hop) = backend.next_hop {
        let (interface, mac) = (name(hop.port, hop.tags), hop.mac.to_string());
        return NextHopStatus::Known { interface, mac };
    }
    let address = backend.routed_by();
    NextHopStatus::Missing(match snapshot.routes.route(address) {
        None => format!("no route to {address} by any of our interfaces"),
        Some(route) => {
            let hop = route.gateway.unwrap_or(address);
            format!("no MAC for {hop} on {}", name(route.port, route.tags))
        }
    })
}

#[cfg(test)]
pub(super) use tests::snapshot as small_snapshot;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::{
        BackendGonePolicy, ClusterKey, FlowRules, FlowTimeouts, Mode, MssClamp, NextHop,
        NoBackendPolicy, Port, Route, RouteTable, ServiceGonePolicy, ServiceIndex, SnapshotParts,
        TunnelSources,
    };
    use crate::wire::{MacAddress, PortId, Protocol};
    use std::sync::Arc;

    fn backend(id: u32, weight: u16, state: BackendState, socket: &str) -> Option<Backend> {
        Some(Backend {
            id: BackendId(id),
            name: format!("b{id}").into(),
            service: ServiceIndex(0),
            via: None,
            socket: socket.parse().unwrap(),
            mode: Mode::Nat,
            weight,
            state,
            retired_in: 0,
            gone: false,
            next_hop: None,
            snat: Arc::from([]),
        })
    }

    /// Service `web` with the backends b0 and b2, and b3 that is draining.
    pub(in crate::admin) fn snapshot() -> Snapshot {
        let mut backends = vec![
            backend(0, 3, BackendState::Active, "10.2.0.1:80"),
            None,
            backend(2, 1, BackendState::Active, "10.2.0.2:80"),
            backend(3, 9, BackendState::Draining, "192.0.2.9:80"),
        ];
        let hop =
            NextHop { port: PortId(0), tags: Tags::NONE, mac: MacAddress([2, 0, 0, 0, 0, 7]) };
        backends[0].as_mut().unwrap().next_hop = Some(hop);
        let network = "10.2.0.0".parse().unwrap();
        let port = PortId(0);
        let route =
            Route { network, prefix_len: 24, metric: 0, port, tags: Tags::NONE, gateway: None };
        Snapshot::new(SnapshotParts {
            generation: 1,
            tunnel_sources: TunnelSources::default(),
            own_addresses: vec![],
            services: vec![Service {
                name: "web".into(),
                vip: "10.1.0.100:80".parse().unwrap(),
                protocol: Protocol::Tcp,
                shared_address: false,
                mode: Mode::Nat,
                slots: [0, 0, 2, 0, 0].map(BackendId).into(),
                last_port: None,
                rules: FlowRules::default(),
                mss: MssClamp::Auto,
                no_backend: NoBackendPolicy::Reset,
                timeouts: FlowTimeouts::default(),
                on_service_gone: ServiceGonePolicy::Reset,
                on_backend_gone: BackendGonePolicy::Reset,
                gone: false,
            }],
            backends,
            snat: vec![],
            ports: vec![Port {
                name: "eth1".into(),
                mac: MacAddress([2, 0, 0, 0, 0, 1]),
                mtu_bytes: 1500,
                up: true,
            }],
            routes: RouteTable::new(vec![route], vec![]),
            cluster_key: ClusterKey([0; 16]),
        })
    }

    #[test]
    fn shares_flows_and_ways() {
        let traffic = |packets_in| Traffic { packets_in, ..Traffic::default() };
        let mut measured = Measured::default();
        measured.add(&[2, 0, 6], &[traffic(1)], &[(BackendId(2), 1400)]);
        let both = [traffic(2), traffic(0), traffic(5)];
        measured.add(&[3, 0, 0, 7], &both, &[(BackendId(2), 1300), (BackendId(3), 1492)]);
        let services = services_of(&snapshot(), &measured, |_, _| None);
        let [service] = services.as_slice() else { panic!("one service") };
        assert_eq!((service.table_size, service.flows), (5, 18));
        assert_eq!(service.state, ServiceState::Serving);
        let rows: Vec<_> = service
            .backends
            .iter()
            .map(|b| (b.name.as_str(), b.share, b.promised_share, b.flows, b.next_hop.clone()))
            .collect();
        let known =
            NextHopStatus::Known { interface: "eth1".into(), mac: "02:00:00:00:00:07".into() };
        let missing = |text: &str| NextHopStatus::Missing(text.into());
        let wanted = [
            ("b0", 0.8, 0.75, 5, known),
            ("b2", 0.2, 0.25, 6, missing("no MAC for 10.2.0.2 on eth1")),
            ("b3", 0.0, 0.0, 7, missing("no route to 192.0.2.9 by any of our interfaces")),
        ];
        assert_eq!(rows, wanted);
        let counted: Vec<_> = (service.backends.iter())
            .map(|backend| (backend.traffic.packets_in, backend.path_mtu_bytes))
            .collect();
        assert_eq!(counted, [(3, None), (5, Some(1300)), (0, Some(1492))]);
    }

    #[test]
    fn ports_in_full() {
        let rows = [
            (Mode::Nat, 8080, None, 8080, None),
            (Mode::Nat, 8080, Some(90), 8080, None),
            (Mode::Nat, 0, Some(90), 80, Some(90)),
            (Mode::Dnat, 0, Some(90), 80, Some(90)),
            (Mode::L2dsr, 80, Some(90), 80, Some(90)),
            (Mode::L2dsr, 80, None, 80, None),
        ];
        for (mode, port, last, wanted, wanted_last) in rows {
            let mut snapshot = snapshot();
            snapshot.services[0].last_port = last;
            let mut backends: Vec<_> = snapshot.backends.iter().cloned().collect();
            let backend = backends[0].as_mut().unwrap();
            backend.mode = mode;
            backend.socket.set_port(port);
            snapshot.backends = backends.into_iter().collect();
            let services = services_of(&snapshot, &Measured::default(), |_, _| None);
            let backend = &services[0].backends[0];
            assert_eq!(services[0].last_port, last);
            assert_eq!((backend.socket.port(), backend.last_port), (wanted, wanted_last), "{mode}");
        }
    }

    #[test]
    fn ways_over_ipv6_and_vlans() {
        let mut parts = snapshot();
        let vlan = Tags::customer(10);
        let port = PortId(0);
        let network = "2001:db8::".parse().unwrap();
        let route = Route { network, prefix_len: 32, metric: 0, port, tags: vlan, gateway: None };
        parts.routes = RouteTable::new(vec![route], vec![]);
        let mut backends = [
            backend(0, 1, BackendState::Active, "[2001:db8::1]:80").unwrap(),
            backend(1, 1, BackendState::Active, "[2001:db8::2]:80").unwrap(),
            backend(2, 1, BackendState::Active, "[2001:db9::3]:80").unwrap(),
        ];
        let mac = MacAddress([2, 0, 0, 0, 0, 7]);
        backends[0].next_hop = Some(NextHop { port, tags: vlan, mac });
        let wanted = [
            NextHopStatus::Known {
                interface: "eth1 vlan 10".into(),
                mac: "02:00:00:00:00:07".into(),
            },
            NextHopStatus::Missing("no MAC for 2001:db8::2 on eth1 vlan 10".into()),
            NextHopStatus::Missing("no route to 2001:db9::3 by any of our interfaces".into()),
        ];
        assert_eq!(backends.map(|backend| next_hop(&parts, &backend)), wanted);
    }
}
