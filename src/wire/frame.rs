//! A frame's bytes while the engine works on them, and the port they came in by.

/// An interface Guideway has taken, by its place in the configuration's `interfaces` list.
///
/// At most 256 ports. Plain data: it stands in flow entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[repr(transparent)]
pub struct PortId(pub u8);

impl PortId {
    /// Place in arrays that hold one thing a port.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One frame in its chunk of memory: the bytes, with the room before and after them.
///
/// Hides how the bytes lie in memory: code that asks for [`bytes_mut`](Self::bytes_mut) and
/// [`prepend`](Self::prepend) stays as it is when a frame is more than one buffer one day.
#[derive(Debug)]
pub struct FrameView<'a> {
    chunk: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> FrameView<'a> {
    /// A view of `chunk[start..start + len]`.
    ///
    /// # Panics
    /// When the range is not inside `chunk`: the device's mistake, never the network's.
    #[inline]
    pub fn new(chunk: &'a mut [u8], start: usize, len: usize) -> Self {
        assert!(
            start + len <= chunk.len(),
            "frame {start}+{len} outside its chunk of {}",
            chunk.len()
        );
        FrameView { chunk, start, end: start + len }
    }

    /// The frame, from the first byte of the Ethernet header.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.chunk[self.start..self.end]
    }

    /// The frame, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.chunk[self.start..self.end]
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// No bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Offset of the frame's first byte in the chunk.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Bytes free in front of the frame.
    pub fn headroom_bytes(&self) -> usize {
        self.start
    }

    /// Takes `len` bytes of room in front into the frame; `false`, and nothing done, when there is
    /// less.
    pub fn prepend(&mut self, len: usize) -> bool {
        let fits = len <= self.start;
        if fits {
            self.start -= len;
        }
        fits
    }

    /// Replaces the first `old` bytes by `new` ones, whose content is left open, and keeps the rest
    /// of the frame as it is. It stays where it is while there is room in front, and is moved back
    /// otherwise; `false`, and nothing done, when the chunk is too small for that too.
    pub fn move_start(&mut self, old: usize, new: usize) -> bool {
        if old > self.len() {
            return false;
        }
        if new <= self.start + old {
            self.start = self.start + old - new;
            return true;
        }
        let (from, to) = (self.start + old, self.start + new);
        let end = self.end + new - old;
        if end > self.chunk.len() {
            return false;
        }
        self.chunk.copy_within(from..self.end, to);
        self.end = end;
        true
    }

    /// As [`FrameView::move_start`], and cuts or lengthens what is behind the first `new` bytes to `len`.
    #[inline(always)]
    pub fn replace_head(&mut self, old: usize, new: usize, len: usize) -> bool {
        let room = self.start + old;
        if new > room {
            return self.move_start(old, new) && self.set_len(new + len);
        }
        let end = room + len;
        let fits = end <= self.chunk.len();
        if fits {
            (self.start, self.end) = (room - new, end);
        }
        fits
    }

    /// Replaces the first `old` bytes by `HEAD` ones, keeps the `len` behind them and cuts the rest off:
    /// the new head, with whatever stood there, and what was kept. None, and nothing done, without
    /// room for it in front, or when the chunk ends before.
    #[inline(always)]
    pub fn open_head<const HEAD: usize>(
        &mut self,
        old: usize,
        len: usize,
    ) -> Option<(&mut [u8; HEAD], &mut [u8])> {
        let at = self.start + old;
        let (before, kept) = self.chunk.split_at_mut_checked(at)?;
        let head = before.last_chunk_mut()?;
        let kept = kept.get_mut(..len)?;
        (self.start, self.end) = (at - HEAD, at + len);
        Some((head, kept))
    }

    /// Gives the frame a new length, longer or shorter at its end; `false`, and nothing done, when
    /// the chunk ends before. Bytes gained are whatever stood there.
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = self.start + len <= self.chunk.len();
        if fits {
            self.end = self.start + len;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_at_both_ends() {
        let mut chunk = [0u8; 16];
        let mut view = FrameView::new(&mut chunk, 4, 8);
        assert!(!view.prepend(5) && view.prepend(4) && view.len() == 12 && view.start() == 0);
        assert!(view.move_start(4, 0) && view.start() == 4 && view.move_start(0, 4));
        assert!(!view.set_len(17) && view.set_len(16) && view.bytes().len() == 16);
    }

    #[test]
    fn a_head_is_opened_where_there_is_room() {
        let mut chunk = *b"....ABcdef__..";
        let mut view = FrameView::new(&mut chunk, 4, 8);
        assert!(view.open_head::<7>(2, 4).is_none() && view.open_head::<2>(2, 9).is_none());
        assert_eq!((view.start(), view.len()), (4, 8), "nothing done");
        let (head, kept) = view.open_head::<6>(2, 4).unwrap();
        assert_eq!((&*head, &*kept), (b"....AB", &b"cdef"[..]));
        assert_eq!((view.start(), view.len()), (0, 10));
    }

    #[test]
    fn what_finds_no_room_in_front_is_moved_back() {
        let mut chunk = *b"..ABcdef......";
        let mut view = FrameView::new(&mut chunk, 2, 6);
        assert!(view.move_start(2, 7), "room is 2, wanted are 5 more");
        assert_eq!((view.start(), view.len(), &view.bytes()[7..]), (2, 11, &b"cdef"[..]));
        assert!(!view.move_start(7, 12), "the chunk ends");
        assert!(!view.move_start(12, 12), "more than there is");
        assert!(view.move_start(7, 1) && view.len() == 5 && view.bytes()[1..] == *b"cdef");
    }
}
