//! The maximum segment size that a TCP SYN carries (RFC 9293 section 3.7.1), lowered in passing so
//! that neither side sends what would not fit the way.

use super::checksum::Change;
use super::packet::{Content, IPV4_LEN, IPV6_LEN, IpPacket, TCP_LEN, TcpFlags};

/// Offset of the checksum in a TCP header.
const CHECKSUM: usize = 16;
/// Option kinds (RFC 9293 section 3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const MAXIMUM_SEGMENT_SIZE_LEN: usize = 4;

/// The largest segment that fits packets of `mtu_bytes`, without options (RFC 6691).
pub fn segment_of(packet: &IpPacket, mtu_bytes: u16) -> u16 {
    let headers = if packet.key.source.is_v4() { IPV4_LEN } else { IPV6_LEN } + TCP_LEN;
    mtu_bytes.saturating_sub(headers as u16)
}

/// Lowers the maximum segment size of a SYN or SYN-ACK to `most_bytes`; says whether it did. What has
/// no such option, a smaller one, or is no SYN, stays as it is. The checksum takes in the change.
pub fn clamp(frame: &mut [u8], packet: &IpPacket, most_bytes: u16) -> bool {
    if !matches!(packet.content, Content::Tcp(flags) if flags.contains(TcpFlags::SYN)) {
        return false;
    }
    let end = usize::from(packet.end).min(frame.len());
    let Some(segment) = frame.get_mut(packet.payload_start()..end) else { return false };
    let Some(at) = place_of_size(segment) else { return false };
    let Some(place) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return false;
    };
    let old = u16::from_be_bytes(*place);
    if old <= most_bytes {
        return false;
    }
    *place = most_bytes.to_be_bytes();
    // At an odd place the value's halves are halves of two words: the sum takes them swapped.
    let change = match at % 2 {
        0 => Change::NONE.word(old, most_bytes),
        _ => Change::NONE.word(old.swap_bytes(), most_bytes.swap_bytes()),
    };
    if let Some(place) = segment.get_mut(CHECKSUM..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = change.applied_to(u16::from_be_bytes(*place)).to_be_bytes();
    }
    true
}

/// Where in the segment the value of the option stands.
fn place_of_size(segment: &[u8]) -> Option<usize> {
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let options = segment.get(..header_len)?;
    let mut at = TCP_LEN;
    // Each turn goes on by a byte at least.
    while at < header_len {
        match *options.get(at)? {
            END => return None,
            NO_OPERATION => at += 1,
            kind => {
                let len = usize::from(*options.get(at + 1)?);
                if kind == MAXIMUM_SEGMENT_SIZE && len == MAXIMUM_SEGMENT_SIZE_LEN {
                    return (at + len <= header_len).then_some(at + 2);
                }
                if len < 2 {
                    return None;
                }
                at += len;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;
    use crate::wire::samples::{self as s, bytes};

    /// `TCP_SYN` with these 20 bytes of options, its checksum right.
    fn syn(options: &[u8; 20]) -> Vec<u8> {
        let mut frame = bytes(s::TCP_SYN);
        frame[54..74].copy_from_slice(options);
        let ip = s::ip(&frame);
        frame[50..52].fill(0);
        let sum = checksum::pseudo_header_of(&ip.key, 40) + checksum::sum(&frame[34..74]);
        frame[50..52].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
        frame
    }

    fn adds_up(frame: &[u8]) -> bool {
        let ip = s::ip(frame);
        let sum = checksum::pseudo_header_of(&ip.key, 40) + checksum::sum(&frame[34..74]);
        checksum::adds_up(sum)
    }

    #[test]
    fn options_by_row() {
        let with = |head: &[u8]| {
            let mut options = [0; 20];
            options[..head.len()].copy_from_slice(head);
            options
        };
        // MSS 1460 is 05b4.
        let rows = [
            ("first", with(&[2, 4, 5, 0xb4, 4, 2]), Some(2)),
            ("behind a no-operation: at an odd place", with(&[1, 2, 4, 5, 0xb4]), Some(3)),
            ("behind others", with(&[4, 2, 3, 3, 7, 1, 2, 4, 5, 0xb4]), Some(8)),
            ("none", with(&[4, 2, 1, 1]), None),
            ("behind the end", with(&[0, 2, 4, 5, 0xb4]), None),
            ("of another length", with(&[2, 6, 5, 0xb4, 0, 0]), None),
            ("behind one of length 0", with(&[9, 0, 2, 4, 5, 0xb4]), None),
            ("behind one of length 1", with(&[9, 1, 2, 4, 5, 0xb4]), None),
        ];
        for (description, options, place) in rows {
            let before = syn(&options);
            let ip = s::ip(&before);
            let mut after = before.clone();
            assert_eq!(clamp(&mut after, &ip, 1200), place.is_some(), "{description}");
            assert!(adds_up(&after), "{description}");
            if let Some(place) = place {
                assert_eq!(after[54 + place..56 + place], 1200u16.to_be_bytes(), "{description}");
            } else {
                assert_eq!(after, before, "{description}");
            }
            let mut again = before.clone();
            assert!(!clamp(&mut again, &ip, 1460) && again == before, "{description}: fits");
        }
    }

    #[test]
    fn an_option_that_is_cut_and_a_wrong_checksum_stay() {
        let mut frame = syn(&[1; 20]);
        frame[72..74].copy_from_slice(&[2, 4]);
        let ip = s::ip(&frame);
        let before = frame.clone();
        assert!(!clamp(&mut frame, &ip, 1200) && frame == before);
        let mut frame = syn(&[2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        frame[50] ^= 1;
        assert!(clamp(&mut frame, &ip, 1200) && !adds_up(&frame), "not repaired");
    }

    #[test]
    fn only_syns() {
        let mut frame = syn(&[2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        frame[47] = TcpFlags::ACK.0;
        let ip = s::ip(&frame);
        assert!(!clamp(&mut frame, &ip, 1200));
        assert_eq!(segment_of(&ip, 1500), 1460);
    }
}
