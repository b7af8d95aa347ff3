//! Good frames as literal bytes, for tests: from 02:00:00:00:00:c1 to 02:00:00:00:00:01, IPv4 ones
//! from 10.1.0.50 to 10.1.0.100.

use super::{Body, IPV4_LEN, IpPacket, Packet, ParseOutcome, checksum, parse};

mod ipv6;

pub use ipv6::*;

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

/// First fragment of a TCP segment, with its whole header.
pub const FRAGMENT_FIRST_TCP: &str = "\
    020000000001 0200000000c1 0800 \
    4500002c 12342000 40063401 0a010032 0a010064 \
    9c400050 11223345 55667788 5018faf0 f2550000 \
    00000000";

/// First fragment of a TCP segment that ends within its header.
pub const FRAGMENT_TINY: &str = "\
    020000000001 0200000000c1 0800 \
    45000024 12342000 40063409 0a010032 0a010064 \
    9c400050 11223345 55667788 5018faf0";

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

/// TCP SYN on VLAN 10 with priority 5.
pub const TCP_SYN_VLAN: &str = "\
    020000000001 0200000000c1 8100 a00a 0800 \
    4500003c 12344000 400613f1 0a010032 0a010064 \
    9c400050 11223344 00000000 a002faf0 57800000 020405b4 0402080a 00000001 00000000 01030307";

/// UDP on VLAN 10 in service VLAN 100.
pub const UDP_QINQ: &str = "\
    020000000001 0200000000c1 88a8 0064 8100 000a 0800 \
    45000025 12344000 401113fd 0a010032 0a010064 \
    14e90035 00111d4c \
    67756964 65776179 21";

/// UDP with a priority tag, which names no VLAN.
pub const UDP_PRIORITY: &str = "\
    020000000001 0200000000c1 8100 a000 0800 \
    45000025 12344000 401113fd 0a010032 0a010064 \
    14e90035 00111d4c \
    67756964 65776179 21";

/// ARP on VLAN 10: 10.1.0.50 asks for 10.1.0.100.
pub const ARP_REQUEST_VLAN: &str = "\
    ffffffffffff 0200000000c1 8100 000a 0806 \
    0001 0800 06 04 0001 \
    0200000000c1 0a010032 000000000000 \
    0a010064";

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
    ("first fragment of TCP", FRAGMENT_FIRST_TCP),
    ("tiny first fragment", FRAGMENT_TINY),
    ("TCP SYN on a VLAN", TCP_SYN_VLAN),
    ("UDP on QinQ", UDP_QINQ),
    ("UDP with a priority tag", UDP_PRIORITY),
    ("ARP request on a VLAN", ARP_REQUEST_VLAN),
    ("IPv6 TCP SYN", TCP_SYN_V6),
    ("IPv6 TCP data", TCP_DATA_V6),
    ("IPv6 TCP RST", TCP_RST_V6),
    ("IPv6 UDP data", UDP_DATA_V6),
    ("IPv6 UDP without checksum", UDP_NO_CHECKSUM_V6),
    ("IPv6 UDP sum of all ones", UDP_ALL_ONES_V6),
    ("UDP behind IPv6 options", UDP_V6_OPTIONS),
    ("TCP behind a routing header", TCP_V6_ROUTED),
    ("TCP in an atomic fragment", TCP_V6_ATOMIC),
    ("IPv6 first fragment", FRAGMENT_FIRST_V6),
    ("IPv6 last fragment", FRAGMENT_LAST_V6),
    ("IPv6 tiny first fragment", FRAGMENT_TINY_V6),
    ("IPv6 echo request", ECHO_REQUEST_V6),
    ("IPv6 echo request behind options", ECHO_REQUEST_V6_OPTIONS),
    ("packet too big", PACKET_TOO_BIG),
    ("solicitation", SOLICITATION),
    ("solicitation to one host", SOLICITATION_UNICAST),
    ("solicitation of a probe", SOLICITATION_PROBE),
    ("MLD report", MLD_REPORT),
    ("IPv6 GRE", GRE_V6),
    ("IPv6 UDP on a VLAN", UDP_V6_VLAN),
    ("IPv6 TCP SYN on QinQ", TCP_SYN_V6_QINQ),
    ("solicitation on a VLAN", SOLICITATION_VLAN),
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

/// A frame that has to be an IP packet.
pub fn ip(frame: &[u8]) -> IpPacket {
    match packet(frame).body {
        Body::Ip(ip) => ip,
        Body::Arp(arp) => panic!("{arp:?}: {frame:02x?}"),
    }
}

/// The same frame with these tags in front of those it has.
pub fn tagged(frame: &[u8], tags: &str) -> Vec<u8> {
    [&frame[..12], &bytes(tags), &frame[12..]].concat()
}

/// Makes the IPv4 header checksum right again after a test changed the header. Other frames stay.
pub fn mend_header(frame: &mut [u8]) {
    let mut ethertype = 12;
    while matches!(frame.get(ethertype..ethertype + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
        ethertype += 4;
    }
    let start = ethertype + 2;
    if frame.len() < start + IPV4_LEN || frame[ethertype..start] != [0x08, 0x00] {
        return;
    }
    let end = (start + usize::from(frame[start] & 15) * 4).clamp(start + IPV4_LEN, frame.len());
    frame[start + 10..start + 12].fill(0);
    let sum = !checksum::fold(checksum::sum(&frame[start..end]));
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}
