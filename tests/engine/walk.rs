//! An operator's walk over the flows: shows them, and ends some.

use guideway::dataplane::{FlowFilter, FlowState, FlowWalk, Ticks};
use guideway::dataplane::{ReplyKind, Verdict};

use super::frames::*;
use super::nat::{CREATED, TO_BACKEND, client, establish};
use super::world::*;

const RESET: Verdict = Verdict::Reply(CLIENTS, ReplyKind::Reset);

/// Walks to the end, part by part; gives what was found and how many were ended.
fn walk(world: &mut World, mut walk: FlowWalk) -> (Vec<guideway::dataplane::FlowEntry>, u64) {
    let mut found = Vec::new();
    for _ in 0..1000 {
        if world.engine.walk(Ticks(5000), &mut walk) {
            found.extend(walk.found.drain(..).map(|(entry, _)| entry));
            if walk.is_done() {
                return (found, walk.ended);
            }
        }
    }
    panic!("the walk has no end");
}

#[test]
fn flows_are_found_by_client_backend_and_key() {
    let mut world = World::new();
    let many: Vec<Head> = (0..900).map(|at| client((at % 100 + 150) as u8, 4000 + at)).collect();
    for head in &many {
        world.expect("new", CLIENTS, &head.tcp(SYN), TO_BACKEND, CREATED);
    }
    let (all, _) = walk(&mut world, FlowWalk::to_show(FlowFilter::default()));
    assert_eq!(all.len(), 900, "each of them");
    assert!(all.iter().all(|entry| FlowState::of(entry) == Some(FlowState::Opening)));
    let mut keys: Vec<_> = all.iter().map(|entry| entry.key.source_port).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 900, "each once");

    let of_client = |text: &str, host_bits| FlowFilter {
        clients: Some((socket(text).ip().into(), host_bits)),
        ..FlowFilter::default()
    };
    let one = all[0].key.source;
    let same = all.iter().filter(|entry| entry.key.source == one).count();
    let text = format!("{}:0", one.ip());
    assert_eq!(walk(&mut world, FlowWalk::to_show(of_client(&text, 0))).0.len(), same);
    let outside = of_client("203.0.113.0:0", 0xff);
    assert_eq!(walk(&mut world, FlowWalk::to_show(outside)).0.len(), 0);

    let by_backend = FlowFilter { backends: Some(vec![all[0].backend]), ..FlowFilter::default() };
    let of_it = all.iter().filter(|entry| entry.backend == all[0].backend).count();
    assert_eq!(walk(&mut world, FlowWalk::to_show(by_backend)).0.len(), of_it);

    let key = FlowFilter { key: Some(all[77].key), ..FlowFilter::default() };
    let (found, _) = walk(&mut world, FlowWalk::to_show(key));
    assert_eq!(found, [all[77]]);
}

#[test]
fn ended_flows_are_gone_and_their_connections_told() {
    let mut world = World::new();
    let (first, other) =
        (establish(&mut world, client(60, 4000)), establish(&mut world, client(61, 4000)));
    let client = first.client.tcp(ACK);
    let filter =
        FlowFilter { clients: Some((first.client.source.ip().into(), 0)), ..FlowFilter::default() };
    assert_eq!(walk(&mut world, FlowWalk::to_end(filter)).1, 1);
    world.expect("not known any more", CLIENTS, &client, RESET, &[]);
    world.expect("the other goes on", CLIENTS, &other.client.tcp(ACK), TO_BACKEND, &[]);
    assert_eq!((world.live(), world.engine.counters().events.flows_ended_by_hand), (1, 1));
}
