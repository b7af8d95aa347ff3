//! The balancer's control side in a run: desired state, health and topology, compiled and published
//! by the same code that runs outside.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use guideway::control::{
    BackendSpec, CompileInput, DesiredState, Health, HealthCheckKind, HealthCheckSpec, HealthView,
    LimitsSpec, LinkState, LiveFlows, ServiceSpec, SnatSpec, Topology, compile,
};
use guideway::forwarding::{
    BackendGonePolicy, ClusterKey, FlowRules, FlowTimeouts, Mode, MssClamp, Neighbour,
    NoBackendPolicy, Route, ServiceGonePolicy, Snapshot,
};
use guideway::runtime::Publisher;
use guideway::wire::{Family, MacAddress, PortId, Protocol};

use super::chance::Chance;
use super::plan::{Change, Plan, Pool};

/// Where the hosts of a port are: 10.1.0.0/24, fd00:1::/64, and so on.
pub fn address(family: Family, port: PortId, last: u8) -> IpAddr {
    match family {
        Family::Ipv4 => [10, 1 + port.0, 0, last].into(),
        Family::Ipv6 => {
            let (port, last) = (1 + u16::from(port.0), last.into());
            Ipv6Addr::new(0xfd00, port, 0, 0, 0, 0, 0, last).into()
        }
    }
}

pub fn prefix_len(family: Family) -> u8 {
    if family == Family::Ipv4 { 24 } else { 64 }
}

/// The VIP of a pool's services.
pub fn vip(family: Family, pool: Pool) -> IpAddr {
    address(family, PortId(0), if pool == Pool::Nat { 100 } else { 101 })
}

pub const SERVICE_PORT: u16 = 80;
/// Where NAT backends listen; those of L2DSR listen on the service's port.
pub const NAT_BACKEND_PORT: u16 = 8080;

pub const TIMEOUTS: FlowTimeouts = FlowTimeouts {
    tcp_opening_ms: 60_000,
    tcp_established_ms: 600_000,
    tcp_closing_ms: 60_000,
    tcp_reset_ms: 10_000,
    udp_ms: 120_000,
    affinity_ms: 0,
};

/// A machine that is a backend when the configuration says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    pub pool: Pool,
    pub number: u16,
    pub address: IpAddr,
    pub mac: MacAddress,
    pub port: PortId,
}

impl Machine {
    pub fn listens_on(&self) -> u16 {
        if self.pool == Pool::Nat { NAT_BACKEND_PORT } else { SERVICE_PORT }
    }

    fn spec(&self) -> BackendSpec {
        BackendSpec {
            name: format!("machine{}", self.number),
            address: self.address,
            port: self.listens_on(),
            weight: 1,
            drain: false,
        }
    }
}

/// Everything that `compile` asks for.
pub struct Control {
    machines: Vec<Machine>,
    desired: DesiredState,
    health: HealthView,
    topology: Topology,
    limits: LimitsSpec,
    publisher: Arc<Publisher>,
}

impl Control {
    /// Begins with all machines but the last of each pool as backends.
    pub fn new(
        plan: &Plan,
        machines: Vec<Machine>,
        links: Vec<MacAddress>,
        publisher: Arc<Publisher>,
    ) -> Control {
        let pools = [Pool::Nat, Pool::L2dsr];
        let services = pools.into_iter().flat_map(|pool| {
            let members: Vec<&Machine> = machines.iter().filter(|m| m.pool == pool).collect();
            let some = &members[..members.len() - 1];
            let backends: Vec<BackendSpec> = some.iter().map(|machine| machine.spec()).collect();
            let service = |protocol| service(plan.family, pool, protocol, &backends);
            [Protocol::Tcp, Protocol::Udp].map(service)
        });
        let snat = snat(plan.family, links.len());
        let desired = DesiredState { services: services.collect(), snat, tunnel_sources: vec![] };
        Control {
            desired,
            health: HealthView::new(),
            topology: topology(plan, &machines, links),
            limits: limits(plan),
            machines,
            publisher,
        }
    }

