//! Which numbers are in use.

use crate::forwarding::BackendId;

/// A set of backend ids: a bit for each, since a million of them have to be gone through quickly.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ids {
    /// The last one is not 0.
    words: Vec<u64>,
}

impl Ids {
    /// Puts an id in or takes it out.
    pub fn set(&mut self, id: BackendId, is_in: bool) {
        let (word, bit) = (id.index() / 64, 1u64 << (id.index() % 64));
        if word >= self.words.len() {
            if !is_in {
                return;
            }
            self.words.resize(word + 1, 0);
        }
        self.words[word] = if is_in { self.words[word] | bit } else { self.words[word] & !bit };
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// One more than the largest one.
    pub fn end(&self) -> usize {
        let last = self.words.last().map_or(0, |word| 64 - word.leading_zeros() as usize);
        self.words.len().saturating_sub(1) * 64 + last
    }

    /// Ids below `limit` that are not in it, ascending.
    pub fn free(&self, limit: u32) -> impl Iterator<Item = BackendId> + '_ {
        let full = |word: u32| self.words.get(word as usize).copied().unwrap_or(0);
        (0..limit.div_ceil(64)).filter(move |&word| full(word) != u64::MAX).flat_map(move |word| {
            let taken = full(word);
            let bits = (0..64).filter(move |bit| taken & 1 << bit == 0);
            bits.map(move |bit| word * 64 + bit).filter(move |&id| id < limit).map(BackendId)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_set(steps in prop::collection::vec((0..300u32, any::<bool>()), 0..200), limit in 0..300u32) {
            let (mut ids, mut model) = (Ids::default(), std::collections::BTreeSet::new());
            for (id, is_in) in steps {
                ids.set(BackendId(id), is_in);
                if is_in { model.insert(id); } else { model.remove(&id); }
                prop_assert_eq!(ids.end(), model.last().map_or(0, |last| *last as usize + 1));
            }
            let free: Vec<u32> = ids.free(limit).map(|id| id.0).collect();
            let wanted: Vec<u32> = (0..limit).filter(|id| !model.contains(id)).collect();
            prop_assert_eq!(free, wanted);
        }
    }
}
