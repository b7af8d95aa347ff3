//! Questions and answers about MACs: a stack's neighbours, and a VIP on a machine's loopback. The machine neither answers ARP for it nor asks in its name
//! (`arp_ignore` and `arp_announce` of a real backend; with IPv6 that is Linux' habit).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet,
};

const ARP: [u8; 2] = [0x08, 0x06];
const ARP_SENDER: std::ops::Range<usize> = 28..32;
const ARP_TARGET: std::ops::Range<usize> = 38..42;

/// The address an ARP packet or a neighbour solicitation asks for.
pub fn asked_for(frame: &[u8]) -> Option<IpAddr> {
    if frame.get(12..14) == Some(&ARP) {
        let target: [u8; 4] = frame.get(ARP_TARGET)?.try_into().ok()?;
        return Some(target.into());
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv6 {
        return None;
    }
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let is_question = packet.next_header() == IpProtocol::Icmpv6
        && message.msg_type() == Icmpv6Message::NeighborSolicit;
    is_question.then(|| message.target_addr().into())
}

/// Of a frame from which a stack learns a neighbour's MAC: the neighbour's address.
pub fn neighbour_in(frame: &[u8]) -> Option<IpAddr> {
    if frame.get(12..14) == Some(&ARP) {
        let sender: [u8; 4] = frame.get(ARP_SENDER)?.try_into().ok()?;
        return Some(sender.into());
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let is_answer = ethernet.ethertype() == EthernetProtocol::Ipv6
        && packet.next_header() == IpProtocol::Icmpv6
        && message.msg_type() == Icmpv6Message::NeighborAdvert;
    is_answer.then(|| packet.src_addr().into())
}

/// In a question sent in the name of `vip`, puts `own` in its place.
pub fn ask_as(frame: &mut [u8], vip: IpAddr, own: IpAddr) {
    match (vip, own) {
        (IpAddr::V4(vip), IpAddr::V4(own)) => ask_as_ipv4(frame, vip, own),
        (IpAddr::V6(vip), IpAddr::V6(own)) if asked_for(frame).is_some() => {
            ask_as_ipv6(frame, vip, own);
        }
        _ => {}
    }
}

fn ask_as_ipv4(frame: &mut [u8], vip: Ipv4Addr, own: Ipv4Addr) {
    if frame.get(12..14) == Some(&ARP)
        && let Some(sender) = frame.get_mut(ARP_SENDER)
        && *sender == vip.octets()
    {
        sender.copy_from_slice(&own.octets());
    }
}

fn ask_as_ipv6(frame: &mut [u8], vip: Ipv6Addr, own: Ipv6Addr) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    if packet.src_addr() == vip {
        packet.set_src_addr(own);
        let destination = packet.dst_addr();
        let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
        message.fill_checksum(&own, &destination);
    }
}
