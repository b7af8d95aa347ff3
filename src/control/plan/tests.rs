//! Changes of a small world, a row each.

use super::*;
use crate::control::testing::{World, backend, service, snat};
use crate::forwarding::{BackendId, Mode};

/// `web` with 4 backends and 10 flows on each, `api` with 2 and 5.
fn world() -> World {
    let mut world =
        World::new(vec![service("web", 4), ServiceSpec { port: 81, ..service("api", 2) }]);
    world.step();
    let backends: Vec<BackendId> = world.snapshot.backends.iter().flatten().map(|b| b.id).collect();
    for id in backends {
        let backend = world.snapshot.backend(id).unwrap();
        let is_web = &*world.snapshot.service_of(backend).unwrap().name == "web";
        world.flows(id.0, if is_web { 10 } else { 5 });
    }
    world
}

fn plan_of(world: &World, after: &DesiredState) -> Plan {
    let next =
        super::super::compile(&super::super::CompileInput { desired: after, ..world.input() });
    plan(&PlanInput {
        before: &world.desired,
        after,
        running: &world.snapshot,
        next: &next.unwrap().snapshot,
        live: Some(&world.live),
    })
}

/// `name change +added ~changed -removed, keep/drain/lose/unsure`.
fn told(plan: &Plan) -> Vec<String> {
    let line = |service: &ServicePlan| {
        let ServicePlan {
            name, change, backends_added, backends_changed, backends_removed, ..
        } = service;
        let FlowFates { keep, drain, lose, unsure } = service.flows;
        format!(
            "{name} {change:?} +{backends_added} ~{backends_changed} -{backends_removed}, \
             {keep}/{drain}/{lose}/{unsure}"
        )
    };
    plan.services.iter().map(line).collect()
}

type Change = fn(&mut DesiredState);

#[test]
fn what_becomes_of_flows() {
    let rows: &[(&str, Change, bool, &[&str])] = &[
        ("nothing", |_| {}, false, &[]),
        ("another order", |d| d.services.reverse(), false, &[]),
        (
            "a backend joins",
            |d| d.services[0].backends.push(backend(5)),
            false,
            &["web Changed +1 ~0 -0, 40/0/0/0"],
        ),
        (
            "a backend leaves",
            |d| drop(d.services[0].backends.remove(0)),
            false,
            &["web Changed +0 ~0 -1, 30/10/0/0"],
        ),
        (
            "a backend drains",
            |d| d.services[0].backends[0].drain = true,
            false,
            &["web Changed +0 ~1 -0, 30/10/0/0"],
        ),
        (
            "a backend listens elsewhere",
            |d| d.services[0].backends[0].port = 8080,
            false,
            &["web Changed +0 ~1 -0, 30/10/0/0"],
        ),
        (
            "another mode",
            |d| d.services[0].mode = Mode::L2dsr,
            false,
            &["web Changed +0 ~0 -0, 0/40/0/0"],
        ),
        (
            "a drain that is over at once",
            |d| {
                d.services[0].drain_time_ms = Some(0);
                d.services[0].backends[0].drain = true;
            },
            true,
            &["web Changed +0 ~1 -0, 30/0/10/0"],
        ),
        (
            "a service goes",
            |d| drop(d.services.remove(1)),
            true,
            &["api Removed +0 ~0 -2, 0/0/10/0"],
        ),
        (
            "a service gets another port",
            |d| d.services[1].port = 82,
            true,
            &["api Changed +0 ~0 -0, 0/0/10/0"],
        ),
        (
            "a service gets another name",
            |d| d.services[1].name = "other".to_string(),
            false,
            &["api Removed +0 ~0 -2, 10/0/0/0", "other Added +2 ~0 -0, 0/0/0/0"],
        ),
        (
            "the SNAT address goes",
            |d| d.snat = vec![snat("10.1.0.11", None)],
            true,
            &["api Touched +0 ~0 -0, 0/0/10/0", "web Touched +0 ~0 -0, 0/0/40/0"],
        ),
        ("more SNAT ports", |d| d.snat.push(snat("10.1.0.11", None)), false, &[]),
    ];
    for (description, change, breaks, wanted) in rows {
        let world = world();
        let mut after = world.desired.clone();
        change(&mut after);
        let plan = plan_of(&world, &after);
        assert_eq!(told(&plan), *wanted, "{description}");
        assert_eq!(plan.breaks_flows, *breaks, "{description}");
        let there: usize =
            plan.services.iter().filter(|s| s.change != ServiceChange::Added).count();
        assert_eq!(plan.unchanged + there, 2, "{description}");
    }
}

#[test]
fn one_of_two_snat_addresses_goes() {
    let mut world = World::new(vec![service("web", 1)]);
    world.desired.snat.push(snat("10.1.0.11", None));
    world.step();
    world.flows(0, 7);
    let mut after = world.desired.clone();
    after.snat.truncate(1);
    let plan = plan_of(&world, &after);
    assert_eq!(told(&plan), ["web Touched +0 ~0 -0, 0/0/0/7"]);
    assert!(plan.breaks_flows);
    assert_eq!(plan.others, ["snat 10.1.0.11 removed: ports 1024-65535"]);
}

/// Few slots move that need not: that is what Maglev is for.
#[test]
fn slots_that_move() {
    let world = world();
    let mut after = world.desired.clone();
    after.services[0].backends.remove(0);
    let moved = plan_of(&world, &after).services[0].slots.unwrap();
    assert!(moved.share - moved.beyond > 0.2 && moved.share - moved.beyond < 0.3, "{moved:?}");
    assert!(moved.beyond < 0.15, "{moved:?}");
    let mut after = world.desired.clone();
    after.services[0].backends[2].weight = 0;
    let moved = plan_of(&world, &after).services[0].slots.unwrap();
    assert!(moved.share > 0.2, "{moved:?}");
}

/// Without entries a flow goes where its slot goes.
#[test]
fn flows_without_entries_break_with_their_slots() {
    let mut world = world();
    world.desired.services[0].mode = Mode::L2dsr;
    world.desired.services[0].rules.entries = false;
    world.step();
    world.live.counts.fill(0);
    let mut after = world.desired.clone();
    after.services[0].timeouts.udp_ms = 1_000;
    assert!(!plan_of(&world, &after).breaks_flows, "no slot moves");
    after.services[0].backends.remove(0);
    let plan = plan_of(&world, &after);
    assert!(plan.breaks_flows && plan.services[0].is_stateless);
}

/// Where nothing runs, only tables are compared.
#[test]
fn without_flows() {
    let world = world();
    let mut after = world.desired.clone();
    after.services.remove(1);
    let plan = plan(&PlanInput {
        before: &world.desired,
        after: &after,
        running: &world.snapshot,
        next: &world.snapshot,
        live: None,
    });
    assert_eq!(told(&plan), ["api Removed +0 ~0 -2, 0/0/0/0"]);
    assert!(!plan.has_flows && !plan.breaks_flows);
}
