//! The table against a slow obvious second implementation, evenness, disruption.

use proptest::prelude::*;

use super::*;

const KEY: [u8; 16] = *b"0123456789abcdef";

/// Straight from the description: whole permutations as lists, turns as exact fractions in one
/// sorted list, quotas by counting down remainders. For sizes of a few thousand at most.
fn slow(key: &[u8; 16], candidates: &[Candidate<'_>], size: u32) -> Vec<String> {
    let mut sorted: Vec<Candidate> = candidates.iter().filter(|c| c.weight > 0).copied().collect();
    sorted.sort();
    if sorted.is_empty() {
        return Vec::new();
    }
    let preferences: Vec<Vec<u64>> = sorted
        .iter()
        .map(|candidate| {
            let Permutation { offset, skip } = Permutation::of(key, candidate.name, size);
            let slot = |j: u64| (u64::from(offset) + j * u64::from(skip)) % u64::from(size);
            (0..u64::from(size)).map(slot).collect()
        })
        .collect();
    let quotas = slow_quotas(&sorted, u64::from(size));
    // A turn: (numerator, weight, place); its time is numerator / weight.
    let mut turns: Vec<(u64, u64, usize)> = Vec::new();
    for (place, candidate) in sorted.iter().enumerate() {
        turns.extend((1..=quotas[place]).map(|k| (2 * k - 1, u64::from(candidate.weight), place)));
    }
    turns.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
    let mut table: Vec<Option<String>> = vec![None; size as usize];
    for (_, _, place) in turns {
        let free = |slot: &&u64| table[**slot as usize].is_none();
        let slot = *preferences[place].iter().find(free).expect("a free slot");
        table[slot as usize] = Some(sorted[place].name.to_string());
    }
    table.into_iter().map(|owner| owner.expect("a full table")).collect()
}

fn slow_quotas(sorted: &[Candidate<'_>], size: u64) -> Vec<u64> {
    let mut quotas = vec![0; sorted.len()];
    // Whoever's share of what is left is below one slot gets one, until nobody's is.
    loop {
        let open: Vec<usize> = (0..sorted.len()).filter(|&i| quotas[i] == 0).collect();
        let slots = size - quotas.iter().sum::<u64>();
        let sum: u64 = open.iter().map(|&i| u64::from(sorted[i].weight)).sum();
        let share = |i: usize| (slots * u64::from(sorted[i].weight), sum);
        let smallest = open.iter().copied().min_by_key(|&i| sorted[i].weight);
        match smallest {
            Some(i) if share(i).0 < sum => quotas[i] = 1,
            _ => {
                open.iter().for_each(|&i| quotas[i] = share(i).0 / sum);
                let mut left = size - quotas.iter().sum::<u64>();
                let mut waiting = open;
                while left > 0 {
                    let remainder = |i: usize| share(i).0 % sum;
                    let most = waiting.iter().map(|&i| remainder(i)).max().expect("one waits");
                    let at = waiting.iter().position(|&i| remainder(i) == most).expect("it");
                    quotas[waiting.remove(at)] += 1;
                    left -= 1;
                }
                return quotas;
            }
        }
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("backend-{i}")).collect()
}

fn candidates(names: &[String], weights: impl Fn(usize) -> u16) -> Vec<Candidate<'_>> {
    names.iter().enumerate().map(|(i, name)| Candidate { name, weight: weights(i) }).collect()
}

fn owners(candidates: &[Candidate<'_>], size: u32) -> Vec<String> {
    let slots = build(&KEY, candidates, size).unwrap();
    slots.into_iter().map(|place| candidates[place as usize].name.to_string()).collect()
}

fn counts(candidates: &[Candidate<'_>], size: u32) -> Vec<u64> {
    let mut counts = vec![0; candidates.len()];
    build(&KEY, candidates, size).unwrap().iter().for_each(|&place| counts[place as usize] += 1);
    counts
}

#[test]
fn every_row_as_the_slow_version_has_it() {
    type Weights = fn(usize) -> u16;
    let weightings: [(&str, Weights); 5] = [
        ("equal", |_| 1),
        ("equal and large", |_| 999),
        ("one to five", |i| (i % 5 + 1) as u16),
        ("some zero", |i| [3, 0, 1][i % 3]),
        ("one giant", |i| if i == 2 { u16::MAX } else { 1 }),
    ];
    for (description, weight) in weightings {
        for count in [0, 1, 2, 3, 7, 10, 31] {
            for size in [31, 101, 1_021] {
                let names = names(count);
                let given = candidates(&names, weight);
                let wanted = slow(&KEY, &given, size);
                assert_eq!(owners(&given, size), wanted, "{description}, {count} in {size}");
                let backwards: Vec<_> = given.into_iter().rev().collect();
                assert_eq!(owners(&backwards, size), wanted, "{description}, the other way");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_weights_in_any_order(
        (weights, shuffled) in prop::collection::vec(0u16..=300, 0..25).prop_flat_map(|weights| {
            let places: Vec<usize> = (0..weights.len()).collect();
            (Just(weights), Just(places).prop_shuffle())
        }),
        key: [u8; 16],
        size in prop::sample::select(vec![29u32, 211, 509, 1_021]),
    ) {
        let names = names(weights.len());
        let given: Vec<Candidate> =
            shuffled.iter().map(|&i| Candidate { name: &names[i], weight: weights[i] }).collect();
        let slots = build(&key, &given, size).unwrap();
        let found: Vec<&str> = slots.iter().map(|&place| given[place as usize].name).collect();
        prop_assert_eq!(found, slow(&key, &given, size));
        // Shares: at least one slot, and within one slot where the table is large enough for it.
        let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        let good = size_needed(given.iter().copied()) <= u64::from(size);
        for (place, candidate) in given.iter().enumerate() {
            let count = slots.iter().filter(|&&p| p as usize == place).count() as u64;
            prop_assert_eq!(count > 0, candidate.weight > 0);
            let exact = u64::from(size) * u64::from(candidate.weight);
            // Without any weight there is nothing to share.
            let within = sum == 0 || (count * sum).abs_diff(exact) < sum;
            prop_assert!(!good || within, "{:?}: {}", candidate, count);
        }
    }
}

#[test]
fn refused_sizes() {
    let names = names(8);
    let given = candidates(&names, |_| 1);
    assert_eq!(build(&KEY, &given, 100), Err(TableError::NotPrime { size: 100, prime: 101 }));
    let too_large = Err(TableError::NotPrime { size: 5_000_077, prime: MAX_SIZE });
    assert_eq!(build(&KEY, &given, 5_000_077), too_large);
    assert_eq!(build(&KEY, &given, 7), Err(TableError::TooManyBackends { backends: 8, size: 7 }));
    assert_eq!(build(&KEY, &given, 2), Err(TableError::TooManyBackends { backends: 8, size: 2 }));
}

#[test]
fn another_key_is_another_table() {
    let names = names(10);
    let given = candidates(&names, |_| 1);
    let one = build(&[1; 16], &given, 1_021).unwrap();
    let two = build(&[2; 16], &given, 1_021).unwrap();
    let same = one.iter().zip(&two).filter(|(a, b)| a == b).count();
    assert!((50..200).contains(&same), "{same} of 1021 slots are the same by chance");
}

/// Shows with `cargo test maglev -- --nocapture` what the paper claims: within 1 % at 100 slots a
/// backend (section 3.4), little moves beside the slots of the one that leaves, and less with the
/// larger of its two tables (section 5.3).
#[test]
fn evenness_and_disruption_beside_the_paper() {
    println!("backends    size  most/least  paper   moved when one leaves  ideal 1/N  beyond it");
    let rows = [(3, 1_021), (10, 1_021), (100, 16_381), (100, 65_537), (1_000, 65_537)];
    let beyond = rows.map(|(count, size)| disruption(count, size));
    assert!(beyond.iter().all(|&percent| percent < 3.0), "{beyond:?}");
    assert!(disruption(1_000, 655_373) < beyond[4], "the larger table is the steadier one");
}

/// Percent of slots that move without need when one of `count` backends leaves.
fn disruption(count: usize, size: u32) -> f64 {
    let names = names(count);
    let all = candidates(&names, |_| 1);
    let shares = counts(&all, size);
    let (most, least) = (*shares.iter().max().unwrap(), *shares.iter().min().unwrap());
    assert!(most - least <= 1, "{count} in {size}: {least} to {most}");
    let leaves = count / 2;
    let mut rest = all.clone();
    rest[leaves].weight = 0;
    let (before, after) = (build(&KEY, &all, size).unwrap(), build(&KEY, &rest, size).unwrap());
    let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    let percent = |part: usize| 100.0 * part as f64 / f64::from(size);
    let beyond = percent(moved - shares[leaves] as usize);
    println!(
        "{count:8} {size:7} {:10.4}  {:6} {:21.2} % {:8.2} % {beyond:7.2} %",
        most as f64 / least as f64,
        if size as usize >= 100 * count { "<=1.01" } else { "" },
        percent(moved),
        100.0 / count as f64,
    );
    beyond
}

/// Nodes of an ECMP group must agree, also while one of them is already upgraded: this table
/// changes only together with a note for operators.
#[test]
fn a_table_is_fixed_for_ever() {
    let names = names(3);
    let slots = build(&KEY, &candidates(&names, |i| i as u16 + 1), 13).unwrap();
    assert_eq!(slots, [2, 0, 1, 2, 2, 1, 2, 2, 1, 2, 1, 0, 2]);
}
