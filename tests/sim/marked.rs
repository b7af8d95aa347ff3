//! Mode `dscp` at a backend: what comes to its address with the service's DSCP is for the VIP, which is
//! put back before the stack looks (docs/decisions/dscp.md). The slow and obvious way, as nftables does
//! it: packet by packet, fragments too, with nothing remembered.

use std::net::IpAddr;

use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

const IP_AT: usize = 14;
/// Of destinations in a frame.
const V4_AT: std::ops::Range<usize> = IP_AT + 16..IP_AT + 20;
const V6_AT: std::ops::Range<usize> = IP_AT + 24..IP_AT + 40;
/// All senders here begin with 64, and the balancer is a hop.
const HOP_LIMIT: u8 = 63;

/// What a backend knows a VIP's packets by.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub address: IpAddr,
    pub dscp: u8,
    pub vip: IpAddr,
}

/// Of the IP packet in a frame, if it is sound.
struct Header {
    destination: IpAddr,
    traffic_class: u8,
    hop_limit: u8,
    /// And where its header begins; none behind the first fragment.
    transport: Option<(IpProtocol, usize)>,
}

impl Mark {
    /// Is the frame one of the VIP's?
    pub fn is_on(&self, frame: &[u8]) -> bool {
        header(frame).is_some_and(|header| self.is_of(&header))
    }

    fn is_of(&self, header: &Header) -> bool {
        header.destination == self.address && header.traffic_class >> 2 == self.dscp
    }

    /// The frame as it was for the VIP; none when it is not as it has to be.
    pub fn restore(&self, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let header = header(&frame)?;
        if !self.is_of(&header) || header.hop_limit != HOP_LIMIT {
            return None;
        }
        let (place, new) = match self.vip {
            IpAddr::V4(vip) => (V4_AT, vip.octets().to_vec()),
            IpAddr::V6(vip) => (V6_AT, vip.octets().to_vec()),
        };
        let old = frame[place.clone()].to_vec();
        frame[place].copy_from_slice(&new);
        if self.vip.is_ipv4() {
            adjust(&mut frame, IP_AT + 10, (&old, &new));
        }
        match header.transport {
            Some((IpProtocol::Tcp, at)) => adjust(&mut frame, at + 16, (&old, &new)),
            // Without a checksum it stays without (RFC 768).
            Some((IpProtocol::Udp, at)) if frame.get(at + 6..at + 8) != Some(&[0, 0]) => {
                adjust(&mut frame, at + 6, (&old, &new));
            }
            Some((IpProtocol::Icmpv6, at)) => adjust(&mut frame, at + 2, (&old, &new)),
            _ => {}
        }
        Some(frame)
    }
}

fn header(frame: &[u8]) -> Option<Header> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let at = IP_AT + usize::from(ip.header_len());
            ip.verify_checksum().then(|| Header {
                destination: IpAddr::V4(ip.dst_addr()),
                traffic_class: frame[IP_AT + 1],
                hop_limit: ip.hop_limit(),
                transport: (ip.frag_offset() == 0).then(|| (ip.next_header(), at)),
            })
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let at = IP_AT + 40;
            let transport = match (ip.next_header(), frame.get(at..at + 4)) {
                (IpProtocol::Ipv6Frag, Some(&[next, _, 0, 0 | 1])) => Some((next.into(), at + 8)),
                (IpProtocol::Ipv6Frag, _) => None,
                (next, _) => Some((next, at)),
            };
            Some(Header {
                destination: IpAddr::V6(ip.dst_addr()),
                traffic_class: ip.traffic_class(),
                hop_limit: ip.hop_limit(),
                transport,
            })
        }
        _ => None,
    }
}

/// What a checksum says of its packet, it says of the packet with these words in the place of those
/// (RFC 1624).
fn adjust(frame: &mut [u8], at: usize, (old, new): (&[u8], &[u8])) {
    let Some(Ok(was)) = frame.get(at..at + 2).map(<[u8; 2]>::try_from) else { return };
    let words = |bytes: &[u8], of: fn(u16) -> u16| -> u32 {
        let pairs = bytes.chunks_exact(2);
        pairs.map(|pair| u32::from(of(u16::from_be_bytes([pair[0], pair[1]])))).sum()
    };
    let mut sum = u32::from(!u16::from_be_bytes(was)) + words(old, |w| !w) + words(new, |w| w);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
