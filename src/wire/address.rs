//! An IP address of either family in one fixed form: what flow keys and tables are made of.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The two IP families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// RFC 791
    Ipv4,
    /// RFC 8200
    Ipv6,
}

impl Family {
    /// Ones where a prefix of this length leaves an address free, among the [`Address::bits`] of this
    /// family. A longer one than addresses are leaves nothing.
    pub const fn host_bits(self, prefix_len: u8) -> u128 {
        let width: u32 = match self {
            Family::Ipv4 => 32,
            Family::Ipv6 => 128,
        };
        match 1u128.checked_shl(width.saturating_sub(prefix_len as u32)) {
            Some(bit) => bit - 1,
            None => u128::MAX,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// An IPv4 or IPv6 address. 16 bytes, plain data.
///
/// An IPv4 address stands as its IPv4-mapped one (RFC 4291 section 2.5.5.2). So the two families
/// share tables and never meet: a packet that carries a mapped address is refused by
/// [`parse`](super::parse()), since none is valid on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Address {
    high: u64,
    low: u64,
}

/// The upper half of `low` of a mapped IPv4 address.
const MAPPED: u64 = 0xffff << 32;

impl Address {
    /// `::`, which is no host's.
    pub const UNSPECIFIED: Address = Address { high: 0, low: 0 };

    /// An IPv4 address from its bits.
    #[inline]
    pub const fn v4(bits: u32) -> Address {
        Address { high: 0, low: MAPPED | bits as u64 }
    }

    /// An IPv6 address from its octets.
    #[inline]
    pub const fn v6(octets: [u8; 16]) -> Address {
        let bits = u128::from_be_bytes(octets);
        Address { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Its family.
    #[inline]
    pub const fn family(self) -> Family {
        if self.is_v4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// Is it an IPv4 address?
    #[inline]
    pub const fn is_v4(self) -> bool {
        self.high == 0 && self.low >> 32 == 0xffff
    }

    /// The 32 bits of an IPv4 address; of an IPv6 address the last 32.
    #[inline]
    pub const fn low_bits(self) -> u32 {
        self.low as u32
    }

    /// The two halves, the first one first: for hashing.
    #[inline]
    pub const fn halves(self) -> (u64, u64) {
        (self.high, self.low)
    }

    /// 0 when the other one is the same: for comparing several things with one branch.
    #[inline(always)]
    pub const fn differs(self, other: Address) -> u64 {
        (self.high ^ other.high) | (self.low ^ other.low)
    }

    /// All 128 bits; of an IPv4 address, of its mapped form.
    #[inline]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The address with these 128 bits.
    #[inline]
    pub const fn from_bits(bits: u128) -> Address {
        Address { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// The 16 octets; of an IPv4 address, of its mapped form.
    #[inline]
    pub const fn octets(self) -> [u8; 16] {
        self.bits().to_be_bytes()
    }

    /// As the standard library has it.
    #[inline]
    pub fn ip(self) -> IpAddr {
        match self.v4_address() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(self.bits())),
        }
    }

    /// The IPv4 address, if it is one.
    #[inline]
    pub fn v4_address(self) -> Option<Ipv4Addr> {
        self.is_v4().then(|| Ipv4Addr::from_bits(self.low_bits()))
    }

    /// With a port.
    #[inline]
    pub fn socket(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// Is it in this network: its first address, and ones where host bits are?
    #[inline]
    pub fn is_in(self, (network, host_bits): (Address, u128)) -> bool {
        self.is_v4() == network.is_v4() && self.bits() & !host_bits == network.bits()
    }

    /// Can it be one host's, as a packet's source or destination? Not the unspecified, loopback,
    /// multicast, reserved or broadcast address (RFC 1122 section 3.2.1.3, RFC 4291 section 2).
    #[inline]
    pub const fn is_one_host(self) -> bool {
        if self.is_v4() {
            let first = (self.low_bits() >> 24) as u8;
            !matches!(first, 0 | 127 | 224..)
        } else {
            let is_multicast = self.high >> 56 == 0xff;
            // `::`, `::1`, and what else the first 80 zero bits once stood for.
            let is_reserved = self.high == 0 && self.low >> 48 == 0;
            !is_multicast && !is_reserved
        }
    }

    /// Is it valid on one link only (RFC 4291 section 2.5.6, RFC 3927)?
    #[inline]
    pub const fn is_link_local(self) -> bool {
        if self.is_v4() { self.low_bits() >> 16 == 0xa9fe } else { self.high >> 54 == 0x3fa }
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(address: Ipv4Addr) -> Address {
        Address::v4(address.to_bits())
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(address: Ipv6Addr) -> Address {
        Address::v6(address.octets())
    }
}

impl From<IpAddr> for Address {
    #[inline]
    fn from(address: IpAddr) -> Address {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn both_families_round_trip() {
        for text in ["192.0.2.1", "0.0.0.0", "255.255.255.255", "::", "2001:db8::1", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(address(text).ip(), ip, "{text}");
            assert_eq!(address(text).is_v4(), ip.is_ipv4(), "{text}");
            assert_eq!(Address::from_bits(address(text).bits()), address(text), "{text}");
        }
        assert_eq!(address("192.0.2.1").octets()[12..], [192, 0, 2, 1]);
    }

    #[test]
    fn who_can_be_one_host() {
        let rows = [
            ("192.0.2.1", true),
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2001:db8::1", true),
            ("fe80::1", true),
            ("::", false),
            ("::1", false),
            ("::192.0.2.1", false),
            ("ff02::1", false),
        ];
        for (text, wanted) in rows {
            assert_eq!(address(text).is_one_host(), wanted, "{text}");
        }
        for (text, wanted) in
            [("169.254.1.1", true), ("fe80::1", true), ("fec0::1", false), ("10.0.0.1", false)]
        {
            assert_eq!(address(text).is_link_local(), wanted, "{text}");
        }
    }
}
