//! Neighbour advertisements.

use smoltcp::wire::{
    EthernetAddress, IcmpRepr, Icmpv6Repr, IpAddress, NdiscNeighborFlags, NdiscRepr,
};

use super::*;
use crate::wire::unsolicited_advertisement;

const VIP: Address = Address::v6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);

const VIP_HEX: &str = "20010db8 00010000 00000000 00000100";

#[test]
fn advertisements_byte_by_byte() {
    let solicited = format!(
        "60000000 00203aff {VIP_HEX} 20010db8 00010000 00000000 00000050 \
         88008824 60000000 {VIP_HEX} 0201 020000000001"
    );
    let to_all = format!(
        "60000000 00203aff {VIP_HEX} ff020000 00000000 00000000 00000001 \
         8800f72a 20000000 {VIP_HEX} 0201 020000000001"
    );
    let rows = [
        (s::SOLICITATION, format!("0200000000c1 020000000001 86dd {solicited}")),
        (s::SOLICITATION_UNICAST, format!("0200000000c1 020000000001 86dd {solicited}")),
        (s::SOLICITATION_PROBE, format!("333300000001 020000000001 86dd {to_all}")),
        (s::SOLICITATION_VLAN, format!("0200000000c1 020000000001 8100 000a 86dd {solicited}")),
    ];
    for (sample, wanted) in rows {
        assert_eq!(answered(&bytes(sample), ADVERTISEMENT), Some(bytes(&wanted)), "{sample}");
    }
    let mac = OUR_MAC;
    let wanted = bytes(&format!("333300000001 020000000001 86dd {to_all}"));
    assert_eq!(unsolicited_advertisement(mac, VIP).as_slice(), wanted);
}

/// What smoltcp says an advertisement says: to whom, its flags, target, and MAC.
fn read(frame: &[u8]) -> (IpAddress, NdiscNeighborFlags, Address, MacAddress) {
    let ip = smol::ip(frame).unwrap();
    assert_eq!(ip.hop_limit, 255);
    let Some(IcmpRepr::Ipv6(Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags,
        target_addr,
        lladdr: Some(mac),
    }))) = smol::icmp(frame)
    else {
        panic!("another message: {frame:02x?}")
    };
    assert_eq!(ip.source, IpAddress::Ipv6(target_addr), "an address speaks for itself");
    let mac = EthernetAddress::from_bytes(mac.as_bytes());
    (ip.destination, flags, target_addr.into(), MacAddress(mac.0))
}

#[test]
fn smoltcp_reads_them_on_any_vlan() {
    let to_asker = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    let to_all = NdiscNeighborFlags::OVERRIDE;
    let client = "2001:db8:1::50".parse::<std::net::Ipv6Addr>().unwrap();
    let all_nodes = "ff02::1".parse::<std::net::Ipv6Addr>().unwrap();
    for (sample, destination, flags) in [
        (s::SOLICITATION, client, to_asker),
        (s::SOLICITATION_UNICAST, client, to_asker),
        (s::SOLICITATION_PROBE, all_nodes, to_all),
    ] {
        for tags in TAGS {
            let frame = tagged(&bytes(sample), tags);
            let answer = answered(&frame, ADVERTISEMENT).unwrap();
            let found = read(&answer);
            assert_eq!(found.0, IpAddress::Ipv6(destination), "{sample}");
            assert_eq!(found.1.bits(), flags.bits(), "{sample}");
            assert_eq!((found.2, found.3), (VIP, OUR_MAC), "{sample}");
            let link = packet(&answer).link;
            assert_eq!(link.source, OUR_MAC, "not the group that was asked");
            let end = link.end();
            assert_eq!(answer[12..end], frame[12..end], "tags with their priority");
            assert_eq!(answer.len(), end + 40 + 32, "{sample}");
        }
    }
}

#[test]
fn our_mac_and_its_address_are_what_is_said() {
    for last in [2u8, 0x80, 0xff] {
        let (mac, address) = (MacAddress([2, 0, 0, 0, 0, last]), Address::v6([0x20 | last; 16]));
        let frame = unsolicited_advertisement(mac, address);
        let (to, flags, target, found) = read(&frame);
        assert_eq!((target, found), (address, mac));
        assert_eq!(to, IpAddress::Ipv6("ff02::1".parse().unwrap()));
        assert_eq!(flags.bits(), NdiscNeighborFlags::OVERRIDE.bits());
    }
    // A port with another MAC answers with that one, whoever was asked.
    let frame = bytes(s::SOLICITATION_UNICAST);
    let answer: Answer =
        |view, ip| neighbour_advertisement(view, ip, MacAddress([2, 0, 0, 0, 9, 9]));
    let answer = answered(&frame, answer).unwrap();
    assert_eq!(read(&answer).3, MacAddress([2, 0, 0, 0, 9, 9]));
    assert_eq!(packet(&answer).link.source, MacAddress([2, 0, 0, 0, 9, 9]));
}

#[test]
fn what_is_not_a_question_of_one_neighbour_gets_no_answer() {
    let rows: [(&str, &str, Edit); 12] = [
        ("over a router", s::SOLICITATION, |f| f[21] = 254),
        ("hop limit 0", s::SOLICITATION, |f| f[21] = 0),
        ("a probe over a router", s::SOLICITATION_PROBE, |f| f[21] = 64),
        ("from a group MAC", s::SOLICITATION, |f| f[6] |= 1),
        ("from no MAC", s::SOLICITATION, |f| f[6..12].fill(0)),
        ("a probe from a group MAC", s::SOLICITATION_PROBE, |f| f[6..12].fill(0xff)),
        ("from multicast", s::SOLICITATION, |f| f[22] = 0xff),
        ("from loopback", s::SOLICITATION_PROBE, |f| f[37] = 1),
        ("for multicast", s::SOLICITATION, |f| f[62] = 0xff),
        ("for loopback", s::SOLICITATION, |f| {
            f[62..78].fill(0);
            f[77] = 1;
        }),
        ("for nobody", s::SOLICITATION, |f| f[62..78].fill(0)),
        ("an advertisement", s::SOLICITATION, |f| f[54] = 136),
    ];
    for (what, sample, change) in rows {
        let mut frame = bytes(sample);
        change(&mut frame);
        nobody_answers(&frame, what);
    }
}

#[test]
fn fragments_of_solicitations_get_no_answer() {
    // RFC 6980 section 5.
    let mut frame = bytes(s::SOLICITATION_UNICAST);
    frame.splice(54..54, bytes("3a000001 00000001"));
    (frame[19], frame[20]) = (frame[19] + 8, 44);
    assert!(matches!(s::ip(&frame).content, Content::Fragment(_)));
    nobody_answers(&frame, "a fragment");
}

#[test]
fn an_advertisement_has_its_room_or_is_not_made() {
    // What a solicitation lacks to the option with our MAC.
    for (sample, growth) in
        [(s::SOLICITATION, 0), (s::SOLICITATION_UNICAST, 8), (s::SOLICITATION_PROBE, 8)]
    {
        for room in 0..12 {
            let frame = bytes(sample);
            let asked = s::ip(&frame);
            let mut chunk = [frame.clone(), vec![0xee; room]].concat();
            let untouched = chunk.clone();
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            let made = ADVERTISEMENT(&mut view, &asked);
            assert_eq!(made, room >= growth, "{room}: {sample}");
            if made {
                assert_eq!(read(view.bytes()).2, VIP, "{room}: {sample}");
            } else {
                assert_eq!(chunk, untouched, "{room}: {sample}");
            }
        }
    }
}
