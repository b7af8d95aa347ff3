//! Plain packets read in one go, against the same layer by layer.

use super::any::{flip, flips};
use super::*;
use crate::wire::IpPacket;
use crate::wire::parse::plain as in_one_go;
use crate::wire::samples::mend_header;
use proptest::prelude::*;

type Slow = fn(&[u8], usize, &mut IpPacket) -> Result<(), ParseError>;

/// What the quick way says, and the slow one.
fn both(frame: &[u8], at: usize, is_v4: bool) -> (Option<IpPacket>, Result<IpPacket, ParseError>) {
    let (mut quick, mut slow) = (Headers::NONE.ip, Headers::NONE.ip);
    let (is_plain, read) = match is_v4 {
        true => (in_one_go::ipv4(frame, at, &mut quick), ipv4::parse as Slow),
        false => (in_one_go::ipv6(frame, at, &mut quick), ipv6::parse as Slow),
    };
    let slowly = read(frame, at, &mut slow).map(|()| slow);
    (is_plain.then_some(quick), slowly)
}

/// A whole transport behind nothing but a header of the least length.
fn is_plain(ip: &IpPacket) -> bool {
    let least = if ip.source().is_v4() { 20 } else { 40 };
    ip.is_transport() && ip.payload_start() - ip.start() == least
}

/// The quick way says what the slow one does, and says something to everything plain.
fn agrees(frame: &[u8]) -> bool {
    let starts = [(14, true), (14, false), (18, true), (18, false), (22, true), (22, false)];
    starts.into_iter().all(|(at, is_v4)| match both(frame, at, is_v4) {
        (Some(quick), slow) => slow == Ok(quick) && is_plain(&quick),
        (None, slow) => !slow.is_ok_and(|ip| is_plain(&ip)),
    })
}

#[test]
fn the_samples_that_are_plain() {
    let mut count = 0;
    for (name, sample) in s::ALL {
        let frame = bytes(sample);
        let Packet { link, body: Body::Ip(ip) } = packet(&frame) else { continue };
        let quick = both(&frame, link.end(), ip.source().is_v4()).0;
        assert_eq!(quick, Some(ip).filter(is_plain), "{name}");
        count += usize::from(quick.is_some());
    }
    assert_eq!(count, 18);
}

#[test]
fn one_bit_of_the_headers_wrong() {
    for (name, sample) in s::ALL {
        let good = bytes(sample);
        for bit in 14 * 8..good.len() * 8 {
            for mend in [false, true] {
                let mut frame = good.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                if mend {
                    mend_header(&mut frame);
                }
                assert!(agrees(&frame), "{name}: bit {bit}");
            }
        }
        for len in 0..good.len() {
            assert!(agrees(&good[..len]), "{name} of {len}");
        }
    }
}

#[test]
fn any_length_field() {
    // Where the packet's own stands, and UDP's.
    for (sample, places) in [
        (s::TCP_FIN_PADDED, &[16][..]),
        (s::UDP_DATA, &[16, 38]),
        (s::TCP_DATA_V6, &[18]),
        (s::UDP_DATA_V6, &[18, 58]),
    ] {
        for len in (0..120).chain([0x7fff, 0x8000, 0xffff]) {
            for &at in places {
                let mut frame = bytes(sample);
                frame[at..at + 2].copy_from_slice(&u16::to_be_bytes(len));
                mend_header(&mut frame);
                assert!(agrees(&frame), "{len} at {at}: {sample}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_frames(
        sample in proptest::sample::select(s::ALL), flips in flips(), mend in any::<bool>(),
        keep in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut frame = bytes(sample.1);
        flip(&mut frame, flips);
        if mend {
            mend_header(&mut frame);
        }
        if let Some(keep) = keep {
            frame.truncate(keep.index(frame.len()));
        }
        prop_assert!(agrees(&frame));
    }

    #[test]
    fn any_bytes(
        link in proptest::sample::select(vec!["0800 45", "86dd 60"]),
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = [bytes("020000000001 0200000000c1"), bytes(link), rest].concat();
        mend_header(&mut frame);
        prop_assert!(agrees(&frame));
    }
}
