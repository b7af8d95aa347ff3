//! A long list whose next version shares what is the same.

use std::ops::Index;
use std::sync::Arc;

/// Entries of one piece: what is copied when one entry changes.
const PIECE: usize = 256;

/// As a vector to readers, in pieces that versions share: of a million entries a new version copies
/// 4,096 counts and the pieces that have changed. Reading costs one step more than a vector, so what
/// every packet asks for is not kept in one.
#[derive(Clone, Debug)]
pub struct SharedList<T> {
    /// Each but the last has [`PIECE`] entries; none is empty.
    pieces: Vec<Arc<[T]>>,
}

impl<T> Default for SharedList<T> {
    fn default() -> SharedList<T> {
        SharedList { pieces: Vec::new() }
    }
}

impl<T> SharedList<T> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        let full = self.pieces.len().saturating_sub(1) * PIECE;
        full + self.pieces.last().map_or(0, |piece| piece.len())
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The entry at this place, if there is one.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

impl<T: Clone> SharedList<T> {
    /// The same with other entries at these places, in ascending order, and `len` entries in all:
    /// what there is no entry for, behind the old end, is `filler`.
    pub(super) fn with(
        &self,
        changes: impl IntoIterator<Item = (usize, T)>,
        len: usize,
        filler: &T,
    ) -> SharedList<T> {
        let mut pieces = self.pieces.clone();
        resize(&mut pieces, len, filler);
        let mut changes = changes.into_iter().peekable();
        while let Some((first, entry)) = changes.next() {
            let Some(piece) = pieces.get_mut(first / PIECE) else { break };
            let entries = Arc::make_mut(piece);
            let mut put = |place: usize, entry: T| {
                if let Some(old) = entries.get_mut(place % PIECE) {
                    *old = entry;
                }
            };
            put(first, entry);
            while let Some((place, entry)) =
                changes.next_if(|(place, _)| place / PIECE == first / PIECE)
            {
                put(place, entry);
            }
        }
        SharedList { pieces }
    }
}

fn resize<T: Clone>(pieces: &mut Vec<Arc<[T]>>, len: usize, filler: &T) {
    let count = len.div_ceil(PIECE);
    pieces.truncate(count);
    while pieces.len() < count {
        pieces.push([].into());
    }
    for (place, piece) in pieces.iter_mut().enumerate() {
        let wanted = PIECE.min(len - place * PIECE);
        if piece.len() != wanted {
            let kept = piece.iter().take(wanted).cloned();
            let new = std::iter::repeat_n(filler.clone(), wanted.saturating_sub(piece.len()));
            *piece = kept.chain(new).collect();
        }
    }
}

impl<T> FromIterator<T> for SharedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> SharedList<T> {
        let mut entries = entries.into_iter().peekable();
        let mut pieces = Vec::new();
        while entries.peek().is_some() {
            pieces.push(entries.by_ref().take(PIECE).collect());
        }
        SharedList { pieces }
    }
}

impl<T: PartialEq> PartialEq for SharedList<T> {
    /// Quick where pieces are shared.
    fn eq(&self, other: &SharedList<T>) -> bool {
        let same = |(a, b): (&Arc<[T]>, &Arc<[T]>)| Arc::ptr_eq(a, b) || a == b;
        self.pieces.len() == other.pieces.len() && self.pieces.iter().zip(&other.pieces).all(same)
    }
}

impl<T: Eq> Eq for SharedList<T> {}

impl<T> Index<usize> for SharedList<T> {
    type Output = T;

    /// For tests and status: panics when there is no such entry.
    fn index(&self, place: usize) -> &T {
        &self.pieces[place / PIECE][place % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a vector.
        #[test]
        fn as_a_vector(
            first in 0..900usize,
            len in 0..900usize,
            changes in prop::collection::btree_map(0..900usize, any::<u32>(), 0..9),
        ) {
            let mut wanted: Vec<u32> = (0..first as u32).collect();
            let list: SharedList<u32> = wanted.iter().copied().collect();
            prop_assert_eq!(list.iter().copied().collect::<Vec<_>>(), &wanted[..]);
            let changes: Vec<(usize, u32)> =
                changes.into_iter().filter(|(place, _)| *place < len).collect();
            let next = list.with(changes.clone(), len, &7);
            wanted.resize(len, 7);
            changes.iter().for_each(|&(place, entry)| wanted[place] = entry);
            prop_assert_eq!(next.iter().copied().collect::<Vec<_>>(), &wanted[..]);
            prop_assert_eq!((next.len(), next.is_empty()), (len, len == 0));
            prop_assert_eq!(next.get(len), None);
            prop_assert_eq!(&next, &wanted.into_iter().collect::<SharedList<u32>>());
            prop_assert_eq!(list.len(), first, "the old one is as it was");
        }
    }

    #[test]
    fn what_has_not_changed_is_shared() {
        let list: SharedList<u32> = (0..1_000).collect();
        let next = list.with([(300, 7), (301, 8)], 1_000, &0);
        let shared = (0..4).filter(|&p| Arc::ptr_eq(&list.pieces[p], &next.pieces[p])).count();
        assert_eq!((shared, next[300], next[301], next[302], list[300]), (3, 7, 8, 302, 300));
    }
}
