//! The Internet checksum (RFC 1071): full sums, and changes to one (RFC 1624).

use super::{Address, FlowKey};

/// Adds up big-endian 16-bit words without folding the carries; an odd last byte is the high half
/// of a word (RFC 1071 section 4.1). Sums of parts of even length may be added.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (quads, rest) = bytes.as_chunks::<4>();
    let quads: u64 = quads.iter().map(|&quad| u64::from(u32::from_be_bytes(quad))).sum();
    let mut last = [0u8; 4];
    last.iter_mut().zip(rest).for_each(|(place, &byte)| *place = byte);
    quads + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum into 16 bits with end-around carry.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let (half, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let half = half.wrapping_add(u32::from(carry));
    // The upper 16 bits are the sum of both halves, with the carry of the lower ones'.
    (half.wrapping_add(half.rotate_left(16)) >> 16) as u16
}

/// Does an IPv4 header without options add up? In words as wide and in whatever byte order the
/// machine has: the sum is the same (RFC 1071 section 2 B).
#[inline(always)]
pub fn ipv4_header_adds_up(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    adds_up(sum)
}

/// Does a range that holds its own checksum add up (to all ones)?
#[inline]
pub fn adds_up(sum: u64) -> bool {
    fold(sum) == 0xffff
}

/// Sum of the pseudo header that transports include (RFC 9293 section 3.1, RFC 768, RFC 8200 section
/// 8.1).
///
/// For both families in one: the words that one has and the other has not are zero.
#[inline]
pub fn pseudo_header_sum(
    source: Address,
    destination: Address,
    protocol: u8,
    segment_len: usize,
) -> u64 {
    words_of(source)
        + words_of(destination)
        + u64::from(protocol)
        // A packet is at most 65,575 bytes long.
        + segment_len as u64
}

/// The sum of the pseudo header of packets with this key.
#[inline]
pub fn pseudo_header_of(key: &FlowKey, segment_len: usize) -> u64 {
    pseudo_header_sum(key.source, key.destination, key.protocol_number(), segment_len)
}

