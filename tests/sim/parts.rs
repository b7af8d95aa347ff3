//! Datagrams in fragments, which smoltcp neither makes nor takes here: cut behind a host's stack, put
//! together before it.

use std::collections::BTreeMap;

use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

use super::chance::Chance;
use super::frames;

/// Ethernet and IPv4 header, as smoltcp sends them; Ethernet, IPv6 and fragment header.
const V4_LEN: usize = 34;
const V6_LEN: usize = 62;

/// One host's.
pub struct Parts {
    chance: Chance,
    /// Half of all datagrams leave in fragments; else only those that have to.
    cuts_half: bool,
    /// Datagrams that had to.
    pub had_to: u64,
    next_id: u32,
    /// By addresses, identification and protocol.
    waiting: BTreeMap<Vec<u8>, Waiting>,
}

/// What has come of a datagram: by its place, the bytes, and whether more follow.
#[derive(Default)]
struct Waiting {
    head: Option<Vec<u8>>,
    parts: BTreeMap<u16, (Vec<u8>, bool)>,
}

impl Parts {
    pub fn new(cuts_half: bool, mut chance: Chance) -> Parts {
        let next_id = chance.bits() as u32;
        Parts { chance, cuts_half, had_to: 0, next_id, waiting: BTreeMap::new() }
    }

    /// A frame as it leaves: half of all datagrams in fragments, and each that is too long for its path.
    pub fn cut(&mut self, frame: Vec<u8>, is_too_long: bool) -> Vec<Vec<u8>> {
        let wants = is_too_long || (self.cuts_half && self.chance.one_in(2));
        if !is_datagram(&frame) || !wants {
            return vec![frame];
        }
        self.had_to += u64::from(is_too_long);
        // So short that each fits into any way, and so few that the engine knows all of one datagram.
        let len = 8 * self.chance.between(if is_too_long { 24 } else { 1 }, 60) as usize;
        self.next_id = self.next_id.wrapping_add(1);
        match frames::cut(&frame, self.next_id, len) {
            cut if cut.len() <= 64 => cut,
            _ => vec![frame],
        }
    }

    /// A frame that comes in: itself, or, with the last fragment of it, a whole one.
    pub fn join(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let Some((key, place, more, header_len)) = fragment(&frame) else { return Some(frame) };
        let waiting = self.waiting.entry(key.clone()).or_default();
        if place == 0 {
            waiting.head = Some(frame[..header_len].to_vec());
        }
        waiting.parts.insert(place, (frame[header_len..].to_vec(), more));
        let whole = waiting.whole()?;
        self.waiting.remove(&key);
        Some(whole)
    }
}

impl Waiting {
    fn whole(&self) -> Option<Vec<u8>> {
        let mut payload = vec![];
        let mut is_complete = false;
        for (&place, (bytes, more)) in &self.parts {
            if is_complete || usize::from(place) != payload.len() {
                return None;
            }
            payload.extend_from_slice(bytes);
            is_complete = !more;
        }
        let mut whole = self.head.clone().filter(|_| is_complete)?;
        if whole.len() == V4_LEN {
            whole[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            whole[20..22].fill(0);
            frames::fix_header(&mut whole);
        } else {
            whole[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            whole[20] = whole[54];
            whole.truncate(54);
        }
        Some([whole, payload].concat())
    }
}

/// Is it a whole datagram, or a fragment of IPv4 that says it is of one?
pub fn is_datagram(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return false };
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(ethernet.payload())
            .is_ok_and(|ip| ip.next_header() == IpProtocol::Udp && ip.header_len() == 20),
        EthernetProtocol::Ipv6 => Ipv6Packet::new_checked(ethernet.payload())
            .is_ok_and(|ip| ip.next_header() == IpProtocol::Udp),
        _ => false,
    }
}

/// Of a sound fragment: what it shares with the others, its place, whether more follow, and where its
/// part begins.
fn fragment(frame: &[u8]) -> Option<(Vec<u8>, u16, bool, usize)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let is_part = ip.more_frags() || ip.frag_offset() > 0;
            let is_sound = ip.verify_checksum() && ip.header_len() == 20;
            let key = [&frame[18..20], &frame[23..24], &frame[26..34]].concat();
            (is_part && is_sound).then_some((key, ip.frag_offset(), ip.more_frags(), V4_LEN))
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let header = frame.get(54..V6_LEN)?;
            let place = u16::from_be_bytes([header[2], header[3]]);
            let key = [&frame[22..54], &header[4..]].concat();
            let is_part = ip.next_header() == IpProtocol::Ipv6Frag;
            is_part.then_some((key, place & 0xfff8, place & 1 == 1, V6_LEN))
        }
        _ => None,
    }
}
