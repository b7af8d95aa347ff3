//! Random lives of a configuration.

use proptest::prelude::*;

use super::*;
use crate::control::testing::backend;
use crate::control::{BackendSpec, Shared};

/// One random change of the world.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Add(u8, u8),
    Remove(u8, u8),
    Weight(u8, u8, u16),
    Drain(u8, u8, bool),
    Backup(u8, u8, bool),
    MinHealthy(u8, u8),
    Health(u8, u8, bool),
    Mode(u8),
    Port(u8, u16),
    Flows(u8, u32),
    Time(u64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (service, backend) = (0u8..3, 1u8..7);
    prop_oneof![
        (service.clone(), backend.clone()).prop_map(|(s, b)| Step::Add(s, b)),
        (service.clone(), backend.clone()).prop_map(|(s, b)| Step::Remove(s, b)),
        (service.clone(), backend.clone(), 0u16..4).prop_map(|(s, b, w)| Step::Weight(s, b, w)),
        (service.clone(), backend.clone(), any::<bool>())
            .prop_map(|(s, b, d)| Step::Drain(s, b, d)),
        (service.clone(), backend.clone(), any::<bool>())
            .prop_map(|(s, b, backup)| Step::Backup(s, b, backup)),
        (service.clone(), 0u8..100).prop_map(|(s, percent)| Step::MinHealthy(s, percent)),
        (service.clone(), backend, any::<bool>()).prop_map(|(s, b, up)| Step::Health(s, b, up)),
        service.clone().prop_map(Step::Mode),
        (service, 8_080u16..8_083).prop_map(|(s, port)| Step::Port(s, port)),
        (0u8..20, 0u32..3).prop_map(|(id, flows)| Step::Flows(id, flows)),
        (1u64..40_000).prop_map(Step::Time),
    ]
}

fn change(services: &mut [Shared<ServiceSpec>], s: u8, b: u8, change: impl Fn(&mut BackendSpec)) {
    let service = services.iter_mut().find(|service| service.name == format!("s{s}"));
    let backends = service.into_iter().flat_map(|service| &mut service.backends);
    backends.filter(|backend| backend.name == format!("b{b}")).for_each(change);
}

/// As `l2dsr` wants it.
fn listen_on_the_services_port(service: &mut ServiceSpec) {
    let port = service.port;
    if service.mode == Mode::L2dsr {
        service.backends.iter_mut().for_each(|backend| backend.port = port);
    }
}

pub(super) fn apply(world: &mut World, step: Step) {
    let name = |place: u8| format!("s{place}");
    let services = &mut world.desired.services;
    let place =
        |s: u8, services: &[Shared<ServiceSpec>]| services.iter().position(|x| x.name == name(s));
    match step {
        Step::Add(s, b) => match place(s, services) {
            None => services.push(at(&name(s), 80 + u16::from(s), b).into()),
            Some(at) if services[at].backends.iter().all(|x| x.name != format!("b{b}")) => {
                let port = services[at].port;
                services[at].backends.push(BackendSpec { port, ..backend(b) });
            }
            Some(_) => {}
        },
        Step::Remove(s, b) => {
            if let Some(at) = place(s, services) {
                services[at].backends.retain(|x| x.name != format!("b{b}"));
                if services[at].backends.is_empty() {
                    services.remove(at);
                }
            }
        }
        Step::Mode(s) => {
            if let Some(at) = place(s, services) {
                let service = &mut services[at];
                let is_nat = service.mode == Mode::Nat;
                service.mode = if is_nat { Mode::L2dsr } else { Mode::Nat };
                listen_on_the_services_port(service);
            }
        }
        Step::Port(s, port) => {
            let is_nat = |service: &&mut Shared<ServiceSpec>| service.mode == Mode::Nat;
            if let Some(service) = place(s, services).map(|at| &mut services[at]).filter(is_nat) {
                service.backends.iter_mut().for_each(|backend| backend.port = port);
            }
        }
        Step::Weight(s, b, weight) => change(services, s, b, |x| x.weight = weight),
        Step::Backup(s, b, backup) => change(services, s, b, |x| x.backup = backup),
        Step::MinHealthy(s, percent) => {
            if let Some(at) = place(s, services) {
                services[at].min_healthy_percent = percent;
            }
        }
        Step::Drain(s, b, drain) => change(services, s, b, |x| x.drain = drain),
        Step::Health(s, b, up) => {
            let health = if up { Health::Up } else { Health::Down };
            world.health.set(&name(s), &format!("b{b}"), health);
        }
        Step::Flows(id, flows) => {
            // New flows only for backends that are there; retired ones only lose theirs.
            let id = u32::from(id);
            let flows = match world.snapshot.backend(BackendId(id)) {
                None => 0,
                Some(b) if b.state == BackendState::Retired => world.live.of(b.id).min(flows),
                Some(_) => flows,
            };
            world.flows(id, flows);
        }
        Step::Time(ms) => world.now_ms += ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Two nodes of one configuration agree on every slot whatever happened to one of them before,
    /// and an id always means the same backend while a flow holds it.
    #[test]
    fn history_gives_ids_and_never_tables(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new(vec![]);
        for step in steps {
            apply(&mut world, step);
            let held: Vec<_> = world.snapshot.backends.iter().flatten()
                .filter(|b| world.live.of(b.id) > 0)
                .cloned()
                .collect();
            let notes = world.step();
            for old in held {
                let new = world.snapshot.backend(old.id);
                let same = new.is_some_and(|new| {
                    (new.socket, new.mode, &new.name) == (old.socket, old.mode, &old.name)
                });
                let cut = notes.iter().any(|note| {
                    matches!(note, Note::RetiredCut { backend, .. } if **backend == *old.name)
                });
                prop_assert!(same || (new.is_none() && cut), "{:?} became {:?}", old, new);
            }
            let mut fresh = World::new(vec![]);
            fresh.desired.services = world.desired.services.iter().rev().cloned().collect();
            fresh.health = world.health.clone();
            fresh.step();
            for service in &world.desired.services {
                let name = &service.name;
                let (found, wanted) = (&world.snapshot, &fresh.snapshot);
                prop_assert_eq!(slot_names(found, name), slot_names(wanted, name));
            }
        }
    }
}
