//! Maglev consistent hashing: backends, weights, table size, key -> table. Pure.
//!
//! After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! section 3.4: each backend has its own order of preference over the slots (a permutation, from an
//! offset and a skip); in turns, each takes the next free slot of its order.
//!
//! Weights are ours, the paper leaves them open: a quota fixes beforehand how many
//! slots each backend gets, and a backend of twice the weight has its turn twice as often, until
//! its quota is used up. With equal weights that is the paper's algorithm, slot by slot.
//!
//! Must never know addresses, packets or health.

mod fill;
mod permutation;
mod quota;
mod size;
#[cfg(test)]
mod tests;

pub use size::{
    MAX_SIZE, SLOTS_PER_BACKEND, is_prime, largest_default_size, next_prime, size_for, size_needed,
};

use permutation::Permutation;

/// One backend that wants slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Candidate<'a> {
    /// Stable name: its order of preference comes from it. Unique among the candidates.
    pub name: &'a str,
    /// Share beside the other weights; 0 gets no slot.
    pub weight: u16,
}

/// Why there is no table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// With a size that is not prime a skip would not reach every slot.
    #[error("table size {size} is not a prime up to {MAX_SIZE}, the next one is {prime}")]
    NotPrime {
        /// What was asked for.
        size: u32,
        /// A prime that is not smaller, if there is one.
        prime: u32,
    },
    /// Not every backend would get a slot.
    #[error("{backends} backends do not fit a table of {size} slots")]
    TooManyBackends {
        /// Backends with a weight above 0.
        backends: usize,
        /// Slots.
        size: u32,
    },
}

/// Which candidate each slot belongs to, as places in `candidates`; empty when there is none with a
/// weight above 0.
///
/// Depends on names, weights, size and key alone: the same candidates in another order give every
/// slot to the same name.
pub fn build(
    key: &[u8; 16],
    candidates: &[Candidate<'_>],
    size: u32,
) -> Result<Vec<u32>, TableError> {
    if !is_prime(size) || size > MAX_SIZE {
        return Err(TableError::NotPrime { size, prime: next_prime(size).min(MAX_SIZE) });
    }
    let mut order: Vec<u32> = (0..candidates.len() as u32)
        .filter(|&place| candidates[place as usize].weight > 0)
        .collect();
    if order.len() > size as usize {
        return Err(TableError::TooManyBackends { backends: order.len(), size });
    }
    order.sort_unstable_by_key(|&place| candidates[place as usize].name);
    let in_order = || order.iter().map(|&place| candidates[place as usize]);
    let weights: Vec<u16> = in_order().map(|candidate| candidate.weight).collect();
    let permutations: Vec<Permutation> =
        in_order().map(|candidate| Permutation::of(key, candidate.name, size)).collect();
    let mut slots = fill::fill(&permutations, &weights, &quota::quotas(&weights, size), size);
    for slot in &mut slots {
        *slot = order[*slot as usize];
    }
    Ok(slots)
}
