//! Records as IPFIX messages (RFC 7011) with the information elements of the IANA registry (RFC 7012), those
//! of NAT (RFC 8158), and both directions in one record (RFC 5103).

use std::net::{IpAddr, Ipv6Addr};

use super::FlowRecord;

/// Section 3.1: version 10.
const VERSION: u16 = 10;
/// Section 3.3.2: the set of templates.
const TEMPLATE_SET: u16 = 2;
/// Ids of templates are 256 and up.
const IPV4: u16 = 256;
const IPV6: u16 = 257;
/// RFC 5103 section 6.1: the number under which elements of the way back are known.
const REVERSE: u32 = 29_305;
/// Section 7: the length in a template of what says its own length.
const VARIABLE: u16 = 0xffff;
/// Longest message, so that one is a packet on any way (section 10.3.3).
const MOST_BYTES: usize = 1400;
/// Longest name in a record.
const MOST_NAME_BYTES: usize = 128;
/// Seconds after which templates are sent again over UDP, where one may be lost (section 8.1).
const TEMPLATES_EVERY_S: u32 = 60;

/// An element: its number, its length, and whether it is of the way back. In the order of a record.
type Element = (u16, u16, bool);

const COMMON: [Element; 13] = [
    (152, 8, false), // flowStartMilliseconds
    (153, 8, false), // flowEndMilliseconds
    (7, 2, false),   // sourceTransportPort
    (11, 2, false),  // destinationTransportPort
    (227, 2, false), // postNAPTSourceTransportPort
    (228, 2, false), // postNAPTDestinationTransportPort
    (4, 1, false),   // protocolIdentifier
    (136, 1, false), // flowEndReason
    (2, 8, false),   // packetDeltaCount
    (1, 8, false),   // octetDeltaCount
    (2, 8, true),    // reverse of the same
    (1, 8, true),
    (96, VARIABLE, false), // applicationName: the service
];

/// The backend stands as what the VIP was translated to, also in modes that put packets into envelopes or leave them
/// as they are.
const ADDRESSES_V4: [Element; 4] = [
    (8, 4, false),   // sourceIPv4Address
    (12, 4, false),  // destinationIPv4Address
    (225, 4, false), // postNATSourceIPv4Address
    (226, 4, false), // postNATDestinationIPv4Address
];

const ADDRESSES_V6: [Element; 4] = [
    (27, 16, false),  // sourceIPv6Address
    (28, 16, false),  // destinationIPv6Address
    (281, 16, false), // postNATSourceIPv6Address
    (282, 16, false), // postNATDestinationIPv6Address
];

/// Makes messages; counts records, as the header wants it (section 3.1).
#[derive(Debug, Default)]
pub struct Exporter {
    sequence: u32,
    templates_sent_s: Option<u32>,
}

impl Exporter {
    /// Takes records from the front, as many as fit into one message, and gives the message; `now_s` is the time in
    /// seconds since 1970. None when there is nothing to be said.
    pub fn message(&mut self, records: &mut Vec<FlowRecord>, now_s: u32) -> Option<Vec<u8>> {
        if records.is_empty() {
            return None;
        }
        // Section 3.1: version, length, export time, sequence number, observation domain.
        let mut message = Vec::with_capacity(MOST_BYTES);
        put16(&mut message, VERSION);
        put16(&mut message, 0);
        put32(&mut message, now_s);
        put32(&mut message, self.sequence);
        put32(&mut message, 1);
        let is_due =
            self.templates_sent_s.is_none_or(|sent| now_s.wrapping_sub(sent) >= TEMPLATES_EVERY_S);
        if is_due {
            put_templates(&mut message);
            self.templates_sent_s = Some(now_s);
        }
        let taken = put_records(&mut message, records);
        self.sequence = self.sequence.wrapping_add(taken as u32);
        records.drain(..taken);
        let len = (message.len() as u16).to_be_bytes();
        message[2..4].copy_from_slice(&len);
        Some(message)
    }
}

/// Data sets (section 3.3), a new one wherever the family changes; says how many records fitted.
fn put_records(message: &mut Vec<u8>, records: &[FlowRecord]) -> usize {
    let mut set: Option<(u16, usize)> = None;
    for (taken, record) in records.iter().enumerate() {
        let id = if record.key.source.is_v4() { IPV4 } else { IPV6 };
        let before = (message.len(), set);
        if set.is_none_or(|(open, _)| open != id) {
            set = Some((id, message.len()));
            put16(message, id);
            put16(message, 0);
        }
        put_record(message, record);
        if message.len() > MOST_BYTES && taken > 0 {
            message.truncate(before.0);
            return taken;
        }
        if let Some((_, start)) = set {
            put_len(message, start);
        }
    }
    records.len()
}

/// Writes the length of the set that begins at `start`.
fn put_len(message: &mut [u8], start: usize) {
    let len = ((message.len() - start) as u16).to_be_bytes();
    message[start + 2..start + 4].copy_from_slice(&len);
}

/// Section 3.4.1.
fn put_templates(message: &mut Vec<u8>) {
    let start = message.len();
    put16(message, TEMPLATE_SET);
    put16(message, 0);
    for (id, addresses) in [(IPV4, ADDRESSES_V4), (IPV6, ADDRESSES_V6)] {
        put16(message, id);
        put16(message, (addresses.len() + COMMON.len()) as u16);
        for (element, len, is_reverse) in addresses.into_iter().chain(COMMON) {
            // Section 3.2: the first bit says that an enterprise's number follows.
            put16(message, element | if is_reverse { 1 << 15 } else { 0 });
            put16(message, len);
            if is_reverse {
                put32(message, REVERSE);
            }
        }
    }
    put_len(message, start);
}

