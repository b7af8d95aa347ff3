//! Desired states one after the other, each compiled: the same twice over, in another order, and
//! with no past, gives the same tables.

use std::net::{IpAddr, SocketAddr};

use guideway::control::{
    BackendSpec, CompileInput, DesiredState, Health, HealthView, LimitsSpec, LinkState, LiveFlows,
    ServiceSpec, SnatSpec, Topology, compile,
};
use guideway::forwarding::{BackendId, ClusterKey, Mode, Neighbour, Route, ServiceIndex, Snapshot};
use guideway::source::yaml;
use guideway::wire::{PortId, Protocol, Tags};

use super::network::{address, mac};
use super::steps::Steps;

const STATES: usize = 6;

/// Compiles them.
pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let mut control = Control {
        topology: topology(),
        limits: limits(),
        live: LiveFlows::default(),
        previous: Snapshot::empty(),
        now_ms: 0,
    };
    for _ in 0..STATES {
        if steps.is_over() {
            break;
        }
        control.step(&mut steps);
    }
}

/// What a node knows beside the desired state.
struct Control {
    topology: Topology,
    limits: LimitsSpec,
    live: LiveFlows,
    previous: Snapshot,
    now_ms: u64,
}

impl Control {
    fn step(&mut self, steps: &mut Steps<'_>) {
        let (desired, health) = (desired(steps), health(steps));
        self.now_ms += u64::from(steps.word());
        self.live.counts = steps.bytes(8).iter().map(|&count| u32::from(count & 1)).collect();
        self.topology.links[1].up = steps.byte() & 7 != 7;
        let made = self.compile(&desired, &health, &self.previous);
        let again = self.compile(&desired, &health, &self.previous);
        let turned = self.compile(&turned(&desired), &health, &self.previous);
        assert_eq!(turned.is_some(), made.is_some(), "refused by its order");
        let (Some(made), Some(again), Some(turned)) = (made, again, turned) else { return };
        assert!(made.same_as(&again), "not the same twice");
        sound(&made);
        let fresh = self.compile(&desired, &health, &Snapshot::empty());
        for service in &desired.services {
            let wanted = slots(&made, &service.name);
            assert_eq!(slots(&turned, &service.name), wanted, "by its order");
            if let Some(fresh) = &fresh {
                assert_eq!(slots(fresh, &service.name), wanted, "by what was before");
            }
        }
        self.live.generation = made.generation;
        self.previous = made;
    }

    fn compile(
        &self,
        desired: &DesiredState,
        health: &HealthView,
        previous: &Snapshot,
    ) -> Option<Snapshot> {
        let input = CompileInput {
            desired,
            health,
            topology: &self.topology,
            live: &self.live,
            previous,
            limits: &self.limits,
            cluster_key: ClusterKey(*b"sixteen bytes ok"),
            now_ms: self.now_ms,
        };
        match compile(&input) {
            Ok(compiled) => Some(compiled.snapshot),
            Err(refusals) => {
                assert!(!refusals.is_empty(), "refused without a reason");
                None
            }
        }
    }
}

/// The names in a service's table.
fn slots(snapshot: &Snapshot, service: &str) -> Option<Vec<Option<String>>> {
    let found = snapshot.services.iter().find(|found| !found.gone && *found.name == *service)?;
    let name = |id: &BackendId| snapshot.backend(*id).map(|backend| backend.name.to_string());
    Some(found.slots.iter().map(name).collect())
}

/// Every number in it leads to what it stands for.
fn sound(snapshot: &Snapshot) {
    for (place, backend) in snapshot.backends.iter().enumerate() {
        let Some(backend) = backend else { continue };
        assert_eq!(backend.id.index(), place);
        assert!(snapshot.service_of(backend).is_some(), "a backend of no service");
        assert!(backend.snat.iter().all(|&snat| usize::from(snat) < snapshot.snat.len()));
    }
    for (place, service) in snapshot.services.iter().enumerate() {
        for id in service.slots.iter() {
            let backend = snapshot.backend(*id).expect("a slot leads to a backend");
            assert_eq!(backend.service, ServiceIndex(place as u32), "another service's backend");
        }
    }
}

