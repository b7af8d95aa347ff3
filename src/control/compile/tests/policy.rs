//! Backups, health that is not believed, and slow starts, over time.

use proptest::prelude::*;

use super::*;
use crate::control::{BackendSpec, HealthFrom};

/// Each backend's state and its part of the slots in percent.
fn shares(world: &World) -> Vec<String> {
    let snapshot = &world.snapshot;
    let slots = &snapshot.services[0].slots;
    let share = |backend: &crate::forwarding::Backend| {
        let own = slots.iter().filter(|id| **id == backend.id).count();
        let percent =
            if slots.is_empty() { 0 } else { (own * 100 + slots.len() / 2) / slots.len() };
        format!("{} {:?} {percent}", backend.name, backend.state)
    };
    snapshot.backends.iter().flatten().map(share).collect()
}

fn set(world: &mut World, name: &str, health: Health) {
    world.health.set("web", name, health);
}

/// Four backends, the last two of them backups.
fn with_backups() -> World {
    let mut web = service("web", 4);
    web.backends[2..].iter_mut().for_each(|backend| backend.backup = true);
    let mut world = World::new(vec![web]);
    world.step();
    world
}

#[test]
fn backups_are_used_while_the_others_are_gone() {
    let mut world = with_backups();
    let primaries = ["b1 Active 50", "b2 Active 50", "b3 Standby 0", "b4 Standby 0"];
    assert_eq!(shares(&world), primaries);
    set(&mut world, "b1", Health::Down);
    assert_eq!(world.step(), []);
    let one = ["b1 Unhealthy 0", "b2 Active 100", "b3 Standby 0", "b4 Standby 0"];
    assert_eq!(shares(&world), one);
    set(&mut world, "b2", Health::Down);
    assert_eq!(world.step(), []);
    let backups = ["b1 Unhealthy 0", "b2 Unhealthy 0", "b3 Active 50", "b4 Active 50"];
    assert_eq!(shares(&world), backups);
    world.desired.services[0].backends[3].drain = true;
    world.step();
    let drained = ["b1 Unhealthy 0", "b2 Unhealthy 0", "b3 Active 100", "b4 Draining 0"];
    assert_eq!(shares(&world), drained);
    set(&mut world, "b2", Health::Up);
    world.step();
    assert_eq!(shares(&world)[1..3], ["b2 Active 100", "b3 Standby 0"]);
}

#[test]
fn with_health_of_the_feed_own_checks_move_nothing() {
    let mut web = service("web", 2);
    web.health = HealthFrom::Feed;
    web.backends[1].healthy = Some(false);
    let mut world = World::new(vec![web]);
    world.step();
    assert_eq!(shares(&world), ["b1 Active 100", "b2 Unhealthy 0"]);
    set(&mut world, "b1", Health::Down);
    let before = world.snapshot.clone();
    world.step();
    assert!(world.snapshot.same_as(&before));
    world.desired.services[0].backends[1].healthy = Some(true);
    world.step();
    assert_eq!(shares(&world), ["b1 Active 50", "b2 Active 50"]);
    // Once checks decide, what they found in the meantime counts at once.
    world.desired.services[0].health = HealthFrom::Local;
    world.step();
    assert_eq!(shares(&world), ["b1 Unhealthy 0", "b2 Active 100"]);
    // Without checks, too.
    world.desired.services[0].health = HealthFrom::Feed;
    world.desired.services[0].health_check = None;
    world.desired.services[0].backends[0].healthy = Some(false);
    world.step();
    assert_eq!(shares(&world), ["b1 Unhealthy 0", "b2 Active 100"]);
}

#[test]
fn another_backup_is_another_table_though_all_are_in_the_same_state() {
    let mut world = with_backups();
    for name in ["b2", "b3", "b4"] {
        set(&mut world, name, Health::Down);
    }
    world.step();
    let mut fresh = World::new(vec![]);
    world.desired.services[0].backends[1].backup = true;
    world.step();
    (fresh.desired, fresh.health) = (world.desired.clone(), world.health.clone());
    fresh.step();
    assert_eq!(slot_names(&world.snapshot, "web"), slot_names(&fresh.snapshot, "web"));
}

