//! What was not looked at is as if it had been.

use proptest::prelude::*;

use super::random::{Step, apply, step};
use super::*;
use crate::forwarding::{Origin, SnapshotParts};
use crate::wire::encap::{Dscp, Tunnel};

/// One random change of the world.
#[derive(Clone, Debug)]
enum Change {
    Other(Step),
    Service(u8, u8),
    Gone(u8),
    Name(u8),
    /// Whether its backends listen on all ports of the service, too.
    Mode(u8, u8, bool),
    LastPort(u8, u16),
    Link(u8, bool),
    Mac(u8),
    Neighbour(u8, bool),
    Snat(bool),
    Linger(u32),
    SlowStart(u8, u32),
}

fn change() -> impl Strategy<Value = Change> {
    let name = 0u8..8;
    let slow_start = (name.clone(), 0u32..20_000);
    prop_oneof![
        8 => step().prop_map(Change::Other),
        2 => (name.clone(), 1u8..4).prop_map(|(name, count)| Change::Service(name, count)),
        2 => name.clone().prop_map(Change::Gone),
        1 => name.clone().prop_map(Change::Name),
        2 => (name.clone(), 0u8..4, any::<bool>())
            .prop_map(|(name, mode, any_port)| Change::Mode(name, mode, any_port)),
        1 => (name, 79u16..90).prop_map(|(name, port)| Change::LastPort(name, port)),
        1 => (0u8..2, any::<bool>()).prop_map(|(port, up)| Change::Link(port, up)),
        1 => (0u8..2).prop_map(Change::Mac),
        1 => (1u8..7, any::<bool>()).prop_map(|(number, gone)| Change::Neighbour(number, gone)),
        1 => any::<bool>().prop_map(Change::Snat),
        1 => (0u32..2_000).prop_map(Change::Linger),
        1 => slow_start.prop_map(|(name, ms)| Change::SlowStart(name, ms)),
    ]
}

fn change_world(world: &mut World, change: Change) {
    let names: Vec<String> = world.desired.services.iter().map(|s| s.name.clone()).collect();
    let find = |name: u8| names.iter().position(|known| *known == format!("s{name}"));
    let services = &mut world.desired.services;
    match change {
        Change::Other(step) => apply(world, step),
        Change::Service(name, count) if find(name).is_none() => {
            services.push(at(&format!("s{name}"), 80 + u16::from(name), count).into());
        }
        Change::Gone(name) => find(name).map_or((), |place| _ = services.swap_remove(place)),
        Change::Name(name) => {
            if let Some(place) = find(name).filter(|_| !names.contains(&format!("t{name}"))) {
                services[place].name = format!("t{name}");
            }
        }
        Change::Mode(name, mode, any_port) => {
            let Some(place) = find(name) else { return };
            let service: &mut ServiceSpec = &mut services[place];
            let tunnel = Mode::Tunnel(Tunnel::Ipip, Dscp::Copied);
            service.mode = [Mode::Nat, Mode::Dnat, Mode::L2dsr, tunnel][usize::from(mode)];
            let port = if any_port { 0 } else { service.port };
            service.backends.iter_mut().for_each(|backend| backend.port = port);
        }
        Change::LastPort(name, last) => {
            if let Some(place) = find(name) {
                services[place].last_port = Some(last).filter(|last| *last > services[place].port);
                services[place].health_check = None;
            }
        }
        Change::SlowStart(name, ms) => {
            if let Some(place) = find(name) {
                services[place].slow_start_ms = ms;
            }
        }
        Change::Link(port, up) => world.topology.links[usize::from(port)].up = up,
        Change::Mac(port) => world.topology.links[usize::from(port)].mac.0[4] += 1,
        Change::Neighbour(number, gone) => {
            world.topology.neighbours[usize::from(number) - 1].gone = gone;
        }
        Change::Snat(is_there) => {
            world.desired.snat.truncate(1);
            if is_there {
                world.desired.snat.push(snat("10.1.0.11", Some("eth1")));
            }
        }
        Change::Linger(ms) => world.limits.service_gone_linger_ms = ms,
        Change::Service(..) => {}
    }
}

/// Look-ups of a snapshot that came step by step, beside one whose look-ups are made at once.
fn check_lookups(snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let anew = Snapshot::new(SnapshotParts {
        generation: snapshot.generation,
        services: snapshot.services.clone(),
        backends: snapshot.backends.iter().cloned().collect(),
        snat: snapshot.snat.clone(),
        tunnel_sources: snapshot.tunnel_sources,
        ports: snapshot.ports.clone(),
        own_addresses: snapshot.own_addresses().to_vec(),
        routes: snapshot.routes.clone(),
        cluster_key: snapshot.cluster_key(),
    });
    prop_assert_eq!(snapshot.other_lookups(&anew), Vec::<&str>::new());
    Ok(())
}

