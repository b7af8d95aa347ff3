//! Giving out the slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::permutation::Permutation;

/// Gives every slot to one of the backends (places in `permutations`), each exactly its quota.
///
/// Backend i has its k-th turn (k from 1) at the time `(2k - 1) / weight`, so turns interleave by
/// weight and all backends are through at about the same time. At equal times the larger weight
/// comes first, then the earlier place. Backends of one weight always have their turns together:
/// they are one group, and the heap holds groups, which for equal weights is a plain loop.
pub(super) fn fill(
    permutations: &[Permutation],
    weights: &[u16],
    quotas: &[u32],
    size: u32,
) -> Vec<u32> {
    if permutations.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(size);
    let mut groups = groups_of(permutations, weights, quotas);
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> =
        (0..groups.len()).map(|group| Reverse((groups[group].time(), group))).collect();
    while let Some(Reverse((_, place))) = turns.pop() {
        let group = &mut groups[place];
        let mut is_one_through = false;
        for member in &mut group.members {
            table.claim(member);
            is_one_through |= member.left == 0;
        }
        if is_one_through {
            group.members.retain(|member| member.left > 0);
        }
        group.turn += 1;
        if !group.members.is_empty() {
            turns.push(Reverse((group.time(), place)));
        }
    }
    table.owners
}

/// A backend on its way through its permutation.
struct Member {
    place: u32,
    position: u32,
    skip: u32,
    left: u32,
}

/// Backends of one weight.
struct Group {
    weight: u64,
    turn: u64,
    members: Vec<Member>,
}

impl Group {
    /// Time of the next turn in units of 2^-32, rounded down. Two different times are at least
    /// 1 / (2^16 * 2^16) apart, so rounding keeps their order and makes no two of them equal.
    fn time(&self) -> u64 {
        ((2 * self.turn - 1) << 32) / self.weight
    }
}

/// Largest weight first; in a group by place.
fn groups_of(permutations: &[Permutation], weights: &[u16], quotas: &[u32]) -> Vec<Group> {
    let mut places: Vec<usize> = (0..permutations.len()).collect();
    places.sort_by_key(|&place| Reverse(weights[place]));
    let member = |&place: &usize| Member {
        place: place as u32,
        position: permutations[place].offset,
        skip: permutations[place].skip,
        left: quotas[place],
    };
    places
        .chunk_by(|&a, &b| weights[a] == weights[b])
        .map(|chunk| Group {
            weight: u64::from(weights[chunk[0]]),
            turn: 1,
            members: chunk.iter().map(member).collect(),
        })
        .collect()
}

/// Slots and who has them. Whether a slot is free stands in a byte too: a quarter of the memory that
/// the walk over taken slots spends its time in (size * ln size steps).
struct Table {
    size: u32,
    free: Vec<u8>,
    owners: Vec<u32>,
}

/// Slots looked at one by one, before they are looked at [`AT_ONCE`].
const ONE_BY_ONE: usize = 3;
const AT_ONCE: usize = 8;

impl Table {
    fn new(size: u32) -> Table {
        let len = size as usize;
        Table { size, free: vec![1; len], owners: vec![u32::MAX; len] }
    }

    /// Gives the member the first free slot of its order from where it stands. There is one: quotas
    /// add up to the size, and this member has not used up its own.
    ///
    /// At first nearly every slot is free, and at last nearly none: then several are looked at
    /// together, so that their steps do not wait for each other, and one branch says of all.
    fn claim(&mut self, member: &mut Member) {
        for _ in 0..ONE_BY_ONE {
            let slot = member.position;
            member.position = self.next(slot, member.skip);
            if self.is_free(slot) != 0 {
                return self.give(slot, member);
            }
        }
        loop {
            let mut slots = [0; AT_ONCE];
            let mut free = 0;
            let mut position = member.position;
            for (turn, slot) in slots.iter_mut().enumerate() {
                *slot = position;
                free |= u32::from(self.is_free(position)) << turn;
                position = self.next(position, member.skip);
            }
            // Without any, this is a place behind the last one.
            if let Some(&slot) = slots.get(free.trailing_zeros() as usize) {
                member.position = self.next(slot, member.skip);
                return self.give(slot, member);
            }
            member.position = position;
        }
    }

    fn give(&mut self, slot: u32, member: &mut Member) {
        self.free[slot as usize] = 0;
        self.owners[slot as usize] = member.place;
        member.left -= 1;
    }

    /// 1 when it is, else 0.
    #[inline(always)]
    fn is_free(&self, slot: u32) -> u8 {
        self.free[slot as usize]
    }

    /// The next slot of an order. Sizes are below 2^31, so that only what is below zero is larger
    /// than the other.
    #[inline(always)]
    fn next(&self, slot: u32, skip: u32) -> u32 {
        let sum = slot + skip;
        sum.min(sum.wrapping_sub(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1 of the paper: three backends, seven slots, before and after B1 leaves.
    #[test]
    fn the_papers_own_example() {
        let permutation = |offset, skip| Permutation { offset, skip };
        let [b0, b1, b2] = [permutation(3, 4), permutation(0, 2), permutation(3, 1)];
        assert_eq!(fill(&[b0, b1, b2], &[1; 3], &[3, 2, 2], 7), [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(fill(&[b0, b2], &[1; 2], &[4, 3], 7), [0, 0, 0, 0, 1, 1, 1]);
    }
}
