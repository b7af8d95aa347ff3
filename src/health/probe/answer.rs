//! Is what was expected in an answer?

use super::{ANSWER_BYTES, ProbeError};

/// An answer that comes in pieces.
pub(super) struct Answer<'a> {
    wanted: &'a [u8],
    seen: Vec<u8>,
}

impl<'a> Answer<'a> {
    pub fn new(wanted: &'a [u8]) -> Answer<'a> {
        Answer { wanted, seen: vec![] }
    }

    /// Takes a piece; what was expected is in it, or in it and those before.
    pub fn take(&mut self, piece: &[u8]) -> bool {
        // Only what came last can make up the wanted text together with the new piece.
        let from = self.seen.len().saturating_sub(self.wanted.len());
        self.seen.extend_from_slice(piece);
        contains(self.seen.get(from..).unwrap_or_default(), self.wanted)
    }

    /// Is there no use in reading more?
    pub fn is_full(&self) -> bool {
        self.seen.len() >= ANSWER_BYTES
    }

    /// It was not in all that came.
    pub fn refusal(&self, what: &str) -> ProbeError {
        let (seen, wanted) = (shown(&self.seen), shown(self.wanted));
        ProbeError::failed(format!("{what} {seen}, wanted {wanted}"))
    }
}

pub(super) fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

/// The beginning of some bytes as a person can read it.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    let head = bytes.get(..MOST).unwrap_or(bytes).escape_ascii();
    let more = if bytes.len() > MOST { "…" } else { "" };
    format!("\"{head}{more}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_pieces_by_row() {
        let rows: [(&str, &[&str], &[bool]); 5] = [
            ("+PONG", &["+PONG\r\n"], &[true]),
            ("+PONG", &["hello +P", "ONG"], &[false, true]),
            ("+PONG", &["+", "P", "O", "N", "G"], &[false, false, false, false, true]),
            ("+PONG", &["-ERR"], &[false]),
            ("aab", &["aa", "ab"], &[false, true]),
        ];
        for (wanted, pieces, found) in rows {
            let mut answer = Answer::new(wanted.as_bytes());
            let got: Vec<bool> = pieces.iter().map(|piece| answer.take(piece.as_bytes())).collect();
            assert_eq!(got, found, "{wanted} in {pieces:?}");
        }
    }

    #[test]
    fn what_came_instead() {
        let mut answer = Answer::new(b"+PONG");
        answer.take(b"-ERR \x00\r\n");
        let told = answer.refusal("answer").to_string();
        assert_eq!(told, r#"answer "-ERR \x00\r\n", wanted "+PONG""#);
        answer.take(&[b'x'; 100]);
        let told = answer.refusal("answer").to_string();
        assert!(told.contains("xxx…\", wanted") && told.len() < 100, "{told}");
    }
}
