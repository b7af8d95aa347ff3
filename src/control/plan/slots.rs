//! How much of a Maglev table another one gives to other backends.

use std::collections::HashMap;

use super::Moved;
use crate::forwarding::BackendId;

/// Two tables over one row of hashes, as [`crate::forwarding::Snapshot::slot`] reads them. They may
/// differ in size: what counts is which share of all hashes has another backend.
pub(super) fn moved(old: &[BackendId], new: &[BackendId]) -> Moved {
    if old.is_empty() || new.is_empty() {
        // All of it has to move: there is no backend on one of the two sides.
        let share = if old.is_empty() == new.is_empty() { 0.0 } else { 1.0 };
        return Moved { share, beyond: 0.0 };
    }
    // In parts of which each slot of the old table has `new.len()`, and each of the new `old.len()`.
    let (old_width, new_width) = (new.len() as u64, old.len() as u64);
    let (mut moved, mut at) = (0, 0);
    let mut shares: HashMap<BackendId, (u64, u64)> = HashMap::new();
    let (mut olds, mut news) = (ends(old, old_width), ends(new, new_width));
    let (mut left, mut right) = (olds.next(), news.next());
    while let (Some((was, old_end)), Some((is, new_end))) = (left, right) {
        let end = old_end.min(new_end);
        let width = end - at;
        moved += if was == is { 0 } else { width };
        shares.entry(was).or_default().0 += width;
        shares.entry(is).or_default().1 += width;
        at = end;
        left = if old_end == end { olds.next() } else { left };
        right = if new_end == end { news.next() } else { right };
    }
    // What a backend has less than before, others have to take over.
    let must: u64 = shares.values().map(|&(was, is)| was.saturating_sub(is)).sum();
    let of_all = |parts: u64| parts as f64 / at as f64;
    Moved { share: of_all(moved), beyond: of_all(moved.saturating_sub(must)) }
}

/// Each slot's backend and where it ends.
fn ends(slots: &[BackendId], width: u64) -> impl Iterator<Item = (BackendId, u64)> + '_ {
    slots.iter().zip(1..).map(move |(&id, number)| (id, number * width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_all_hashes() {
        type Row = (&'static str, &'static [u32], &'static [u32], f64, f64);
        let rows: [Row; 9] = [
            ("both empty", &[], &[], 0.0, 0.0),
            ("nothing was there", &[], &[1, 2], 1.0, 0.0),
            ("nothing is left", &[1, 2], &[], 1.0, 0.0),
            ("the same", &[1, 2, 1, 2], &[1, 2, 1, 2], 0.0, 0.0),
            ("one of two leaves", &[1, 2, 1, 2], &[1, 1, 1, 1], 0.5, 0.0),
            ("two change places", &[1, 2, 1, 2], &[2, 1, 1, 2], 0.5, 0.5),
            ("another size, the same shares", &[1, 2], &[1, 1, 2, 2], 0.0, 0.0),
            ("another size", &[1, 2], &[1, 1, 1, 2], 0.25, 0.0),
            ("sizes without a common part", &[1, 1, 2], &[1, 2], 1.0 / 6.0, 0.0),
        ];
        for (description, old, new, share, beyond) in rows {
            let ids = |numbers: &[u32]| numbers.iter().copied().map(BackendId).collect::<Vec<_>>();
            let found = moved(&ids(old), &ids(new));
            let is_near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(is_near(found.share, share), "{description}: {found:?}");
            assert!(is_near(found.beyond, beyond), "{description}: {found:?}");
        }
    }
}
