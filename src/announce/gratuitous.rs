//! Which announcements to send, and when: gratuitous ARP for IPv4, unsolicited neighbour
//! advertisements for IPv6. Pure: time is an argument.
//!
//! An address is announced by a port, and by each VLAN the machine has there, when it becomes ours,
//! and when the port or the VLAN comes up or gets another MAC. Addresses shared with the machine are
//! the kernel's to announce.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::forwarding::{AddressRole, Snapshot};
use crate::wire::{
    ETHERNET_LEN, FrameView, Link, MOST_TAGS, MacAddress, PortId, TAG_LEN, Tags, gratuitous_arp,
    rewrite, unsolicited_advertisement,
};

/// Said again so long after the time before, since nobody confirms an announcement: a switch may
/// still be learning, a router's queue may be full. (RFC 5227 section 2.3 says it twice.)
const PAUSES_MS: [u64; 2] = [1000, 3000];
/// Most frames at once: thousands of VIPs must not push the traffic out of the transmit rings.
const AT_ONCE: usize = 256;
/// The others follow after this.
const NEXT_MS: u64 = 10;

/// What has to be sent, and when to ask again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// Frames, and the ports they leave by.
    pub frames: Vec<(PortId, Box<[u8]>)>,
    /// When the next ones are due; none when all is said.
    pub next_ms: Option<u64>,
}

/// By which port and VLANs which address is announced with which MAC.
type Claim = (PortId, Tags, IpAddr, MacAddress);

/// Remembers what was announced.
#[derive(Debug, Default)]
pub struct Announcer {
    claims: BTreeSet<Claim>,
    /// When each is due, and how often it has been said.
    pending: BTreeMap<Claim, (u64, usize)>,
}

impl Announcer {
    /// Takes the snapshot that all workers run now: what is new in it is due at once, what is no
    /// longer in it is not said again.
    pub fn follow(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let claims = claims_of(snapshot);
        self.pending.retain(|claim, _| claims.contains(claim));
        for &claim in claims.difference(&self.claims) {
            self.pending.insert(claim, (now_ms, 0));
        }
        self.claims = claims;
    }

    /// What is due. Each frame is given once; the caller sends it or lets it be lost.
    pub fn due(&mut self, now_ms: u64) -> Due {
        let is_due = |&(_, &(due_ms, _)): &(&Claim, &(u64, usize))| due_ms <= now_ms;
        let now: Vec<Claim> =
            self.pending.iter().filter(is_due).map(|(&claim, _)| claim).take(AT_ONCE).collect();
        let mut due = Due::default();
        for claim in now {
            due.frames.push((claim.0, frame_of(claim)));
            let said = self.pending.remove(&claim).map_or(0, |(_, said)| said);
            if let Some(pause_ms) = PAUSES_MS.get(said) {
                self.pending.insert(claim, (now_ms + pause_ms, said + 1));
            }
        }
        let next_ms = self.pending.values().map(|&(due_ms, _)| due_ms).min();
        due.next_ms = next_ms.map(|next_ms| next_ms.max(now_ms + NEXT_MS));
        due
    }
}

/// The frame that says it.
fn frame_of((_, tags, address, mac): Claim) -> Box<[u8]> {
    const ROOM: usize = MOST_TAGS * TAG_LEN;
    let frame: Vec<u8> = match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address).into(),
        IpAddr::V6(address) => unsolicited_advertisement(mac, address.into()).into(),
    };
    if tags == Tags::NONE {
        return frame.into();
    }
    let Some(&macs) = frame.first_chunk::<12>() else { return frame.into() };
    let untagged = Link {
        destination: MacAddress::BROADCAST,
        source: mac,
        tags: Tags::NONE,
        len: ETHERNET_LEN as u8,
    };
    let mut chunk = [vec![0; ROOM], frame].concat();
    let len = chunk.len() - ROOM;
    let mut view = FrameView::new(&mut chunk, ROOM, len);
    // There is room for the most tags there can be.
    let _ = rewrite::set_link(&mut view, &untagged, &macs, tags);
    view.bytes().into()
}

