use std::collections::BTreeSet;

use super::*;
use crate::wire::Protocol;

const HOLD_DOWN_MS: u32 = 60_000;

fn pool(max_blocks: usize) -> SnatPool {
    SnatPool::new(max_blocks, HOLD_DOWN_MS, FlowHash::new([4; 16]))
}

/// Towards a backend by its last address byte.
fn wish(backend: u8, shard: u8, ports: &RangeInclusive<u16>, must_rest: bool) -> PortWish<'_> {
    let backend = format!("10.2.0.{backend}:80").parse().unwrap();
    let towards = FlowKey::new(Protocol::Tcp, backend, "10.1.0.10:0".parse().unwrap());
    let rest = if must_rest { Rest::Over } else { Rest::Any };
    PortWish { towards, shard: Shard(shard), ports, user: 1, rest }
}

fn return_key(wish: &PortWish<'_>, port: u16) -> FlowKey {
    FlowKey { destination_port: port, ..wish.towards }
}

#[test]
fn a_shard_has_every_port_of_the_range_with_its_low_byte() {
    for range in [1024..=65535, 0..=65535, 1000..=1255, 1023..=1300, 65280..=65535, 300..=555] {
        let mut all = BTreeSet::new();
        for shard in 0..=255 {
            let wanted: Vec<u16> =
                range.clone().filter(|&port| port > 0 && port as u8 == shard).collect();
            let highs = highs_of(&range, Shard(shard));
            let found: Vec<u16> = highs
                .into_iter()
                .flat_map(|(first, last)| first..=last)
                .map(|high| u16::from_be_bytes([high, shard]))
                .collect();
            assert_eq!(found, wanted, "{range:?} shard {shard}");
            all.extend(found);
        }
        assert_eq!(all.len(), range.clone().filter(|&port| port > 0).count(), "{range:?}");
    }
}

#[test]
fn one_address_carries_every_port_to_every_backend() {
    let ports = 1024..=65535;
    let mut pool = pool(2 * 256);
    for backend in 1..=2 {
        let mut given = BTreeSet::new();
        for shard in 0..=255 {
            let wish = wish(backend, shard, &ports, true);
            let ports = std::iter::from_fn(|| pool.acquire(&wish, 0));
            given.extend(ports.map(|given| given.port));
        }
        assert_eq!(given.into_iter().collect::<Vec<_>>(), ports.clone().collect::<Vec<_>>());
    }
}

#[test]
fn a_port_rests_before_it_is_taken_again() {
    let (ports, now_ms) = (1024..=1535, 1_000_000);
    let (rested, any) = (wish(1, 9, &ports, true), wish(1, 9, &ports, false));
    let mut pool = pool(4);
    let first = pool.acquire(&rested, now_ms).unwrap();
    assert!(pool.acquire(&rested, now_ms).is_some() && pool.acquire(&any, now_ms).is_none());
    pool.release(&return_key(&rested, first.port), now_ms);
    assert_eq!(pool.acquire(&rested, now_ms + HOLD_DOWN_MS - 1), None);
    let shortened = GivenPort { port: first.port, rested: false };
    assert_eq!(pool.acquire(&any, now_ms + 1), Some(shortened));
    pool.release(&return_key(&rested, first.port), now_ms + 2);
    let later = pool.acquire(&rested, now_ms + 2 + HOLD_DOWN_MS);
    assert_eq!(later, Some(GivenPort { port: first.port, rested: true }));
}

#[test]
fn blocks_are_limited_and_idle_ones_used_again() {
    let (ports, mut now_ms) = (1024..=65535, 1_000_000);
    let mut pool = pool(3);
    let given: Vec<_> =
        (1..=3).map(|b| pool.acquire(&wish(b, 0, &ports, true), now_ms).unwrap()).collect();
    assert_eq!(pool.acquire(&wish(4, 0, &ports, true), now_ms), None);
    pool.release(&return_key(&wish(2, 0, &ports, true), given[1].port), now_ms);
    now_ms += HOLD_DOWN_MS - 1;
    assert_eq!(pool.acquire(&wish(4, 0, &ports, true), now_ms), None, "still resting");
    now_ms += 1;
    assert!(pool.acquire(&wish(4, 0, &ports, true), now_ms).is_some());
    assert_eq!(pool.acquire(&wish(2, 0, &ports, true), now_ms), None, "its block is gone");
    for backend in [1, 3, 4] {
        assert!(pool.acquire(&wish(backend, 0, &ports, true), now_ms).is_some(), "{backend}");
    }
    pool.release(&return_key(&wish(2, 0, &ports, true), given[1].port), now_ms);
}

#[test]
fn another_range_holds_for_the_next_port_on() {
    let (wide, narrow) = (1024..=65535, 2000..=2300);
    let mut pool = pool(1);
    let outside = pool.acquire(&wish(1, 0, &wide, true), 0).unwrap();
    let inside = pool.acquire(&wish(1, 0, &narrow, true), 0).unwrap();
    assert!(narrow.contains(&inside.port));
    assert_eq!(pool.acquire(&wish(1, 0, &narrow, false), 0), None);
    pool.release(&return_key(&wish(1, 0, &wide, true), outside.port), 0);
    assert_eq!(pool.acquire(&wish(1, 0, &narrow, false), 0), None);
    assert_eq!(pool.acquire(&wish(1, 0, &(10..=20), false), 0), None, "no port of the shard");
}

#[test]
fn rebuilt_it_knows_what_is_taken_again_and_what_rests() {
    let ports = 1024..=1535;
    let mut pool = pool(8);
    let given: Vec<_> = (0..4)
        .flat_map(|shard| [(shard, 0), (shard, 1)])
        .map(|(shard, _)| (shard, pool.acquire(&wish(1, shard, &ports, true), 0).unwrap().port))
        .collect();
    pool.release(&return_key(&wish(1, 0, &ports, true), given[0].1), 100);
    pool.rebuild();
    for &(shard, port) in &given[1..] {
        let key = return_key(&wish(1, shard, &ports, true), port);
        assert!(pool.take(&key, 200) && !pool.take(&key, 200));
    }
    assert_eq!(pool.acquire(&wish(1, 0, &ports, true), 200), None);
    let again = GivenPort { port: given[0].1, rested: false };
    assert_eq!(pool.acquire(&wish(1, 0, &ports, false), 200), Some(again));
    assert_eq!(pool.acquire(&wish(1, 1, &ports, false), 200), None);
}
