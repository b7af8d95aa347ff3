//! What user space and the decap program (`bpf/decap.h`) have in common, as bytes.

use std::net::IpAddr;

use super::AddressPrefix;

/// The program's counters, in the order of `enum decap_counter`. The first ones are frames that were
/// taken, then those that went to the kernel untouched, then those that were dropped.
pub const DECAP_COUNTERS: [&str; 15] = [
    "decapsulated_ipip",
    "decapsulated_gre",
    "decapsulated_gue",
    "passed",
    "passed_vlan",
    "passed_not_local",
    "passed_source",
    "passed_fragment",
    "passed_extensions",
    "passed_gre",
    "passed_gue",
    "passed_malformed",
    "dropped_destination",
    "dropped_ecn",
    "dropped_inner",
];
/// Addresses the program can know.
pub const DECAP_ADDRESSES: u32 = 65536;
/// Source prefixes the program can know.
pub const DECAP_SOURCES: u32 = 4096;
/// IPv6 extension headers before the tunnel header that are passed over.
pub const DECAP_EXTENSIONS: u32 = 4;
/// Bit of an address that may be an outer destination.
pub const LOCAL: u8 = 1;
/// Bit of an address that may be an inner destination.
pub const INNER: u8 = 2;

/// Bytes of `struct decap_config`.
pub type ConfigBytes = [u8; 4];
/// Bytes of `struct decap_address`.
pub type AddressBytes = [u8; 20];

/// Bits of `struct decap_address` before the address.
const FAMILY_BITS: u32 = 32;

/// `struct decap_config`.
pub fn config(gue_port: u16, sources_listed: bool) -> ConfigBytes {
    let [high, low] = gue_port.to_be_bytes();
    [high, low, u8::from(sources_listed), 0]
}

/// `struct decap_address`.
pub fn address(address: IpAddr) -> AddressBytes {
    let mut bytes = [0; 20];
    match address {
        IpAddr::V4(address) => {
            bytes[0] = 4;
            bytes[4..8].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[4..].copy_from_slice(&address.octets());
        }
    }
    bytes
}

/// The two parts of `struct decap_source`: how many bits count, and which.
pub fn source(prefix: &AddressPrefix) -> (u32, AddressBytes) {
    (FAMILY_BITS + u32::from(prefix.bits()), address(prefix.address()))
}

#[cfg(test)]
mod tests {
    use super::super::super::header;
    use super::*;

    const HEADER: &str = include_str!("../../../../bpf/decap.h");

    #[test]
    fn numbers_and_names_are_those_of_the_header() {
        for (name, wanted) in [
            ("DECAP_ADDRESSES", DECAP_ADDRESSES),
            ("DECAP_SOURCES", DECAP_SOURCES),
            ("DECAP_EXTENSIONS", DECAP_EXTENSIONS),
            ("DECAP_LOCAL", LOCAL.into()),
            ("DECAP_INNER", INNER.into()),
        ] {
            assert_eq!(header::defined(HEADER, name), wanted, "{name}");
        }
        assert_eq!(header::counters(HEADER, "decap"), DECAP_COUNTERS);
    }

    #[test]
    fn keys_are_in_network_order() {
        assert_eq!(config(6080, true), [0x17, 0xc0, 1, 0]);
        assert_eq!(config(80, false), [0, 80, 0, 0]);
        let four = address("10.1.0.100".parse().unwrap());
        assert_eq!(four[..8], [4, 0, 0, 0, 10, 1, 0, 100]);
        assert_eq!(four[8..], [0; 12]);
        let six = address("fd00::1".parse().unwrap());
        assert_eq!((six[0], six[4], six[19]), (6, 0xfd, 1));
        assert_eq!(source(&"10.0.0.0/8".parse().unwrap()).0, 40);
        assert_eq!(source(&"::/0".parse().unwrap()), (32, address("::".parse().unwrap())));
    }
}