/// An address as its pseudo header's words add up; of an IPv4 one, its 32 bits.
#[inline]
fn words_of(address: Address) -> u64 {
    let (high, low) = address.halves();
    if address.is_v4() {
        return u64::from(address.low_bits());
    }
    (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
}

/// What a checksum has to take in since words under it changed (RFC 1624 equation 3:
/// HC' = ~(~HC + ~m + m')).
///
/// Says nothing about the rest of the data, so a checksum that was wrong stays wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// No change.
    pub const NONE: Change = Change(0);

    /// A 16-bit word became another.
    #[inline]
    #[must_use]
    pub fn word(self, old: u16, new: u16) -> Change {
        Change(self.0 + u64::from(!old) + u64::from(new))
    }

    /// Two neighbouring words, such as an IPv4 address, became others.
    #[inline]
    #[must_use]
    pub fn double_word(self, old: u32, new: u32) -> Change {
        // Both halves of the complement: fold() brings the high half down.
        Change(self.0 + u64::from(!old) + u64::from(new))
    }

    /// An address became another one of the same family.
    #[inline]
    #[must_use]
    pub fn address(self, old: Address, new: Address) -> Change {
        let (old_high, old_low) = old.halves();
        let (new_high, new_low) = new.halves();
        let low = self.double_word(old_low as u32, new_low as u32);
        if old.is_v4() {
            return low;
        }
        low.double_word((old_low >> 32) as u32, (new_low >> 32) as u32)
            .double_word(old_high as u32, new_high as u32)
            .double_word((old_high >> 32) as u32, (new_high >> 32) as u32)
    }

    /// The checksum after the change.
    #[inline]
    pub fn applied_to(self, checksum: u16) -> u16 {
        !fold(self.0 + u64::from(!checksum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word with the carry brought round each time.
    fn slow_sum(bytes: &[u8]) -> u16 {
        let mut total = 0u16;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let (sum, carried) = total.overflowing_add(word);
            total = sum + u16::from(carried);
        }
        total
    }

    #[test]
    fn known_sums() {
        let rows: &[(&str, &[u8], u16)] = &[
            ("nothing", &[], 0),
            ("one byte is a high half", &[0x12], 0x1200),
            ("RFC 1071 section 3", &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0xddf2),
            ("all ones stay", &[0xff; 20], 0xffff),
            ("end-around carry", &[0xff, 0xff, 0x00, 0x01], 0x0001),
        ];
        for (what, bytes, wanted) in rows {
            assert_eq!(fold(sum(bytes)), *wanted, "{what}");
        }
        assert_eq!(fold(u64::MAX), 0xffff, "the longest carry");
    }

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        // HC = 0xdd2f, a word goes from 0x5555 to 0x3285: the result is 0x0000, not 0xffff.
        assert_eq!(Change::NONE.word(0x5555, 0x3285).applied_to(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn sum_is_the_slow_sum(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(fold(sum(&bytes)), slow_sum(&bytes));
        }

        #[test]
        fn fold_is_the_remainder(total in 1u64..) {
            // Ones' complement arithmetic is arithmetic modulo 0xffff, zero written as all ones.
            let wanted = match total % 0xffff { 0 => 0xffff, rest => rest as u16 };
            prop_assert_eq!(fold(total), wanted);
        }

        #[test]
        fn a_change_is_a_full_sum_again(
            mut bytes in proptest::array::uniform20(any::<u8>()), new in any::<u32>(),
        ) {
            bytes[0] = 0x45; // Never all zero: a zero sum has two names.
            let before = !fold(sum(&bytes));
            let old = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
            bytes[12..16].copy_from_slice(&new.to_be_bytes());
            let change = Change::NONE.double_word(old, new);
            prop_assert_eq!(change.applied_to(before), !fold(sum(&bytes)));
        }

        #[test]
        fn an_address_is_a_full_sum_again(
            old in any::<[u8; 16]>(), new in any::<[u8; 16]>(), rest in any::<[u8; 4]>(),
            is_v4 in any::<bool>(),
        ) {
            let used = if is_v4 { 4 } else { 16 };
            let address = |octets: [u8; 16]| match is_v4 {
                true => Address::v4(u32::from_be_bytes(*octets.first_chunk().unwrap())),
                false => Address::v6(octets),
            };
            let bytes = |octets: [u8; 16]| [&[0x45], &rest[1..], &octets[..used]].concat();
            let change = Change::NONE.address(address(old), address(new));
            let before = !slow_sum(&bytes(old));
            prop_assert_eq!(change.applied_to(before), !slow_sum(&bytes(new)));
            let same = Change::NONE.address(address(old), address(old));
            prop_assert_eq!(same.applied_to(before), before);
        }

        #[test]
        fn changes_add_up(
            words in any::<[u16; 4]>(), news in any::<[u16; 4]>(), double in any::<[u32; 2]>(),
        ) {
            let bytes = |words: [u16; 4], double: u32| {
                let words = words.map(u16::to_be_bytes).concat();
                [&[0x45, 0], &words[..], &double.to_be_bytes()].concat()
            };
            let pairs = words.into_iter().zip(news);
            let change = pairs.fold(Change::NONE, |change, (old, new)| change.word(old, new));
            let change = change.double_word(double[0], double[1]);
            let before = !slow_sum(&bytes(words, double[0]));
            prop_assert_eq!(change.applied_to(before), !slow_sum(&bytes(news, double[1])));
        }

        /// Drawn byte by byte: RFC 9293 section 3.1, RFC 8200 section 8.1.
        #[test]
        fn pseudo_headers_are_those_of_the_rfcs(
            source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), protocol in any::<u8>(),
            len in any::<u16>(),
        ) {
            let [high, low] = len.to_be_bytes();
            let v6 = [&source[..], &destination, &[0, 0, high, low, 0, 0, 0, protocol]].concat();
            let (from, to) = (Address::v6(source), Address::v6(destination));
            let sum = pseudo_header_sum(from, to, protocol, usize::from(len));
            prop_assert_eq!(fold(sum), slow_sum(&v6));

            let v4 = [&source[..4], &destination[..4], &[0, protocol, high, low]].concat();
            let address = |octets: [u8; 16]| {
                Address::v4(u32::from_be_bytes(*octets.first_chunk().unwrap()))
            };
            let (from, to) = (address(source), address(destination));
            let sum = pseudo_header_sum(from, to, protocol, usize::from(len));
            prop_assert_eq!(fold(sum), slow_sum(&v4));

            let key = FlowKey {
                source: from,
                destination: to,
                source_port: 1,
                destination_port: 2,
                protocol: u32::from(protocol),
            };
            prop_assert_eq!(pseudo_header_of(&key, usize::from(len)), sum);
        }

        #[test]
        fn an_ipv4_header_adds_up_by_its_slow_sum(
            mut header in proptest::array::uniform20(any::<u8>()), mend in any::<bool>(),
        ) {
            if mend {
                header[10..12].fill(0);
                let sum = !slow_sum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            prop_assert_eq!(ipv4_header_adds_up(&header), slow_sum(&header) == 0xffff);
            prop_assert!(ipv4_header_adds_up(&header) || !mend);
        }
    }
}
