//! Samples, damaged frames and any bytes, read by us and by etherparse.

use super::any::{TAGS, flip, flips};
use super::oracle::difference;
use super::*;
use crate::wire::samples::mend_header;
use proptest::prelude::*;

#[test]
fn both_read_all_samples_the_same() {
    for (name, sample) in s::ALL {
        for tags in TAGS {
            assert_eq!(difference(&s::tagged(&bytes(sample), tags)), None, "{name} with {tags}");
        }
    }
}

#[test]
fn a_sample_that_is_cut_is_refused_by_both() {
    for (name, sample) in s::ALL {
        let frame = bytes(sample);
        for len in 0..frame.len() {
            assert_eq!(difference(&frame[..len]), None, "{name} at {len}");
        }
    }
}

/// A transport behind a chain of any extension headers, most of them whole.
fn chains() -> impl Strategy<Value = Vec<u8>> {
    let number = proptest::sample::select(vec![0u8, 43, 44, 51, 60, 60]);
    let place = proptest::sample::select(vec![[0u8, 0], [0, 0], [0, 1], [0, 8], [4, 1]]);
    let header = (number, 0u8..3, place, any::<[u8; 4]>());
    let upper = proptest::sample::select(vec![
        (6, s::TCP_SYN_V6),
        (17, s::UDP_DATA_V6),
        (58, s::ECHO_REQUEST_V6),
        (59, s::GRE_V6),
    ]);
    (proptest::collection::vec(header, 0..11), upper).prop_map(|(headers, (upper, sample))| {
        let mut frame = bytes(sample)[..54].to_vec();
        let mut next_at = 20;
        for (number, len, place, rest) in headers {
            frame[next_at] = number;
            next_at = frame.len();
            frame.extend([0, len]);
            frame.extend(place);
            frame.extend(rest);
            let more = if number == 44 { 0 } else { usize::from(len) * 8 };
            frame.extend(std::iter::repeat_n(1, more));
        }
        frame[next_at] = upper;
        frame.extend(&bytes(sample)[54..]);
        let len = frame.len() as u16 - 54;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_read_damaged_frames_the_same(
        sample in proptest::sample::select(s::ALL),
        tags in proptest::sample::select(TAGS.as_slice()),
        flips in flips(),
        keep in proptest::option::of(any::<proptest::sample::Index>()),
        mend in any::<bool>(),
    ) {
        let mut frame = s::tagged(&bytes(sample.1), tags);
        flip(&mut frame, flips);
        if mend {
            mend_header(&mut frame);
        }
        if let Some(keep) = keep {
            frame.truncate(keep.index(frame.len()));
        }
        prop_assert_eq!(difference(&frame), None);
    }

    #[test]
    fn both_read_chains_the_same(mut frame in chains(), flips in flips(), damage in any::<bool>()) {
        if damage {
            flip(&mut frame[12..], flips);
        }
        prop_assert_eq!(difference(&frame), None);
    }

    #[test]
    fn both_read_any_bytes_the_same(
        link in proptest::sample::select(
            vec!["0800 45", "0800 46", "86dd 60", "8100 000a 0800 45"],
        ),
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = [bytes("020000000001 0200000000c1"), bytes(link), rest].concat();
        mend_header(&mut frame);
        prop_assert_eq!(difference(&frame), None);
    }
}

/// Found by chance in `both_read_chains_the_same`: behind an authentication header in a first
/// fragment only etherparse looks on, and refuses what it finds there.
#[test]
fn an_authentication_header_in_a_first_fragment() {
    let frame = bytes(
        "020000000001 0200000000c1 86dd 60000000 001c 2c 40 \
         20010db8000100000000000000000050 20010db8000100000000000000000100 \
         33 00 0001 00000000  3c 01 0000 00000001 00000001  00 21 0101 01010101",
    );
    assert_eq!(difference(&frame), None);
}
