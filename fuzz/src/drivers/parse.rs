//! One frame: read as etherparse's parser of whole packets reads it, with everything in its place.

use crate::wire::{Headers, Kind, parse_into};

#[path = "../../../src/wire/parse/tests/oracle.rs"]
mod oracle;
#[path = "../../../src/wire/parse/tests/sound.rs"]
mod sound;

/// Parses a frame.
pub fn run(frame: &[u8]) {
    if let Some(difference) = oracle::difference(frame) {
        panic!("{difference}");
    }
    assert!(sound::holds_together(frame), "does not hold together: {frame:02x?}");
    // Into headers that were written before, as a batch does it.
    let (mut fresh, mut used) = (Headers::NONE, Headers::NONE);
    let _ = parse_into(frame.get(4..).unwrap_or_default(), &mut used);
    let kind = parse_into(frame, &mut fresh);
    assert_eq!(parse_into(frame, &mut used), kind);
    if kind.is_ok() {
        assert_eq!(used.link, fresh.link);
    }
    if kind == Ok(Kind::Ip) {
        assert_eq!(used.ip, fresh.ip);
    }
}
