//! How many slots each backend gets.

use std::cmp::Reverse;

/// Slots of each backend; they add up to `size`.
///
/// Largest remainder: every backend gets its share `size * weight / sum` rounded down, and what is
/// left goes one each to the largest remainders, the earlier of equal ones first. So every quota is
/// within one slot of its share. Where a share is less than one slot (`size < sum / weight`), the
/// backend gets one slot all the same, and the others divide what is left among them by the same
/// rule; then those can be further than one slot from their share, and a larger table cures it
/// (see [`super::size_needed`]).
///
/// `weights` are above 0 and not more than `size`; both are checked by [`super::build`].
pub(super) fn quotas(weights: &[u16], size: u32) -> Vec<u32> {
    let mut quotas = vec![1; weights.len()];
    let mut slots_left = u64::from(size);
    let mut weight_left: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut ascending: Vec<usize> = (0..weights.len()).collect();
    ascending.sort_by_key(|&place| weights[place]);
    let weight_of = |place: usize| u64::from(weights[place]);
    // Taking more than its share out for one makes the others' shares smaller, so the next smallest
    // is asked again; once one reaches a whole slot, all larger ones do.
    let mut small = 0;
    while small < ascending.len() && slots_left * weight_of(ascending[small]) < weight_left {
        slots_left -= 1;
        weight_left -= weight_of(ascending[small]);
        small += 1;
    }
    let rest = &mut ascending[small..];
    let mut given = 0;
    for &place in rest.iter() {
        let whole = slots_left * weight_of(place) / weight_left;
        quotas[place] = whole as u32;
        given += whole;
    }
    rest.sort_by_key(|&place| (Reverse(slots_left * weight_of(place) % weight_left), place));
    for &place in rest.iter().take((slots_left - given) as usize) {
        quotas[place] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_small_tables() {
        let rows: &[(&str, &[u16], u32, &[u32])] = &[
            ("one takes all", &[7], 13, &[13]),
            ("equal, the rest to the first", &[5, 5, 5], 13, &[5, 4, 4]),
            ("one to two", &[1, 2], 13, &[4, 9]),
            ("largest remainder first", &[6, 3, 2], 13, &[7, 4, 2]),
            ("as many as slots", &[1, 1, 1, 1, 1], 5, &[1, 1, 1, 1, 1]),
            ("a share below one slot is one slot", &[1000, 1, 1], 13, &[11, 1, 1]),
            ("and again for the next smallest", &[1000, 80, 1], 13, &[11, 1, 1]),
        ];
        for (description, weights, size, wanted) in rows {
            assert_eq!(quotas(weights, *size), *wanted, "{description}");
        }
    }
}
