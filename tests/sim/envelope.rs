//! Taking envelopes off, the slow and obvious way: what a backend's kernel does (RFC 2003, RFC 2473,
//! RFC 2784, RFC 2890, draft-ietf-intarea-gue). Whatever is not as it has to be is refused.

use std::net::IpAddr;

use guideway::wire::encap::{GueVersion, Tunnel};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, UdpPacket,
};

use super::pool::GUE_PORT;

const MACS: usize = 12;
const GRE: IpProtocol = IpProtocol::Unknown(47);
const IPV4_IN_IP: IpProtocol = IpProtocol::Unknown(4);
const IPV6_IN_IP: IpProtocol = IpProtocol::Unknown(41);
/// What the balancer writes outside, and what it takes off inside.
const OUTER_HOP_LIMIT: u8 = 64;

/// An IP header, and what is behind it.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    pub source: IpAddress,
    pub destination: IpAddress,
    pub protocol: IpProtocol,
    pub payload: &'a [u8],
    hop_limit: u8,
    /// IPv4 that may not be fragmented, or IPv6.
    is_whole: bool,
    ecn: u8,
}

/// The header of a packet that is no fragment; none when it is not sound.
pub fn outside(packet: &[u8]) -> Option<Outside<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok().filter(Ipv4Packet::verify_checksum)?;
            Some(Outside {
                source: ip.src_addr().into(),
                destination: ip.dst_addr().into(),
                protocol: ip.next_header(),
                payload: packet.get(usize::from(ip.header_len())..usize::from(ip.total_len()))?,
                hop_limit: ip.hop_limit(),
                is_whole: ip.dont_frag(),
                ecn: ip.ecn(),
            })
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            Some(Outside {
                source: ip.src_addr().into(),
                destination: ip.dst_addr().into(),
                protocol: ip.next_header(),
                payload: packet.get(40..ip.total_len())?,
                hop_limit: ip.hop_limit(),
                is_whole: true,
                ecn: ip.traffic_class() & 3,
            })
        }
        _ => None,
    }
}

/// Is the frame an envelope to this address?
pub fn is_to(frame: &[u8], address: IpAddr) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return false };
    let ip = matches!(ethernet.ethertype(), EthernetProtocol::Ipv4 | EthernetProtocol::Ipv6);
    ip && outside(ethernet.payload())
        .is_some_and(|outer| outer.destination == address.into() && is_envelope(&outer))
}

/// The frame with the packet that was in the envelope.
pub fn open(frame: &[u8], tunnel: Tunnel) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let outer = outside(ethernet.payload())?;
    let (inside, packet) = match tunnel {
        Tunnel::Ipip => behind_ip(&outer)?,
        Tunnel::Gre { key } => behind_gre(&outer, key)?,
        Tunnel::Gue { port, version, checksum } => {
            let udp = UdpPacket::new_checked(outer.payload).ok()?;
            let has_sum = udp.checksum() != 0;
            let wants_sum = checksum || matches!(outer.destination, IpAddress::Ipv6(_));
            if udp.dst_port() != port || has_sum != wants_sum {
                return None;
            }
            let (its, inside, packet) = behind_gue(&outer)?;
            (its == version).then_some((inside, packet))?
        }
    };
    let inner = outside(packet)?;
    let is_right = outer.hop_limit == OUTER_HOP_LIMIT
        // RFC 2003 section 3.1. IPv6 is never fragmented on its way.
        && (outer.is_whole == inner.is_whole || matches!(outer.destination, IpAddress::Ipv6(_)))
        && outer.ecn == inner.ecn
        // A hop of its own (RFC 2003 section 3.1): all senders here begin with 64.
        && inner.hop_limit == 63;
    let ethertype: [u8; 2] = if inside == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    is_right.then(|| [&frame[..MACS], &ethertype, packet].concat())
}

/// What a sound packet is the envelope of, whatever the kind.
pub fn inside<'a>(outer: &Outside<'a>) -> Option<&'a [u8]> {
    match outer.protocol {
        IPV4_IN_IP | IPV6_IN_IP => Some(behind_ip(outer)?.1),
        GRE => {
            let has_key = outer.payload.first()? & 0x20 != 0;
            let key = outer.payload.get(4..8).filter(|_| has_key);
            let key = key.map(|key| u32::from_be_bytes([key[0], key[1], key[2], key[3]]));
            Some(behind_gre(outer, key)?.1)
        }
        IpProtocol::Udp => Some(behind_gue(outer)?.2),
        _ => None,
    }
}

/// Is it a packet of a kind that is an envelope?
pub fn is_envelope(outer: &Outside<'_>) -> bool {
    let is_gue = || outer.payload.get(2..4) == Some(&GUE_PORT.to_be_bytes());
    match outer.protocol {
        IPV4_IN_IP | IPV6_IN_IP | GRE => true,
        IpProtocol::Udp => is_gue(),
        _ => false,
    }
}

/// The version of the packet inside, and the packet.
fn behind_ip<'a>(outer: &Outside<'a>) -> Option<(u8, &'a [u8])> {
    let version = match outer.protocol {
        IPV4_IN_IP => 4,
        IPV6_IN_IP => 6,
        _ => return None,
    };
    of_version(version, outer.payload)
}

fn behind_gre<'a>(outer: &Outside<'a>, key: Option<u32>) -> Option<(u8, &'a [u8])> {
    if outer.protocol != GRE {
        return None;
    }
    let flags: [u8; 2] = if key.is_some() { [0x20, 0] } else { [0, 0] };
    let rest = outer.payload.strip_prefix(&flags)?;
    let (version, rest) = match rest {
        [0x08, 0x00, rest @ ..] => (4, rest),
        [0x86, 0xdd, rest @ ..] => (6, rest),
        _ => return None,
    };
    match key {
        Some(key) => of_version(version, rest.strip_prefix(&key.to_be_bytes())?),
        None => of_version(version, rest),
    }
}

/// The first two bits of what UDP carries tell which form it is.
fn behind_gue<'a>(outer: &Outside<'a>) -> Option<(GueVersion, u8, &'a [u8])> {
    let udp = UdpPacket::new_checked(outer.payload).ok()?;
    let is_its_length = usize::from(udp.len()) == outer.payload.len();
    let is_sound = udp.checksum() == 0 || udp.verify_checksum(&outer.source, &outer.destination);
    if outer.protocol != IpProtocol::Udp || !is_its_length || !is_sound {
        return None;
    }
    let payload = &outer.payload[8..];
    match payload {
        [0, protocol, 0, 0, packet @ ..] => {
            let version = match IpProtocol::from(*protocol) {
                IPV4_IN_IP => 4,
                IPV6_IN_IP => 6,
                _ => return None,
            };
            let (version, packet) = of_version(version, packet)?;
            Some((GueVersion::V0, version, packet))
        }
        [first, ..] if first >> 6 == 1 => {
            let (version, packet) = of_version(first >> 4, payload)?;
            Some((GueVersion::V1, version, packet))
        }
        _ => None,
    }
}

fn of_version(version: u8, packet: &[u8]) -> Option<(u8, &[u8])> {
    (packet.first()? >> 4 == version).then_some((version, packet))
}
