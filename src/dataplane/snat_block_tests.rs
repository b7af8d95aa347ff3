use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const HOLD_DOWN_MS: u32 = 1000;

fn key() -> BlockKey {
    BlockKey {
        backend_address: 0x0a02_000b,
        snat_address: 0x0a01_000a,
        backend_port: 80,
        protocol: 6,
        shard: 7,
    }
}

fn hash() -> FlowHash {
    FlowHash::new([9; 16])
}

/// The slow obvious way: every port with the time it was given back, if it ever was.
#[derive(Default)]
struct Model {
    in_use: BTreeSet<u8>,
    released_ms: BTreeMap<u8, u64>,
}

impl Model {
    /// All ports that might come next, and whether they have rested.
    fn next(&self, (first, last): Highs, now_ms: u64) -> (BTreeSet<u8>, bool) {
        let free = || (first..=last).filter(|high| !self.in_use.contains(high));
        let released = |high: &u8| self.released_ms.get(high).copied();
        let longest = free().map(|high| released(&high)).min().flatten();
        let rested = longest.is_none_or(|at| now_ms - at >= u64::from(HOLD_DOWN_MS));
        (free().filter(|high| released(high) == longest).collect(), rested)
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Acquire { must_rest: bool },
    Release { which: usize },
    Wait { ms: u16 },
    Take { high: u8 },
    Range { first: u8, last: u8 },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => any::<bool>().prop_map(|must_rest| Operation::Acquire { must_rest }),
        6 => any::<usize>().prop_map(|which| Operation::Release { which }),
        2 => (0u16..1500).prop_map(|ms| Operation::Wait { ms }),
        1 => (0u8..20).prop_map(|high| Operation::Take { high }),
        1 => (0u8..10, 0u8..20).prop_map(|(first, last)| Operation::Range { first, last }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn gives_the_port_free_longest(
        operations in prop::collection::vec(operation(), 1..200),
        start_ms in any::<u32>(),
    ) {
        let mut now_ms = u64::from(start_ms) + 100_000;
        let mut block = SnatBlock::new(key(), (now_ms as u32).wrapping_sub(100_000));
        let (mut model, mut highs) = (Model::default(), (3, 12));
        for operation in operations {
            block.set_highs(highs, now_ms as u32, &hash());
            match operation {
                Operation::Acquire { must_rest } => {
                    let rest = if must_rest { Rest::Over } else { Rest::Any };
                    let (wanted, rested) = model.next(highs, now_ms);
                    let found = block.acquire(now_ms as u32, HOLD_DOWN_MS, 1, rest);
                    if wanted.is_empty() || (must_rest && !rested) {
                        prop_assert_eq!(found, None);
                    } else {
                        let found = found.unwrap();
                        prop_assert!(wanted.contains(&found.high), "{found:?} not in {wanted:?}");
                        prop_assert_eq!(found.rested, rested);
                        model.in_use.insert(found.high);
                    }
                }
                Operation::Release { which } => {
                    let at = which % model.in_use.len().max(1);
                    if let Some(&high) = model.in_use.iter().nth(at) {
                        block.release(high, now_ms as u32);
                        model.in_use.remove(&high);
                        model.released_ms.insert(high, now_ms);
                        // Twice is the same as once.
                        block.release(high, now_ms as u32);
                    }
                }
                Operation::Wait { ms } => now_ms += u64::from(ms),
                Operation::Take { high } => {
                    prop_assert_eq!(block.take(high), model.in_use.insert(high));
                }
                Operation::Range { first, last } => highs = (first, last.max(first)),
            }
            let idle = model.in_use.is_empty()
                && model.released_ms.values().all(|&at| now_ms - at >= u64::from(HOLD_DOWN_MS));
            prop_assert_eq!(block.is_idle(now_ms as u32, HOLD_DOWN_MS), idle);
        }
    }
}

#[test]
fn the_first_order_is_complete_and_only_the_secret_tells_it() {
    let order = |secret, shard| {
        let mut block = SnatBlock::new(BlockKey { shard, ..key() }, 0);
        block.set_highs((0, 255), 5000, &FlowHash::new([secret; 16]));
        let acquire = || block.acquire(5000, HOLD_DOWN_MS, 1, Rest::Over).map(|found| found.high);
        std::iter::from_fn(acquire).collect::<Vec<u8>>()
    };
    let (first, sorted) = (order(1, 7), (0..=255).collect::<BTreeSet<u8>>());
    assert_eq!(first.iter().copied().collect::<BTreeSet<u8>>(), sorted);
    assert_eq!(first, order(1, 7));
    assert!(first != order(2, 7) && first != order(1, 8) && !first.is_sorted());
}

#[test]
fn after_forgetting_ports_still_rest() {
    let mut block = SnatBlock::new(key(), 0);
    block.set_highs((0, 1), 5000, &hash());
    let first = block.acquire(5000, HOLD_DOWN_MS, 1, Rest::Over).unwrap();
    let second = block.acquire(5000, HOLD_DOWN_MS, 1, Rest::Over).unwrap();
    block.release(first.high, 6000);
    block.forget_use();
    assert!(block.take(second.high) && !block.take(second.high));
    block.set_highs((0, 1), 6500, &hash());
    assert_eq!(block.acquire(6500, HOLD_DOWN_MS, 1, Rest::Over), None);
    let again = Acquired { high: first.high, rested: true };
    assert_eq!(block.acquire(7000, HOLD_DOWN_MS, 1, Rest::Over), Some(again));
    assert_eq!(block.acquire(9000, HOLD_DOWN_MS, 1, Rest::Any), None);
}

#[test]
fn a_client_finds_the_port_it_had_last_wherever_it_stands() {
    let mut block = SnatBlock::new(key(), 0);
    block.set_highs((10, 14), 5000, &hash());
    let mut acquire = |user, rest| block.acquire(5000, HOLD_DOWN_MS, user, rest);
    let had: Vec<u8> = (1..=5).map(|user| acquire(user, Rest::Over).unwrap().high).collect();
    had.iter().for_each(|&high| block.release(high, 5000));
    let mut acquire = |user, rest| block.acquire(5000, HOLD_DOWN_MS, user, rest);
    assert_eq!(acquire(3, Rest::Over), None, "none has rested");
    assert_eq!(acquire(6, Rest::OfUser), None, "had none");
    let own = |high| Some(Acquired { high, rested: false });
    assert_eq!(acquire(4, Rest::OfUser), own(had[3]));
    assert_eq!(acquire(4, Rest::OfUser), None, "in use");
    assert_eq!(acquire(1, Rest::OfUser), own(had[0]), "the first of the queue");
    assert_eq!(acquire(5, Rest::OfUser), own(had[4]), "the last of the queue");
    let others = [acquire(7, Rest::Any), acquire(7, Rest::Any), acquire(7, Rest::Any)];
    assert_eq!(others, [own(had[1]), own(had[2]), None], "the order of the others stays");
    block.release(had[1], 6000);
    block.release(had[2], 6000);
    let last = block.acquire(6001, HOLD_DOWN_MS, 7, Rest::OfUser);
    assert_eq!(last, own(had[2]), "of two, the one it had last");
}
