//! What user space and the XDP program (`bpf/steer.h`) have in common, as bytes.

use std::net::IpAddr;

use super::SteerRule;
use crate::wire::{Address, MacAddress};

/// Entries of the XSKMAP: an interface with more receive queues is refused.
pub const STEER_QUEUES: u32 = 64;
/// Port ranges one shared address can have.
pub const STEER_RANGES: usize = 8;
/// The program's counters, in the order of `enum steer_counter`.
pub const STEER_COUNTERS: [&str; 9] = [
    "steered",
    "steered_arp",
    "steered_icmp_error",
    "steered_return",
    "steer_no_worker",
    "passed",
    "passed_other_mac",
    "passed_shared_fragment",
    "passed_vlan",
];

const XDP_DROP: u8 = 1;
const XDP_PASS: u8 = 2;
const RANGES_AT: usize = 8;

/// Networks of tunnels' outer sources.
pub const STEER_SOURCES: usize = 2;
/// Bytes at the beginning of the room in front of a frame: no station, and how much room there is.
pub const STEER_TAG: usize = 8;

const SOURCES_AT: usize = 12;
/// A mask and a network.
const SOURCE_LEN: usize = 32;

/// Bytes of `struct steer_config`.
pub type ConfigBytes = [u8; SOURCES_AT + SOURCE_LEN * STEER_SOURCES];
/// Bytes of `struct steer_address`.
pub type AddressBytes = [u8; RANGES_AT + 4 * STEER_RANGES];
/// Bytes of `struct steer_ip`.
pub type KeyBytes = [u8; 16];
/// Bytes of `struct steer_port`.
pub type PortBytes = [u8; 20];
/// Bytes of `struct steer_range`.
pub type RangeBytes = [u8; 4];

/// What the program has to know of its interface and of all traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The interface's MAC.
    pub mac: MacAddress,
    /// What is ours is dropped while its queue has no socket, or else goes to the kernel.
    pub drop_without_worker: bool,
    /// There are sockets of DNAT backends.
    pub dnat: bool,
    /// Networks of tunnels' outer sources, at most [`STEER_SOURCES`]; more are left out.
    pub sources: Vec<(IpAddr, u8)>,
}

/// `struct steer_config`.
pub fn config(config: &Config) -> ConfigBytes {
    let mut bytes = [0; SOURCES_AT + SOURCE_LEN * STEER_SOURCES];
    bytes[..6].copy_from_slice(&config.mac.0);
    bytes[6] = if config.drop_without_worker { XDP_DROP } else { XDP_PASS };
    bytes[7] = u8::from(config.dnat);
    let count = config.sources.len().min(STEER_SOURCES) as u32;
    bytes[8..SOURCES_AT].copy_from_slice(&count.to_ne_bytes());
    let places = bytes[SOURCES_AT..].chunks_exact_mut(SOURCE_LEN);
    for (place, &(network, prefix_len)) in places.zip(&config.sources) {
        let network = Address::from(network);
        let mask = !network.family().host_bits(prefix_len);
        place[..16].copy_from_slice(&mask.to_be_bytes());
        place[16..].copy_from_slice(&(network.bits() & mask).to_be_bytes());
    }
    bytes
}

/// The room in front of a received frame, as the tag at its beginning says; 0 without one.
#[inline]
pub fn room_of(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<STEER_TAG>() {
        Some(&[0, 0, 0, 0, 0, 0, high, low]) => {
            let room = usize::from(u16::from_be_bytes([high, low]));
            // Nobody but the program writes one; asked all the same.
            if room <= bytes.len() { room } else { 0 }
        }
        _ => 0,
    }
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

/// `struct steer_range`.
pub fn range((low, high): (u16, u16)) -> RangeBytes {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&low.to_ne_bytes());
    bytes[2..].copy_from_slice(&high.to_ne_bytes());
    bytes
}

