//! A service as workers see it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{BackendId, FlowRules, Mode, ServiceIndex};
use crate::wire::{Address, FlowKey, Protocol};

/// What a client gets when the service has no usable backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoBackendPolicy {
    /// TCP: a reset; UDP: ICMP port unreachable.
    #[default]
    Reset,
    /// ICMP port unreachable, whatever it asked by.
    Unreachable,
    /// Nothing: the client times out.
    Drop,
}

/// What the flows of a removed service get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceGonePolicy {
    /// The client's next packet is answered: TCP with a reset, UDP with ICMP port unreachable.
    #[default]
    Reset,
    /// The client's packets are dropped.
    Drop,
}

/// What the flows of a backend get that is gone: declared dead by its health check, or drained for as
/// long as its service lets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendGonePolicy {
    /// TCP: the client's next packet is answered with a reset, and the backend's too, where it comes
    /// by us. UDP: the client's next packet goes to another backend.
    #[default]
    Reset,
    /// TCP: packets are dropped. UDP as above.
    Drop,
    /// As `Reset` once drained. A dead backend keeps its flows, for a failed check may be wrong.
    Keep,
}

/// What the maximum segment size of a service's SYNs is lowered to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MssClamp {
    /// Nothing is changed.
    Off,
    /// What fits the ways to client and backend, a tunnel's header included. Under L2 DSR, where we
    /// are no hop, nothing.
    #[default]
    Auto,
    /// This many bytes.
    Most(u16),
}

/// Idle times after which a flow entry ends, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowTimeouts {
    /// SYN seen, no established connection yet (RFC 5382 REQ-5 transitory: at least 4 min; shorter
    /// by choice, since a SYN flood fills the table, as RFC 7857 section 2.1 allows).
    pub tcp_opening_ms: u32,
    /// Established connection (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established_ms: u32,
    /// After FIN from one or both sides.
    pub tcp_closing_ms: u32,
    /// After a reset, which may be a forged one that its receiver ignores: any other segment brings
    /// the connection back (RFC 7857 section 2.2 recommends 4 min; shorter by choice, since many
    /// clients end every connection by one).
    pub tcp_reset_ms: u32,
    /// UDP without a packet from either side (RFC 4787 REQ-5: at least 2 min, 5 min recommended;
    /// REQ-5a: shorter for what well-known ports need, such as DNS).
    pub udp_ms: u32,
    /// Session affinity of a client without new flows; set with [`FlowRules::affinity_ms`].
    pub affinity_ms: u32,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        FlowTimeouts {
            tcp_opening_ms: 60_000,
            tcp_established_ms: 7_440_000,
            tcp_closing_ms: 60_000,
            tcp_reset_ms: 10_000,
            udp_ms: 300_000,
            affinity_ms: 0,
        }
    }
}

/// One VIP, protocol and port with its backends' Maglev table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// VIP and port; of several ports, the first.
    pub vip: SocketAddr,
    /// The last of several ports.
    pub last_port: Option<u16>,
    /// Transport.
    pub protocol: Protocol,
    /// The machine has this address too: only this protocol and port of it are ours.
    pub shared_address: bool,
    /// How packets get to backends.
    pub mode: Mode,
    /// Slot -> backend for new flows; its length is the table size. Empty: no usable backend.
    pub slots: Arc<[BackendId]>,
    /// Who may use it, and what chooses backends.
    pub rules: FlowRules,
    /// What SYNs may say of segments.
    pub mss: MssClamp,
    /// With no usable backend.
    pub no_backend: NoBackendPolicy,
    /// Idle times.
    pub timeouts: FlowTimeouts,
    /// Once removed (see `gone`), what its flows get.
    pub on_service_gone: ServiceGonePolicy,
    /// What flows of its gone backends get.
    pub on_backend_gone: BackendGonePolicy,
    /// The service was removed and is here only until its flows are told.
    pub gone: bool,
}

