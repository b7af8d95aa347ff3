//! What stays for live flows, how long, and under which id.

use super::*;
use crate::control::testing::backend;
use crate::wire::Protocol;

#[test]
fn a_removed_backend_stays_until_no_worker_can_have_its_flows() {
    let mut world = World::new(vec![service("web", 3)]);
    world.step();
    world.flows(1, 5);
    world.desired.services[0].backends.remove(1);
    let compiled = world.try_compile().unwrap();
    assert_eq!(compiled.notes, []);
    world.snapshot = compiled.snapshot;
    let retired = ["web/b1 0 Active", "web/b2 1 Retired", "web/b3 2 Active"];
    assert_eq!(world.backends(), retired);
    assert!(!world.snapshot.is_settled());
    let backend = world.snapshot.backend(BackendId(1)).unwrap();
    assert!(backend.retired_in == 2 && backend.next_hop.is_some());
    world.flows(1, 0);
    world.snapshot = world.try_compile().unwrap().snapshot;
    assert_eq!(world.backends(), retired, "a worker may still run the generation before");
    world.live.generation = 2;
    world.flows(1, 1);
    world.step();
    assert_eq!(world.backends(), retired, "it has a flow");
    assert_eq!(world.snapshot.backend(BackendId(1)).unwrap().retired_in, 2);
    world.flows(1, 0);
    world.step();
    assert_eq!(world.backends(), ["web/b1 0 Active", "web/b3 2 Active"]);
    assert!(world.snapshot.is_settled());
}

#[test]
fn ids_are_not_given_while_anything_holds_them() {
    let mut world = World::new(vec![service("web", 2)]);
    world.step();
    world.desired.services[0].backends[0].address = address("10.2.0.19");
    world.step();
    let moved = ["web/b1 0 Retired", "web/b2 1 Active", "web/b1 2 Active"];
    assert_eq!(world.backends(), moved, "a new socket is a new backend");
    world.desired.services[0].backends.push(backend(3));
    world.step();
    assert_eq!(world.backends(), ["web/b2 1 Active", "web/b1 2 Active", "web/b3 3 Active"]);
    world.flows(0, 1);
    world.desired.services[0].backends.push(backend(4));
    world.step();
    assert_eq!(world.backends()[3..], ["web/b4 4 Active"], "0 is in use by a flow");
    world.flows(0, 0);
    world.desired.services[0].backends.push(backend(5));
    world.step();
    assert_eq!(world.backends()[..1], ["web/b5 0 Active"]);
}

#[test]
fn a_backend_that_comes_back_takes_its_flows_back() {
    let mut world = World::new(vec![service("web", 2)]);
    world.step();
    world.flows(0, 3);
    let removed = world.desired.services[0].backends.remove(0);
    world.step();
    world.desired.services[0].backends.push(removed);
    world.step();
    assert_eq!(world.backends(), ["web/b1 0 Active", "web/b2 1 Active"]);
    assert_eq!(world.snapshot.backend(BackendId(0)).unwrap().retired_in, 0);
}

#[test]
fn of_too_many_retired_the_oldest_is_cut_and_its_id_rests() {
    let mut world = World::new(vec![service("web", 4)]);
    world.limits.retired_backends = 1;
    world.step();
    (0..4).for_each(|id| world.flows(id, 7));
    world.desired.services[0].backends.remove(1);
    assert_eq!(world.step(), []);
    world.desired.services[0].backends.remove(0);
    let limit = "limits.retired_backends is reached";
    let cut = |name: &str, flows| Note::RetiredCut {
        service: "web".into(),
        backend: name.into(),
        flows,
        limit,
    };
    assert_eq!(world.step(), [cut("b2", 7)]);
    assert_eq!(world.backends(), ["web/b1 0 Retired", "web/b3 2 Active", "web/b4 3 Active"]);
    // Cut, but workers have not taken the generation up: a flow may be made that is not counted.
    world.live.generation = 1;
    world.flows(1, 0);
    world.desired.services[0].backends.push(backend(5));
    world.snapshot = world.try_compile().unwrap().snapshot;
    assert_eq!(world.backends()[3..], ["web/b5 4 Active"]);
    world.live.generation = world.snapshot.generation;
    world.desired.services[0].backends.push(backend(6));
    world.step();
    assert_eq!(world.backends()[1..2], ["web/b6 1 Active"]);
    assert_eq!(world.snapshot.ledger().cut, []);
}

#[test]
fn a_removed_service_stays_for_its_flows_and_not_for_ever() {
    for (description, flows_end) in [("flows end", true), ("time is over", false)] {
        let mut world = World::new(vec![service("web", 1), at("api", 81, 1)]);
        world.step();
        world.flows(1, 2);
        world.now_ms = 1_000;
        world.desired.services.remove(0);
        assert_eq!(world.step(), []);
        assert_eq!(world.backends(), ["api/b1 0 Active", "web!/b1 1 Retired"], "{description}");
        let gone = world.snapshot.services[1].clone();
        assert!(gone.gone && gone.slots.is_empty() && gone.vip.port() == 80);
        world.now_ms = 60_999;
        assert_eq!(world.step(), []);
        assert_eq!(world.backends().len(), 2, "{description}");
        if flows_end {
            world.flows(1, 0);
            assert_eq!(world.step(), []);
        } else {
            world.now_ms = 61_000;
            let limit = "limits.service_gone_linger is over";
            let (service, backend) = ("web".into(), "b1".into());
            assert_eq!(world.step(), [Note::RetiredCut { service, backend, flows: 2, limit }]);
        }
        assert_eq!(world.backends(), ["api/b1 0 Active"], "{description}");
        assert_eq!(world.snapshot.services.len(), 1, "{description}");
    }
}