/// `struct steer_address` by all rules of one address; none when there is no rule for it.
///
/// # Errors
/// How many port ranges there are, when more than [`STEER_RANGES`].
pub fn address<'a>(
    rules: impl Iterator<Item = &'a SteerRule>,
) -> Result<Option<AddressBytes>, usize> {
    let (mut any, mut whole, mut room, mut ranges) = (false, false, 0, Vec::new());
    for rule in rules {
        any |= matches!(rule, SteerRule::Whole(_) | SteerRule::Port(..) | SteerRule::PortRange(..));
        match *rule {
            SteerRule::Whole(_) => whole = true,
            SteerRule::PortRange(_, low, high) => ranges.push((low, high)),
            // Of two, for a moment, the larger one.
            SteerRule::Room(_, bytes) => room = bytes.max(room),
            SteerRule::Port(..)
            | SteerRule::TunnelSource(..)
            | SteerRule::Own(_)
            | SteerRule::Backend(..)
            | SteerRule::BackendPorts(..) => {}
        }
    }
    if ranges.len() > STEER_RANGES {
        return Err(ranges.len());
    }
    let mut bytes = [0; RANGES_AT + 4 * STEER_RANGES];
    bytes[..2].copy_from_slice(&u16::from(whole).to_ne_bytes());
    bytes[2..4].copy_from_slice(&(ranges.len() as u16).to_ne_bytes());
    bytes[4..6].copy_from_slice(&u16::to_ne_bytes(room));
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
        assert_eq!(header::defined(HEADER, "STEER_SOURCES") as usize, STEER_SOURCES);
        assert_eq!(header::defined(HEADER, "STEER_TAG") as usize, STEER_TAG);
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
        let mut plain = Config { mac, drop_without_worker: true, dnat: false, sources: Vec::new() };
        assert_eq!(config(&plain)[..12], [2, 0, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0]);
        (plain.drop_without_worker, plain.dnat) = (false, true);
        plain.sources = vec![("10.9.0.0".parse().unwrap(), 24)];
        let bytes = config(&plain);
        assert_eq!(bytes[6..12], *[&[2, 1][..], &1u32.to_ne_bytes()].concat());
        assert_eq!(bytes[12..28], [[0xff; 15].as_slice(), &[0]].concat());
        assert_eq!(bytes[28..44], [&mapped[..12], &[10, 9, 0, 0]].concat());
    }

    #[test]
    fn room_is_told_by_a_station_that_is_none() {
        let tagged = [&[0; 6][..], &20u16.to_be_bytes(), &[7; 40]].concat();
        let rows: [(&str, &[u8], usize); 4] = [
            ("a frame", &[2, 0, 0, 0, 0, 1, 0, 20, 7, 7], 0),
            ("room", &tagged, 20),
            ("cut", &tagged[..7], 0),
            ("longer than there is", &tagged[..10], 0),
        ];
        for (description, bytes, wanted) in rows {
            assert_eq!(room_of(bytes), wanted, "{description}");
        }
    }

    #[test]
    fn an_address_is_the_sum_of_its_rules() {
        let at = IpAddr::from([10, 1, 0, 10]);
        assert_eq!(address([].iter()), Ok(None));
        let rules = [SteerRule::Port(at, 6, 80), SteerRule::PortRange(at, 1024, 2047)];
        let bytes = address(rules.iter()).unwrap().unwrap();
        let numbers: Vec<u16> =
            bytes.chunks_exact(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).collect();
        assert_eq!(&numbers[..7], [0, 1, 0, 0, 1024, 2047, 0]);
        let whole = address([SteerRule::Whole(at)].iter()).unwrap().unwrap();
        assert_eq!(u16::from_ne_bytes([whole[0], whole[1]]), 1);
        let with_room = address([SteerRule::Whole(at), SteerRule::Room(at, 28)].iter());
        assert_eq!(with_room.unwrap().unwrap()[4..6], 28u16.to_ne_bytes());
        let others = [SteerRule::Room(at, 28), SteerRule::Backend(at, 6, 80), SteerRule::Own(at)];
        assert_eq!(address(others.iter()), Ok(None), "nothing to it is taken by these");
        let many: Vec<_> = (0..9).map(|n| SteerRule::PortRange(at, n, n)).collect();
        assert_eq!(address(many.iter()), Err(9));
    }
}
