//! Explicit congestion notification over the tunnel's end (RFC 6040 section 4.2, figure 4).

use super::frames::*;
use super::{Bench, XDP_DROP, XDP_PASS};

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Inner field as it arrives; then what it becomes by the outer one: not-ECT, ECT(0), ECT(1), CE.
const FIGURE_4: [(u8, [Option<u8>; 4]); 4] = [
    (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
    (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
    (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
    (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
];

#[test]
fn all_combinations_in_all_families() {
    let Some(bench) = Bench::new() else { return };
    // The six bits beside it are the inner packet's own, whatever the outer ones are.
    const DSCP: u8 = 0xb8;
    for (inner, row) in FIGURE_4 {
        for (outer, wanted) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
            let four = |ecn| Ipv4 { tos: DSCP | ecn, ..Ipv4::INNER }.around(&payload());
            let six = |ecn| Ipv6 { class: DSCP | ecn, ..Ipv6::INNER }.around(&payload());
            let in4 = |protocol, body: &[u8]| {
                ethernet(TYPE4, &Ipv4 { protocol, tos: 0x20 | outer, ..Ipv4::OUTER }.around(body))
            };
            let in6 = |next, body: &[u8]| {
                ethernet(TYPE6, &Ipv6 { next, class: 0x20 | outer, ..Ipv6::OUTER }.around(body))
            };
            let after4 = wanted.map(|ecn| ethernet(TYPE4, &four(ecn)));
            let after6 = wanted.map(|ecn| ethernet(TYPE6, &six(ecn)));
            for (families, frame, after) in [
                ("4 in 4", in4(IPIP, &four(inner)), &after4),
                ("6 in 4", in4(IPV6, &six(inner)), &after6),
                ("4 in 6", in6(IPIP, &four(inner)), &after4),
                ("6 in 6", in6(IPV6, &six(inner)), &after6),
            ] {
                let outcome = match after {
                    Some(after) => (XDP_PASS, after.clone(), "decapsulated_ipip"),
                    None => (XDP_DROP, frame.clone(), "dropped_ecn"),
                };
                let what = format!("inner {inner:02b}, outer {outer:02b}, {families}");
                assert_eq!(bench.run(&frame), outcome, "{what}");
            }
        }
    }
}

/// A checksum that was wrong stays wrong, and every right one stays right, whatever it is.
#[test]
fn the_checksum_follows_for_all_of_its_values() {
    let Some(bench) = Bench::new() else { return };
    for identification in (0..=u16::MAX).step_by(257) {
        let mut inner = Ipv4 { tos: ECT_0, ..Ipv4::INNER }.around(&payload());
        inner[4..6].copy_from_slice(&identification.to_be_bytes());
        inner[10..12].copy_from_slice(&[0, 0]);
        let sum = checksum(&inner[..20]);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
        let outer = Ipv4 { tos: CE, ..Ipv4::OUTER };
        let (_, after, counter) = bench.run(&ethernet(TYPE4, &outer.around(&inner)));
        assert_eq!((counter, after[15]), ("decapsulated_ipip", CE));
        assert_eq!(checksum(&after[14..34]), 0, "identification {identification}");
        let (_, after, _) = bench.run(&ethernet(TYPE4, &outer.around(&with(inner, 5, 0x55))));
        let stays_wrong = identification & 0xff == 0x55 || checksum(&after[14..34]) != 0;
        assert!(stays_wrong, "identification {identification}");
    }
}
