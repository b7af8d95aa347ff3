//! Which worker owns a flow: computed, never remembered.
//!
//! `shard = hash mod 256`, and a table maps shards to workers. A SNAT port's low 8 bits are its
//! flow's shard, so that return traffic finds the owner without a look-up.

/// Number of shards. Fixed: it is part of the state that restarts and nodes exchange.
pub const SHARDS: usize = 256;

/// One 256th of all flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shard(pub u8);

impl Shard {
    /// The shard of a flow by its hash.
    #[inline]
    pub fn of_hash(hash: u64) -> Shard {
        Shard(hash as u8)
    }

    /// The shard of the flow that uses this SNAT port.
    #[inline]
    pub fn of_snat_port(port: u16) -> Shard {
        Shard(port as u8)
    }
}

/// Shard -> worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardMap([u8; SHARDS]);

impl ShardMap {
    /// Spreads the shards over `workers` (1 to 256) in turn.
    ///
    /// # Panics
    /// When `workers` is 0 or more than 256: configuration is checked before.
    pub fn even(workers: usize) -> ShardMap {
        assert!((1..=SHARDS).contains(&workers), "{workers} workers, wanted 1 to {SHARDS}");
        ShardMap(std::array::from_fn(|shard| (shard % workers) as u8))
    }

    /// The worker that owns a shard.
    #[inline]
    pub fn owner(&self, shard: Shard) -> u8 {
        self.0[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_to_one_shard() {
        for workers in 1..=SHARDS {
            let map = ShardMap::even(workers);
            let mut owned = vec![0usize; workers];
            (0..SHARDS).for_each(|shard| owned[usize::from(map.owner(Shard(shard as u8)))] += 1);
            assert!(owned.iter().max().unwrap() - owned.iter().min().unwrap() <= 1, "{workers}");
        }
    }
}
