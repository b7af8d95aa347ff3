//! Good frames as literal bytes, for tests: from 02:00:00:00:00:c1 to 02:00:00:00:00:01.

use super::{Packet, ParseOutcome, checksum, parse};

/// TCP SYN with options, 10.1.0.50:40000 -> 10.1.0.100:80.
pub const TCP_SYN: &str = "\
    020000000001 0200000000c1 0800 \
    4500003c 12344000 400613f1 0a010032 0a010064 \
    9c400050 11223344 00000000 a002faf0 57800000 020405b4 0402080a 00000001 00000000 01030307";

/// TCP PSH|ACK with an odd number of bytes of data.
pub const TCP_DATA: &str = "\
    020000000001 0200000000c1 0800 \
    45000039 12344000 400613f4 0a010032 0a010064 \
    9c400050 11223345 55667788 5018faf0 13b70000 \
    47455420 2f204854 54502f31 2e300d0a 0d";

/// TCP FIN|ACK of 54 bytes, padded to 60.
pub const TCP_FIN_PADDED: &str = "\
    020000000001 0200000000c1 0800 \
    45000028 12344000 40061405 0a010032 0a010064 \
    9c400050 fffffffe 55667788 5011faf0 36cd0000 \
    00000000 0000";

/// TCP RST.
pub const TCP_RST: &str = "\
    020000000001 0200000000c1 0800 \
    45000028 12344000 40061405 0a010032 0a010064 \
    9c400050 fffffffe 55667788 5004faf0 36da0000";

/// UDP with an odd number of bytes of data, 10.1.0.50:5353 -> 10.1.0.100:53.
pub const UDP_DATA: &str = "\
    020000000001 0200000000c1 0800 \
    45000025 12344000 401113fd 0a010032 0a010064 \
    14e90035 00111d4c \
    67756964 65776179 21";

/// UDP without a checksum.
pub const UDP_NO_CHECKSUM: &str = "\
    020000000001 0200000000c1 0800 \
    45000025 12344000 401113fd 0a010032 0a010064 \
    14e90035 00110000 \
    67756964 65776179 21";

/// UDP whose sum is zero, written as all ones.
pub const UDP_ALL_ONES: &str = "\
    020000000001 0200000000c1 0800 \
    4500001e 12344000 40111404 0a010032 0a010064 \
    14e90035 000affff \
    d624";

/// UDP without data, behind an IPv4 header with options (no-operation, end).
pub const UDP_IP_OPTIONS: &str = "\
    020000000001 0200000000c1 0800 \
    46000020 12344000 40111101 0a010032 0a010064 01010100 \
    14e90035 0008d628";

/// ICMP echo request.
pub const ECHO_REQUEST: &str = "\
    020000000001 0200000000c1 0800 \
    45100024 12344000 400113fe 0a010032 0a010064 \
    0800a144 beef0001 \
    67756964 65776179";

/// ICMP echo request behind IPv4 options.
pub const ECHO_REQUEST_IP_OPTIONS: &str = "\
    020000000001 0200000000c1 0800 \
    4700002c 12340000 40014e02 0a010032 0a010064 01010101 \
    01010101 \
    0800a144 beef0001 \
    67756964 65776179";

/// ICMP host unreachable with its quote.
pub const ICMP_UNREACHABLE: &str = "\
    020000000001 0200000000c1 0800 \
    45000038 12344000 400113fa 0a010032 0a010064 \
    0301e7d8 00000000 \
    4500001c 12344000 40111406 0a010064 0a010032 003514e9 00080000";

/// First fragment of a UDP datagram.
pub const FRAGMENT_FIRST: &str = "\
    020000000001 0200000000c1 0800 \
    45000024 12342000 401133fe 0a010032 0a010064 \
    14e90035 0010d618 \
    00000000 00000000";

/// Last fragment of a UDP datagram.
pub const FRAGMENT_LAST: &str = "\
    020000000001 0200000000c1 0800 \
    4500001c 12340002 40115404 0a010032 0a010064 \
    00010203 \
    04050607";

/// GRE, which is not balanced.
pub const GRE: &str = "\
    020000000001 0200000000c1 0800 \
    45000018 12344000 402f13ec 0a010032 0a010064 \
    00000800";

/// ARP: 10.1.0.50 asks for 10.1.0.100.
pub const ARP_REQUEST: &str = "\
    ffffffffffff 0200000000c1 0806 \
    0001 0800 06 04 0001 \
    0200000000c1 0a010032 000000000000 \
    0a010064";

/// ARP: 02:00:00:00:00:01 has it.
pub const ARP_REPLY: &str = "\
    0200000000c1 020000000001 0806 \
    0001 0800 06 04 0002 \
    020000000001 0a010064 0200000000c1 \
    0a010032";

/// Every sample with its name.
pub const ALL: &[(&str, &str)] = &[
    ("TCP SYN", TCP_SYN),
    ("TCP data", TCP_DATA),
    ("TCP FIN, padded", TCP_FIN_PADDED),
    ("TCP RST", TCP_RST),
    ("UDP data", UDP_DATA),
    ("UDP without checksum", UDP_NO_CHECKSUM),
    ("UDP sum of all ones", UDP_ALL_ONES),
    ("UDP behind IPv4 options", UDP_IP_OPTIONS),
    ("echo request", ECHO_REQUEST),
    ("echo request behind IPv4 options", ECHO_REQUEST_IP_OPTIONS),
    ("host unreachable", ICMP_UNREACHABLE),
    ("first fragment", FRAGMENT_FIRST),
    ("last fragment", FRAGMENT_LAST),
    ("GRE", GRE),
    ("ARP request", ARP_REQUEST),
    ("ARP reply", ARP_REPLY),
];

/// Hexadecimal text, spaces for the eye, as bytes.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

/// A frame that has to parse.
pub fn packet(frame: &[u8]) -> Packet {
    match parse(frame) {
        ParseOutcome::Parsed(packet) => packet,
        other => panic!("{other:?}: {frame:02x?}"),
    }
}

/// Makes the IPv4 header checksum right again after a test changed the header.
pub fn mend_header(frame: &mut [u8]) {
    let end = (14 + usize::from(frame[14] & 15) * 4).min(frame.len());
    frame[24..26].fill(0);
    let sum = !checksum::fold(checksum::sum(&frame[14..end]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