#[test]
fn without_linger_a_service_stays_for_one_snapshot() {
    let mut world = World::new(vec![service("web", 1)]);
    world.limits.service_gone_linger_ms = 0;
    world.step();
    world.flows(0, 1);
    world.desired.services.clear();
    assert_eq!(world.step(), []);
    assert_eq!(world.backends(), ["web!/b1 0 Retired"]);
    assert_eq!(world.step().len(), 1);
    assert!(world.snapshot.services.is_empty() && world.snapshot.is_settled());
}

#[test]
fn a_service_that_comes_back_takes_its_backends_back() {
    let mut world = World::new(vec![service("web", 2)]);
    world.step();
    world.flows(0, 1);
    world.flows(1, 1);
    let removed = world.desired.services.remove(0);
    world.step();
    assert_eq!(world.backends(), ["web!/b1 0 Retired", "web!/b2 1 Retired"]);
    world.desired.services.push(removed);
    world.step();
    assert_eq!(world.backends(), ["web/b1 0 Active", "web/b2 1 Active"]);
    assert_eq!(slot_names(&world.snapshot, "web"), maglev_names(&world, &service("web", 2)));
}

#[test]
fn what_makes_another_service_of_one() {
    type Change = fn(&mut ServiceSpec);
    let rows: [(&str, Change, &[&str]); 5] = [
        ("another name is the same service", |s| s.name = "www".into(), &["www/b1 0 Active"]),
        ("another port", |s| s.port = 8080, &["web!/b1 0 Retired", "web/b1 1 Active"]),
        (
            "another VIP",
            |s| s.address = address("10.1.0.101"),
            &["web!/b1 0 Retired", "web/b1 1 Active"],
        ),
        (
            "another protocol",
            |s| s.protocol = Protocol::Udp,
            &["web!/b1 0 Retired", "web/b1 1 Active"],
        ),
        (
            "another mode is the same service with other backends",
            |s| s.mode = Mode::L2dsr,
            &["web/b1 0 Retired", "web/b1 1 Active"],
        ),
    ];
    for (description, change, wanted) in rows {
        let mut world = World::new(vec![service("web", 1)]);
        world.step();
        world.flows(0, 1);
        change(&mut world.desired.services[0]);
        world.step();
        assert_eq!(world.backends(), wanted, "{description}");
        let spec = &world.desired.services[0];
        let client: std::net::SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let vip = std::net::SocketAddr::new(spec.address, spec.port);
        let key = crate::wire::FlowKey::new(spec.protocol, client, vip);
        assert!(!world.snapshot.find_service(&key).unwrap().1.gone, "{description}: found first");
    }
}

#[test]
fn another_mode_or_port_is_for_new_flows_only() {
    type Change = fn(&mut ServiceSpec);
    let rows: [(&str, Change); 2] = [
        ("mode", |s| s.mode = Mode::L2dsr),
        ("backends' port", |s| s.backends.iter_mut().for_each(|b| b.port = 8080)),
    ];
    for (description, change) in rows {
        let mut world = World::new(vec![service("web", 2)]);
        world.step();
        let before = world.snapshot.clone();
        let slots = slot_names(&before, "web");
        (0..2).for_each(|id| world.flows(id, 3));
        let spec = world.desired.services[0].clone();
        change(&mut world.desired.services[0]);
        assert_eq!(world.step(), [], "{description}: no flow is lost");
        let all = ["web/b1 0 Retired", "web/b2 1 Retired", "web/b1 2 Active", "web/b2 3 Active"];
        assert_eq!(world.backends(), all, "{description}");
        assert_eq!(world.snapshot.services.len(), 1, "{description}: it is the same service");
        assert_eq!(slot_names(&world.snapshot, "web"), slots, "{description}: names choose");
        for id in [0, 1].map(BackendId) {
            let (then, now) = (before.backend(id).unwrap(), world.snapshot.backend(id).unwrap());
            assert_eq!((then.mode, then.socket), (now.mode, now.socket), "{description}");
            assert_eq!((then.next_hop, &then.snat), (now.next_hop, &now.snat), "{description}");
        }
        let new = world.snapshot.backend(BackendId(2)).unwrap();
        let is_of_now = |spec: &ServiceSpec| {
            new.mode == spec.mode && new.socket.port() == spec.backends[0].port
        };
        assert!(is_of_now(&world.desired.services[0]), "{description}");
        // Taken back, before the old flows have ended: the old ones are the configured ones again.
        (2..4).for_each(|id| world.flows(id, 1));
        world.desired.services[0] = spec;
        world.step();
        let back = ["web/b1 0 Active", "web/b2 1 Active", "web/b1 2 Retired", "web/b2 3 Retired"];
        assert_eq!(world.backends(), back, "{description}");
        (2..4).for_each(|id| world.flows(id, 0));
        world.step();
        assert_eq!(world.backends(), ["web/b1 0 Active", "web/b2 1 Active"], "{description}");
    }
}
