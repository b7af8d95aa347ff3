//! The order in which ports that were never used are given: of chance, for all but those who know the
//! secret (RFC 6056 section 3.3.3: who knows one port cannot tell the next).

use super::flow_hash::FlowHash;

/// One shuffled order of all high bytes. Each block goes through it thrice, from places of its own:
/// so no block has to write an order down.
pub(super) struct SnatOrder([u8; 256]);

impl SnatOrder {
    /// Fisher and Yates' way, by the secret's chance.
    pub(super) fn new(hash: &FlowHash) -> SnatOrder {
        let mut order: [u8; 256] = std::array::from_fn(|place| place as u8);
        for place in (1..order.len()).rev() {
            let chance = hash.mix(place as u64, 0x736e_6174) >> 32;
            order.swap(place, ((chance * (place as u64 + 1)) >> 32) as usize);
        }
        SnatOrder(order)
    }

    /// The high byte at a place of a block's order; `seed` is the block's.
    #[inline]
    pub(super) fn at(&self, seed: u32, place: u8) -> u8 {
        // Each step is one to one, and so is the whole.
        let [a, b, c, d] = seed.to_le_bytes();
        let step = |place: u8| self.0[usize::from(place)];
        step(step(step(place.wrapping_add(a)) ^ b).wrapping_add(c)) ^ d
    }
}

impl std::fmt::Debug for SnatOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnatOrder(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_order_is_complete_and_none_is_another() {
        let mut orders = BTreeSet::new();
        for secret in [[1; 16], [2; 16]] {
            let order = SnatOrder::new(&FlowHash::new(secret));
            for seed in [0u32, 1, 0x100, 0x1_0000, 0x100_0000, 0xdead_beef] {
                let highs: Vec<u8> = (0..=255).map(|place| order.at(seed, place)).collect();
                assert_eq!(highs.iter().collect::<BTreeSet<_>>().len(), 256);
                assert!(!highs.is_sorted() && orders.insert(highs), "{seed:x}");
            }
        }
    }
}
