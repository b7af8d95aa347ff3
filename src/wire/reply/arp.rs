//! ARP replies and announcements.

use std::net::Ipv4Addr;

use super::{LEAST_FRAME_LEN, finish};
use crate::wire::packet::{ARP_LEN, Arp};
use crate::wire::{ETHERNET_LEN, FrameView, Link, MacAddress};

/// Turns an ARP request into the reply that `our_mac` has the address asked for (RFC 826), on the
/// VLAN it was asked on.
///
/// A probe (sender address 0.0.0.0, RFC 5227) is answered like any other: that is how an address is
/// defended.
#[must_use]
pub fn arp_reply(
    view: &mut FrameView<'_>,
    link: &Link,
    request: &Arp,
    our_mac: MacAddress,
) -> bool {
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
    let frame = view.bytes_mut();
    let Some((header, rest)) = frame.split_at_mut_checked(link.end()) else { return false };
    let (Some(macs), Some(place)) = (header.first_chunk_mut::<12>(), rest.first_chunk_mut()) else {
        return false;
    };
    macs[..6].copy_from_slice(&request.sender_mac.0);
    macs[6..].copy_from_slice(&our_mac.0);
    *place = emit(&reply);
    finish(view, link.end() + ARP_LEN)
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
    let mut frame = [0; LEAST_FRAME_LEN];
    frame[0..6].copy_from_slice(&MacAddress::BROADCAST.0);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame[ETHERNET_LEN..ETHERNET_LEN + ARP_LEN].copy_from_slice(&emit(&announcement));
    frame
}

/// The message (RFC 826).
fn emit(arp: &Arp) -> [u8; ARP_LEN] {
    let mut message = [0; ARP_LEN];
    // Hardware Ethernet, protocol IPv4, their address lengths.
    message[0..6].copy_from_slice(&[0x00, 0x01, 0x08, 0x00, 6, 4]);
    message[6..8].copy_from_slice(&arp.operation.to_be_bytes());
    message[8..14].copy_from_slice(&arp.sender_mac.0);
    message[14..18].copy_from_slice(&arp.sender_address.octets());
    message[18..24].copy_from_slice(&arp.target_mac.0);
    message[24..28].copy_from_slice(&arp.target_address.octets());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{ARP_REPLY, ARP_REQUEST, ARP_REQUEST_VLAN, bytes, packet, tagged};
    use crate::wire::{Body, Packet};

    const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn request(frame: &[u8]) -> (Link, Arp) {
        let Packet { link, body: Body::Arp(arp) } = packet(frame) else { panic!() };
        (link, arp)
    }

    #[test]
    fn a_request_is_answered_to_its_sender() {
        let qinq = tagged(&bytes(ARP_REQUEST), "88a8 0064 8100 000a");
        let frames = [
            ("untagged", bytes(ARP_REQUEST)),
            ("VLAN", bytes(ARP_REQUEST_VLAN)),
            ("priority", tagged(&bytes(ARP_REQUEST), "8100 e000")),
            ("QinQ", qinq),
        ];
        let senders = [("host", Ipv4Addr::new(10, 1, 0, 50)), ("probe", Ipv4Addr::UNSPECIFIED)];
        for ((on, frame), (what, sender)) in
            frames.iter().flat_map(|frame| senders.map(|sender| (frame, sender)))
        {
            let (link, arp) = request(frame);
            let mut chunk = [0xee; 128];
            chunk[..frame.len()].copy_from_slice(frame);
            let mut view = FrameView::new(&mut chunk, 0, frame.len());
            let asked = Arp { sender_address: sender, ..arp };
            assert!(arp_reply(&mut view, &link, &asked, OUR_MAC), "{what}, {on}");
            let wanted = Packet {
                link: Link { source: OUR_MAC, destination: asked.sender_mac, ..link },
                body: Body::Arp(Arp {
                    operation: Arp::REPLY,
                    sender_mac: OUR_MAC,
                    sender_address: asked.target_address,
                    target_mac: asked.sender_mac,
                    target_address: sender,
                }),
            };
            assert_eq!(packet(view.bytes()), wanted, "{what}, {on}");
            assert_eq!(view.bytes()[12..link.end()], frame[12..link.end()], "{what}, {on}: tags");
            let (answer, padding) = view.bytes().split_at(link.end() + ARP_LEN);
            assert_eq!(answer.len() + padding.len(), 60, "{what}, {on}");
            assert!(padding.iter().all(|&byte| byte == 0), "{what}, {on}: padding");
        }
    }

    #[test]
    fn the_reply_byte_by_byte() {
        for (frame, wanted) in [
            (bytes(ARP_REQUEST), bytes(ARP_REPLY)),
            (bytes(ARP_REQUEST_VLAN), tagged(&bytes(ARP_REPLY), "8100 000a")),
        ] {
            let (link, asked) = request(&frame);
            let (mut frame, len) = (frame.clone(), frame.len());
            let mut view = FrameView::new(&mut frame, 0, len);
            assert!(
                arp_reply(&mut view, &link, &asked, OUR_MAC),
                "padding needs room, an answer does not"
            );
            assert_eq!(view.bytes(), wanted);
        }
    }

    #[test]
    fn what_is_not_a_question_of_one_host_gets_no_answer() {
        for sample in [ARP_REQUEST, ARP_REQUEST_VLAN] {
            let (link, good) = request(&bytes(sample));
            let rows = [
                ("reply", Arp { operation: Arp::REPLY, ..good }),
                ("reverse", Arp { operation: 3, ..good }),
                ("group", Arp { sender_mac: MacAddress::BROADCAST, ..good }),
                ("nobody", Arp { sender_mac: MacAddress::ZERO, ..good }),
            ];
            for (what, asked) in rows {
                let mut frame = bytes(sample);
                let len = frame.len();
                let mut view = FrameView::new(&mut frame, 0, len);
                assert!(!arp_reply(&mut view, &link, &asked, OUR_MAC), "{what}");
                assert_eq!(frame, bytes(sample), "{what}");
            }
            let mut short = vec![0; 64];
            let mut view = FrameView::new(&mut short, 0, bytes(sample).len() - 1);
            assert!(!arp_reply(&mut view, &link, &good, OUR_MAC));
        }
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