    /// Compiles what is wanted now and publishes it if it differs.
    pub fn publish(&self, now_ms: u64, live: &LiveFlows) -> Option<Arc<Snapshot>> {
        let previous = self.publisher.current();
        let compiled = compile(&CompileInput {
            desired: &self.desired,
            health: &self.health,
            topology: &self.topology,
            live,
            previous: &previous,
            limits: &self.limits,
            cluster_key: ClusterKey(*b"the sim's secret"),
            now_ms,
        });
        let snapshot = compiled.expect("the simulator asks for nothing wrong").snapshot;
        if previous.generation > 0 && snapshot.same_as(&previous) {
            return None;
        }
        let snapshot = Arc::new(snapshot);
        self.publisher.publish(snapshot.clone());
        Some(snapshot)
    }

    /// Changes what is wanted, or what is known, if the pool has a backend it can happen to.
    pub fn change(&mut self, change: Change, chance: &mut Chance) {
        match change {
            Change::Add(pool) => self.add(pool, chance),
            Change::Remove(pool) => self.pick(pool, chance, |backends, place, _| {
                backends.remove(place);
            }),
            Change::Drain(pool) => self.pick(pool, chance, |backends, place, _| {
                backends[place].drain ^= true;
            }),
            Change::Weigh(pool) => self.pick(pool, chance, |backends, place, chance| {
                backends[place].weight = chance.between(0, 4) as u16;
            }),
            Change::Health(pool) => self.fail(pool, chance),
            Change::FailAll(pool) => {
                for backend in self.members(pool).to_vec() {
                    self.set_down(pool, &backend.name);
                }
            }
            Change::RemoveServices(pool) => {
                self.desired.services.retain(|service| !names(pool).contains(&service.name));
            }
            Change::Restart | Change::Reload => {}
        }
    }

    fn add(&mut self, pool: Pool, chance: &mut Chance) {
        let members = self.members(pool).to_vec();
        let is_out = |machine: &&Machine| {
            machine.pool == pool && !members.iter().any(|spec| spec.address == machine.address)
        };
        let outside: Vec<Machine> = self.machines.iter().filter(is_out).copied().collect();
        if outside.is_empty() {
            return;
        }
        let machine = outside[chance.place(outside.len())];
        self.set_members(pool, [members, vec![machine.spec()]].concat());
    }

    /// Changes one backend, unless none could be used then.
    fn pick(
        &mut self,
        pool: Pool,
        chance: &mut Chance,
        change: impl Fn(&mut Vec<BackendSpec>, usize, &mut Chance),
    ) {
        let mut backends = self.members(pool).to_vec();
        let place = chance.place(backends.len());
        change(&mut backends, place, chance);
        if self.usable(pool, &backends, &self.health) > 0 {
            self.set_members(pool, backends);
        }
    }

    fn fail(&mut self, pool: Pool, chance: &mut Chance) {
        let backends = self.members(pool);
        let name = &backends[chance.place(backends.len())].name;
        let mut health = self.health.clone();
        for service in names(pool) {
            let is_down = health.get(&service, name) == Health::Down;
            health.set(&service, name, if is_down { Health::Up } else { Health::Down });
        }
        if self.usable(pool, backends, &health) > 0 {
            self.health = health;
        }
    }

    fn set_down(&mut self, pool: Pool, backend: &str) {
        for service in names(pool) {
            self.health.set(&service, backend, Health::Down);
        }
    }

    fn usable(&self, pool: Pool, backends: &[BackendSpec], health: &HealthView) -> usize {
        let [service, _] = names(pool);
        let is_usable = |backend: &&BackendSpec| {
            let is_well = health.get(&service, &backend.name).is_usable();
            backend.weight > 0 && !backend.drain && is_well
        };
        backends.iter().filter(is_usable).count()
    }

    fn members(&self, pool: Pool) -> &[BackendSpec] {
        let service = self.desired.services.iter().find(|s| s.name == names(pool)[0]);
        &service.expect("nothing changes in services that are removed").backends
    }

