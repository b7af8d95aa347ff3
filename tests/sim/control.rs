//! The balancer's control side in a run: desired state, health and topology, compiled and published
//! by the same code that runs outside.

use std::collections::BTreeSet;
use std::sync::Arc;

use guideway::control::{
    BackendSpec, CompileInput, DesiredState, Health, HealthView, LimitsSpec, LiveFlows, Topology,
    compile,
};
use guideway::forwarding::{ClusterKey, Snapshot};
use guideway::runtime::Publisher;
use guideway::wire::{MacAddress, Protocol};

use super::chance::Chance;
use super::desired::{backend, limits, names, service, snat, topology, tunnel_sources};
use super::plan::{Change, Plan};
use super::pool::{POOLS, Pool};
use super::site::{Machine, number_of};

/// Everything that `compile` asks for.
pub struct Control {
    machines: Vec<Machine>,
    desired: DesiredState,
    health: HealthView,
    /// Machines that will not answer any more, known to be dead or not yet.
    dead: BTreeSet<String>,
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
        let services = POOLS.into_iter().flat_map(|pool| {
            let members: Vec<&Machine> = machines.iter().filter(|m| m.pool == pool).collect();
            let some = &members[..members.len() - 1];
            let backends: Vec<BackendSpec> = some.iter().map(|machine| backend(machine)).collect();
            let service = |protocol| service(plan, pool, protocol, &backends);
            [Protocol::Tcp, Protocol::Udp].map(service)
        });
        let desired = DesiredState {
            services: services.map(Into::into).collect(),
            snat: snat(plan.family, links.len()),
            tunnel_sources: tunnel_sources(),
        };
        Control {
            desired,
            health: HealthView::new(),
            dead: BTreeSet::new(),
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
        let is_same = snapshot.same_as(&previous) && snapshot.ledger() == previous.ledger();
        if previous.generation > 0 && is_same {
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
            Change::Restart | Change::Reload | Change::Die(_) | Change::Narrow(_) => {}
        }
    }

    fn add(&mut self, pool: Pool, chance: &mut Chance) {
        let members = self.members(pool).to_vec();
        let is_out = |machine: &&Machine| {
            let is_member = members.iter().any(|spec| spec.address == machine.address);
            machine.pool == pool && !is_member && !self.dead.contains(&machine.name())
        };
        let outside: Vec<Machine> = self.machines.iter().filter(is_out).copied().collect();
        if outside.is_empty() {
            return;
        }
        let machine = outside[chance.place(outside.len())];
        self.set_members(pool, [members, vec![backend(&machine)]].concat());
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
        if self.dead.contains(name) {
            return;
        }
        let mut health = self.health.clone();
        for service in names(pool) {
            let is_down = health.get(&service, name) == Health::Down;
            health.set(&service, name, if is_down { Health::Up } else { Health::Down });
        }
        if self.usable(pool, backends, &health) > 0 {
            self.health = health;
        }
    }

    /// The number of a backend that may die: the pool can do without it.
    pub fn kill(&mut self, pool: Pool, chance: &mut Chance) -> Option<u16> {
        let backends = self.members(pool).to_vec();
        let name = backends[chance.place(backends.len())].name.clone();
        let is_new = self.dead.insert(name.clone());
        if is_new && self.usable(pool, &backends, &self.health) == 0 {
            self.dead.remove(&name);
            return None;
        }
        is_new.then(|| number_of(&name))
    }

    /// The health checks of a machine find it dead.
    pub fn found_dead(&mut self, pool: Pool, number: u16) {
        self.set_down(pool, &format!("machine{number}"));
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
            let is_dead = self.dead.contains(&backend.name);
            backend.weight > 0 && !backend.drain && is_well && !is_dead
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
