use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::wire::Protocol;

const HOLD_DOWN_MS: u32 = 60_000;

fn pool(max_blocks: usize) -> SnatPool {
    SnatPool::new(max_blocks, HOLD_DOWN_MS, FlowHash::new([4; 16]))
}

/// Towards a backend by its last address byte.
fn wish(backend: u8, shard: u8, ports: &RangeInclusive<u16>, must_rest: bool) -> PortWish<'_> {
    let backend: SocketAddr = format!("10.2.0.{backend}:80").parse().unwrap();
    let towards = FlowKey::new(Protocol::Tcp, backend, SocketAddr::from(([10, 1, 0, 10], 0)));
    let rest = if must_rest { Rest::Over } else { Rest::Any };
    PortWish { towards, shard: Shard(shard), ports, user: 1, rest }
}

/// The port of a shard.
fn port(shard: u8, given: GivenPort) -> u16 {
    u16::from_be_bytes([given.high, shard])
}

/// Gives a port back, its flow gone.
fn end(pool: &mut SnatPool, given: GivenPort, now_ms: u32) {
    pool.release(given.block, given.high, 1, now_ms);
    pool.leave(given.block);
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
        let mut all = BTreeSet::new();
        for shard in 0..=255 {
            let wish = wish(backend, shard, &ports, true);
            let given = std::iter::from_fn(|| pool.acquire(&wish, 0).ok());
            all.extend(given.map(|given| port(shard, given)));
        }
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ports.clone().collect::<Vec<_>>());
    }
}

#[test]
fn a_port_rests_before_it_is_taken_again() {
    let (ports, now_ms) = (1024..=1535, 1_000_000);
    let (rested, any) = (wish(1, 9, &ports, true), wish(1, 9, &ports, false));
    let mut pool = pool(4);
    let first = pool.acquire(&rested, now_ms).unwrap();
    assert!(pool.acquire(&rested, now_ms).is_ok());
    assert_eq!(pool.acquire(&any, now_ms), Err(NoPort::Ports));
    let key = pool.key(first.block).unwrap().return_key(first.high);
    assert_eq!(key, FlowKey { destination_port: port(9, first), ..rested.towards });
    end(&mut pool, first, now_ms);
    assert_eq!(pool.acquire(&rested, now_ms + HOLD_DOWN_MS - 1), Err(NoPort::Ports));
    let shortened = GivenPort { rested: false, ..first };
    assert_eq!(pool.acquire(&any, now_ms + 1), Ok(shortened));
    end(&mut pool, first, now_ms + 2);
    assert_eq!(pool.acquire(&rested, now_ms + 2 + HOLD_DOWN_MS), Ok(first));
}

#[test]
fn blocks_are_limited_and_idle_ones_used_again() {
    let (ports, mut now_ms) = (1024..=65535, 1_000_000);
    let mut pool = pool(3);
    let given: Vec<_> =
        (1..=3).map(|b| pool.acquire(&wish(b, 0, &ports, true), now_ms).unwrap()).collect();
    assert_eq!(pool.acquire(&wish(4, 0, &ports, true), now_ms), Err(NoPort::Blocks));
    pool.release(given[1].block, given[1].high, 1, now_ms);
    now_ms += HOLD_DOWN_MS;
    let late = pool.acquire(&wish(4, 0, &ports, true), now_ms);
    assert_eq!(late, Err(NoPort::Blocks), "its flow still passes late packets on");
    pool.leave(given[1].block);
    now_ms -= 1;
    assert_eq!(pool.acquire(&wish(4, 0, &ports, true), now_ms), Err(NoPort::Blocks), "it rests");
    now_ms += 1;
    assert!(pool.acquire(&wish(4, 0, &ports, true), now_ms).is_ok());
    assert_eq!(pool.acquire(&wish(2, 0, &ports, true), now_ms), Err(NoPort::Blocks));
    for backend in [1, 3, 4] {
        assert!(pool.acquire(&wish(backend, 0, &ports, true), now_ms).is_ok(), "{backend}");
    }
}

#[test]
fn another_range_holds_for_the_next_port_on() {
    let (wide, narrow) = (1024..=65535, 2000..=2300);
    let mut pool = pool(1);
    let outside = pool.acquire(&wish(1, 0, &wide, true), 0).unwrap();
    let inside = pool.acquire(&wish(1, 0, &narrow, true), 0).unwrap();
    assert!(narrow.contains(&port(0, inside)));
    assert_eq!(pool.acquire(&wish(1, 0, &narrow, false), 0), Err(NoPort::Ports));
    end(&mut pool, outside, 0);
    assert_eq!(pool.acquire(&wish(1, 0, &narrow, false), 0), Err(NoPort::Ports));
    let none_of_the_shard = pool.acquire(&wish(1, 0, &(10..=20), false), 0);
    assert_eq!(none_of_the_shard, Err(NoPort::Ports));
}

#[test]
fn rebuilt_it_knows_what_is_taken_again_and_what_rests() {
    let ports = 1024..=1535;
    let mut pool = pool(8);
    let given: Vec<_> = (0..4)
        .flat_map(|shard| [shard, shard])
        .map(|shard| (shard, pool.acquire(&wish(1, shard, &ports, true), 0).unwrap()))
        .collect();
    end(&mut pool, given[0].1, 100);
    pool.rebuild();
    for &(_, port) in &given[1..] {
        assert!(pool.retake(port.block, port.high, true));
        assert!(!pool.retake(port.block, port.high, true), "twice");
        assert!(pool.retake(port.block, port.high, false), "one that lingers beside it");
    }
    assert_eq!(pool.acquire(&wish(1, 0, &ports, true), 200), Err(NoPort::Ports));
    let again = GivenPort { rested: false, ..given[0].1 };
    assert_eq!(pool.acquire(&wish(1, 0, &ports, false), 200), Ok(again));
    assert_eq!(pool.acquire(&wish(1, 1, &ports, false), 200), Err(NoPort::Ports));
}

/// However many say that its connection has closed.
#[test]
fn a_flow_gives_its_port_back_once() {
    use super::super::entry::{Flow, Station};
    use super::super::flows::give_port_back;
    let mut pool = pool(4);
    let ports = 1024..=1535;
    let acquire = |pool: &mut SnatPool| pool.acquire(&wish(1, 7, &ports, false), 5000);
    let (first, _second) = (acquire(&mut pool).unwrap(), acquire(&mut pool).unwrap());
    assert_eq!(acquire(&mut pool), Err(NoPort::Ports), "two to a shard");
    let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
    let key = FlowKey::new(Protocol::Tcp, socket("10.1.0.60:4000"), socket("10.1.0.100:80"));
    let station = Station {
        port: crate::wire::PortId(0),
        tags: crate::wire::Tags::NONE,
        mac: crate::wire::MacAddress([2; 6]),
    };
    let mut flow = Flow::new(&key, station);
    flow.bind(first.block, first.high);
    for _ in 0..3 {
        give_port_back(&mut pool, &mut flow, |_| 1 << 24, 6000);
    }
    assert_eq!(acquire(&mut pool).map(|given| given.high), Ok(first.high));
    assert_eq!(acquire(&mut pool), Err(NoPort::Ports), "not a second time");
}
