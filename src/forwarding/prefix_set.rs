//! A set of networks of both families, asked whether an address is in one of them.

use std::net::IpAddr;

use crate::wire::Address;

/// Networks as ranges of addresses that neither meet nor touch: a search among n of them takes
/// log2(n) steps, 17 for 100,000. Which of several nested networks is the longest does not matter to
/// a set, and so they are one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrefixSet {
    /// First and last address, in order.
    ranges: Vec<(Address, Address)>,
}

impl PrefixSet {
    /// The set of these networks (address, prefix length); host bits count for nothing.
    pub fn new(networks: impl IntoIterator<Item = (IpAddr, u8)>) -> PrefixSet {
        let mut all: Vec<(u128, u128)> = networks.into_iter().map(range_of).collect();
        all.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        let address = |(first, last)| (Address::from_bits(first), Address::from_bits(last));
        PrefixSet { ranges: joined.into_iter().map(address).collect() }
    }

    /// Is the address in one of the networks?
    #[inline]
    pub fn contains(&self, address: Address) -> bool {
        let behind = self.ranges.partition_point(|&(first, _)| first <= address);
        let range = behind.checked_sub(1).and_then(|place| self.ranges.get(place));
        range.is_some_and(|&(_, last)| address <= last)
    }
}

/// First and last address of a network, by their bits.
fn range_of((network, prefix_len): (IpAddr, u8)) -> (u128, u128) {
    let network = Address::from(network);
    let (bits, host_bits) = (network.bits(), network.family().host_bits(prefix_len));
    (bits & !host_bits, bits | host_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> (IpAddr, u8) {
        let (address, len) = text.split_once('/').unwrap();
        (address.parse().unwrap(), len.parse().unwrap())
    }

    #[test]
    fn addresses_by_row() {
        let set = PrefixSet::new(
            ["10.0.0.0/8", "10.1.2.3/32", "11.0.0.0/8", "192.0.2.128/25", "2001:db8::/32"]
                .map(network),
        );
        assert_eq!(set.ranges.len(), 3, "10/8 and 11/8 touch: {set:?}");
        let rows = [
            ("10.255.255.255", true),
            ("11.0.0.0", true),
            ("12.0.0.0", false),
            ("192.0.2.127", false),
            ("192.0.2.255", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::", false),
        ];
        for (address, wanted) in rows {
            let address = address.parse::<IpAddr>().unwrap().into();
            assert_eq!(set.contains(address), wanted, "{address:?}");
        }
        assert!(!PrefixSet::default().contains(Address::v4(1)));
        let all = PrefixSet::new([network("0.0.0.0/0")]);
        assert!(all.contains(Address::v4(u32::MAX)) && !all.contains(Address::UNSPECIFIED));
        assert!(PrefixSet::new([network("::/0")]).contains(Address::UNSPECIFIED));
    }

    proptest! {
        /// Against asking each network.
        #[test]
        fn as_if_each_was_asked(
            networks in prop::collection::vec((any::<u32>(), 20u8..=32), 0..40),
            near in any::<u32>(),
        ) {
            // Close together, so that many nest and touch.
            let address = |bits: u32| Address::v4(0x0a00_0000 | bits & 0xffff);
            let set = PrefixSet::new(networks.iter().map(|&(bits, len)| (address(bits).ip(), len)));
            let asked = address(near);
            let wanted = networks.iter().any(|&(bits, len)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                (address(bits).low_bits() ^ asked.low_bits()) & mask == 0
            });
            prop_assert_eq!(set.contains(asked), wanted);
        }
    }
}
