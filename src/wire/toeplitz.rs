//! The Toeplitz hash by which NICs spread flows over their queues (receive-side scaling).

use super::FlowKey;

/// Length of the key of a NIC for IPv4 and IPv6.
pub const KEY_LEN: usize = 40;

/// Four bits of input at a time, 72 times: two IPv6 addresses and two ports.
const STEPS: usize = 72;

/// A key, spread out so that hashing a 5-tuple is a look-up for each four bits of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Toeplitz {
    steps: [[u32; 16]; STEPS],
}

impl Toeplitz {
    /// Prepares a NIC's key.
    pub fn new(key: &[u8; KEY_LEN]) -> Toeplitz {
        // Each set bit of the input adds the 32 bits of the key that begin at its place.
        let step = |step: usize| {
            let window = |bit: usize| key_bits(key, step * 4 + bit);
            std::array::from_fn(|nibble| {
                (0..4)
                    .filter(|bit| nibble >> (3 - bit) & 1 == 1)
                    .fold(0, |hash, bit| hash ^ window(bit))
            })
        };
        Toeplitz { steps: std::array::from_fn(step) }
    }

    /// Hash over addresses and ports, as NICs do it for TCP, and for UDP where they are told to.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u32 {
        let ports = u32::from(key.source_port) << 16 | u32::from(key.destination_port);
        let (hash, steps) = self.hash_both(key);
        hash ^ self.hash_word(ports, steps)
    }

    /// Hash over the addresses only, as NICs do it for fragments and other protocols.
    #[inline]
    pub fn hash_addresses(&self, key: &FlowKey) -> u32 {
        self.hash_both(key).0
    }

    /// Of both addresses, and how many steps that took.
    #[inline]
    fn hash_both(&self, key: &FlowKey) -> (u32, usize) {
        if key.source.is_v4() {
            let hash = self.hash_word(key.source.low_bits(), 0)
                ^ self.hash_word(key.destination.low_bits(), 8);
            return (hash, 16);
        }
        let mut hash = 0;
        for (place, address) in [key.source, key.destination].into_iter().enumerate() {
            for word in 0..4 {
                let bits = (address.bits() >> (96 - 32 * word)) as u32;
                hash ^= self.hash_word(bits, place * 32 + word * 8);
            }
        }
        (hash, 64)
    }

    /// Of one word of the input, whose first step is `at`.
    #[inline]
    fn hash_word(&self, word: u32, at: usize) -> u32 {
        let steps = self.steps.iter().skip(at).take(8).enumerate();
        steps.fold(0, |hash, (place, step)| hash ^ step[(word >> (28 - 4 * place) & 15) as usize])
    }
}

impl std::fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Toeplitz")
    }
}

/// 32 bits of the key from bit `start` on; beyond its end it goes round.
fn key_bits(key: &[u8; KEY_LEN], start: usize) -> u32 {
    let bits =
        (0..5).fold(0u64, |bits, byte| bits << 8 | u64::from(key[(start / 8 + byte) % KEY_LEN]));
    (bits >> (8 - start % 8)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Address, Protocol};
    use proptest::prelude::*;

    /// The key of "Verifying the RSS Hash Calculation" in Microsoft's driver documentation.
    const PUBLISHED_KEY: [u8; KEY_LEN] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_published_vectors() {
        // Destination, source, hash over the addresses, hash over addresses and ports.
        let rows = [
            ("161.142.100.80:1766", "66.9.149.187:2794", 0x323e_8fc2, 0x51cc_c178),
            ("65.69.140.83:4739", "199.92.111.2:14230", 0xd718_262a, 0xc626_b0ea),
            ("12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0_a5de, 0x5c2b_394a),
            ("209.142.163.6:2217", "38.27.205.30:48228", 0x8298_9176, 0xafc7_327f),
            ("202.188.127.2:1303", "153.39.163.191:44251", 0x5d18_09c5, 0x10e8_28a2),
            ("[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc1_8cd5, 0x4020_7d3d),
            ("[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c_461c, 0xdde5_1bbf),
            (
                "[fe80::200:f8ff:fe21:67cf]:38024",
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                0x4b61_e985,
                0x02d1_feef,
            ),
        ];
        let toeplitz = Toeplitz::new(&PUBLISHED_KEY);
        for (destination, source, addresses, ports) in rows {
            let parse = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
            let key = FlowKey::new(Protocol::Tcp, parse(source), parse(destination));
            assert_eq!(toeplitz.hash_addresses(&key), addresses, "{key}");
            assert_eq!(toeplitz.hash(&key), ports, "{key}");
        }
    }

    /// Bit by bit, the key shifted left after each.
    fn slow_hash(key: &[u8; KEY_LEN], input: &[u8]) -> u32 {
        let mut key = key.to_vec();
        let mut hash = 0;
        for bit in input.iter().flat_map(|byte| (0..8).map(move |at| byte >> (7 - at) & 1)) {
            if bit == 1 {
                hash ^= u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
            }
            let mut carry = 0;
            for byte in key.iter_mut().rev() {
                (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
            }
        }
        hash
    }

    proptest! {
        #[test]
        fn hash_is_the_slow_hash(
            low in any::<[u8; 20]>(), high in any::<[u8; 20]>(),
            source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(),
            ports in any::<[u8; 4]>(), is_v4 in any::<bool>(),
        ) {
            let key: [u8; KEY_LEN] = [low, high].concat().try_into().unwrap();
            let used = if is_v4 { 4 } else { 16 };
            let address = |octets: [u8; 16]| match is_v4 {
                true => Address::v4(u32::from_be_bytes(*octets.first_chunk().unwrap())),
                false => Address::v6(octets),
            };
            let [i, j, k, l] = ports;
            let flow = FlowKey {
                source: address(source),
                destination: address(destination),
                source_port: u16::from_be_bytes([i, j]),
                destination_port: u16::from_be_bytes([k, l]),
                protocol: 6,
            };
            let addresses = [&source[..used], &destination[..used]].concat();
            let toeplitz = Toeplitz::new(&key);
            prop_assert_eq!(toeplitz.hash_addresses(&flow), slow_hash(&key, &addresses));
            let all = [&addresses[..], &ports].concat();
            prop_assert_eq!(toeplitz.hash(&flow), slow_hash(&key, &all));
        }
    }
}
