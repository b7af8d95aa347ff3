use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::FlowState;
use super::super::entry::Station;
use super::super::flow_hash::FlowHash;
use super::*;
use crate::wire::{MacAddress, PortId, Protocol, Tags};

fn hash() -> FlowHash {
    FlowHash::new([3; 16])
}

/// One of few clients, half of them of each family, so that operations meet.
fn flow(client: u8, nat: bool) -> Flow {
    let (client_socket, vip): (SocketAddr, SocketAddr) = match client % 2 {
        0 => (([192, 0, 2, client], 1000).into(), ([10, 1, 0, 100], 53).into()),
        _ => {
            let last = u16::from(client);
            (([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1000).into(), ([0xfd00; 8], 53).into())
        }
    };
    let station = Station { port: PortId(0), tags: Tags::NONE, mac: MacAddress([2; 6]) };
    let mut flow = Flow::new(&FlowKey::new(Protocol::Udp, client_socket, vip), station);
    flow.state = FlowState::Udp as u8;
    if nat {
        flow.bind(7, client);
    }
    flow
}

/// What the table leaves to its caller: here the return key is the client's number.
fn back_hash(client: u8) -> u64 {
    hash().mix(u64::from(client), 99)
}

fn hashes(flow: &Flow) -> KeyHashes {
    KeyHashes {
        forward: hash().of(&flow.key()),
        back: flow.binding().map(|(_, client)| back_hash(client)),
    }
}

fn insert(table: &mut FlowTable, flow: Flow) -> Option<FlowPlace> {
    table.insert(flow, hashes(&flow))
}

fn remove(table: &mut FlowTable, place: FlowPlace) -> Option<Flow> {
    let flow = *table.get(place)?;
    table.remove(place, hashes(&flow))
}

fn forward(table: &FlowTable, flow: &Flow) -> Option<FlowPlace> {
    table.find_forward(hash().of(&flow.key()), &flow.key())
}

fn back(table: &FlowTable, client: u8) -> Option<FlowPlace> {
    table.find_return(back_hash(client), |flow| flow.binding() == Some((7, client)))
}

/// Keeps what is of a known state and not there twice.
fn judge(table: &FlowTable, flow: &Flow) -> Option<KeyHashes> {
    let is_sound = FlowState::from_number(flow.state).is_some();
    (is_sound && forward(table, flow).is_none()).then(|| hashes(flow))
}

/// Both keys of every flow of the model, and no other, lead to its place.
fn compare(table: &FlowTable, model: &HashMap<u8, Flow>) {
    assert_eq!(table.len(), model.len());
    for client in 0..=u8::MAX {
        let wanted = model.get(&client);
        let found = forward(table, &flow(client, false)).and_then(|place| table.get(place));
        assert_eq!(found, wanted, "forward {client}");
        let found = back(table, client).and_then(|place| table.get(place));
        assert_eq!(found, wanted.filter(|wanted| wanted.is_nat()), "return {client}");
        let guess = table.prefetch_flow(hash().of(&flow(client, false).key()));
        let is_there = table.is_at(guess, &flow(client, false).key());
        assert!(!is_there || wanted.is_some(), "guess {client}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn does_as_a_map_does(
        operations in prop::collection::vec((any::<u8>(), any::<bool>(), any::<bool>()), 1..400),
        rebuild_after in 0usize..400,
    ) {
        const MOST: usize = 40;
        let mut table = FlowTable::new(MOST);
        let mut model = HashMap::new();
        for (turn, (client, nat, add)) in operations.into_iter().enumerate() {
            let wanted = flow(client, nat);
            match forward(&table, &wanted) {
                Some(place) if !add => {
                    prop_assert_eq!(remove(&mut table, place), model.remove(&client));
                }
                Some(place) => prop_assert!(table.get(place) == model.get(&client)),
                None if add => {
                    prop_assert!(!model.contains_key(&client));
                    let added = insert(&mut table, wanted).is_some();
                    prop_assert_eq!(added, model.len() < MOST);
                    if added {
                        model.insert(client, wanted);
                    }
                }
                None => prop_assert!(!model.contains_key(&client)),
            }
            if turn == rebuild_after {
                prop_assert_eq!(table.rebuild(judge), 0);
            }
        }
        compare(&table, &model);
    }
}

#[test]
fn full_is_refused_and_places_are_used_again() {
    let mut table = FlowTable::new(2);
    let first = insert(&mut table, flow(1, true)).unwrap();
    assert!(insert(&mut table, flow(2, false)).is_some() && table.is_full());
    assert_eq!(insert(&mut table, flow(3, true)), None);
    assert!(remove(&mut table, first).is_some() && remove(&mut table, first).is_none());
    assert_eq!(insert(&mut table, flow(3, true)), Some(first));
    assert_eq!(table.used_up_to(), 2);
}

#[test]
fn rebuild_gives_up_what_makes_no_sense() {
    let mut table = FlowTable::new(8);
    let places: Vec<_> =
        (0..6).filter_map(|client| insert(&mut table, flow(client, true))).collect();
    *table.get_mut(places[1]).unwrap() = flow(0, true);
    table.get_mut(places[2]).unwrap().state = 200;
    assert_eq!(table.rebuild(judge), 2);
    assert_eq!(table.len(), 4);
    assert!(forward(&table, &flow(5, true)).is_some() && forward(&table, &flow(2, true)).is_none());
    assert!((0..4).all(|client| insert(&mut table, flow(100 + client, true)).is_some()));
    assert!(table.is_full());
}

#[test]
fn no_room_at_all() {
    let mut table = FlowTable::new(0);
    assert!(table.is_full() && insert(&mut table, flow(1, false)).is_none());
    assert_eq!(forward(&table, &flow(1, false)), None);
    assert_eq!(table.rebuild(judge), 0);
}
