//! `compile` as the control loop sees it: worlds that change step by step.

mod gone;
mod incremental;
mod lifetimes;
mod policy;
mod random;
mod without;

use std::sync::Arc;

use super::before::Before;
use super::*;
use crate::control::testing::{World, address, desired, service, service_6, snat, topology_6};
use crate::control::{BackendSpec, Health, ServiceSpec};
use crate::forwarding::{BackendState, Mode, ServiceIndex};
use crate::maglev;
use crate::wire::{PortId, Tags};

/// Slots as names: what must not depend on ids.
fn slot_names(snapshot: &Snapshot, service: &str) -> Vec<String> {
    let service = snapshot.services.iter().find(|s| *s.name == *service && !s.gone).unwrap();
    service.slots.iter().map(|&id| snapshot.backend(id).unwrap().name.to_string()).collect()
}

fn maglev_names(world: &World, service: &ServiceSpec) -> Vec<String> {
    let candidates: Vec<_> = (service.backends.iter())
        .map(|b| maglev::Candidate { name: &b.name, weight: b.weight })
        .collect();
    let slots = maglev::build(&world.key.0, &candidates, service.table_size.unwrap()).unwrap();
    slots.into_iter().map(|place| candidates[place as usize].name.to_string()).collect()
}

fn at(name: &str, port: u16, count: u8) -> ServiceSpec {
    ServiceSpec { port, ..service(name, count) }
}

#[test]
fn first_snapshot() {
    let mut world = World::new(vec![service("web", 3)]);
    assert_eq!(world.step(), []);
    let snapshot = &world.snapshot;
    assert_eq!(snapshot.generation, 1);
    assert_eq!(world.backends(), ["web/b1 0 Active", "web/b2 1 Active", "web/b3 2 Active"]);
    assert_eq!(slot_names(snapshot, "web"), maglev_names(&world, &service("web", 3)));
    let first = snapshot.backend(BackendId(0)).unwrap();
    let hop = first.next_hop.unwrap();
    assert_eq!((hop.port, hop.mac.0[5], &*first.snat), (PortId(1), 1, &[0][..]));
    assert_eq!(snapshot.ports.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["eth0", "eth1"]);
}

#[test]
fn nothing_new_is_the_same_and_shares_tables() {
    let mut world = World::new(vec![service("web", 3), at("api", 81, 2)]);
    world.step();
    world.desired.services.reverse();
    world.desired.services[0].backends.reverse();
    let again = world.try_compile().unwrap().snapshot;
    assert_eq!(again.generation, 2);
    assert!(again.same_as(&world.snapshot));
    for (new, old) in again.services.iter().zip(&world.snapshot.services) {
        assert!(Arc::ptr_eq(&new.slots, &old.slots), "{}", new.name);
    }
    world.desired.services[0].no_backend = crate::forwarding::NoBackendPolicy::Drop;
    let other = world.try_compile().unwrap().snapshot;
    assert!(!other.same_as(&world.snapshot));
    assert!(Arc::ptr_eq(&other.services[0].slots, &world.snapshot.services[0].slots));
    world.key = ClusterKey([9; 16]);
    let other = world.try_compile().unwrap().snapshot;
    assert!(!Arc::ptr_eq(&other.services[0].slots, &world.snapshot.services[0].slots));
}

