//! The keyed hash that gives a flow its shard and its place in the flow table.

use crate::wire::{Address, FlowKey};

/// Two rounds of multiply and fold under a secret of 128 bits.
///
/// Without the secret nobody can choose keys that meet in one bucket, which a CRC would allow. It is
/// the same for all workers, so that they agree on owners, and part of the exported state.
#[derive(Clone, Copy)]
pub(super) struct FlowHash {
    addresses: u64,
    ports: u64,
    /// What the second round takes in.
    last: [u64; 2],
    /// What the four halves of IPv6 addresses are mixed with.
    halves: [u64; 4],
}

/// Digits of pi: an all-zero secret must not make a zero factor.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

impl FlowHash {
    pub(super) fn new(secret: [u8; 16]) -> FlowHash {
        let secret = u128::from_le_bytes(secret);
        let (addresses, ports) = (secret as u64 ^ PI[0], (secret >> 64) as u64 ^ PI[1]);
        FlowHash {
            addresses,
            ports,
            last: [ports.rotate_left(32) ^ PI[2], addresses ^ PI[3]],
            halves: [
                ports ^ PI[2],
                addresses ^ PI[3],
                addresses ^ PI[0],
                ports.rotate_left(17) ^ PI[1],
            ],
        }
    }

    #[inline(always)]
    pub(super) fn of(&self, key: &FlowKey) -> u64 {
        let ports = u64::from(key.source_port) << 48
            | u64::from(key.destination_port) << 32
            | u64::from(key.protocol);
        self.mix(self.of_addresses(key.source, key.destination), ports)
    }

    /// Two IPv4 addresses as one word; of IPv6 ones a keyed hash.
    #[inline(always)]
    pub(super) fn of_addresses(&self, a: Address, b: Address) -> u64 {
        if a.is_v4() {
            return u64::from(a.low_bits()) << 32 | u64::from(b.low_bits());
        }
        let ((a_high, a_low), (b_high, b_low)) = (a.halves(), b.halves());
        let [for_a_high, for_a_low, for_b_high, for_b_low] = self.halves;
        fold(a_high ^ for_a_high, a_low ^ for_a_low)
            ^ fold(b_high ^ for_b_high, b_low ^ for_b_low).rotate_left(32)
    }

    /// Hash of any two words, for look-ups beside the flow table.
    #[inline(always)]
    pub(super) fn mix(&self, first: u64, second: u64) -> u64 {
        let once = fold(first ^ self.addresses, second ^ self.ports);
        fold(once ^ self.last[0], self.last[1])
    }
}

impl std::fmt::Debug for FlowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowHash(secret)")
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;
    use std::net::{SocketAddr, SocketAddrV4};

    #[test]
    fn one_client_counting_up_its_ports_reaches_every_shard_evenly() {
        for secret in [[0; 16], [0xff; 16], *b"sixteen secrets!"] {
            let hash = FlowHash::new(secret);
            let mut shards = [0u32; 256];
            for port in 0..=u16::MAX {
                let client = SocketAddrV4::new([192, 0, 2, 1].into(), port);
                let vip = SocketAddrV4::new([10, 1, 0, 100].into(), 80);
                shards[hash.of(&FlowKey::new(Protocol::Tcp, client, vip)) as usize & 255] += 1;
            }
            // 256 expected each, standard deviation 16.
            assert!(shards.iter().all(|&n| (160..360).contains(&n)), "{secret:?}: {shards:?}");
        }
    }

    #[test]
    fn every_field_and_the_secret_count() {
        let key = |a: &str, b: &str, protocol| {
            FlowKey::new(
                protocol,
                a.parse::<SocketAddr>().unwrap(),
                b.parse::<SocketAddr>().unwrap(),
            )
        };
        let base = key("192.0.2.1:1", "10.0.0.1:2", Protocol::Tcp);
        let hash = FlowHash::new([7; 16]);
        let v6 = |a: &str, b: &str| key(a, b, Protocol::Tcp);
        let six = v6("[2001:db8::1]:1", "[2001:db8:1::1]:2");
        for other in [
            v6("[2001:db8::2]:1", "[2001:db8:1::1]:2"),
            v6("[2001:db9::1]:1", "[2001:db8:1::1]:2"),
            v6("[2001:db8::1]:1", "[2001:db8:1::2]:2"),
            v6("[2001:db8::1]:1", "[2001:db8:2::1]:2"),
            six.reversed(),
        ] {
            assert_ne!(hash.of(&six), hash.of(&other), "{other}");
        }
        let others = [
            key("192.0.2.2:1", "10.0.0.1:2", Protocol::Tcp),
            key("192.0.2.1:3", "10.0.0.1:2", Protocol::Tcp),
            key("192.0.2.1:1", "10.0.0.2:2", Protocol::Tcp),
            key("192.0.2.1:1", "10.0.0.1:3", Protocol::Tcp),
            key("192.0.2.1:1", "10.0.0.1:2", Protocol::Udp),
            base.reversed(),
        ];
        for other in others {
            assert_ne!(hash.of(&base), hash.of(&other), "{other}");
        }
        assert_ne!(hash.of(&base), FlowHash::new([8; 16]).of(&base));
    }
}
