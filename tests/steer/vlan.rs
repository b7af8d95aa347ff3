//! VLAN tags in the bytes.

use super::frames::*;
use super::{CLIENT, OTHER, OTHER_MAC, OURS, PASSED, Row, SHARED, SHARED6, TCP, VIP, VIP6, VLAN};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    let vlan = |frame: &[u8]| tagged(frame, &[(CUSTOMER, 10)]);
    let double = |frame: &[u8]| tagged(frame, &[(SERVICE, 100), (CUSTOMER, 10)]);
    let group = solicited_node(VIP6);
    let asked = to_group(solicitation(group, VIP6), group);
    vec![
        ("in a VLAN", vlan(&to(VIP, TCP, 80)), OURS),
        ("with a priority", tagged(&to(VIP, TCP, 80), &[(CUSTOMER, 0xa00a)]), OURS),
        ("with a priority and no VLAN", tagged(&to(VIP, TCP, 80), &[(CUSTOMER, 0xa000)]), OURS),
        ("in a service provider's VLAN", tagged(&to(VIP, TCP, 80), &[(SERVICE, 100)]), OURS),
        ("in both", double(&to(VIP, TCP, 80)), OURS),
        ("two customer tags", tagged(&to(VIP, TCP, 80), &[(CUSTOMER, 1), (CUSTOMER, 2)]), OURS),
        ("IPv6 in a VLAN", vlan(&to6(VIP6, TCP, 80)), OURS),
        ("IPv6 in both", double(&to6(VIP6, TCP, 80)), OURS),
        ("ARP in a VLAN", vlan(&arp(1, VIP)), OURS),
        ("ARP in both", double(&arp(1, VIP)), OURS),
        ("ARP for somebody else", vlan(&arp(1, CLIENT)), PASSED),
        ("a solicitation in a VLAN", vlan(&asked), OURS),
        ("a port of the shared address", vlan(&to(SHARED, TCP, 80)), OURS),
        ("a port of the machine", vlan(&to(SHARED, TCP, 22)), PASSED),
        ("an IPv6 port of the shared address", double(&to6(SHARED6, TCP, 80)), OURS),
        ("an IPv6 port of the machine", double(&to6(SHARED6, TCP, 22)), PASSED),
        ("an error of ours", vlan(&icmp(SHARED, 3, &quoted(SHARED, TCP, 80, 0, 0))), OURS),
        ("nobody's address", vlan(&to(CLIENT, TCP, 80)), PASSED),
        ("another station's MAC", vlan(&with_destination(to(VIP, TCP, 80), OTHER)), OTHER_MAC),
        ("three tags", tagged(&to(VIP, TCP, 80), &[(SERVICE, 1), (CUSTOMER, 2), (CUSTOMER, 3)]), VLAN),
        ("cut within the tag", cut(vlan(&to(VIP, TCP, 80)), 17), PASSED),
        ("cut within the inner tag", cut(double(&to(VIP, TCP, 80)), 21), PASSED),
        ("cut within the packet", cut(vlan(&to(VIP, TCP, 80)), 18 + 19), PASSED),
    ]
}
