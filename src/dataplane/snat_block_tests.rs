use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dataplane::flow_hash::FlowHash;

const HOLD_DOWN_MS: u32 = 1000;

/// One block with all that it needs.
struct Bench {
    block: SnatBlock,
    shelf: Shelf,
    seed: u32,
    highs: Highs,
}

impl Bench {
    fn new(highs: Highs) -> Bench {
        let order = SnatOrder::new(&FlowHash::new([9; 16]));
        let shelf = Shelf { notes: Notes::new(1), order, hold_down_ms: HOLD_DOWN_MS };
        Bench { block: SnatBlock::new(7), shelf, seed: 0x0123_4567, highs }
    }

    fn acquire(&mut self, now_ms: u32, user: u16, rest: Rest) -> Option<Acquired> {
        self.block.acquire(&mut self.shelf, self.seed, self.highs, now_ms, user, rest)
    }

    fn release(&mut self, high: u8, user: u16, now_ms: u32) {
        self.block.release(&mut self.shelf.notes, high, user, now_ms);
    }

    fn take(&mut self, high: u8) -> bool {
        self.block.take(&mut self.shelf, self.seed, high)
    }
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
        let (mut bench, mut model) = (Bench::new((3, 12)), Model::default());
        for operation in operations {
            match operation {
                Operation::Acquire { must_rest } => {
                    let rest = if must_rest { Rest::Over } else { Rest::Any };
                    let (wanted, rested) = model.next(bench.highs, now_ms);
                    let found = bench.acquire(now_ms as u32, 1, rest);
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
                        bench.release(high, 1, now_ms as u32);
                        model.in_use.remove(&high);
                        model.released_ms.insert(high, now_ms);
                    }
                }
                Operation::Wait { ms } => now_ms += u64::from(ms),
                Operation::Take { high } => {
                    prop_assert_eq!(bench.take(high), model.in_use.insert(high));
                }
                Operation::Range { first, last } => bench.highs = (first, last.max(first)),
            }
            let idle = model.in_use.is_empty()
                && model.released_ms.values().all(|&at| now_ms - at >= u64::from(HOLD_DOWN_MS));
            prop_assert_eq!(bench.block.is_idle(&bench.shelf, now_ms as u32), idle);
        }
    }
}

#[test]
fn the_first_order_is_complete_and_the_blocks_own() {
    let order = |seed| {
        let mut bench = Bench { seed, ..Bench::new((0, 255)) };
        let acquire = || bench.acquire(5000, 1, Rest::Over).map(|found| found.high);
        std::iter::from_fn(acquire).collect::<Vec<u8>>()
    };
    let (first, sorted) = (order(1), (0..=255).collect::<BTreeSet<u8>>());
    assert_eq!(first.iter().copied().collect::<BTreeSet<u8>>(), sorted);
    assert_eq!(first, order(1));
    assert!(first != order(2) && !first.is_sorted());
}

#[test]
fn after_forgetting_ports_still_rest() {
    let mut bench = Bench::new((0, 1));
    let first = bench.acquire(5000, 1, Rest::Over).unwrap();
    let second = bench.acquire(5000, 1, Rest::Over).unwrap();
    bench.release(first.high, 1, 6000);
    bench.block.forget_use(&mut bench.shelf.notes);
    assert!(bench.take(second.high) && !bench.take(second.high));
    assert_eq!(bench.acquire(6500, 1, Rest::Over), None);
    let again = Acquired { high: first.high, rested: true };
    assert_eq!(bench.acquire(7000, 1, Rest::Over), Some(again));
    assert_eq!(bench.acquire(9000, 1, Rest::Any), None);
}

#[test]
fn a_client_finds_the_port_it_had_last_wherever_it_stands() {
    let mut bench = Bench::new((10, 14));
    let mut acquire = |user, rest| bench.acquire(5000, user, rest);
    let had: Vec<u8> = (1..=5).map(|user| acquire(user, Rest::Over).unwrap().high).collect();
    (1..).zip(&had).for_each(|(user, &high)| bench.release(high, user, 5000));
    let mut acquire = |user, rest| bench.acquire(5000, user, rest);
    assert_eq!(acquire(3, Rest::Over), None, "none has rested");
    assert_eq!(acquire(6, Rest::OfUser), None, "had none");
    let own = |high| Some(Acquired { high, rested: false });
    assert_eq!(acquire(4, Rest::OfUser), own(had[3]));
    assert_eq!(acquire(4, Rest::OfUser), None, "in use");
    assert_eq!(acquire(1, Rest::OfUser), own(had[0]), "the first of the list");
    assert_eq!(acquire(5, Rest::OfUser), own(had[4]), "the last of the list");
    let others = [acquire(7, Rest::Any), acquire(7, Rest::Any), acquire(7, Rest::Any)];
    assert_eq!(others, [own(had[1]), own(had[2]), None], "the order of the others stays");
    bench.release(had[1], 7, 6000);
    bench.release(had[2], 7, 6000);
    let last = bench.acquire(6001, 7, Rest::OfUser);
    assert_eq!(last, own(had[2]), "of two, the one it had last");
}
