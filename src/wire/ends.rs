//! Source and destination of a frame's packet, whatever else may be wrong with it.

use etherparse::{LaxNetSlice, LaxSlicedPacket};

use super::Address;

/// The addresses an IP packet or an ARP message for IPv4 is from and to (of a tunnel's packet, the outer
/// ones); none when they are not there. Lenient: for people who look at frames, and not for a verdict.
pub fn ends_of(frame: &[u8]) -> Option<(Address, Address)> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    match packet.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((v4(header.source()), v4(header.destination())))
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((Address::v6(header.source()), Address::v6(header.destination())))
        }
        LaxNetSlice::Arp(arp) => {
            let read = |bytes: &[u8]| bytes.try_into().ok().map(v4);
            Some((read(arp.sender_protocol_addr())?, read(arp.target_protocol_addr())?))
        }
    }
}

fn v4(octets: [u8; 4]) -> Address {
    Address::v4(u32::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples;

    #[test]
    fn read_also_where_the_rest_is_missing() {
        let frame = samples::bytes(samples::TCP_SYN);
        let whole = (v4([10, 1, 0, 50]), v4([10, 1, 0, 100]));
        assert_eq!(ends_of(&frame), Some(whole));
        assert_eq!(ends_of(&samples::tagged(&frame, "8100 000a")), Some(whole), "in a VLAN");
        assert_eq!(ends_of(&frame[..14 + 20]), Some(whole), "without its TCP header");
        assert_eq!(ends_of(&frame[..14 + 19]), None, "addresses cut off");
        assert_eq!(ends_of(&[]), None);
    }
}