impl Service {
    /// The key of the client's packets that a DNAT backend answers by one with this key. A service of
    /// several ports is answered from the one that was asked.
    #[inline]
    pub fn key_of_answer(&self, answer: &FlowKey) -> FlowKey {
        let key = self.key_from(answer.destination, answer.destination_port);
        match self.last_port {
            Some(last) if (self.vip.port()..=last).contains(&answer.source_port) => {
                FlowKey { destination_port: answer.source_port, ..key }
            }
            _ => key,
        }
    }

    /// The key of packets from this client to the VIP, of several ports to the first.
    #[inline]
    pub fn key_from(&self, client: Address, client_port: u16) -> FlowKey {
        FlowKey {
            source: client,
            destination: self.vip.ip().into(),
            source_port: client_port,
            destination_port: self.vip.port(),
            protocol: u32::from(self.protocol.number()),
        }
    }
}

/// What a packet says of the service it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct VipKey {
    address: Address,
    /// Port in the upper half, protocol in the lower.
    rest: u32,
}

impl VipKey {
    #[inline(always)]
    fn new(address: Address, port: u16, protocol: u8) -> VipKey {
        VipKey { address, rest: u32::from(port) << 16 | u32::from(protocol) }
    }

    /// Spreads what an operator chose: no secret is needed.
    #[inline(always)]
    fn hash(&self) -> u64 {
        let (high, low) = self.address.halves();
        let mixed = low ^ high.rotate_left(29) ^ u64::from(self.rest).rotate_left(41);
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// VIP, protocol and port -> service: open addressing, at most half full, built once a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceTable {
    /// Power of two long, and never full. An index of [`EMPTY`] marks an empty place.
    places: Arc<[(VipKey, u32)]>,
    /// Services of several ports: VIP and protocol with port 0, first and last port, sorted.
    ranges: Arc<[(VipKey, u16, u16, u32)]>,
}

const EMPTY: u32 = u32::MAX;

impl ServiceTable {
    /// Builds the table; of two services with one key, the first is found.
    pub fn new(services: &[Service]) -> ServiceTable {
        let len = (services.len() * 2).next_power_of_two().max(2);
        let empty = (VipKey::new(Address::UNSPECIFIED, 0, 0), EMPTY);
        let (mut places, mut ranges) = (vec![empty; len], Vec::new());
        for (index, service) in services.iter().enumerate() {
            let vip = service.vip;
            if let Some(last) = service.last_port {
                let key = VipKey::new(vip.ip().into(), 0, service.protocol.number());
                ranges.push((key, vip.port(), last, index as u32));
                continue;
            }
            let key = VipKey::new(vip.ip().into(), vip.port(), service.protocol.number());
            let place = place_of(&places, &key);
            if places[place].1 == EMPTY {
                places[place] = (key, index as u32);
            }
        }
        ranges.sort_by_key(|&(key, first, ..)| (key.address, key.rest, first));
        ServiceTable { places: places.into(), ranges: ranges.into() }
    }

    /// Are they two views of the very same one?
    pub(super) fn is_same(&self, other: &ServiceTable) -> bool {
        Arc::ptr_eq(&self.places, &other.places) && Arc::ptr_eq(&self.ranges, &other.ranges)
    }

    /// The service a packet with this key is for.
    #[inline(always)]
    pub fn find(&self, key: &FlowKey) -> Option<ServiceIndex> {
        let wanted = VipKey::new(key.destination, key.destination_port, key.protocol_number());
        let (_, index) = self.places.get(place_of(&self.places, &wanted))?;
        match *index {
            EMPTY if self.ranges.is_empty() => None,
            EMPTY => self.find_range(key.destination, key.destination_port, wanted.rest),
            index => Some(ServiceIndex(index)),
        }
    }

