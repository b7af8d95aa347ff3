//! ARP replies and announcements.

use std::net::Ipv4Addr;

use super::{LEAST_FRAME_LEN, finish};
use crate::wire::packet::{ARP_LEN, Arp, ETHERNET_LEN};
use crate::wire::{FrameView, MacAddress};

/// Turns an ARP request into the reply that `our_mac` has the address asked for (RFC 826).
///
/// A probe (sender address 0.0.0.0, RFC 5227) is answered like any other: that is how an address is
/// defended.
#[must_use]
pub fn arp_reply(view: &mut FrameView<'_>, request: &Arp, our_mac: MacAddress) -> bool {
    if request.operation != Arp::REQUEST || !request.sender_mac.is_station() {
        return false;
    }
    let reply = Arp {
        operation: Arp::REPLY,
        sender_mac: our_mac,
        sender_address: request.target_address,
        target_mac: request.sender_mac,
        target_address: request.sender_address,
    };
    let frame = emit(request.sender_mac, &reply);
    let Some(place) = view.bytes_mut().first_chunk_mut() else { return false };
    *place = frame;
    finish(view, frame.len())
}

/// The frame that tells a link that `mac` has `address` now: an announcement in request form
/// (RFC 5227 section 2.3), which hosts that already know the address take over.
pub fn gratuitous_arp(mac: MacAddress, address: Ipv4Addr) -> [u8; LEAST_FRAME_LEN] {
    let announcement = Arp {
        operation: Arp::REQUEST,
        sender_mac: mac,
        sender_address: address,
        target_mac: MacAddress::ZERO,
        target_address: address,
    };
    let message = emit(MacAddress::BROADCAST, &announcement);
    let mut frame = [0; LEAST_FRAME_LEN];
    frame[..message.len()].copy_from_slice(&message);
    frame
}

/// Ethernet header and message, sent by the ARP sender itself.
fn emit(destination: MacAddress, arp: &Arp) -> [u8; ETHERNET_LEN + ARP_LEN] {
    let mut frame = [0; ETHERNET_LEN + ARP_LEN];
    frame[0..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&arp.sender_mac.0);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    // Hardware Ethernet, protocol IPv4, their address lengths.
    frame[14..20].copy_from_slice(&[0x00, 0x01, 0x08, 0x00, 6, 4]);
    frame[20..22].copy_from_slice(&arp.operation.to_be_bytes());
    frame[22..28].copy_from_slice(&arp.sender_mac.0);
    frame[28..32].copy_from_slice(&arp.sender_address.octets());
    frame[32..38].copy_from_slice(&arp.target_mac.0);
    frame[38..42].copy_from_slice(&arp.target_address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{ARP_REPLY, ARP_REQUEST, bytes, packet};
    use crate::wire::{Body, Packet};

    const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn request() -> Arp {
        let Packet { body: Body::Arp(arp), .. } = packet(&bytes(ARP_REQUEST)) else { panic!() };
        arp
    }

    #[test]
    fn a_request_is_answered_to_its_sender() {
        for (what, sender) in
            [("host", Ipv4Addr::new(10, 1, 0, 50)), ("probe", Ipv4Addr::UNSPECIFIED)]
        {
            let mut chunk = [0xee; 128];
            chunk[..42].copy_from_slice(&bytes(ARP_REQUEST));
            let mut view = FrameView::new(&mut chunk, 0, 42);
            let asked = Arp { sender_address: sender, ..request() };
            assert!(arp_reply(&mut view, &asked, OUR_MAC), "{what}");
            let wanted = Packet {
                source_mac: OUR_MAC,
                destination_mac: asked.sender_mac,
                body: Body::Arp(Arp {
                    operation: Arp::REPLY,
                    sender_mac: OUR_MAC,
                    sender_address: asked.target_address,
                    target_mac: asked.sender_mac,
                    target_address: sender,
                }),
            };
            assert_eq!(packet(view.bytes()), wanted, "{what}");
            assert_eq!((view.len(), &view.bytes()[42..]), (60, &[0u8; 18][..]), "{what}: padding");
        }
    }

    #[test]
    fn the_reply_byte_by_byte() {
        let mut frame = bytes(ARP_REQUEST);
        let mut view = FrameView::new(&mut frame, 0, 42);
        assert!(
            arp_reply(&mut view, &request(), OUR_MAC),
            "padding needs room, an answer does not"
        );
        assert_eq!(view.bytes(), bytes(ARP_REPLY));
    }

    #[test]
    fn what_is_not_a_question_of_one_host_gets_no_answer() {
        let rows = [
            ("reply", Arp { operation: Arp::REPLY, ..request() }),
            ("reverse", Arp { operation: 3, ..request() }),
            ("group", Arp { sender_mac: MacAddress::BROADCAST, ..request() }),
            ("nobody", Arp { sender_mac: MacAddress::ZERO, ..request() }),
        ];
        for (what, asked) in rows {
            let mut frame = bytes(ARP_REQUEST);
            assert!(!arp_reply(&mut FrameView::new(&mut frame, 0, 42), &asked, OUR_MAC), "{what}");
            assert_eq!(frame, bytes(ARP_REQUEST), "{what}");
        }
        assert!(!arp_reply(&mut FrameView::new(&mut [0; 64], 0, 41), &request(), OUR_MAC));
    }

    #[test]
    fn an_announcement_byte_by_byte() {
        let frame = gratuitous_arp(OUR_MAC, Ipv4Addr::new(10, 1, 0, 100));
        let wanted = bytes(
            "ffffffffffff 020000000001 0806  0001 0800 06 04 0001 020000000001 0a010064 \
             000000000000 0a010064  0000000000000000 0000000000000000 0000",
        );
        assert_eq!(frame.as_slice(), wanted);
    }
}
