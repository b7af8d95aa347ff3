//! The bytes of an input, taken one after the other as choices. Bytes that are not there are zero,
//! so every input means something, and the same steps always have the same bytes: inputs can be
//! written by hand and cut short.

/// What is left of an input.
pub struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    pub fn new(input: &'a [u8]) -> Steps<'a> {
        Steps(input)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// The next bytes, fewer when there are not so many.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
