//! ARP (RFC 826).

use std::net::Ipv4Addr;

use etherparse::{ArpHardwareId, ArpPacketSlice, EtherType};

use crate::wire::MacAddress;
use crate::wire::packet::{ARP_LEN, Arp};
use crate::wire::parse_error::{Fault, Layer, ParseError};

/// ARP for other hardware or protocols is none of ours, as RFC 826 has receivers ask first.
pub(super) fn parse(message: &[u8], at: usize) -> Result<Option<Arp>, ParseError> {
    let wrong = |fault, wanted, found| ParseError::new(Layer::Arp, fault, at, wanted, found);
    let arp = ArpPacketSlice::from_slice(message)
        .map_err(|error| wrong(Fault::FrameEnds, error.required_len.max(ARP_LEN), error.len))?;
    if arp.hw_addr_type() != ArpHardwareId::ETHERNET || arp.proto_addr_type() != EtherType::IPV4 {
        return Ok(None);
    }
    let mac = |octets: &[u8]| octets.try_into().map(MacAddress).ok();
    let address = |octets: &[u8]| <[u8; 4]>::try_from(octets).map(Ipv4Addr::from).ok();
    let read = || {
        Some(Arp {
            operation: arp.operation().0,
            sender_mac: mac(arp.sender_hw_addr())?,
            sender_address: address(arp.sender_protocol_addr())?,
            target_mac: mac(arp.target_hw_addr())?,
            target_address: address(arp.target_protocol_addr())?,
        })
    };
    read().map(Some).ok_or_else(|| {
        let found = u16::from_be_bytes([arp.hw_addr_size(), arp.proto_addr_size()]);
        wrong(Fault::AddressLengths, 0x0604, usize::from(found))
    })
}
