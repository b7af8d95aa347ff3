//! A backend's order of preference over the slots.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// `offset`, `offset + skip`, `offset + 2 * skip`, … modulo the table size. The size is prime and
/// `skip` is in `1..size`, so every slot comes exactly once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Permutation {
    pub offset: u32,
    pub skip: u32,
}

impl Permutation {
    /// From the two halves of SipHash-2-4-128 of the name. The key is the cluster's: nodes that
    /// share it agree, and nobody outside can choose names or flows that pile up.
    pub fn of(key: &[u8; 16], name: &str, size: u32) -> Permutation {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(name.as_bytes());
        let (first, second) = hasher.finish128().as_u64();
        Permutation {
            offset: (first % u64::from(size)) as u32,
            skip: (second % u64::from(size - 1)) as u32 + 1,
        }
    }
}