/// In the order of the templates.
fn put_record(message: &mut Vec<u8>, record: &FlowRecord) {
    let key = &record.key;
    let (client, vip) = (key.source.ip(), key.destination.ip());
    let snat = record.snat.map_or((client, key.source_port), |snat| (snat.ip(), snat.port()));
    let backend = record.backend.map(|backend| (backend.ip(), backend.port()));
    // A backend of the other family, reached by a tunnel, has no place in a record of this one.
    let backend = backend.filter(|(address, _)| address.is_ipv4() == vip.is_ipv4());
    let backend = backend.unwrap_or((vip, key.destination_port));
    [client, vip, snat.0, backend.0].into_iter().for_each(|address| put_address(message, address));
    put64(message, record.start_unix_ms);
    put64(message, record.end_unix_ms);
    [key.source_port, key.destination_port, snat.1, backend.1]
        .into_iter()
        .for_each(|port| put16(message, port));
    message.push(key.protocol_number());
    message.push(record.reason as u8);
    let traffic = &record.traffic;
    [traffic.packets_in, traffic.bytes_in, traffic.packets_out, traffic.bytes_out]
        .into_iter()
        .for_each(|count| put64(message, count));
    // Section 7: shorter than 255 bytes, the length is one byte.
    let name = record.service.as_bytes();
    let name = name.get(..MOST_NAME_BYTES).unwrap_or(name);
    message.push(name.len() as u8);
    message.extend_from_slice(name);
}

fn put_address(message: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => message.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => message.extend_from_slice(&Ipv6Addr::octets(&address)),
    }
}

fn put16(message: &mut Vec<u8>, value: u16) {
    message.extend_from_slice(&value.to_be_bytes());
}

fn put32(message: &mut Vec<u8>, value: u32) {
    message.extend_from_slice(&value.to_be_bytes());
}

fn put64(message: &mut Vec<u8>, value: u64) {
    message.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    fn v4() -> FlowRecord {
        sample("192.0.2.7:40000", "198.51.100.1:80")
    }

    fn word(message: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([message[at], message[at + 1]])
    }

    #[test]
    fn a_message_byte_by_byte() {
        let mut exporter = Exporter::default();
        let mut records = vec![v4()];
        exporter.message(&mut records, 1000).unwrap();
        let mut records = vec![v4()];
        let message = exporter.message(&mut records, 1001).unwrap();
        // Header, then one set of 4 + 16 + 16 + 8 + 2 + 32 + 4 bytes, without templates.
        let wanted: &[&[u8]] = &[
            &[0, 10, 0, 98, 0, 0, 3, 233, 0, 0, 0, 1, 0, 0, 0, 1],
            &[1, 0, 0, 82],
            &[192, 0, 2, 7, 198, 51, 100, 1, 10, 2, 0, 10, 10, 2, 0, 11],
            &1_700_000_000_123u64.to_be_bytes(),
            &1_700_000_009_456u64.to_be_bytes(),
            &[0x9c, 0x40, 0, 80, 4, 1, 0x1f, 0x90, 6, 3],
            &7u64.to_be_bytes(),
            &700u64.to_be_bytes(),
            &9u64.to_be_bytes(),
            &9000u64.to_be_bytes(),
            &[3, b'w', b'e', b'b'],
        ];
        assert_eq!(message, wanted.concat());
        assert!(exporter.message(&mut records, 1002).is_none(), "nothing is left");
    }

    #[test]
    fn templates_come_first_and_every_minute() {
        let mut exporter = Exporter::default();
        let mut first_set = |now_s| {
            let message = exporter.message(&mut vec![v4()], now_s).unwrap();
            (word(&message, 16), word(&message, 20), message.len())
        };
        let (set, template, with) = first_set(1000);
        assert_eq!((set, template), (TEMPLATE_SET, IPV4));
        assert_eq!(first_set(1059).0, IPV4);
        assert_eq!(first_set(1060).0, TEMPLATE_SET);
        let reverse = COMMON.iter().filter(|element| element.2).count();
        let templates = 4 + 2 * (4 + 17 * 4 + reverse * 4);
        assert_eq!(with - first_set(1061).2, templates);
    }

    #[test]
    fn families_have_sets_of_their_own_and_messages_an_end() {
        let v6 = sample("[2001:db8::7]:40000", "[2001:db8::1]:80");
        let mut records: Vec<_> =
            (0..60).map(|n| if n % 4 == 3 { v6.clone() } else { v4() }).collect();
        let mut exporter = Exporter::default();
        let (mut messages, mut sets) = (0, Vec::new());
        while let Some(message) = exporter.message(&mut records, 1000) {
            assert!(message.len() <= MOST_BYTES, "{}", message.len());
            assert_eq!(usize::from(word(&message, 2)), message.len());
            messages += 1;
            let mut at = 16;
            while at < message.len() {
                sets.push(word(&message, at));
                at += usize::from(word(&message, at + 2));
            }
            assert_eq!(at, message.len(), "sets fill it");
        }
        assert!(messages > 4 && records.is_empty());
        assert_eq!(exporter.sequence, 60);
        assert!(
            sets.contains(&IPV6) && sets.iter().filter(|set| **set == TEMPLATE_SET).count() == 1
        );
    }
}
