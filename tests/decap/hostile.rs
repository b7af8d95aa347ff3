//! Frames that lie: cut short, lengths that do not add up, and bytes changed at random.

use super::frames::*;
use super::{Bench, XDP_DROP, XDP_PASS};

/// One of each kind, with all optional parts.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let outer = Ipv4 { protocol: GRE, options: 12, ..Ipv4::OUTER };
    vec![
        ("4 in 4", over4(IPIP, &inner4())),
        ("6 in 4", over4(IPV6, &inner6())),
        ("4 in 6", over6(IPIP, &inner4())),
        ("6 in 6", over6(IPV6, &inner6())),
        ("GRE", ethernet(TYPE4, &outer.around(&gre(0xb000, TYPE4, &inner4())))),
        ("GRE over IPv6", over6(60, &extension(GRE, 1, &gre(0x2000, TYPE6, &inner6())))),
        ("GUE 0", over4(UDP, &gue(3, IPIP, &inner4()))),
        ("GUE 0 over IPv6", over6(0, &extension(UDP, 0, &gue(0, IPV6, &inner6())))),
        ("GUE 1", over4(UDP, &udp(GUE_PORT, &inner6()))),
    ]
}

/// Says the outer header what is true of a frame that was cut.
fn with_true_length(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let len = frame.len() as u16 - 14;
    if frame[12..14] == TYPE4.to_be_bytes() {
        let header = (14 + usize::from(frame[14] & 15) * 4).min(frame.len());
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = checksum(&frame[14..header]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        frame[18..20].copy_from_slice(&(len - 40).to_be_bytes());
    }
    frame
}

#[test]
fn a_frame_cut_anywhere_is_never_taken() {
    let Some(bench) = Bench::new() else { return };
    for (what, whole) in samples() {
        assert!(bench.run(&whole).2.starts_with("decapsulated"), "{what}");
        for len in 14..whole.len() {
            let cut = &whole[..len];
            let (verdict, after, counter) = bench.run(cut);
            let fine = verdict == XDP_PASS && counter.starts_with("passed") && after == cut;
            assert!(fine, "{what}, {len} bytes: {verdict} {counter}");
        }
    }
}

/// The outer header fits the frame, but what is in it lacks its end.
#[test]
fn a_packet_cut_before_it_was_encapsulated_is_never_taken() {
    let Some(bench) = Bench::new() else { return };
    for (what, whole) in samples() {
        let header = match whole[14] >> 4 {
            4 => usize::from(whole[14] & 15) * 4,
            _ => 40,
        };
        for len in 14 + header..whole.len() {
            let cut = with_true_length(&whole[..len]);
            let (_, after, counter) = bench.run(&cut);
            let known = ["passed", "passed_malformed", "dropped_inner"].contains(&counter);
            assert!(known && after == cut, "{what}, {len} bytes: {counter}");
        }
    }
}

#[test]
fn lies_by_row() {
    let Some(bench) = Bench::new() else { return };
    let four = || over4(IPIP, &inner4());
    let six = || over6(IPV6, &inner6());
    let gue4 = || over4(UDP, &gue(0, IPIP, &inner4()));
    let inner_byte = |at: usize, byte| over4(IPIP, &with(inner4(), at, byte));
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a wrong outer checksum", with(four(), 25, four()[25] ^ 1), "passed_malformed"),
        ("a header length below 20", with(four(), 14, 0x44), "passed"),
        ("a header longer than the packet", mend(with(inner_tiny(), 14, 0x4f)), "passed_malformed"),
        ("a total length below the header's", mend(with(four(), 17, 19)), "passed_malformed"),
        ("a total length beyond the frame", mend(with(four(), 16, 0x7f)), "passed_malformed"),
        (
            "the largest total length",
            mend(with(with(four(), 16, 0xff), 17, 0xff)),
            "passed_malformed",
        ),
        ("a payload beyond the frame", with(six(), 18, 0xff), "passed_malformed"),
        ("a payload of nothing", with(with(six(), 18, 0), 19, 0), "dropped_inner"),
        ("a UDP length below 8", with(gue4(), 39, 7), "passed_malformed"),
        ("a UDP length beyond the packet", with(gue4(), 38, 0x10), "passed_malformed"),
        ("a UDP length that cuts the inner packet", with(gue4(), 39, 40), "dropped_inner"),
        ("GUE words beyond the packet", with(gue4(), 42, 31), "passed_malformed"),
        (
            "an extension beyond the packet",
            over6(60, &with(extension(IPIP, 0, &inner4()), 1, 255)),
            "passed",
        ),
        ("IPv6 where IPv4 was said", over4(IPIP, &inner6()), "dropped_inner"),
        ("IPv4 where IPv6 was said", over4(IPV6, &inner4()), "dropped_inner"),
        ("IPv6 in GRE that says IPv4", over4(GRE, &gre(0, TYPE4, &inner6())), "dropped_inner"),
        ("an inner header below 20", inner_byte(0, 0x44), "dropped_inner"),
        (
            "an inner header beyond its packet",
            over4(IPIP, &with(Ipv4::INNER.around(&[]), 0, 0x46)),
            "dropped_inner",
        ),
        ("an inner length below its header", with(inner_byte(3, 19), 36, 0), "dropped_inner"),
        ("an inner length beyond the outer one", inner_byte(3, 61), "dropped_inner"),
        ("an inner IPv6 payload beyond it", over4(IPV6, &with(inner6(), 5, 41)), "dropped_inner"),
        ("nothing inside", over4(IPIP, &[]), "dropped_inner"),
        ("nothing inside GRE", over4(GRE, &gre(0, TYPE4, &[])), "dropped_inner"),
        ("GRE of two bytes", over4(GRE, &[0, 0]), "passed_malformed"),
        (
            "GRE without the fields it announces",
            over4(GRE, &gre(0xb000, TYPE4, &[])[..12]),
            "passed_malformed",
        ),
    ];
    for (what, frame, wanted) in rows {
        let (verdict, after, counter) = bench.run(&frame);
        let action = if wanted.starts_with("dropped") { XDP_DROP } else { XDP_PASS };
        assert_eq!((verdict, counter), (action, wanted), "{what}");
        assert_eq!(after, frame, "{what}: untouched");
    }
}