#[test]
fn health_is_not_believed_below_a_share() {
    let mut web = service("web", 4);
    web.min_healthy_percent = 50;
    let mut world = World::new(vec![web]);
    world.step();
    let all = slot_names(&world.snapshot, "web");
    set(&mut world, "b1", Health::Down);
    set(&mut world, "b2", Health::Down);
    assert_eq!(world.step(), []);
    assert_eq!(shares(&world)[..2], ["b1 Unhealthy 0", "b2 Unhealthy 0"]);
    set(&mut world, "b3", Health::Down);
    let note = Note::HealthNotBelieved { service: "web".into() };
    assert_eq!(world.step(), std::slice::from_ref(&note));
    assert_eq!(slot_names(&world.snapshot, "web"), all);
    let is_gone = |world: &World| world.snapshot.backends.iter().flatten().any(|b| b.gone);
    assert!(!is_gone(&world), "their flows go on");
    set(&mut world, "b4", Health::Down);
    assert_eq!(world.step(), [], "told once, and nobody is left out");
    assert_eq!(slot_names(&world.snapshot, "web"), all);
    for name in ["b1", "b2"] {
        set(&mut world, name, Health::Up);
    }
    world.step();
    assert_eq!(shares(&world)[2..], ["b3 Unhealthy 0", "b4 Unhealthy 0"]);
    assert!(is_gone(&world));
    for name in ["b1", "b2"] {
        set(&mut world, name, Health::Down);
    }
    assert_eq!(world.step(), [note], "all at once");
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let mut web = service("web", 4);
    web.slow_start_ms = 9_000;
    web.table_size = Some(65_537);
    let mut world = World::new(vec![web]);
    world.step();
    assert_eq!(shares(&world)[0], "b1 Active 25", "who begins the service begins at once");
    set(&mut world, "b1", Health::Down);
    world.step();
    set(&mut world, "b1", Health::Up);
    world.step();
    let slots = |world: &World| {
        let names = slot_names(&world.snapshot, "web");
        names.iter().filter(|name| *name == "b1").count()
    };
    let (mut passed, begun_ms) = (vec![], world.now_ms);
    while let Some(next_ms) = world.snapshot.next_change_ms() {
        passed.push((slots(&world), next_ms - begun_ms));
        world.now_ms = next_ms;
        world.step();
    }
    let all = slots(&world);
    assert_eq!(passed.len(), 9);
    for (step, (slots, until_ms)) in (1..).zip(passed) {
        assert!(slots.abs_diff(all * step / 10) <= 1, "step {step}: {slots} of {all}");
        assert_eq!(until_ms, 1_000 * step as u64);
    }
    assert_eq!(shares(&world)[0], "b1 Active 25");

    // A new one, too; and one that goes again begins again.
    world.desired.services[0].backends.push(crate::control::testing::backend(5));
    world.step();
    assert_eq!(shares(&world)[4], "b5 Active 2");
    world.now_ms += 5_000;
    world.step();
    assert_eq!(shares(&world)[4], "b5 Active 12");
    set(&mut world, "b5", Health::Down);
    world.step();
    assert_eq!(
        (shares(&world)[4].as_str(), world.snapshot.next_change_ms()),
        ("b5 Unhealthy 0", None)
    );
    set(&mut world, "b5", Health::Up);
    world.step();
    assert_eq!(shares(&world)[4], "b5 Active 2");
}

#[test]
fn nobody_starts_slowly_where_nobody_else_is_in_full_use() {
    let mut world = with_backups();
    world.desired.services[0].slow_start_ms = 9_000;
    set(&mut world, "b1", Health::Down);
    set(&mut world, "b2", Health::Down);
    world.step();
    assert_eq!(shares(&world)[2..], ["b3 Active 50", "b4 Active 50"]);
    set(&mut world, "b1", Health::Up);
    world.step();
    assert_eq!(shares(&world)[0], "b1 Active 100");
    world.now_ms += 4_000;
    set(&mut world, "b2", Health::Up);
    world.step();
    assert_eq!(shares(&world)[..2], ["b1 Active 50", "b2 Active 50"], "neither is");
    world.now_ms += 5_000;
    world.step();
    let second = &shares(&world)[1];
    assert_eq!(second, "b2 Active 30", "6 of 10 steps, since the other is in full use");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A slot whose backend stays in full use stays where it is, whatever becomes of the others: while
    /// the same ones of backups and others are in use, and their set is the same.
    #[test]
    fn a_backend_moves_only_its_own_slots(
        backups in 0usize..3,
        min_healthy_percent in prop_oneof![Just(0u8), 1u8..100],
        slow_start_ms in prop_oneof![Just(0u32), Just(10_000)],
        steps in prop::collection::vec((1u8..8, any::<bool>(), 0u64..4_000), 1..40),
    ) {
        let mut web = service("web", 7);
        web.backends.iter_mut().rev().take(backups).for_each(|b| b.backup = true);
        (web.min_healthy_percent, web.slow_start_ms) = (min_healthy_percent, slow_start_ms);
        let is_backup = |name: &str| web.backends.iter().any(|b| b.backup && b.name == name);
        let mut world = World::new(vec![web.clone()]);
        world.step();
        let first = slot_names(&world.snapshot, "web");
        let full = maglev_names(&world, &level(&web, false));
        let full_backups = maglev_names(&world, &level(&web, true));
        prop_assert_eq!(&first, &full);
        for (number, up, passed_ms) in steps {
            let health = if up { Health::Up } else { Health::Down };
            world.health.set("web", &format!("b{number}"), health);
            world.now_ms += passed_ms;
            world.step();
            let warming = &world.snapshot.ledger().warming_since_ms;
            let is_full = |name: &str| {
                let found = world.snapshot.backends.iter().flatten().find(|b| *b.name == *name);
                found.is_some_and(|b| {
                    b.state == BackendState::Active && !warming.iter().any(|(id, _)| *id == b.id)
                })
            };
            let now = slot_names(&world.snapshot, "web");
            let Some(owner) = now.first() else { continue };
            let home = if is_backup(owner) { &full_backups } else { &full };
            for (slot, (now, home)) in now.iter().zip(home).enumerate() {
                prop_assert!(now == home || !is_full(home), "slot {} of {}", slot, home);
                prop_assert_eq!(is_backup(now), is_backup(owner));
            }
        }
    }
}

/// The service with only its backups, or only the others.
fn level(service: &ServiceSpec, backups: bool) -> ServiceSpec {
    let mut service = service.clone();
    let other = |backend: &BackendSpec| backend.backup == backups;
    service.backends.retain(other);
    service
}