#[test]
fn unusable_backends_lose_their_slots_and_no_other_moves() {
    type Change = fn(&mut World);
    let rows: [(&str, Change, &str, BackendState); 2] = [
        (
            "unhealthy",
            |w| _ = w.health.set("web", "b2", Health::Down),
            "b2",
            BackendState::Unhealthy,
        ),
        ("drain", |w| w.desired.services[0].backends[2].drain = true, "b3", BackendState::Draining),
    ];
    for (description, change, name, state) in rows {
        let mut world = World::new(vec![service("web", 4)]);
        world.step();
        let before = slot_names(&world.snapshot, "web");
        change(&mut world);
        world.step();
        let after = slot_names(&world.snapshot, "web");
        let mut without = service("web", 4);
        without.backends.retain(|backend| backend.name != name);
        let second = maglev_names(&world, &without);
        for slot in 0..before.len() {
            let wanted = if before[slot] == name { &second[slot] } else { &before[slot] };
            assert_eq!(&after[slot], wanted, "{description}, slot {slot}");
        }
        let found = world.snapshot.backends.iter().flatten().find(|b| *b.name == *name).unwrap();
        assert_eq!(found.state, state, "{description}");
    }
}

#[test]
fn weight_0_leaves_the_table_and_keeps_its_id() {
    let mut world = World::new(vec![service("web", 3)]);
    world.step();
    world.desired.services[0].backends[0].weight = 0;
    world.step();
    assert_eq!(world.backends(), ["web/b1 0 Draining", "web/b2 1 Active", "web/b3 2 Active"]);
    let slots = slot_names(&world.snapshot, "web");
    assert_eq!(slots, maglev_names(&world, &world.desired.services[0]));
    assert!(!slots.contains(&"b1".to_string()));
}

#[test]
fn no_usable_backend_is_an_empty_table_told_once() {
    let mut world = World::new(vec![service("web", 2)]);
    world.step();
    let note = Note::NoUsableBackend { service: "web".into() };
    world.health.set("web", "b1", Health::Down);
    assert_eq!(world.step(), []);
    world.health.set("web", "b2", Health::Down);
    assert_eq!(world.step(), [note]);
    assert!(world.snapshot.services[0].slots.is_empty());
    assert_eq!(world.step(), []);
    world.desired.services[0].health_check = None;
    assert_eq!(world.step(), []);
    assert!(!world.snapshot.services[0].slots.is_empty(), "without a check all are usable");
}

