//! Hash -> place in the slab: buckets of one cache line, without tombstones.
//!
//! A full bucket lets new entries overflow into the next ones, and counts them. A look-up goes on
//! past a bucket only while that count is not zero, and a removal takes its entry out of the counts
//! on its way: the index is as good after a billion flows as when it was new.

use crate::arch;

/// Entries in a bucket: what fits into 64 bytes beside the count.
const WIDTH: usize = 10;
/// Marks a place of a bucket as not in use.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// 15 other bits of each hash, so that most misses cost no look at the slab; 0: not in use.
    tags: [u16; WIDTH],
    /// Entries that wanted this bucket, or came past it, and stand in a later one.
    overflow: u32,
    places: [u32; WIDTH],
}

const _: () = assert!(std::mem::size_of::<Bucket>() == 64);

impl Bucket {
    const NEW: Bucket = Bucket { overflow: 0, places: [EMPTY; WIDTH], tags: [0; WIDTH] };

    /// The places in use with a tag: two bits each, of which the lower one counts.
    #[inline(always)]
    fn marked(&self, tag: u16) -> u32 {
        arch::equal_tags(&self.tags, tag)
    }

    /// The number at the first marked place.
    #[inline(always)]
    fn first_of(&self, marked: u32) -> u32 {
        // No other place can be marked.
        self.places.get((marked.trailing_zeros() / 2) as usize).copied().unwrap_or(EMPTY)
    }
}

/// Numbers below 2^32 - 1 by hash. Which of several with one hash is meant, the caller decides.
#[derive(Debug)]
pub(super) struct FlowIndex {
    buckets: Box<[Bucket]>,
}

impl FlowIndex {
    /// Room for `capacity` numbers, at most three quarters full.
    pub(super) fn new(capacity: usize) -> FlowIndex {
        let buckets = (capacity * 4).div_ceil(WIDTH * 3).max(1);
        FlowIndex { buckets: arch::vec_in_large_pages(Bucket::NEW, buckets) }
    }

    /// Fetches the line where a look-up of this hash begins.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        arch::prefetch(&self.buckets[self.home(hash)]);
    }

    /// The first number in the home bucket of this hash whose tag is the hash's: probably the one.
    #[inline(always)]
    pub(super) fn first(&self, hash: u64) -> Option<u32> {
        let bucket = &self.buckets[self.home(hash)];
        let marked = bucket.marked(tag_of(hash));
        (marked != 0).then(|| bucket.first_of(marked))
    }

    /// The number with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut marked = bucket.marked(tag);
            while marked != 0 {
                let place = bucket.first_of(marked);
                if is_it(place) {
                    return Some(place);
                }
                marked &= marked - 1;
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Adds a number. `false` when the index is full, which its size rules out.
    pub(super) fn insert(&mut self, hash: u64, number: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            let free = bucket.marked(0);
            if free != 0 {
                let free = (free.trailing_zeros() / 2) as usize % WIDTH;
                (bucket.places[free], bucket.tags[free]) = (number, tag_of(hash));
                self.passed(home, distance, |overflow| overflow + 1);
                return true;
            }
            at = self.after(at);
        }
        false
    }

    /// Takes a number out. `false` when it is not there.
    pub(super) fn remove(&mut self, hash: u64, number: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            if let Some(found) = bucket.places.iter().position(|&place| place == number) {
                (bucket.places[found], bucket.tags[found]) = (EMPTY, 0);
                self.passed(home, distance, |overflow| overflow.saturating_sub(1));
                return true;
            }
            if bucket.overflow == 0 {
                return false;
            }
            at = self.after(at);
        }
        false
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Bucket::NEW);
    }

    /// Changes the counts of the `distance` buckets from `home` on.
    fn passed(&mut self, home: usize, distance: usize, change: impl Fn(u32) -> u32) {
        let mut at = home;
        for _ in 0..distance {
            let overflow = &mut self.buckets[at].overflow;
            *overflow = change(*overflow);
            at = self.after(at);
        }
    }

    /// The bucket a hash belongs to, by its high half: the low bits are the shard, of which a worker
    /// has only some. Multiply-shift keeps it below the number of buckets, whatever that is.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }
}

#[inline(always)]
fn tag_of(hash: u64) -> u16 {
    (hash >> 8) as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_found_and_leaves_nothing_behind() {
        let mut index = FlowIndex::new(60);
        // One hash for all: they fill their bucket and run over into the next ones.
        for number in 0..35 {
            assert!(index.insert(u64::MAX, number));
        }
        for number in 0..35 {
            assert_eq!(index.find(u64::MAX, |found| found == number), Some(number));
        }
        assert!(!index.remove(u64::MAX, 35));
        for number in (0..35).rev() {
            assert!(index.remove(u64::MAX, number));
            assert_eq!(index.find(u64::MAX, |found| found == number), None);
        }
        let clean = |bucket: &Bucket| bucket.overflow == 0 && bucket.places == [EMPTY; WIDTH];
        assert!(index.buckets.iter().all(clean));
    }

    #[test]
    fn a_million_changes_do_not_wear_it_out() {
        let mut index = FlowIndex::new(300);
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..300_000 {
            assert!(index.insert(hash(number), number % 300));
            if number >= 299 {
                assert!(index.remove(hash(number - 299), (number - 299) % 300));
            }
        }
        let passed: u32 = index.buckets.iter().map(|bucket| bucket.overflow).sum();
        assert!(passed < 150, "{passed} steps too many for 299 numbers");
        index.clear();
        assert_eq!(index.find(hash(299_999), |_| true), None);
    }

    #[test]
    fn full_is_refused() {
        let mut index = FlowIndex::new(1);
        assert!((0..10).all(|number| index.insert(0, number)));
        assert!(!index.insert(0, 10) && index.remove(0, 3) && index.insert(0, 10));
        assert_eq!(index.find(0, |number| number == 11), None);
    }
}