fn forgetful(snapshot: &Snapshot) -> Snapshot {
    snapshot.clone().with_origin(Origin::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A compile that goes by what the last one was made from gives what one that looks at everything
    /// does, to the last place and id; arrays of older snapshots change nothing.
    #[test]
    fn as_if_everything_was_looked_at(changes in prop::collection::vec(change(), 1..40)) {
        let mut world = World::new(vec![]);
        world.desired.tunnel_sources = vec![crate::control::TunnelSourceSpec {
            network: address("10.9.0.0"),
            prefix_len: 24,
        }];
        let mut older: Vec<Snapshot> = vec![];
        for (number, change) in changes.into_iter().enumerate() {
            let before = world.desired.clone();
            change_world(&mut world, change);
            let found = compile_next(&world.input());
            let previous = forgetful(&world.snapshot);
            let all = compile(&CompileInput { previous: &previous, ..world.input() });
            let (next, all) = match (found, all) {
                (Ok(next), Ok(all)) => (next, all),
                (found, all) => {
                    prop_assert_eq!(found.map(|_| ()), all.map(|_| ()));
                    world.desired = before;
                    continue;
                }
            };
            prop_assert_eq!(&next.notes, &all.notes);
            let is_same = all.snapshot.same_as(&world.snapshot)
                && all.snapshot.ledger() == world.snapshot.ledger();
            prop_assert_eq!(next.is_new, !is_same);
            // Now and then one is not used, and now and then one lags behind.
            let spare = (number % 5 > 0 && older.len() > 1).then(|| older.remove(0).into_spare());
            let snapshot = next.build(&world.snapshot, spare);
            prop_assert_eq!(&snapshot.services, &all.snapshot.services);
            prop_assert_eq!(&snapshot.backends, &all.snapshot.backends);
            prop_assert!(snapshot.same_as(&all.snapshot));
            prop_assert_eq!(snapshot.ledger(), all.snapshot.ledger());
            check_lookups(&snapshot)?;
            older.push(std::mem::replace(&mut world.snapshot, snapshot));
            world.live.generation = world.snapshot.generation;
        }
    }
}

/// Services are shared where nothing has changed: that is what makes it quick.
#[test]
fn only_what_has_changed_is_looked_at() {
    let mut world = World::new((0..40).map(|n| at(&format!("s{n}"), 80 + n, 3)).collect());
    world.limits.backends = 1_000;
    world.step();
    world.desired.services[7].backends[1].weight = 9;
    let plan = Plan::new(&world.input(), &Before::of(&world.input()));
    let looked_at: Vec<&str> = plan.services.iter().map(|p| p.spec.name.as_str()).collect();
    assert_eq!(looked_at, ["s7"]);
    // Nor does an equal one that came anew, as from a file that was read again.
    world.step();
    world.desired = desired(world.desired.services.iter().map(|s| (**s).clone()).collect());
    assert!(Plan::new(&world.input(), &Before::of(&world.input())).services.is_empty());
    world.health.set("s9", "b1", Health::Down);
    world.desired.services[3].backends[0].drain = true;
    let looked_at =
        |world: &World| Plan::new(&world.input(), &Before::of(&world.input())).services.len();
    assert_eq!(looked_at(&world), 2);
    world.step();
    assert_eq!(looked_at(&world), 1, "time may change what drains");
    world.topology.neighbours[0].gone = true;
    assert_eq!(looked_at(&world), 40);
}

/// A service that goes leaves no hole: the last one takes its place, with its backends.
#[test]
fn places_are_filled() {
    let mut world = World::new((0..4).map(|n| at(&format!("s{n}"), 80 + n, 1)).collect());
    world.step();
    let names = |world: &World| -> Vec<String> {
        world.snapshot.services.iter().map(|s| s.name.to_string()).collect()
    };
    world.desired.services.remove(1);
    world.step();
    assert_eq!(names(&world), ["s0", "s1", "s2", "s3"], "it is here for its flows");
    world.step();
    assert_eq!(names(&world), ["s0", "s3", "s2"]);
    for backend in world.snapshot.backends.iter().flatten() {
        let service = world.snapshot.service_of(backend).unwrap();
        let has = |s: &ServiceSpec| *s.name == *service.name;
        assert!(
            world.desired.services.iter().any(|s| has(s)) && service.slots.contains(&backend.id)
        );
    }
    world.desired.services.push(at("new", 90, 1).into());
    world.desired.services.remove(0);
    world.step();
    world.step();
    assert_eq!(names(&world), ["new", "s3", "s2"]);
}