    /// The service of several ports that a packet is for. Ranges of one address and protocol do not
    /// overlap.
    #[inline(never)]
    fn find_range(&self, address: Address, port: u16, rest: u32) -> Option<ServiceIndex> {
        // All by value: a key that is pointed to would have to be written down for every packet.
        let wanted = VipKey { address, rest: rest & 0xffff };
        let behind = self.ranges.partition_point(|&(its, first, ..)| {
            (its.address, its.rest, first) <= (wanted.address, wanted.rest, port)
        });
        let &(its, first, last, index) = self.ranges.get(behind.checked_sub(1)?)?;
        (its == wanted && (first..=last).contains(&port)).then_some(ServiceIndex(index))
    }
}

/// Where `key` stands, or the empty place where it would.
#[inline(always)]
fn place_of(places: &[(VipKey, u32)], key: &VipKey) -> usize {
    let mask = places.len().wrapping_sub(1);
    let mut place = (key.hash() >> 32) as usize & mask;
    while let Some((found, index)) = places.get(place) {
        let differs = found.address.differs(key.address) | u64::from(found.rest ^ key.rest);
        if *index == EMPTY || differs == 0 {
            break;
        }
        place = (place + 1) & mask;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_service_and_nothing_else() {
        let service = |address: u32, port: u16, protocol| Service {
            name: "s".into(),
            vip: SocketAddr::new(std::net::Ipv4Addr::from(address).into(), port),
            protocol,
            shared_address: false,
            mode: Mode::Nat,
            slots: Arc::from([]),
            last_port: None,
            rules: FlowRules::default(),
            mss: MssClamp::Auto,
            no_backend: NoBackendPolicy::Reset,
            timeouts: FlowTimeouts::default(),
            on_service_gone: ServiceGonePolicy::Reset,
            on_backend_gone: BackendGonePolicy::Reset,
            gone: false,
        };
        let services: Vec<Service> = (0..500u32)
            .map(|i| {
                let protocol = if i % 2 == 0 { Protocol::Tcp } else { Protocol::Udp };
                service(0x0a00_0000 + i / 10, 80 + (i % 10) as u16, protocol)
            })
            .collect();
        let table = ServiceTable::new(&services);
        let client: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        for (index, service) in services.iter().enumerate() {
            let key = FlowKey::new(service.protocol, client, service.vip);
            assert_eq!(table.find(&key), Some(ServiceIndex(index as u32)));
            let other =
                if service.protocol == Protocol::Tcp { Protocol::Udp } else { Protocol::Tcp };
            assert_eq!(table.find(&FlowKey::new(other, client, service.vip)), None);
        }
        let several = |address, first, last| Service {
            last_port: Some(last),
            ..service(address, first, Protocol::Tcp)
        };
        let mixed = [
            several(0x0a00_0001, 1000, 1999),
            several(0x0a00_0001, 3000, 3000),
            service(0x0a00_0001, 1500, Protocol::Tcp),
            several(0x0a00_0002, 1, 65_535),
        ];
        let table = ServiceTable::new(&mixed);
        let rows = [
            ("10.0.0.1:999", None),
            ("10.0.0.1:1000", Some(0)),
            ("10.0.0.1:1500", Some(2)),
            ("10.0.0.1:1999", Some(0)),
            ("10.0.0.1:2000", None),
            ("10.0.0.1:3000", Some(1)),
            ("10.0.0.1:3001", None),
            ("10.0.0.2:65535", Some(3)),
            ("10.0.0.3:80", None),
        ];
        for (vip, wanted) in rows {
            let vip: SocketAddr = vip.parse().unwrap();
            let found = table.find(&FlowKey::new(Protocol::Tcp, client, vip));
            assert_eq!(found, wanted.map(ServiceIndex), "{vip}");
            assert_eq!(table.find(&FlowKey::new(Protocol::Udp, client, vip)), None, "{vip}");
        }
        assert_eq!(
            ServiceTable::default().find(&FlowKey::new(Protocol::Tcp, client, client)),
            None
        );
    }
}
