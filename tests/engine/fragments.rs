//! Fragments: all of a datagram go one way, in any order, and what is wrong with them is named.

use guideway::dataplane::{DropReason, Outcome, Verdict};
use guideway::wire::PortId;
use proptest::prelude::*;

use super::frames::*;
use super::nat::{Ends, TO_BACKEND, TO_CLIENT, ends};
use super::world::*;

/// A network of one family, its client, and its services.
pub struct Family {
    pub name: &'static str,
    pub world: fn() -> World,
    /// To the UDP service under NAT.
    pub dns: Head,
    /// To the UDP service under DSR.
    pub direct: Head,
    /// To the TCP service under NAT.
    pub web: Head,
}

pub fn families() -> [Family; 2] {
    let v4 = |to| Head::new(0xc1, 1, "10.1.0.60:4000", to);
    let v6 = |to| Head::new(0xc1, 1, "[2001:db8:1::60]:4000", to);
    [
        Family {
            name: "IPv4",
            world: World::new,
            dns: v4("10.1.0.100:53"),
            direct: v4("10.1.0.101:53"),
            web: v4("10.1.0.100:80"),
        },
        Family {
            name: "IPv6",
            world: super::families::world,
            dns: v6("[2001:db8:1::100]:53"),
            direct: v6("[2001:db8:1::101]:53"),
            web: v6("[2001:db8:1::100]:80"),
        },
    ]
}

pub fn name_of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Verdict(verdict) => name_of(verdict),
        Outcome::Held => "held",
        Outcome::HandOver { .. } => "handed over",
    }
}

/// What becomes of frames that arrive one by one, and those that leave. After each, what was held and
/// may go on goes on; it is told as "then".
pub fn pass(world: &mut World, port: PortId, frames: &[Vec<u8>]) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut told, mut left) = (vec![], vec![]);
    let mut tell = |(outcome, out): (Outcome, Vec<u8>), before: &str| {
        told.push(format!("{before}{}", name_of_outcome(outcome)));
        if matches!(outcome, Outcome::Verdict(Verdict::Forward(_) | Verdict::Reply(..))) {
            left.push(out);
        }
    };
    for frame in frames {
        tell(world.run(guideway::dataplane::Arrival::Received(port), frame), "");
        world.send_held().into_iter().for_each(|sent| tell(sent, "then "));
    }
    (told, left)
}

/// All counters but those of arrival.
pub fn counted(world: &World) -> Named {
    let all = named(world.engine.counters()).into_iter();
    all.filter(|(name, _)| !name.starts_with("received")).collect()
}

/// Every frame has a verdict or is held.
pub fn check_sum(world: &World) {
    let counters = world.engine.counters();
    let held = world.engine.held_frames() as u64;
    assert_eq!(counters.received, counters.verdicts() + held, "{counters:?}");
}

#[test]
fn in_every_order_to_the_backend_and_back() {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let data: Vec<u8> = (0..2000u32).map(|n| (n % 251) as u8).collect();
    for family in families() {
        for (order, head) in
            ORDERS.iter().flat_map(|order| [family.dns, family.direct].map(|head| (order, head)))
        {
            let mut world = (family.world)();
            let what = format!("{} {order:?} to {}", family.name, head.destination);
            let pieces = cut(&head.udp(&data), 7, 800);
            let in_order = order.map(|at| pieces[at].clone());
            let held = order.iter().position(|&at| at == 0).unwrap();
            let (told, left) = pass(&mut world, CLIENTS, &in_order);
            let mut wanted = vec!["held"; held];
            wanted.push("forwarded");
            wanted.extend(vec!["then forwarded"; held]);
            wanted.extend(vec!["forwarded"; 2 - held]);
            assert_eq!(told, wanted, "{what}");
            let mut counters = Named::from([("forwarded", 3), ("flows_created", 1)]);
            if held > 0 {
                counters.insert("fragments_held", held as u64);
            }
            assert_eq!(counted(&world), counters, "{what}");
            assert!(!world.engine.has_fragments(), "{what}: forgotten once it is complete");
            let whole = join(&left).unwrap();
            if head.destination == family.direct.destination {
                let mut wanted = head.udp(&data);
                wanted[..12].copy_from_slice(&whole[..12]);
                assert_eq!(whole, wanted, "{what}");
                continue;
            }
            let ends = ends(head, &whole);
            assert_eq!(whole, ends.at_backend().udp(&data), "{what}");
            let pieces = cut(&ends.backend.udp(&data), 7, 800);
            let (told, left) = pass(&mut world, BACKENDS, &order.map(|at| pieces[at].clone()));
            assert_eq!(told, wanted_of(held, 3), "{what}, back");
            assert_eq!(join(&left).unwrap(), ends.at_client().udp(&data), "{what}, back");
        }
    }
}

/// `held` fragments before the first one, of `all`.
pub fn wanted_of(held: usize, all: usize) -> Vec<&'static str> {
    let parts = [("held", held), ("forwarded", 1), ("then forwarded", held)];
    let parts = parts.into_iter().chain([("forwarded", all - held - 1)]);
    parts.flat_map(|(name, count)| vec![name; count]).collect()
}

