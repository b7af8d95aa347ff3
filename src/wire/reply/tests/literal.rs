//! Answers byte by byte.

use super::*;

const FROM_TO_V6: &str = "20010db8 00010000 00000000 00000100 20010db8 00010000 00000000 00000050";
const FROM_UDP_V6: &str = "60000000 00111140 20010db8 00010000 00000000 00000050 20010db8 00010000 \
     00000000 00000100 14e90035 0011d51f 67756964 65776179 21";
const FROM_UDP: &str =
    "45000025 12344000 401113fd 0a010032 0a010064 14e90035 00111d4c 67756964 65776179 21";

/// What is answered, the sample, how, and the answer.
type Row = (&'static str, &'static str, Answer, String);

fn check(rows: &[Row]) {
    for (what, frame, answer, wanted) in rows {
        assert_eq!(answered(&bytes(frame), *answer), Some(bytes(wanted)), "{what}");
    }
}

#[test]
fn answers_byte_by_byte() {
    let v4 = "0200000000c1 020000000001 0800";
    let error_v4 = "45c00041 00004000 40012565 0a010064 0a010032";
    check(&[
        (
            "reset to a SYN",
            s::TCP_SYN,
            RESET,
            format!(
                "{v4} 45000028 00004000 40062639 0a010064 0a010032 \
                 00509c40 00000000 11223345 50140000 ba410000  00000000 0000"
            ),
        ),
        (
            "echo reply",
            s::ECHO_REQUEST,
            ECHO,
            format!(
                "{v4} 45100024 12344000 400113fe 0a010064 0a010032 \
                 0000a944 beef0001  67756964 65776179  0000 00000000 00000000"
            ),
        ),
        (
            "port unreachable",
            s::UDP_DATA,
            UNREACHABLE,
            format!("{v4} {error_v4} 030311b7 00000000 {FROM_UDP}"),
        ),
        ("too big", s::UDP_DATA, TOO_BIG, format!("{v4} {error_v4} 03040cb6 00000500 {FROM_UDP}")),
        (
            "exceeded",
            s::UDP_DATA,
            EXCEEDED,
            format!("{v4} {error_v4} 0b0009ba 00000000 {FROM_UDP}"),
        ),
    ]);
}

#[test]
fn ipv6_answers_byte_by_byte() {
    let v6 = "0200000000c1 020000000001 86dd";
    let error_v6 = format!("60000000 00413a40 {FROM_TO_V6}");
    check(&[
        (
            "reset to an IPv6 SYN",
            s::TCP_SYN_V6,
            RESET,
            format!(
                "{v6} 60000000 00140640 {FROM_TO_V6} \
                 00509c40 00000000 11223345 50140000 72150000"
            ),
        ),
        (
            "ICMPv6 echo reply",
            s::ECHO_REQUEST_V6,
            ECHO,
            format!("{v6} 60100000 00103a40 {FROM_TO_V6} 8100cb35 beef0001 67756964 65776179"),
        ),
        (
            "ICMPv6 port unreachable",
            s::UDP_DATA_V6,
            UNREACHABLE,
            format!("{v6} {error_v6} 0104308d 00000000 {FROM_UDP_V6}"),
        ),
        (
            "ICMPv6 too big",
            s::UDP_DATA_V6,
            TOO_BIG,
            format!("{v6} {error_v6} 02002a91 00000500 {FROM_UDP_V6}"),
        ),
        (
            "ICMPv6 exceeded",
            s::UDP_DATA_V6,
            EXCEEDED,
            format!("{v6} {error_v6} 03002e91 00000000 {FROM_UDP_V6}"),
        ),
    ]);
}
