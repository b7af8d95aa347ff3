use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::wire::Protocol;

fn hash() -> FlowHash {
    FlowHash::new([3; 16])
}

/// One of few clients, so that operations meet.
fn entry(client: u8, nat: bool) -> FlowEntry {
    let client_socket = format!("192.0.2.{client}:1000").parse().unwrap();
    let key = FlowKey::new(Protocol::Udp, client_socket, "10.1.0.100:53".parse().unwrap());
    let (snat_address, snat_port) =
        if nat { (0x0a01_000a, 1024 + u16::from(client)) } else { (0, 0) };
    FlowEntry {
        key,
        snat_address,
        snat_port,
        backend_address: 0x0a02_000b,
        backend_port: 53,
        state: FlowState::Udp as u8,
        ..FlowEntry::FREE
    }
}

fn forward(table: &FlowTable, entry: &FlowEntry) -> Option<FlowPlace> {
    table.find_forward(hash().of(&entry.key), &entry.key)
}

fn back(table: &FlowTable, entry: &FlowEntry) -> Option<FlowPlace> {
    let key = entry.return_key();
    table.find_return(hash().of(&key), &key)
}

/// Both keys of every flow of the model, and no other, lead to its entry.
fn compare(table: &FlowTable, model: &HashMap<u8, FlowEntry>) {
    assert_eq!(table.len(), model.len());
    for client in 0..=u8::MAX {
        let wanted = model.get(&client);
        let found = forward(table, &entry(client, false)).and_then(|place| table.get(place));
        assert_eq!(found, wanted, "forward {client}");
        let found = back(table, &entry(client, true)).and_then(|place| table.get(place));
        assert_eq!(found, wanted.filter(|wanted| wanted.is_nat()), "return {client}");
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
        let mut table = FlowTable::new(MOST, hash());
        let mut model = HashMap::new();
        for (turn, (client, nat, add)) in operations.into_iter().enumerate() {
            let wanted = entry(client, nat);
            match forward(&table, &wanted) {
                Some(place) if !add => {
                    prop_assert_eq!(table.remove(place), model.remove(&client));
                }
                Some(place) => prop_assert!(table.get(place) == model.get(&client)),
                None if add => {
                    prop_assert!(!model.contains_key(&client));
                    let added = table.insert(wanted).is_some();
                    prop_assert_eq!(added, model.len() < MOST);
                    if added {
                        model.insert(client, wanted);
                    }
                }
                None => prop_assert!(!model.contains_key(&client)),
            }
            if turn == rebuild_after {
                prop_assert_eq!(table.rebuild(), 0);
            }
        }
        compare(&table, &model);
    }
}

#[test]
fn full_is_refused_and_places_are_used_again() {
    let mut table = FlowTable::new(2, hash());
    let first = table.insert(entry(1, true)).unwrap();
    assert!(table.insert(entry(2, false)).is_some() && table.is_full());
    assert_eq!(table.insert(entry(3, true)), None);
    assert!(table.remove(first).is_some() && table.remove(first).is_none());
    assert_eq!(table.insert(entry(3, true)), Some(first));
    assert_eq!(table.used_up_to(), 2);
}

#[test]
fn rebuild_gives_up_what_makes_no_sense() {
    let mut table = FlowTable::new(8, hash());
    let places: Vec<_> = (0..6).filter_map(|client| table.insert(entry(client, true))).collect();
    table.get_mut(places[1]).unwrap().key = entry(0, true).key;
    table.get_mut(places[2]).unwrap().state = 200;
    table.get_mut(places[3]).unwrap().version = 0;
    table.get_mut(places[4]).unwrap().snat_address = 0;
    assert_eq!(table.rebuild(), 4);
    assert_eq!(table.len(), 2);
    assert!(forward(&table, &entry(5, true)).is_some());
    assert!((0..6).all(|client| table.insert(entry(100 + client, true)).is_some()));
    assert!(table.is_full());
}

#[test]
fn no_room_at_all() {
    let mut table = FlowTable::new(0, hash());
    assert!(table.is_full() && table.insert(entry(1, false)).is_none());
    assert_eq!(forward(&table, &entry(1, false)), None);
    assert_eq!(table.rebuild(), 0);
}
