//! A router on the way to a machine, over whose other side only short packets go: it answers longer
//! ones with an ICMP error (RFC 1191 section 4, RFC 4443 section 3.2).

use guideway::wire::{MacAddress, PortId};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

use super::site::address;
use guideway::wire::Family;

const MACS: usize = 12;
const ETHERNET_LEN: usize = 14;
/// Most bytes of a quote (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c), and the fewest: a header
/// and eight bytes (RFC 792).
const MOST_V4: usize = 548;
const MOST_V6: usize = 1232;
const FEWEST_V4: usize = 28;

/// Bytes of the IP packet in a frame; none of another frame.
pub fn packet_len(frame: &[u8]) -> Option<usize> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            Some(usize::from(ip.total_len()))
        }
        EthernetProtocol::Ipv6 => {
            Some(Ipv6Packet::new_checked(ethernet.payload()).ok()?.total_len())
        }
        _ => None,
    }
}

/// The error about a packet that is too long, to the station that it came from. What may be
/// fragmented is none of a narrow path's troubles, and gets none.
pub fn too_big(frame: &[u8], port: PortId, mtu: usize, is_short: bool) -> Option<Vec<u8>> {
    let mut packet = match EthernetFrame::new_checked(frame).ok()?.ethertype() {
        EthernetProtocol::Ipv4 => too_big_v4(&frame[ETHERNET_LEN..], port, is_short)?,
        _ => too_big_v6(&frame[ETHERNET_LEN..], port, mtu)?,
    };
    if frame[12..14] == [0x08, 0x00] {
        // The low half of what smoltcp leaves unused (RFC 1191 section 4).
        packet[26..28].copy_from_slice(&(mtu as u16).to_be_bytes());
        Icmpv4Packet::new_unchecked(&mut packet[20..]).fill_checksum();
    }
    // Back to where it came from.
    let (to, from) = (&frame[6..MACS], &frame[..6]);
    Some([to, from, &frame[MACS..ETHERNET_LEN], &packet].concat())
}

fn too_big_v4(sent: &[u8], port: PortId, is_short: bool) -> Option<Vec<u8>> {
    let ip = Ipv4Packet::new_checked(sent).ok().filter(Ipv4Packet::dont_frag)?;
    let std::net::IpAddr::V4(router) = address(Family::Ipv4, port, 254) else { return None };
    let most = if is_short { FEWEST_V4 } else { MOST_V4 };
    let quote = &sent[..most.min(usize::from(ip.total_len()))];
    let header = Ipv4Repr {
        src_addr: ip.src_addr(),
        dst_addr: ip.dst_addr(),
        next_header: ip.next_header(),
        payload_len: usize::from(ip.total_len()) - 20,
        hop_limit: ip.hop_limit(),
    };
    let icmp = Icmpv4Repr::DstUnreachable {
        reason: Icmpv4DstUnreachable::FragRequired,
        header,
        data: &quote[20..],
    };
    let outer = Ipv4Repr {
        src_addr: router,
        dst_addr: ip.src_addr(),
        next_header: IpProtocol::Icmp,
        payload_len: icmp.buffer_len(),
        hop_limit: 64,
    };
    let sums = ChecksumCapabilities::default();
    let mut packet = vec![0; 20 + icmp.buffer_len()];
    outer.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &sums);
    icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[20..]), &sums);
    // As it came, and not as smoltcp would have written it.
    packet[28..28 + quote.len()].copy_from_slice(quote);
    Some(packet)
}

fn too_big_v6(sent: &[u8], port: PortId, mtu: usize) -> Option<Vec<u8>> {
    let ip = Ipv6Packet::new_checked(sent).ok()?;
    let std::net::IpAddr::V6(router) = address(Family::Ipv6, port, 254) else { return None };
    let quote = &sent[..MOST_V6.min(ip.total_len())];
    let icmp = Icmpv6Repr::PktTooBig {
        mtu: mtu as u32,
        header: Ipv6Repr::parse(&ip).ok()?,
        data: &quote[40..],
    };
    let outer = Ipv6Repr {
        src_addr: router,
        dst_addr: ip.src_addr(),
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; 40 + icmp.buffer_len()];
    outer.emit(&mut Ipv6Packet::new_unchecked(&mut packet));
    let sums = ChecksumCapabilities::default();
    icmp.emit(&router, &ip.src_addr(), &mut Icmpv6Packet::new_unchecked(&mut packet[40..]), &sums);
    packet[48..48 + quote.len()].copy_from_slice(quote);
    Icmpv6Packet::new_unchecked(&mut packet[40..]).fill_checksum(&router, &ip.src_addr());
    Some(packet)
}

/// Where the way to a machine is narrow: behind which port, and to which station.
pub type NarrowWay = (PortId, MacAddress);
