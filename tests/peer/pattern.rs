//! A stream of bytes that both ends can make from a seed, so that every byte can be compared.

/// Bytes that look like chance and are the same for the same seed.
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    pub fn new(seed: u64) -> Pattern {
        Pattern { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, word: [0; 8], used: 8 }
    }

    /// The next `into.len()` bytes.
    pub fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            if self.used == self.word.len() {
                // xorshift64 (Marsaglia, 2003).
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.word = self.state.to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
    }

    /// The place of the first byte of `got` that differs from the stream, if any does.
    pub fn first_difference(&mut self, got: &[u8]) -> Option<usize> {
        let mut wanted = vec![0; got.len()];
        self.fill(&mut wanted);
        got.iter().zip(&wanted).position(|(got, wanted)| got != wanted)
    }
}
