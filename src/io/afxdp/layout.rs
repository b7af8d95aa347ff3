//! What user space and the XDP program (`bpf/steer.h`) have in common, as bytes.

use std::net::IpAddr;

use super::SteerRule;
use crate::wire::{Address, MacAddress};

/// Entries of the XSKMAP: an interface with more receive queues is refused.
pub const STEER_QUEUES: u32 = 64;
/// Port ranges one shared address can have.
pub const STEER_RANGES: usize = 8;
/// The program's counters, in the order of `enum steer_counter`.
pub const STEER_COUNTERS: [&str; 8] = [
    "steered",
    "steered_arp",
    "steered_icmp_error",
    "steer_no_worker",
    "passed",
    "passed_other_mac",
    "passed_shared_fragment",
    "passed_vlan",
];

const XDP_DROP: u8 = 1;
const XDP_PASS: u8 = 2;
const RANGES_AT: usize = 4;

/// Bytes of `struct steer_config`.
pub type ConfigBytes = [u8; 8];
/// Bytes of `struct steer_address`.
pub type AddressBytes = [u8; RANGES_AT + 4 * STEER_RANGES];
/// Bytes of `struct steer_ip`.
pub type KeyBytes = [u8; 16];
/// Bytes of `struct steer_port`.
pub type PortBytes = [u8; 20];

/// `struct steer_config`.
pub fn config(mac: MacAddress, drop_without_worker: bool) -> ConfigBytes {
    let [a, b, c, d, e, f] = mac.0;
    [a, b, c, d, e, f, if drop_without_worker { XDP_DROP } else { XDP_PASS }, 0]
}

/// `struct steer_ip`: an IPv4 address as its IPv4-mapped one.
pub fn key(address: IpAddr) -> KeyBytes {
    Address::from(address).octets()
}

/// `struct steer_port`: address and port as they stand in a packet.
pub fn port(address: IpAddr, protocol: u8, port: u16) -> PortBytes {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&key(address));
    bytes[16..18].copy_from_slice(&port.to_be_bytes());
    bytes[18] = protocol;
    bytes
}

/// `struct steer_address` by all rules of one address; none when there is no rule for it.
///
/// # Errors
/// How many port ranges there are, when more than [`STEER_RANGES`].
pub fn address<'a>(
    rules: impl Iterator<Item = &'a SteerRule>,
) -> Result<Option<AddressBytes>, usize> {
    let (mut any, mut whole, mut ranges) = (false, false, Vec::new());
    for rule in rules {
        any = true;
        match *rule {
            SteerRule::Whole(_) => whole = true,
            SteerRule::Port(..) => {}
            SteerRule::PortRange(_, low, high) => ranges.push((low, high)),
        }
    }
    if ranges.len() > STEER_RANGES {
        return Err(ranges.len());
    }
    let mut bytes = [0; RANGES_AT + 4 * STEER_RANGES];
    bytes[..2].copy_from_slice(&u16::from(whole).to_ne_bytes());
    bytes[2..RANGES_AT].copy_from_slice(&(ranges.len() as u16).to_ne_bytes());
    for (place, (low, high)) in bytes[RANGES_AT..].chunks_exact_mut(4).zip(ranges) {
        place[..2].copy_from_slice(&low.to_ne_bytes());
        place[2..].copy_from_slice(&high.to_ne_bytes());
    }
    Ok(any.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::header;
    use super::*;

    const HEADER: &str = include_str!("../../../bpf/steer.h");

    #[test]
    fn numbers_and_names_are_those_of_the_header() {
        assert_eq!(header::defined(HEADER, "STEER_QUEUES"), STEER_QUEUES);
        assert_eq!(header::defined(HEADER, "STEER_RANGES") as usize, STEER_RANGES);
        let mut names = header::counters(HEADER, "steer");
        let no_worker = names.iter_mut().find(|name| *name == "no_worker").unwrap();
        *no_worker = "steer_no_worker".to_string();
        assert_eq!(names, STEER_COUNTERS);
    }

    #[test]
    fn keys_are_in_network_order() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 100];
        let address = IpAddr::from([10, 1, 0, 100]);
        assert_eq!(key(address), mapped);
        assert_eq!(port(address, 6, 443), *[&mapped[..], &[1, 187, 6, 0]].concat());
        assert_eq!(key("2001:db8::1".parse().unwrap())[..5], [0x20, 1, 0xd, 0xb8, 0]);
        let mac = MacAddress([2, 0, 0, 0, 0, 9]);
        assert_eq!(config(mac, true), [2, 0, 0, 0, 0, 9, 1, 0]);
        assert_eq!(config(mac, false), [2, 0, 0, 0, 0, 9, 2, 0]);
    }

    #[test]
    fn an_address_is_the_sum_of_its_rules() {
        let at = IpAddr::from([10, 1, 0, 10]);
        assert_eq!(address([].iter()), Ok(None));
        let rules = [SteerRule::Port(at, 6, 80), SteerRule::PortRange(at, 1024, 2047)];
        let bytes = address(rules.iter()).unwrap().unwrap();
        let numbers: Vec<u16> =
            bytes.chunks_exact(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).collect();
        assert_eq!(&numbers[..5], [0, 1, 1024, 2047, 0]);
        let whole = address([SteerRule::Whole(at)].iter()).unwrap().unwrap();
        assert_eq!(u16::from_ne_bytes([whole[0], whole[1]]), 1);
        let many: Vec<_> = (0..9).map(|n| SteerRule::PortRange(at, n, n)).collect();
        assert_eq!(address(many.iter()), Err(9));
    }
}