    fn set_members(&mut self, pool: Pool, backends: Vec<BackendSpec>) {
        let names = names(pool);
        for service in self.desired.services.iter_mut().filter(|s| names.contains(&s.name)) {
            service.backends = backends.clone();
        }
    }
}

/// A pool's TCP and UDP service.
fn names(pool: Pool) -> [String; 2] {
    ["tcp", "udp"].map(|protocol| format!("{pool:?}-{protocol}").to_lowercase())
}

fn service(
    family: Family,
    pool: Pool,
    protocol: Protocol,
    backends: &[BackendSpec],
) -> ServiceSpec {
    let [tcp, udp] = names(pool);
    ServiceSpec {
        name: if protocol == Protocol::Tcp { tcp } else { udp },
        address: vip(family, pool),
        port: SERVICE_PORT,
        protocol,
        shared_address: false,
        mode: if pool == Pool::Nat { Mode::Nat } else { Mode::L2dsr },
        // Small, so that compiling costs the simulator little.
        table_size: Some(251),
        backends: backends.to_vec(),
        // Nothing probes here: the plan says what is found. Without it all would be healthy.
        health_check: Some(HealthCheckSpec {
            kind: HealthCheckKind::Tcp,
            port: None,
            interval_ms: 2000,
            timeout_ms: 1000,
            rise: 1,
            fall: 1,
        }),
        timeouts: TIMEOUTS,
        last_port: None,
        rules: FlowRules::default(),
        mss: MssClamp::Auto,
        no_backend: NoBackendPolicy::Reset,
        on_service_gone: ServiceGonePolicy::Reset,
        on_backend_gone: BackendGonePolicy::Keep,
        drain_time_ms: None,
    }
}

/// A SNAT address on the network of each port.
fn snat(family: Family, ports: usize) -> Vec<SnatSpec> {
    let spec = |port: usize| SnatSpec {
        address: address(family, PortId(port as u8), 10),
        ports: 20_000..=23_999,
        interface: Some(link_name(port)),
        shared_address: false,
    };
    (0..ports).map(spec).collect()
}

fn link_name(port: usize) -> String {
    format!("port{port}")
}

fn topology(plan: &Plan, machines: &[Machine], links: Vec<MacAddress>) -> Topology {
    let family = plan.family;
    let tags = |port: usize| plan.vlans[port].tags;
    let route = |port: usize| Route {
        network: address(family, PortId(port as u8), 0),
        prefix_len: prefix_len(family),
        metric: 0,
        port: PortId(port as u8),
        tags: tags(port),
        gateway: None,
    };
    let neighbour = |machine: &Machine| Neighbour {
        address: machine.address,
        port: machine.port,
        tags: tags(machine.port.index()),
        mac: machine.mac,
        gone: false,
    };
    let mut neighbours: Vec<Neighbour> = machines.iter().map(neighbour).collect();
    neighbours.sort_by_key(|neighbour| (neighbour.address, neighbour.port));
    Topology {
        routes: (0..links.len()).map(route).collect(),
        links: links.into_iter().enumerate().map(|(port, mac)| link(port, mac)).collect(),
        upper_links: vec![],
        own_addresses: vec![],
        neighbours,
        local_port_range: None,
    }
}

fn link(port: usize, mac: MacAddress) -> LinkState {
    LinkState {
        name: link_name(port),
        ifindex: port as u32 + 1,
        bridge_ifindex: None,
        mac,
        mtu_bytes: 1500,
        up: true,
    }
}

/// Most backends, retired ones included.
pub const MAX_BACKENDS: usize = 128;

fn limits(plan: &Plan) -> LimitsSpec {
    LimitsSpec {
        flows_per_worker: 4096,
        backends: MAX_BACKENDS,
        retired_backends: 64,
        service_gone_linger_ms: 60_000,
        snat_hold_down_ms: 60_000,
        snat_blocks_per_worker: 4096,
        new_flows_per_second: 1_000_000,
        replies_per_second: 1000,
        fragmented_packets: 64,
        fragments_held: 16,
        fragment_hold_ms: 2_000,
        frames_per_queue: 512,
        frame_bytes: 2048,
        hand_over_ring: plan.hand_over_ring,
    }
}
