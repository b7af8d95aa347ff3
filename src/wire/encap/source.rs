//! Outer source addresses of tunnels.

use crate::wire::{Address, Family};

/// A prefix that is routed to us. Its host bits are free: each flow has its own, so that routers and
/// the backend's NIC spread flows whose outer addresses would all be the same otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelSource {
    network: Address,
    /// Ones where the host bits are.
    host_bits: u128,
}

impl TunnelSource {
    /// The prefix with this network address and length (0 to 32 or 128); host bits of the address
    /// are taken off.
    pub fn new(network: Address, prefix_len: u8) -> TunnelSource {
        let host_bits = network.family().host_bits(prefix_len);
        TunnelSource { network: Address::from_bits(network.bits() & !host_bits), host_bits }
    }

    /// The source of a flow's packets.
    #[inline]
    pub fn of_flow(&self, hash: u64) -> Address {
        let bits = (u128::from(hash) << 64 | u128::from(hash)) & self.host_bits;
        Address::from_bits(self.network.bits() | bits)
    }

    /// [`TunnelSource::of_flow`], of an IPv4 prefix.
    #[inline(always)]
    pub(super) fn of_flow_v4(&self, hash: u64) -> u32 {
        self.network.low_bits() | hash as u32 & self.host_bits as u32
    }

    /// Is it one of these addresses?
    #[inline]
    pub fn covers(&self, address: Address) -> bool {
        address.bits() & !self.host_bits == self.network.bits()
    }

    /// The network address.
    pub fn network(&self) -> Address {
        self.network
    }

    /// Its length, of 32 or 128 bits.
    pub fn prefix_len(&self) -> u8 {
        let width = if self.network.is_v4() { 32 } else { 128 };
        (width - self.host_bits.count_ones()) as u8
    }
}

/// The sources of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TunnelSources {
    /// Of outer IPv4 headers.
    pub v4: Option<TunnelSource>,
    /// Of outer IPv6 headers.
    pub v6: Option<TunnelSource>,
}

impl TunnelSources {
    /// The source towards a backend of this family.
    #[inline]
    pub fn of(&self, family: Family) -> Option<&TunnelSource> {
        match family {
            Family::Ipv4 => self.v4.as_ref(),
            Family::Ipv6 => self.v6.as_ref(),
        }
    }

    /// Is it one of our outer sources?
    #[inline]
    pub fn cover(&self, address: Address) -> bool {
        self.of(address.family()).is_some_and(|source| source.covers(address))
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = &TunnelSource> {
        self.v4.iter().chain(self.v6.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn flows_have_the_host_bits() {
        let rows = [
            ("10.9.0.77", 24, 0xffff_ffff_ffff_ff05, "10.9.0.5", "10.9.1.5"),
            ("10.9.0.1", 32, u64::MAX, "10.9.0.1", "10.9.0.2"),
            ("2001:db8:9::7", 112, 0x1234, "2001:db8:9::1234", "2001:db8:9::1:0"),
            ("2001:db8:9::7", 64, 0xab, "2001:db8:9::ab", "2001:db8:8::ab"),
            ("2001:db8:9::7", 128, 0xab, "2001:db8:9::7", "2001:db8:9::6"),
        ];
        for (network, prefix_len, hash, wanted, outside) in rows {
            let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
            let source = TunnelSource::new(address(network), prefix_len);
            // Of the low bits alone, which are those of every prefix.
            let hash = hash & if prefix_len == 64 { u64::MAX } else { 0xffff };
            let given = source.of_flow(hash);
            assert_eq!((given, source.prefix_len()), (address(wanted), prefix_len), "{network}");
            if given.is_v4() {
                assert_eq!(source.of_flow_v4(hash), given.low_bits(), "{network}");
            }
            assert!(source.covers(given) && !source.covers(address(outside)), "{network}");
        }
    }
}
