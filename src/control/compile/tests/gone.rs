//! Which backends are gone, and when the time comes to look again.

use super::*;
use crate::forwarding::BackendGonePolicy;

/// Names of the backends that are gone.
fn gone(world: &World) -> Vec<String> {
    let backends = world.snapshot.backends.iter().flatten();
    backends.filter(|backend| backend.gone).map(|backend| backend.name.to_string()).collect()
}

#[test]
fn a_dead_backend_is_gone_by_policy_until_it_is_well() {
    use BackendGonePolicy::{Drop, Keep, Reset};
    for (policy, drains, wanted) in [
        (Reset, false, &["b2"][..]),
        (Drop, false, &["b2"]),
        (Keep, false, &[]),
        (Reset, true, &["b2"]),
        (Keep, true, &[]),
    ] {
        let description = format!("{policy:?} {drains}");
        let mut world = World::new(vec![service("web", 3)]);
        world.desired.services[0].on_backend_gone = policy;
        world.desired.services[0].backends[1].drain = drains;
        world.step();
        assert_eq!(gone(&world), [""; 0], "{description}: not known to be well is not dead");
        world.health.set("web", "b2", Health::Down);
        world.step();
        assert_eq!(gone(&world), wanted, "{description}");
        assert_eq!(world.snapshot.services[0].on_backend_gone, policy);
        world.health.set("web", "b2", Health::Up);
        world.step();
        assert_eq!(gone(&world), [""; 0], "{description}: well again");
        world.health.set("web", "b2", Health::Down);
        world.step();
        world.flows(1, 1);
        world.desired.services[0].backends.remove(1);
        world.step();
        assert_eq!(gone(&world), wanted, "{description}: nobody probes it now");
        assert_eq!(world.backends()[1], "web/b2 1 Retired");
    }
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    type Change = fn(&mut ServiceSpec);
    let rows: [(&str, Change); 4] = [
        ("drain", |s| s.backends[1].drain = true),
        ("weight 0", |s| s.backends[1].weight = 0),
        ("removed", |s| _ = s.backends.remove(1)),
        ("moved", |s| s.backends[1].port = 8080),
    ];
    for (description, change) in rows {
        for policy in [BackendGonePolicy::Reset, BackendGonePolicy::Keep] {
            let mut world = World::new(vec![service("web", 3)]);
            world.desired.services[0].drain_time_ms = Some(30_000);
            world.desired.services[0].on_backend_gone = policy;
            world.step();
            assert_eq!(world.snapshot.next_change_ms(), None, "{description}");
            world.flows(1, 5);
            world.now_ms = 1_000;
            change(&mut world.desired.services[0]);
            world.step();
            assert_eq!(gone(&world), [""; 0], "{description}");
            assert_eq!(world.snapshot.next_change_ms(), Some(31_000), "{description}");
            world.now_ms = 30_999;
            world.step();
            assert_eq!(gone(&world), [""; 0], "{description}: its time began with the drain");
            world.now_ms = 31_000;
            assert_eq!(world.step(), [], "{description}: nothing is cut");
            assert_eq!(gone(&world), ["b2"], "{description}");
            assert_eq!(world.snapshot.next_change_ms(), None, "{description}: there is no next");
            let again = world.try_compile().unwrap().snapshot;
            assert!(again.same_as(&world.snapshot) && again.ledger() == world.snapshot.ledger());
        }
    }
}

#[test]
fn a_removal_may_have_a_time_of_its_own() {
    let mut world = World::new(vec![service("web", 3)]);
    world.desired.services[0].removed_time_ms = Some(0);
    world.step();
    world.flows(1, 5);
    world.desired.services[0].backends[1].drain = true;
    world.step();
    assert_eq!(gone(&world), [""; 0], "a drain has no end");
    world.desired.services[0].backends.remove(1);
    world.step();
    assert_eq!(gone(&world), ["b2"]);
}

#[test]
fn a_drain_goes_on_over_a_removal_and_begins_anew_after_a_return() {
    let mut world = World::new(vec![service("web", 2), at("api", 81, 2)]);
    world.desired.services[0].drain_time_ms = Some(30_000);
    world.desired.services[1].drain_time_ms = Some(10_000);
    world.step();
    (0..4).for_each(|id| world.flows(id, 1));
    // Services are in the order of their names.
    world.now_ms = 5_000;
    world.desired.services[0].backends[0].drain = true;
    world.step();
    world.now_ms = 6_000;
    world.desired.services[1].backends[0].drain = true;
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), Some(16_000), "the first one that ends");
    world.now_ms = 16_000;
    let removed = world.desired.services[0].backends.remove(0);
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), Some(35_000), "since it drains, not since it left");
    assert_eq!(world.backends()[2], "web/b1 2 Retired");
    world.desired.services[0].backends.push(BackendSpec { drain: false, ..removed });
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), None);
    world.now_ms = 40_000;
    world.desired.services[0].backends[1].drain = true;
    world.desired.services[1].backends[0].drain = false;
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), Some(70_000), "anew");
    assert_eq!(gone(&world), [""; 0], "what is taken back is there");
    world.desired.services[0].drain_time_ms = None;
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), None, "without end");
    world.desired.services[0].drain_time_ms = Some(0);
    world.step();
    assert_eq!(gone(&world), ["b1"], "at once");
}

#[test]
fn a_removed_service_has_no_drain_time() {
    let mut world = World::new(vec![service("web", 1), at("api", 81, 1)]);
    world.desired.services[0].drain_time_ms = Some(1_000);
    world.step();
    world.flows(1, 2);
    world.desired.services.remove(0);
    world.step();
    assert_eq!(world.snapshot.next_change_ms(), None);
    world.now_ms = 2_000;
    world.step();
    assert_eq!(gone(&world), [""; 0], "on_service_gone says what its flows get");
}
