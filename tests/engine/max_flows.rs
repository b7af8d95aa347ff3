//! `max_flows`: how many flows a service may have, and what becomes of more.

use guideway::dataplane::{DropReason, EngineConfig, ReplyKind, ShardMap, Verdict};
use guideway::forwarding::{Mode, NoBackendPolicy, SnapshotParts};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, establish};
use super::world::*;

fn limited(most: u32) -> impl Fn(&mut SnapshotParts) {
    move |parts| parts.services.iter_mut().for_each(|service| service.rules.max_flows = most)
}

fn to(vip: &str, port: u16) -> Head {
    Head::new(0xc1, 1, &format!("10.1.0.60:{port}"), vip)
}

#[test]
fn what_more_flows_get_by_mode_and_policy() {
    const REFUSED: &[(&str, u64)] = &[("max_flows_reached", 1)];
    const STATELESS: &[(&str, u64)] = &[("max_flows_reached", 1), ("forwarded_stateless", 1)];
    let (reset, drop) = (NoBackendPolicy::Reset, NoBackendPolicy::Drop);
    let told = Verdict::Reply(CLIENTS, ReplyKind::Reset);
    let dropped = Verdict::Drop(DropReason::ServiceFull);
    let rows = [
        (Mode::Nat, reset, told, REFUSED),
        (Mode::Nat, drop, dropped, REFUSED),
        (Mode::Dnat, reset, told, REFUSED),
        (Mode::Dnat, drop, dropped, REFUSED),
        (Mode::L2dsr, drop, TO_BACKEND, STATELESS),
        (Mode::Dscp(3), reset, TO_BACKEND, STATELESS),
    ];
    for (mode, policy, verdict, events) in rows {
        let name = format!("{mode} {policy:?}");
        let mut world = World::with(config(), |parts| {
            limited(5)(parts);
            parts.services[0].mode = mode;
            parts.services[0].no_backend = policy;
            parts.backends.iter_mut().take(2).flatten().for_each(|b| b.mode = mode);
        });
        for port in 4000..4020 {
            let (verdict, events) =
                if port < 4005 { (TO_BACKEND, CREATED) } else { (verdict, events) };
            let syn = to("10.1.0.100:80", port).tcp(SYN);
            world.expect(&name, CLIENTS, &syn, verdict, events);
        }
        world.expect(&name, CLIENTS, &to("10.1.0.100:53", 1).udp(b"?"), TO_BACKEND, CREATED);
        // A known flow goes on; one that has ended makes room for one.
        world.expect(&name, CLIENTS, &to("10.1.0.100:80", 4000).tcp(RST), TO_BACKEND, &[]);
        world.wait(u64::from(TIMEOUTS.tcp_opening_ms) + 1);
        world.expect(
            &name,
            CLIENTS,
            &to("10.1.0.100:80", 4001).tcp(SYN),
            TO_BACKEND,
            &[("flows_created", 1), ("flows_expired", 1)],
        );
        world.expect(&name, CLIENTS, &to("10.1.0.100:80", 5000).tcp(SYN), verdict, events);
        world.sweep();
        world.expect(&name, CLIENTS, &to("10.1.0.100:80", 5000).tcp(SYN), TO_BACKEND, CREATED);
    }
}

/// Limits come and go with snapshots, and count what was there before.
#[test]
fn a_limit_counts_flows_that_were_there() {
    let told = Verdict::Reply(CLIENTS, ReplyKind::Reset);
    let refused = &[("max_flows_reached", 1)];
    let mut world = World::new();
    let syn = |port| to("10.1.0.100:80", port).tcp(SYN);
    (4000..4010).for_each(|port| {
        world.expect("no limit", CLIENTS, &syn(port), TO_BACKEND, CREATED);
    });
    world.publish(limited(11));
    world.expect("one more", CLIENTS, &syn(4010), TO_BACKEND, CREATED);
    world.expect("and no more", CLIENTS, &syn(4011), told, refused);
    // A backend that has only old flows is still one of the service.
    world.publish(|parts| {
        limited(12)(parts);
        parts.services[0].slots = [guideway::forwarding::BackendId(1)].into();
        parts.backends[0].as_mut().unwrap().state = guideway::forwarding::BackendState::Retired;
    });
    world.expect("one more", CLIENTS, &syn(4011), TO_BACKEND, CREATED);
    world.expect("and no more", CLIENTS, &syn(4012), told, refused);
    let lost = world.engine.counters().clone();
    let engine = std::mem::replace(&mut world.engine, World::new().engine);
    world.engine = engine.recover();
    assert_eq!(*world.engine.counters(), lost);
    world.expect("after a panic", CLIENTS, &syn(4012), told, refused);
    world.publish(|_| ());
    world.expect("no limit", CLIENTS, &syn(4012), TO_BACKEND, CREATED);
}

#[test]
fn each_worker_has_its_share() {
    // Of 5 flows, 3 workers have 2, 2 and 1; of none each has one.
    for (all, wanted) in [(5, [2, 2, 1]), (1, [1, 1, 1]), (6, [2, 2, 2])] {
        for (worker, wanted) in wanted.into_iter().enumerate() {
            let shards = ShardMap::even(3);
            let config = EngineConfig { worker: worker as u8, shards, ..config() };
            let mut world = World::with(config, limited(all));
            for port in 4000..4100 {
                let arrival = guideway::dataplane::Arrival::Received(CLIENTS);
                world.run(arrival, &to("10.1.0.100:80", port).tcp(SYN));
            }
            assert_eq!(world.live(), wanted, "{all} flows, worker {worker}");
        }
    }
}

/// The client's own connection goes on, whoever else is refused.
#[test]
fn known_flows_are_not_asked() {
    let mut world = World::with(config(), limited(1));
    let ends = establish(&mut world, super::nat::client(60, 4000));
    for _ in 0..3 {
        world.expect("goes on", CLIENTS, &ends.client.tcp(ACK), TO_BACKEND, &[]);
    }
}

/// What needs no entry goes without one, in fragments too.
#[test]
fn fragments_of_a_service_that_is_full() {
    let mut world = World::with(config(), limited(1));
    let direct = |port| to("10.1.0.101:53", port);
    world.expect("first", CLIENTS, &direct(1).udp(b"?"), TO_BACKEND, CREATED);
    for (port, wanted) in [(1, [0, 0]), (2, [3, 1])] {
        let before = world.engine.counters().events;
        let pieces = cut(&direct(port).udp(&[7; 2000]), port.into(), 800);
        let (told, left) = super::fragments::pass(&mut world, CLIENTS, &pieces);
        assert_eq!(told, super::fragments::wanted_of(0, 3), "{port}");
        assert!(join(&left).is_some(), "{port}: to one backend");
        let after = world.engine.counters().events;
        let reached = after.max_flows_reached - before.max_flows_reached;
        assert_eq!(reached, wanted[0], "{port}");
        let stateless = after.forwarded_stateless - before.forwarded_stateless;
        assert!(stateless >= wanted[1], "{port}");
    }
}