/// An outer header with nothing in it.
fn inner_tiny() -> Vec<u8> {
    over4(IPIP, &[])
}

/// Whatever bytes there are: what is taken goes to the VIP, is whole, and is the frame's own end but
/// for the two fields that may change; all else stays as it was.
#[test]
fn changed_at_random() {
    let Some(bench) = Bench::new() else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize % below
    };
    let samples = samples();
    let mut taken = 0;
    for _ in 0..20_000 {
        let (what, whole) = &samples[next(samples.len())];
        let mut frame = whole.clone();
        for _ in 0..=next(3) {
            // The headers are at the front; in the rest little can go wrong.
            let at = 12 + next(frame.len() - 12);
            frame[at] = next(256) as u8;
        }
        if next(4) == 0 {
            frame.truncate(14 + next(frame.len() - 13));
        }
        if next(2) == 0 && frame.len() >= 54 {
            frame = with_true_length(&frame);
        }
        let (verdict, after, counter) = bench.run(&frame);
        if counter.starts_with("decapsulated") {
            taken += 1;
            check_taken(what, &frame, &after);
        } else {
            assert_eq!(after, frame, "{what}: {counter}");
            assert_eq!(verdict == XDP_DROP, counter.starts_with("dropped"), "{what}: {counter}");
        }
    }
    assert!(taken > 1000, "only {taken} were taken");
}

fn check_taken(what: &str, frame: &[u8], after: &[u8]) {
    assert_eq!(after[..12], frame[..12], "{what}");
    let (inner, before) = (&after[14..], &frame[frame.len() - (after.len() - 14)..]);
    let mut same = before.to_vec();
    if inner[0] >> 4 == 4 {
        assert_eq!(after[12..14], TYPE4.to_be_bytes(), "{what}");
        assert_eq!(inner[16..20], [10, 1, 0, 100], "{what}");
        let total = usize::from(u16::from_be_bytes([inner[2], inner[3]]));
        assert!(total >= 20 && total <= inner.len(), "{what}");
        same[1] = same[1] & !3 | inner[1] & 3;
        same[10..12].copy_from_slice(&inner[10..12]);
        let is_right = |header: &[u8]| checksum(&header[..usize::from(header[0] & 15) * 4]) == 0;
        assert_eq!(is_right(inner), is_right(before), "{what}");
    } else {
        assert_eq!(after[12..14], TYPE6.to_be_bytes(), "{what}");
        assert_eq!(std::net::IpAddr::from(<[u8; 16]>::try_from(&inner[24..40]).unwrap()), ip(VIP6));
        let payload = usize::from(u16::from_be_bytes([inner[4], inner[5]]));
        assert!(40 + payload <= inner.len(), "{what}");
        same[1] = same[1] & !0x30 | inner[1] & 0x30;
        same[7] = same[7].min(254);
    }
    assert_eq!(inner, same, "{what}");
}