/// The same in another order.
fn turned(desired: &DesiredState) -> DesiredState {
    let mut turned = desired.clone();
    turned.services.reverse();
    turned.services.iter_mut().for_each(|service| service.backends.reverse());
    turned
}

fn desired(steps: &mut Steps<'_>) -> DesiredState {
    let services = (0..steps.below(5)).map(|_| service(steps).into()).collect();
    let snat = |steps: &mut Steps<'_>| SnatSpec {
        address: some_address(steps),
        ports: 1024 + 256 * u16::from(steps.byte() & 3)..=65535 - steps.word() / 2,
        interface: [None, Some("eth1"), Some("eth9")][steps.below(3)].map(str::to_string),
        shared_address: false,
    };
    let snat = (0..steps.below(4)).map(|_| snat(steps)).collect();
    DesiredState { services, snat, ..DesiredState::default() }
}

fn service(steps: &mut Steps<'_>) -> ServiceSpec {
    let how = steps.byte();
    let (name, port) = (how & 3, 80 + u16::from(how >> 2 & 3));
    let sizes = [Some(251), Some(13), None, Some(2), Some(12), Some(0), Some(509), Some(251)];
    // In the order in which the corpus has them.
    let vip = SocketAddr::new(some_address(steps), port);
    let table_size = sizes[usize::from(steps.byte() & 7)];
    let backends = (0..steps.below(7)).map(|_| backend(steps, port)).collect();
    ServiceSpec {
        protocol: if how & 16 != 0 { Protocol::Udp } else { Protocol::Tcp },
        mode: if how & 32 != 0 { Mode::L2dsr } else { Mode::Nat },
        table_size,
        ..ServiceSpec::new(format!("s{name}"), vip, backends)
    }
}

fn backend(steps: &mut Steps<'_>, port: u16) -> BackendSpec {
    let how = steps.byte();
    BackendSpec {
        name: format!("b{}", how & 7),
        address: some_address(steps),
        via: (how & 128 != 0).then(|| some_address(steps)),
        port: if how & 8 != 0 { port + 1 } else { port },
        weight: if how & 16 != 0 { steps.word() } else { 1 },
        backup: how & 64 != 0,
        drain: how & 32 != 0,
        healthy: None,
    }
}

/// Mostly a host of one of the two networks; now and then what no host has.
fn some_address(steps: &mut Steps<'_>) -> IpAddr {
    let how = steps.byte();
    match how {
        0xff => IpAddr::from([0; 16]),
        0xfe => IpAddr::from([224, 0, 0, 1]),
        _ => address(how & 1 != 0, 1 + (how >> 1 & 1), how >> 2),
    }
}

fn health(steps: &mut Steps<'_>) -> HealthView {
    let mut view = HealthView::new();
    for _ in 0..steps.below(8) {
        let how = steps.byte();
        let health = if how & 64 != 0 { Health::Up } else { Health::Down };
        view.set(&format!("s{}", how & 3), &format!("b{}", how >> 2 & 7), health);
    }
    view
}

/// As a file says that says nothing of them, but for two that are to be met.
fn limits() -> LimitsSpec {
    let text = "version: 1\ninterfaces:\n  - name: eth0\nservices: []\n";
    let config = yaml::parse("f", text).expect("a small file");
    LimitsSpec { backends: 16, retired_backends: 4, ..config.node.limits }
}

fn topology() -> Topology {
    let link = |name: &str, last| LinkState {
        name: name.to_string(),
        ifindex: u32::from(last) + 2,
        bridge_ifindex: None,
        mac: mac(last),
        mtu_bytes: 1500,
        up: true,
    };
    let (mut routes, mut neighbours) = (Vec::new(), Vec::new());
    for (is_v6, net) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let (port, tags) = (PortId(net - 1), Tags::NONE);
        let prefix_len = if is_v6 { 64 } else { 24 };
        let network = address(is_v6, net, 0);
        routes.push(Route { network, prefix_len, metric: 0, port, tags, gateway: None });
        let station = |host| Neighbour {
            address: address(is_v6, net, host),
            port,
            tags,
            mac: mac(host),
            gone: host == 9,
        };
        neighbours.extend((1..40).map(station));
    }
    let links = vec![link("eth0", 0), link("eth1", 1)];
    Topology { links, routes, neighbours, ..Topology::default() }
}
