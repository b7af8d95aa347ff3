//! The hash that chooses a flow's Maglev slot: SipHash-1-3 (Aumasson and Bernstein 2012) under the
//! cluster key, of the 13 or 37 bytes of a flow key.
//!
//! Written out for these two lengths, since it is asked for each new flow: what works for any length
//! takes twice the instructions. A test holds it against the crate that does.

use crate::wire::FlowKey;

/// The state before the first word, which the key alone decides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotHash([u64; 4]);

impl SlotHash {
    pub(super) fn new(key: [u8; 16]) -> SlotHash {
        let key = u128::from_le_bytes(key);
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        SlotHash([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Of addresses, ports and protocol as they stand in a packet, one after the other.
    #[inline]
    pub(super) fn of(&self, key: &FlowKey) -> u64 {
        let ports = u64::from(key.source_port.swap_bytes())
            | u64::from(key.destination_port.swap_bytes()) << 16;
        let rest = ports | u64::from(key.protocol_number()) << 32;
        if key.source.is_v4() {
            let source = u64::from(key.source.low_bits().swap_bytes());
            let destination = u64::from(key.destination.low_bits().swap_bytes());
            return self.of_words([source | destination << 32], rest | 13 << 56);
        }
        let ((a, b), (c, d)) = (key.source.halves(), key.destination.halves());
        self.of_words([a, b, c, d].map(u64::swap_bytes), rest | 37 << 56)
    }

    /// Section 2: one round for each word, three at the end. The last word has the length in its
    /// upper byte.
    #[inline(always)]
    fn of_words<const N: usize>(&self, words: [u64; N], last: u64) -> u64 {
        let mut state = words.into_iter().fold(self.0, SlotHash::take);
        state = SlotHash::take(state, last);
        state[2] ^= 0xff;
        let [a, b, c, d] = SlotHash::round(SlotHash::round(SlotHash::round(state)));
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    fn take([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
        let [a, b, c, d] = SlotHash::round([a, b, c, d ^ word]);
        [a ^ word, b, c, d]
    }

    /// Section 2.2, figure 2.1.
    #[inline(always)]
    fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        [a, b, c, d]
    }
}

impl std::fmt::Debug for SlotHash {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlotHash(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::net::IpAddr;

    /// The bytes that are hashed, one after the other.
    fn bytes_of(key: &FlowKey) -> Vec<u8> {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [key.source_port.to_be_bytes(), key.destination_port.to_be_bytes()].concat();
        let addresses = [octets(key.source.ip()), octets(key.destination.ip())].concat();
        [addresses, ports, vec![key.protocol_number()]].concat()
    }

    proptest! {
        #[test]
        fn as_the_crate_does(
            secret: [u8; 16],
            ips in prop_oneof![
                any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
                any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            ],
            (source_port, destination_port, protocol) in any::<(u16, u16, u8)>(),
        ) {
            let (source, destination) = (ips.0.into(), ips.1.into());
            let protocol = u32::from(protocol);
            let key = FlowKey { source, destination, source_port, destination_port, protocol };
            let wanted = SipHasher13::new_with_key(&secret).hash(&bytes_of(&key));
            prop_assert_eq!(SlotHash::new(secret).of(&key), wanted);
        }
    }
}
