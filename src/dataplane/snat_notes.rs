//! What is remembered of single SNAT ports: who had them and since when they rest, in a list for each
//! block, the port that was given back first in front.
//!
//! All lists share one array with room for every port of every block; memory is touched as ports are
//! given back.

/// Ends a list.
const NONE: u32 = u32::MAX;
/// Ports of one block: no list is longer.
pub(super) const PORTS: usize = 256;

/// One port that is not as its place in the block's first order says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// When it was given back.
    pub(super) released_ms: u32,
    /// Who had it last: some bits of the hash of its flow's key.
    pub(super) user: u16,
    /// Which port.
    pub(super) high: u8,
    /// It does not rest but is in use, out of turn.
    pub(super) in_use: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    note: Note,
    next: u32,
}

/// A list of notes: those of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoteList {
    first: u32,
    last: u32,
}

impl NoteList {
    pub(super) const EMPTY: NoteList = NoteList { first: NONE, last: NONE };

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

#[derive(Debug)]
pub(super) struct Notes {
    /// Room for all is set aside.
    places: Vec<Place>,
    most: usize,
    /// Head of the list of free places.
    free: u32,
}

impl Notes {
    /// Room for all ports of so many blocks.
    pub(super) fn new(blocks: usize) -> Notes {
        let most = blocks.saturating_mul(PORTS).min(NONE as usize);
        Notes { places: crate::arch::room_in_large_pages(most), most, free: NONE }
    }

    /// The notes of a list, the first one first.
    pub(super) fn iter(&self, list: NoteList) -> impl Iterator<Item = Note> {
        let mut at = list.first;
        // Bounded even if a panic left a list that goes round.
        (0..PORTS).map_while(move |_| {
            let place = self.places.get(at as usize)?;
            at = place.next;
            Some(place.note)
        })
    }

    /// The last note of a list.
    pub(super) fn last(&self, list: NoteList) -> Option<Note> {
        self.places.get(list.last as usize).map(|place| place.note)
    }

    /// Adds a note at the end; `false`, and nothing done, without room, which the array's size rules
    /// out.
    pub(super) fn push_back(&mut self, list: &mut NoteList, note: Note) -> bool {
        let Some(at) = self.acquire(Place { note, next: NONE }) else { return false };
        match self.places.get_mut(list.last as usize) {
            Some(last) => last.next = at,
            None => list.first = at,
        }
        list.last = at;
        true
    }

    /// Adds a note in front, as [`Notes::push_back`] does at the end.
    pub(super) fn push_front(&mut self, list: &mut NoteList, note: Note) -> bool {
        let Some(at) = self.acquire(Place { note, next: list.first }) else { return false };
        list.first = at;
        if list.last == NONE {
            list.last = at;
        }
        true
    }

    /// Takes the first note out for which `is_it` holds.
    pub(super) fn remove(
        &mut self,
        list: &mut NoteList,
        is_it: impl Fn(&Note) -> bool,
    ) -> Option<Note> {
        let (mut before, mut at) = (NONE, list.first);
        for _ in 0..PORTS {
            let place = *self.places.get(at as usize)?;
            if is_it(&place.note) {
                self.unlink(list, before, at, place.next);
                return Some(place.note);
            }
            (before, at) = (at, place.next);
        }
        None
    }

    /// Takes all notes out for which `is_it` holds.
    pub(super) fn remove_all(&mut self, list: &mut NoteList, is_it: impl Fn(&Note) -> bool) {
        while self.remove(list, &is_it).is_some() {}
    }

    fn unlink(&mut self, list: &mut NoteList, before: u32, at: u32, next: u32) {
        match self.places.get_mut(before as usize) {
            Some(before) => before.next = next,
            None => list.first = next,
        }
        if list.last == at {
            list.last = before;
        }
        self.release(at);
    }

    fn acquire(&mut self, place: Place) -> Option<u32> {
        let at = self.free;
        if let Some(free) = self.places.get_mut(at as usize) {
            self.free = free.next;
            *free = place;
            return Some(at);
        }
        let at = self.places.len();
        (at < self.most).then(|| {
            self.places.push(place);
            at as u32
        })
    }

    fn release(&mut self, at: u32) {
        if let Some(place) = self.places.get_mut(at as usize) {
            place.next = self.free;
            self.free = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn note(high: u8) -> Note {
        Note { released_ms: 0, user: 0, high, in_use: false }
    }

    proptest! {
        #[test]
        fn lists_are_queues_of_their_own(
            operations in prop::collection::vec((0usize..3, 0u8..4, 0u8..8), 1..300),
        ) {
            let mut notes = Notes::new(1);
            let mut lists = [NoteList::EMPTY; 3];
            let mut wanted: [VecDeque<u8>; 3] = Default::default();
            for (which, operation, high) in operations {
                let (list, wanted) = (&mut lists[which], &mut wanted[which]);
                match operation {
                    0 | 1 if wanted.len() >= 80 => {}
                    0 => {
                        prop_assert!(notes.push_back(list, note(high)));
                        wanted.push_back(high);
                    }
                    1 => {
                        prop_assert!(notes.push_front(list, note(high)));
                        wanted.push_front(high);
                    }
                    2 => {
                        let found = wanted.iter().position(|&other| other == high);
                        let taken = notes.remove(list, |note| note.high == high);
                        prop_assert_eq!(taken.map(|note| note.high), found.map(|_| high));
                        found.map(|at| wanted.remove(at));
                    }
                    _ => {
                        notes.remove_all(list, |note| note.high < high);
                        wanted.retain(|&other| other >= high);
                    }
                }
                let found: Vec<u8> = notes.iter(*list).map(|note| note.high).collect();
                prop_assert_eq!(&found, &Vec::from(wanted.clone()));
                let last = notes.last(*list).map(|note| note.high);
                prop_assert_eq!(last, wanted.back().copied());
                prop_assert_eq!(list.is_empty(), wanted.is_empty());
            }
        }
    }

    #[test]
    fn full_is_refused_and_places_are_used_again() {
        let (mut notes, mut list) = (Notes::new(1), NoteList::EMPTY);
        assert!((0..=255).all(|high| notes.push_back(&mut list, note(high))));
        assert!(!notes.push_back(&mut list, note(0)) && !notes.push_front(&mut list, note(0)));
        assert_eq!(notes.remove(&mut list, |note| note.high == 255), Some(note(255)));
        assert!(notes.push_front(&mut list, note(9)) && notes.iter(list).count() == PORTS);
        notes.remove_all(&mut list, |_| true);
        assert!(list == NoteList::EMPTY && notes.places.len() == PORTS);
    }
}
