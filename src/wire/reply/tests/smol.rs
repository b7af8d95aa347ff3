//! Answers as smoltcp reads them.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, IcmpRepr, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress,
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, TcpRepr,
};

use super::*;

/// An IP packet.
pub(super) struct Ip<'a> {
    pub source: IpAddress,
    pub destination: IpAddress,
    pub protocol: IpProtocol,
    pub hop_limit: u8,
    pub payload: &'a [u8],
}

/// Behind the Ethernet header and its tags; of IPv4, a wrong header checksum is refused.
pub(super) fn ip(frame: &[u8]) -> Option<Ip<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    assert_eq!(MacAddress(ethernet.src_addr().0), packet(frame).link.source);
    // smoltcp knows no tags.
    let bytes = &frame[packet(frame).link.end()..];
    if bytes[0] >> 4 == 4 {
        let ipv4 = Ipv4Packet::new_checked(bytes).ok()?;
        let repr = Ipv4Repr::parse(&ipv4, &ChecksumCapabilities::default()).ok()?;
        let len = repr.payload_len;
        return Some(Ip {
            source: repr.src_addr.into(),
            destination: repr.dst_addr.into(),
            protocol: repr.next_header,
            hop_limit: repr.hop_limit,
            payload: &bytes[20..20 + len],
        });
    }
    let repr = Ipv6Repr::parse(&Ipv6Packet::new_checked(bytes).ok()?).ok()?;
    Some(Ip {
        source: repr.src_addr.into(),
        destination: repr.dst_addr.into(),
        protocol: repr.next_header,
        hop_limit: repr.hop_limit,
        payload: &bytes[40..40 + repr.payload_len],
    })
}

/// A TCP segment; a wrong checksum is refused.
pub(super) fn tcp(frame: &[u8]) -> Option<TcpRepr<'_>> {
    let ip = ip(frame).filter(|ip| ip.protocol == IpProtocol::Tcp)?;
    let tcp = TcpPacket::new_checked(ip.payload).ok()?;
    TcpRepr::parse(&tcp, &ip.source, &ip.destination, &ChecksumCapabilities::default()).ok()
}

/// An ICMP or ICMPv6 message; a wrong checksum is refused.
pub(super) fn icmp(frame: &[u8]) -> Option<IcmpRepr<'_>> {
    let (ip, sums) = (ip(frame)?, ChecksumCapabilities::default());
    match (ip.source, ip.destination, ip.protocol) {
        (IpAddress::Ipv4(_), _, IpProtocol::Icmp) => {
            let message = Icmpv4Packet::new_checked(ip.payload).ok()?;
            Icmpv4Repr::parse(&message, &sums).ok().map(IcmpRepr::Ipv4)
        }
        (IpAddress::Ipv6(from), IpAddress::Ipv6(to), IpProtocol::Icmpv6) => {
            let message = Icmpv6Packet::new_checked(ip.payload).ok()?;
            Icmpv6Repr::parse(&from, &to, &message, &sums).ok().map(IcmpRepr::Ipv6)
        }
        _ => None,
    }
}

/// Are all its checksums right?
pub(super) fn verifies(frame: &[u8]) -> bool {
    let Some(ip) = ip(frame) else { return false };
    match (ip.source, ip.destination, ip.protocol) {
        (.., IpProtocol::Tcp) => TcpPacket::new_checked(ip.payload)
            .is_ok_and(|tcp| tcp.verify_checksum(&ip.source, &ip.destination)),
        (.., IpProtocol::Icmp) => {
            Icmpv4Packet::new_checked(ip.payload).is_ok_and(|message| message.verify_checksum())
        }
        (IpAddress::Ipv6(from), IpAddress::Ipv6(to), IpProtocol::Icmpv6) => {
            Icmpv6Packet::new_checked(ip.payload)
                .is_ok_and(|message| message.verify_checksum(&from, &to))
        }
        _ => false,
    }
}

#[test]
fn it_agrees_that_the_samples_are_good() {
    // Whole packets without extension headers, which it would have to be asked for one by one.
    for (name, sample) in s::ALL {
        let frame = bytes(sample);
        let Body::Ip(asked) = packet(&frame).body else { continue };
        let is_plain = asked.payload_start() - asked.start() == header_len(asked.family());
        let is_icmp = matches!(asked.key.protocol, 1 | 58);
        match asked.content {
            Content::Tcp(_) if is_plain => assert!(tcp(&frame).is_some(), "{name}"),
            Content::Fragment(_) => {}
            _ if is_icmp && is_plain => assert!(verifies(&frame), "{name}"),
            _ => {}
        }
    }
}