/// A VIP is announced by every port that is up, and by every VLAN that the kernel has a route by,
/// since clients may be behind any of them; a SNAT address only by the port it is used on, if it is
/// bound to one.
fn claims_of(snapshot: &Snapshot) -> BTreeSet<Claim> {
    let mut links = snapshot.routes.links();
    links.extend((0..=u8::MAX).zip(&snapshot.ports).map(|(id, _)| (PortId(id), Tags::NONE)));
    let links: Vec<_> = links
        .into_iter()
        .filter_map(|(id, tags)| Some((id, tags, snapshot.port(id)?)))
        .filter(|(_, _, port)| port.up && port.mac.is_station())
        .collect();
    let is_used = |address, id| {
        let mut snat = snapshot.snat.iter().filter(|snat| snat.address == address);
        snat.any(|snat| snat.port.is_none_or(|port| port == id))
    };
    let mut claims = BTreeSet::new();
    for (address, role) in snapshot.addresses() {
        let said_by = |id| match role {
            AddressRole::Vip => true,
            AddressRole::Snat => is_used(address, id),
            AddressRole::Shared => false,
        };
        for &(id, tags, port) in links.iter().filter(|(id, ..)| said_by(*id)) {
            claims.insert((id, tags, address, port.mac));
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::{
        BackendGonePolicy, ClusterKey, FlowRules, FlowTimeouts, Mode, MssClamp, NoBackendPolicy,
        Port, Route, RouteTable, Service, ServiceGonePolicy, SnapshotParts, SnatAddress,
        TunnelSources,
    };
    use crate::wire::{Body, ParseOutcome, Protocol, parse};
    use std::net::SocketAddr;
    use std::sync::Arc;

    fn service(vip: impl Into<IpAddr>, shared_address: bool) -> Service {
        Service {
            name: "s".into(),
            vip: SocketAddr::new(vip.into(), 80),
            protocol: Protocol::Tcp,
            shared_address,
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
        }
    }

    fn snat(last: u8, port: Option<u8>, shared_address: bool) -> SnatAddress {
        let (address, port) = ([10, 1, 0, last].into(), port.map(PortId));
        SnatAddress { address, ports: 1024..=65535, port, shared_address }
    }

    fn mac(last: u8) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, last])
    }

    /// Ports are (last octet of the MAC, up).
    fn snapshot(services: Vec<Service>, snat: Vec<SnatAddress>, ports: &[(u8, bool)]) -> Snapshot {
        let port = |&(last, up)| Port { name: "eth".into(), mac: mac(last), mtu_bytes: 1500, up };
        Snapshot::new(SnapshotParts {
            generation: 1,
            tunnel_sources: TunnelSources::default(),
            own_addresses: vec![],
            services,
            backends: vec![],
            snat,
            ports: ports.iter().map(port).collect(),
            routes: RouteTable::default(),
            cluster_key: ClusterKey([0; 16]),
        })
    }

    /// (port, last octet of the sender's MAC, last octet of the address) of each frame.
    fn said(due: &Due) -> Vec<(u8, u8, u8)> {
        due.frames.iter().map(|(port, frame)| (port.0, frame[11], frame[31])).collect()
    }

    #[test]
    fn who_is_announced_where() {
        let ports = [(1, true), (2, true)];
        let down = [(1, true), (2, false)];
        let vip = || vec![service([10, 1, 0, 100], false)];
        let shared = || vec![service([10, 1, 0, 1], true)];
        // Description, snapshot, then (port, MAC, address) as `said` gives them.
        type Row = (&'static str, Snapshot, Vec<(u8, u8, u8)>);
        let rows: Vec<Row> = vec![
            (
                "a VIP by every port",
                snapshot(vip(), vec![], &ports),
                vec![(0, 1, 100), (1, 2, 100)],
            ),
            ("not by one that is down", snapshot(vip(), vec![], &down), vec![(0, 1, 100)]),
            ("shared", snapshot(shared(), vec![snat(2, None, true)], &ports), vec![]),
            (
                "SNAT",
                snapshot(vec![], vec![snat(9, None, false)], &ports),
                vec![(0, 1, 9), (1, 2, 9)],
            ),
            (
                "SNAT of a port",
                snapshot(vec![], vec![snat(9, Some(1), false)], &ports),
                vec![(1, 2, 9)],
            ),
        ];
        for (description, snapshot, wanted) in rows {
            let mut announcer = Announcer::default();
            announcer.follow(&snapshot, 0);
            assert_eq!(said(&announcer.due(0)), wanted, "{description}");
        }
    }

    #[test]
    fn three_times_then_again_for_what_is_new() {
        let vips =
            |lasts: &[u8]| lasts.iter().map(|&last| service([10, 1, 0, last], false)).collect();
        let mut announcer = Announcer::default();
        let mut step = |snapshot: Option<&Snapshot>, now_ms| {
            if let Some(snapshot) = snapshot {
                announcer.follow(snapshot, now_ms);
            }
            let due = announcer.due(now_ms);
            (said(&due), due.next_ms)
        };
        let one = snapshot(vips(&[100]), vec![], &[(1, true), (2, false)]);
        assert_eq!(step(Some(&one), 50), (vec![(0, 1, 100)], Some(1050)));
        assert_eq!(step(Some(&one), 60), (vec![], Some(1050)), "nothing is new");
        assert_eq!(step(None, 1050), (vec![(0, 1, 100)], Some(4050)));
        let two = snapshot(vips(&[100, 101]), vec![], &[(1, true), (2, false)]);
        assert_eq!(step(Some(&two), 2000), (vec![(0, 1, 101)], Some(3000)), "a new VIP");
        assert_eq!(step(None, 4050), (vec![(0, 1, 100), (0, 1, 101)], Some(7050)));
        assert_eq!(step(None, 7050), (vec![(0, 1, 101)], None));
        let up = snapshot(vips(&[100]), vec![], &[(1, true), (2, true)]);
        assert_eq!(step(Some(&up), 8000), (vec![(1, 2, 100)], Some(9000)), "a link came up");
        let replaced = snapshot(vips(&[100]), vec![], &[(7, true), (2, false)]);
        assert_eq!(step(Some(&replaced), 8500), (vec![(0, 7, 100)], Some(9500)), "another MAC");
        assert_eq!(step(Some(&snapshot(vec![], vec![], &[])), 9000), (vec![], None), "not ours");
    }

    #[test]
    fn a_thousand_are_spread() {
        let services = (0..1000u16).map(|i| service([10, 2, (i >> 8) as u8, i as u8], false));
        let snapshot = snapshot(services.collect(), vec![], &[(1, true)]);
        let mut announcer = Announcer::default();
        announcer.follow(&snapshot, 0);
        let counts: Vec<_> =
            (0..5).map(|step| announcer.due(step * NEXT_MS).frames.len()).collect();
        assert_eq!(counts, [256, 256, 256, 232, 0]);
    }

    /// Port, tags, addresses of MAC and IP of each frame, as our own parser reads them.
    fn read(due: &Due) -> Vec<String> {
        let line = |(port, frame): &(PortId, Box<[u8]>)| {
            let ParseOutcome::Parsed(packet) = parse(frame) else { panic!("{frame:02x?}") };
            let (to, tags) = (packet.link.destination, packet.link.tags);
            let what = match packet.body {
                Body::Arp(arp) => format!("ARP {}", arp.target_address),
                Body::Ip(ip) => format!("{} -> {}", ip.source(), ip.destination()),
            };
            format!("{} {tags} {to} {what}", port.0)
        };
        due.frames.iter().map(line).collect()
    }

    #[test]
    fn both_families_on_a_port_and_its_vlans() {
        let vip_6: IpAddr = "2001:db8::100".parse().unwrap();
        let mut parts = snapshot(
            vec![service([10, 1, 0, 100], false), service(vip_6, false)],
            vec![],
            &[(1, true), (2, false)],
        );
        let double = Tags::NONE.with_inner(100, true).and_then(|tags| tags.with_inner(10, false));
        let route = |port, tags| Route {
            network: "10.3.0.0".parse().unwrap(),
            prefix_len: 16,
            metric: 0,
            port: PortId(port),
            tags,
            gateway: None,
        };
        let tags = [Tags::NONE, Tags::customer(5), double.unwrap()];
        let routes = tags.iter().map(|&tags| route(0, tags));
        let routes = routes.chain([route(1, Tags::customer(7))]);
        parts.routes = RouteTable::new(routes.collect(), vec![]);
        let mut announcer = Announcer::default();
        announcer.follow(&parts, 0);
        let (arp, ndp) =
            ("ff:ff:ff:ff:ff:ff ARP 10.1.0.100", "33:33:00:00:00:01 2001:db8::100 -> ff02::1");
        let mut wanted = vec![];
        for tags in ["untagged", "vlan 5", "vlan 100.10"] {
            wanted.extend([format!("0 {tags} {arp}"), format!("0 {tags} {ndp}")]);
        }
        let mut said = read(&announcer.due(0));
        said.sort();
        wanted.sort();
        assert_eq!(said, wanted, "port 1 is down, and its VLAN with it");
    }
}
