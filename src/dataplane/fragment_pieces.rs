//! Which bytes of a datagram have been seen: overlapping, repeated, too long, complete.

use crate::wire::Fragment;

/// Most fragments of one datagram: 65,535 bytes in those of the least MTU of IPv6 (1,280) are 54.
pub(super) const MOST_PIECES: usize = 64;

/// What is wrong with one more fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misfit {
    /// Just these bytes were seen before.
    Repeated,
    /// Some of these bytes were seen before (RFC 5722).
    Overlapping,
    /// Behind the last one, too many, or the end is here and elsewhere.
    Endless,
}

/// The fragments of one datagram seen so far. Of a fixed size, and never merged: a repetition has to
/// be told from an overlap (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    count: u16,
    is_last_seen: bool,
    /// The end of the last one; else of the furthest.
    end: u16,
    /// Bytes seen: as none overlap, all of them are there when these are as many as the end says.
    bytes: u32,
    /// First byte, and first byte behind.
    spans: [(u16, u16); MOST_PIECES],
}

impl Pieces {
    pub(super) const NONE: Pieces =
        Pieces { count: 0, is_last_seen: false, end: 0, bytes: 0, spans: [(0, 0); MOST_PIECES] };

    /// Forgets all. What spans held is not wiped: the count says how many are meant.
    pub(super) fn clear(&mut self) {
        (self.count, self.is_last_seen, self.end, self.bytes) = (0, false, 0, 0);
    }

    /// One more. It is not empty and ends at or before 65,535: the caller has seen to that.
    pub(super) fn add(&mut self, part: &Fragment) -> Result<(), Misfit> {
        let (start, end) = (part.offset, part.offset.saturating_add(part.len));
        let seen = self.spans.get(..usize::from(self.count)).unwrap_or_default();
        if seen.contains(&(start, end)) {
            let was_last = self.is_last_seen && self.end == end;
            return Err(if was_last == part.more { Misfit::Overlapping } else { Misfit::Repeated });
        }
        if seen.iter().any(|&(from, to)| start < to && from < end) {
            return Err(Misfit::Overlapping);
        }
        let goes_beyond = self.is_last_seen && (end > self.end || !part.more);
        let ends_before = !part.more && end < self.end;
        if goes_beyond || ends_before {
            return Err(Misfit::Endless);
        }
        let place = self.spans.get_mut(usize::from(self.count)).ok_or(Misfit::Endless)?;
        *place = (start, end);
        self.count += 1;
        self.bytes += u32::from(part.len);
        self.is_last_seen |= !part.more;
        self.end = self.end.max(end);
        Ok(())
    }

    /// Was every byte seen?
    pub(super) fn is_complete(&self) -> bool {
        self.is_last_seen && self.bytes == u32::from(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TcpFlags;
    use proptest::prelude::*;

    fn part(offset: u16, len: u16, more: bool) -> Fragment {
        let tcp = TcpFlags::default();
        Fragment { identification: 1, offset, len, more, has_ports: false, tcp }
    }

    #[test]
    fn what_fits_and_what_does_not() {
        use Misfit::*;
        let (first, middle, last) = (part(0, 16, true), part(16, 16, true), part(32, 5, false));
        let rows: &[(&str, Vec<Fragment>, Result<bool, Misfit>)] = &[
            ("one", vec![first], Ok(false)),
            ("a whole datagram in one", vec![part(0, 16, false)], Ok(true)),
            ("in order", vec![first, middle, last], Ok(true)),
            ("turned round", vec![last, middle, first], Ok(true)),
            ("a hole", vec![first, last], Ok(false)),
            ("no end", vec![first, middle], Ok(false)),
            ("twice", vec![first, first], Err(Repeated)),
            ("the last twice", vec![last, last], Err(Repeated)),
            ("inside", vec![first, part(8, 8, true)], Err(Overlapping)),
            ("around", vec![middle, part(8, 40, true)], Err(Overlapping)),
            ("one byte into", vec![part(0, 17, true), middle], Err(Overlapping)),
            ("the same, now the last", vec![middle, part(16, 16, false)], Err(Overlapping)),
            ("the last, now not", vec![last, part(32, 5, true)], Err(Overlapping)),
            ("behind the last", vec![last, part(40, 8, true)], Err(Endless)),
            ("a last behind the last", vec![last, part(40, 8, false)], Err(Endless)),
            ("a last before the last", vec![last, part(24, 8, false)], Err(Endless)),
            ("a last before others", vec![part(64, 8, true), last], Err(Endless)),
        ];
        for (description, parts, wanted) in rows {
            let mut pieces = Pieces::NONE;
            let (last, before) = parts.split_last().unwrap();
            assert!(before.iter().all(|part| pieces.add(part).is_ok()), "{description}");
            let found = pieces.add(last).map(|()| pieces.is_complete());
            assert_eq!(found, *wanted, "{description}");
        }
    }

    #[test]
    fn as_many_as_there_is_room_for() {
        let mut pieces = Pieces::NONE;
        for number in 0..MOST_PIECES as u16 {
            assert_eq!(pieces.add(&part(number * 8, 8, true)), Ok(()));
        }
        let one_more = part(MOST_PIECES as u16 * 8, 8, false);
        assert_eq!(pieces.add(&one_more), Err(Misfit::Endless));
        pieces.clear();
        assert_eq!(pieces.add(&part(0, 8, false)), Ok(()));
        assert!(pieces.is_complete());
    }

    proptest! {
        /// Against a set of bytes.
        #[test]
        fn overlaps_are_found_as_byte_by_byte(
            parts in prop::collection::vec((0u16..40, 1u16..24), 1..30),
        ) {
            let mut pieces = Pieces::NONE;
            let (mut bytes, mut spans) = ([false; 512], vec![]);
            for (unit, len) in parts {
                let (offset, len) = (unit * 8, len);
                let range = usize::from(offset)..usize::from(offset + len);
                let is_repeated = spans.contains(&range);
                let overlaps = bytes[range.clone()].contains(&true);
                let wanted = match (is_repeated, overlaps) {
                    (true, _) => Err(Misfit::Repeated),
                    (false, true) => Err(Misfit::Overlapping),
                    (false, false) => Ok(()),
                };
                prop_assert_eq!(pieces.add(&part(offset, len, true)), wanted);
                if wanted.is_ok() {
                    bytes[range.clone()].fill(true);
                    spans.push(range);
                }
            }
        }
    }
}
