//! Everything random in a run comes from one of these, and all of these from the run's seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// A stream of chance.
pub struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A stream of its own, so that drawing from one does not change the others.
    pub fn fork(&mut self) -> Chance {
        Chance::new(self.bits())
    }

    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// True once in `count`.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.between(1, count) == 1
    }

    /// A place in something `len` long.
    pub fn place(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }
}

/// Byte `place` of stream `id`, never zero: both ends know what has to arrive.
pub fn stream_byte(id: u64, place: u64) -> u8 {
    let eight = scramble(id ^ (place / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    ((eight >> (place % 8 * 8)) as u8).max(1)
}

/// The finalizer of SplitMix64: every bit of the answer depends on every bit of `value`.
pub fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a over bytes, continued from `hash`.
pub fn checksum(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Where [`checksum`] begins.
pub const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;
