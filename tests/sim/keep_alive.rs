//! Keep-alives as they should be. smoltcp puts a byte of zero into them, in the place of the last byte
//! that it has sent: a receiver that has missed that one takes the zero for it. Here they carry the
//! byte that they should, or none. Both are answered (RFC 9293 section 3.8.4).

use std::collections::BTreeMap;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

const ETHERNET_LEN: usize = 14;

/// The last byte that each connection of a host has sent, and its sequence number.
#[derive(Default)]
pub struct KeepAlives {
    last: BTreeMap<(IpAddress, u16, IpAddress, u16), (u32, u8)>,
}

/// A TCP segment in a frame.
struct Segment {
    /// Where its header begins.
    at: usize,
    connection: (IpAddress, u16, IpAddress, u16),
    /// Of its first byte.
    number: u32,
    len: usize,
    last: u8,
    is_plain: bool,
}

impl KeepAlives {
    /// The host sends this frame: a keep-alive is mended. No byte of a stream is zero, so nothing else
    /// is taken for one.
    pub fn mend(&mut self, frame: &mut Vec<u8>) {
        let Some(segment) = segment(frame).filter(|segment| segment.len > 0) else { return };
        if segment.len > 1 || segment.last != 0 || !segment.is_plain {
            let number = segment.number.wrapping_add(segment.len as u32 - 1);
            self.last.insert(segment.connection, (number, segment.last));
            return;
        }
        match self.last.get(&segment.connection) {
            Some(&(number, byte)) if number == segment.number => {
                *frame.last_mut().expect("a segment of one byte") = byte;
            }
            _ => {
                frame.pop();
            }
        }
        fill_checksums(frame, &segment);
    }
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let (protocol, source, destination): (_, IpAddress, IpAddress) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            (ip.next_header(), ip.src_addr().into(), ip.dst_addr().into())
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            (ip.next_header(), ip.src_addr().into(), ip.dst_addr().into())
        }
        _ => return None,
    };
    if protocol != IpProtocol::Tcp {
        return None;
    }
    let at = ETHERNET_LEN + if matches!(source, IpAddress::Ipv4(_)) { 20 } else { 40 };
    let tcp = TcpPacket::new_checked(frame.get(at..)?).ok()?;
    Some(Segment {
        at,
        connection: (source, tcp.src_port(), destination, tcp.dst_port()),
        number: tcp.seq_number().0 as u32,
        len: tcp.payload().len(),
        last: tcp.payload().last().copied().unwrap_or(0),
        is_plain: !tcp.psh() && !tcp.fin() && !tcp.syn() && !tcp.rst(),
    })
}

/// Lengths and checksums of what the frame is now.
fn fill_checksums(frame: &mut [u8], segment: &Segment) {
    let (source, _, destination, _) = segment.connection;
    let (head, behind) = frame.split_at_mut(segment.at);
    match source {
        IpAddress::Ipv4(_) => {
            let mut ip = Ipv4Packet::new_unchecked(&mut head[ETHERNET_LEN..]);
            ip.set_total_len(20 + behind.len() as u16);
            ip.fill_checksum();
        }
        IpAddress::Ipv6(_) => {
            let mut ip = Ipv6Packet::new_unchecked(&mut head[ETHERNET_LEN..]);
            ip.set_payload_len(behind.len() as u16);
        }
    }
    TcpPacket::new_unchecked(behind).fill_checksum(&source, &destination);
}