#[test]
fn ways_and_snat_addresses() {
    type Change = fn(&mut World);
    type Row = (&'static str, Change, Option<(u8, u8)>, &'static [&'static str]);
    let rows: [Row; 10] = [
        ("on the link", |_| {}, Some((1, 1)), &["10.1.0.10"]),
        ("no neighbour", |w| w.topology.neighbours.clear(), None, &["10.1.0.10"]),
        (
            "link down: none, and not by the default route",
            |w| w.topology.links[1].up = false,
            None,
            &["10.1.0.10"],
        ),
        ("no route", |w| w.topology.routes.clear(), None, &["10.1.0.10"]),
        (
            "by the gateway",
            |w| w.desired.services[0].backends[0].address = address("198.51.100.1"),
            Some((0, 254)),
            &["10.1.0.10"],
        ),
        (
            "addresses for the port first",
            |w| {
                w.desired.snat.push(snat("10.2.0.9", Some("eth1")));
                w.desired.snat.push(snat("10.2.0.8", Some("eth1")));
            },
            Some((1, 1)),
            &["10.2.0.8", "10.2.0.9"],
        ),
        (
            "not those for another port",
            |w| w.desired.snat[0].interface = Some("eth0".into()),
            Some((1, 1)),
            &[],
        ),
        (
            "by a station that is named, whatever the routes say of the backend",
            |w| {
                w.desired.services[0].backends[0].address = address("10.244.1.7");
                w.desired.services[0].backends[0].via = Some(address("10.2.0.12"));
            },
            Some((1, 2)),
            &["10.1.0.10"],
        ),
        (
            "by the router to a station that is named",
            |w| w.desired.services[0].backends[0].via = Some(address("198.51.100.1")),
            Some((0, 254)),
            &["10.1.0.10"],
        ),
        (
            "l2dsr does not go by a router",
            |w| {
                w.desired.services[0].mode = Mode::L2dsr;
                w.desired.services[0].backends[0].address = address("198.51.100.1");
            },
            None,
            &[],
        ),
    ];
    for (description, change, hop, addresses) in rows {
        let mut world = World::new(vec![service("web", 1)]);
        change(&mut world);
        world.step();
        let backend = world.snapshot.backend(BackendId(0)).unwrap();
        let found = backend.next_hop.map(|hop| (hop.port.0, hop.mac.0[5]));
        assert_eq!(found, hop, "{description}");
        let snat = backend.snat.iter().map(|&place| &world.snapshot.snat[usize::from(place)]);
        let found: Vec<String> = snat.map(|snat| snat.address.to_string()).collect();
        assert_eq!(found, addresses, "{description}");
    }
}

#[test]
fn ipv6_ways_and_snat_addresses() {
    type Change = fn(&mut World);
    // Port, tags and last octet of the MAC; SNAT addresses.
    type Row = (&'static str, Change, Option<(u8, Tags, u8)>, &'static [&'static str]);
    let vlan = Tags::customer(10);
    let rows: [Row; 6] = [
        ("on a VLAN", |_| {}, Some((1, vlan, 11)), &["2001:db8:1::10"]),
        (
            "known on the port, but not in the VLAN",
            |w| w.desired.services[0].backends[0].address = address("2001:db8:2::12"),
            None,
            &["2001:db8:1::10"],
        ),
        (
            "by a link-local router",
            |w| w.desired.services[0].backends[0].address = address("2001:db8:9::1"),
            Some((0, Tags::NONE, 0xfe)),
            &["2001:db8:1::10"],
        ),
        (
            "l2dsr does not go by a router",
            |w| {
                w.desired.services[0].mode = Mode::L2dsr;
                w.desired.services[0].backends[0].address = address("2001:db8:9::1");
            },
            None,
            &[],
        ),
        ("l2dsr on a VLAN", |w| w.desired.services[0].mode = Mode::L2dsr, Some((1, vlan, 11)), &[]),
        (
            "addresses for the port, of the family",
            |w| {
                w.desired.snat.push(snat("10.2.0.9", Some("eth1")));
                w.desired.snat.push(snat("2001:db8:2::9", Some("eth1")));
            },
            Some((1, vlan, 11)),
            &["2001:db8:2::9"],
        ),
    ];
    for (description, change, hop, addresses) in rows {
        let mut world = World::new(vec![service_6("web", 1)]);
        world.topology = topology_6();
        world.desired.snat.push(snat("2001:db8:1::10", None));
        change(&mut world);
        world.step();
        let backend = world.snapshot.backend(BackendId(0)).unwrap();
        let found = backend.next_hop.map(|hop| (hop.port.0, hop.tags, hop.mac.0[5]));
        assert_eq!(found, hop, "{description}");
        let snat = backend.snat.iter().map(|&place| &world.snapshot.snat[usize::from(place)]);
        let found: Vec<String> = snat.map(|snat| snat.address.to_string()).collect();
        assert_eq!(found, addresses, "{description}");
    }
}

#[test]
fn refusals_name_the_limit_and_the_interface() {
    let mut world = World::new(vec![service("web", 3)]);
    world.limits.backends = 2;
    let refusals = world.try_compile().unwrap_err();
    assert_eq!(
        refusals[0].to_string(),
        "limits.backends: 3 backends are configured, and 0 that \
        were removed still have flows: more than 2 together; wanted: a larger limits.backends (it \
        needs a restart), or fewer backends"
    );
    world.limits.backends = 3;
    world.desired.snat.push(snat("10.1.0.11", Some("eth7")));
    let refusals = world.try_compile().unwrap_err();
    assert_eq!(
        refusals[0].to_string(),
        "snat[1].interface: there is no interface `eth7` in \
        `interfaces`; wanted: one of eth0, eth1"
    );
    world.desired.services[0].port = 0;
    assert_eq!(world.try_compile().unwrap_err()[0].path, "services[0].port");
}
