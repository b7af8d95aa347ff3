//! What is said of a backend that may leave is what a compile without it gives.

use super::*;

/// Names of the slots that are foretold.
fn foretold(world: &World, name: &str) -> Vec<String> {
    let snapshot = &world.snapshot;
    let slots = slots_without(snapshot, ServiceIndex(0), name).unwrap();
    slots.iter().map(|&id| snapshot.backend(id).unwrap().name.to_string()).collect()
}

#[test]
fn as_a_compile_without_it() {
    // Health down, drained, backup; the backend that leaves.
    let rows = [
        (&[][..], &[][..], &[][..], "b1"),
        (&["b2"], &[], &[], "b1"),
        (&["b1"], &[], &[], "b1"),
        (&[], &["b3"], &[], "b4"),
        (&[], &[], &["b3", "b4"], "b1"),
        (&["b2"], &[], &["b3", "b4"], "b1"),
        (&["b1", "b3"], &[], &["b3", "b4"], "b2"),
        (&["b1", "b2", "b3"], &["b4"], &[], "b4"),
    ];
    for (down, drained, backups, leaves) in rows {
        let row =
            format!("down {down:?}, drained {drained:?}, backups {backups:?}, {leaves} leaves");
        let mut web = service("web", 4);
        for backend in &mut web.backends {
            backend.drain = drained.contains(&&*backend.name);
            backend.backup = backups.contains(&&*backend.name);
        }
        let mut world = World::new(vec![web]);
        for name in down {
            world.health.set("web", name, Health::Down);
        }
        world.step();
        let foretold = foretold(&world, leaves);
        world.desired.services[0].backends.retain(|backend| backend.name != leaves);
        world.step();
        assert_eq!(foretold, slot_names(&world.snapshot, "web"), "{row}");
    }
}

#[test]
fn only_one_that_is_there_can_leave() {
    let mut world = World::new(vec![service("web", 2)]);
    world.step();
    assert!(slots_without(&world.snapshot, ServiceIndex(0), "b9").is_none());
    assert!(slots_without(&world.snapshot, ServiceIndex(7), "b1").is_none());
}