#[test]
fn only_the_first_one_of_tcp_is_a_step() {
    for family in families() {
        let mut world = (family.world)();
        let (_, left) = pass(&mut world, CLIENTS, &cut(&family.web.tcp_data(SYN, &[1; 80]), 1, 40));
        let Ends { client, backend } = ends(family.web, &join(&left).unwrap());
        let state = |world: &World| guideway::dataplane::FlowState::of(&world.entries()[0]);
        assert_eq!(state(&world), Some(guideway::dataplane::FlowState::Opening));
        world.expect("SYN-ACK", BACKENDS, &backend.tcp(SYN | ACK), TO_CLIENT, &[]);
        world.expect("ACK", CLIENTS, &client.tcp(ACK), TO_BACKEND, &[]);
        assert_eq!(state(&world), Some(guideway::dataplane::FlowState::Established));
        pass(&mut world, CLIENTS, &cut(&client.tcp_data(ACK, &[2; 80]), 2, 40));
        assert_eq!(state(&world), Some(guideway::dataplane::FlowState::Established));
        pass(&mut world, CLIENTS, &cut(&client.tcp_data(FIN | ACK, &[3; 80]), 3, 40));
        assert_eq!(state(&world), Some(guideway::dataplane::FlowState::Closing));
    }
}

#[test]
fn a_flow_that_is_cut_takes_its_fragments_with_it() {
    for family in families() {
        let mut world = (family.world)();
        let pieces = cut(&family.dns.udp(&[7; 2000]), 7, 800);
        assert_eq!(pass(&mut world, CLIENTS, &pieces[..1]).0, ["forwarded"]);
        world.publish(|parts| {
            if family.name == "IPv6" {
                super::families::six(parts);
            }
            parts.backends.fill(None);
        });
        let no_flow = Verdict::Drop(DropReason::FragmentNoFlow);
        world.expect("cut", CLIENTS, &pieces[1], no_flow, &[("flows_cut", 1)]);
        world.expect("and never begun", CLIENTS, &pieces[2], no_flow, &[]);
        assert!(!world.engine.has_flows() && !world.engine.has_fragments());
    }
}

#[test]
fn what_cannot_leave_is_told_by_the_first_one_alone() {
    use guideway::dataplane::ReplyKind;
    for family in families() {
        let mut world = (family.world)();
        let long = cut(&family.dns.udp(&[7; 3000]), 7, 1600);
        let (told, left) = pass(&mut world, CLIENTS, &long);
        // IPv4 that may be fragmented is not answered.
        let first = if family.name == "IPv4" { "exceeds_mtu" } else { ReplyKind::TooBig.name() };
        assert_eq!(
            (told, left.len()),
            (vec![first.into(), "fragment_no_flow".into()], usize::from(first != "exceeds_mtu"))
        );
        pass(&mut world, CLIENTS, &cut(&family.dns.udp(&[7; 1200]), 8, 800));
        let (told, _) = pass(&mut world, CLIENTS, &cut(&family.dns.udp(&[7; 4000]), 9, 1600));
        assert_eq!(told, [first, "exceeds_mtu", "forwarded"]);
        let old = Head { ttl: 1, ..family.dns };
        let (told, _) = pass(&mut world, CLIENTS, &cut(&old.udp(&[7; 1200]), 10, 800));
        assert_eq!(told, ["icmp_time_exceeded", "ttl_exceeded"]);
        check_sum(&world);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Cut anyhow, shuffled, repeated and lost: what comes out is the translated datagram, or a part
    /// of it, and never anything else.
    #[test]
    fn what_comes_out_is_what_went_in(
        data in prop::collection::vec(any::<u8>(), 1..3000),
        unit in 8usize..100,
        order in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..80),
        is_v4: bool,
    ) {
        let family = &families()[usize::from(!is_v4)];
        let mut world = (family.world)();
        let head = family.dns;
        let opened = world.run(guideway::dataplane::Arrival::Received(CLIENTS), &head.udp(b"?")).1;
        let both = ends(head, &opened);
        let turns = [
            (CLIENTS, head, both.at_backend()),
            (BACKENDS, both.backend, both.at_client()),
        ];
        for (port, sent, received) in turns {
            let pieces = cut(&sent.udp(&data), 7, unit * 8);
            let mut frames: Vec<usize> = (0..pieces.len()).collect();
            for (index, what) in &order {
                let (at, last) = (index.index(frames.len()), frames.len() - 1);
                match what {
                    0 if last > 0 => drop(frames.remove(at)),
                    1 => frames.push(frames[at]),
                    _ => frames.swap(at, last),
                }
            }
            let is_whole = (0..pieces.len()).all(|at| frames.contains(&at));
            let in_order: Vec<_> = frames.iter().map(|&at| pieces[at].clone()).collect();
            let (told, left) = pass(&mut world, port, &in_order);
            // What comes after the last one begins a datagram of its own, as for a receiver.
            let is_wanted = |frame: &Vec<u8>| {
                let id = identification(frame);
                let own = port == CLIENTS || id == 7;
                own && cut(&received.udp(&data), id, unit * 8).contains(frame)
            };
            prop_assert!(left.iter().all(is_wanted), "{:?}", told);
            let id = left.first().map_or(7, |frame| identification(frame));
            let has_first = frames.contains(&0);
            prop_assert!(has_first || left.is_empty());
            let distinct: std::collections::BTreeSet<_> =
                left.into_iter().filter(|frame| identification(frame) == id).collect();
            let distinct: Vec<_> = distinct.into_iter().collect();
            prop_assert_eq!(join(&distinct).is_some(), is_whole);
            check_sum(&world);
            // The other direction has the same identification between other addresses.
            world.wait(2001);
            world.engine.tick(&world.snapshot, world.now);
            prop_assert!(!world.engine.has_fragments() && world.engine.held_frames() == 0);
            check_sum(&world);
        }
    }
}
