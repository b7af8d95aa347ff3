//! Literal messages -> topology.

use super::super::links::tests::vlan;
use super::super::routes::tests as route;
use super::*;
use crate::wire::{PortId, Tags};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::RouteAttribute;

pub fn spec(name: &str, bridge: Option<&str>) -> InterfaceSpec {
    InterfaceSpec {
        name: name.into(),
        bridge: bridge.map(str::to_string),
        xdp_mode: Default::default(),
        zero_copy: Default::default(),
        on_worker_gone: Default::default(),
    }
}

pub fn link(index: u32, name: &str, up: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    if up {
        message.header.flags |= LinkFlags::LowerUp;
    }
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, index as u8]),
        LinkAttribute::Mtu(if name == "lo" { 65536 } else { 1500 }),
    ];
    message
}

fn address(index: u32, local: [u8; 4]) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Address([192, 0, 2, 99].into()),
        AddressAttribute::Local(IpAddr::V4(local.into())),
    ];
    message
}

/// As the kernel tells of an IPv6 address.
fn address_6(index: u32, address: &str, flags: AddressHeaderFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.index, message.header.flags) = (index, flags);
    message.attributes = vec![AddressAttribute::Address(address.parse().unwrap())];
    message
}

/// A neighbour 10.0.0.LAST with the MAC that ends in `mac`; 0: none.
pub fn station(ifindex: u32, last: u8, state: NeighbourState, mac: u8) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = ifindex;
    message.header.state = state;
    let address = NeighbourAddress::Inet([10, 0, 0, last].into());
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    if mac > 0 {
        let bytes = vec![2, 0, 0, 0, 1, mac];
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(bytes));
    }
    message
}

/// A neighbour with an IPv6 address.
fn station_6(ifindex: u32, address: &str, state: NeighbourState, mac: u8) -> NeighbourMessage {
    let mut message = station(ifindex, 0, state, mac);
    message.header.family = AddressFamily::Inet6;
    let address = NeighbourAddress::Inet6(address.parse().unwrap());
    message.attributes[0] = NeighbourAttribute::Destination(address);
    message
}

pub fn view(links: Vec<LinkMessage>, neighbours: Vec<NeighbourMessage>) -> KernelView {
    let mut view = KernelView::default();
    view.take(Reading { links, neighbours: Some(neighbours), ..Reading::default() });
    view
}

/// Of an IPv6 address the last one, too.
fn last_octet(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

/// (last octet of the address, port, last octet of the MAC, gone)
fn listed(topology: &Topology) -> Vec<(u8, u8, u8, bool)> {
    let short = |n: &Neighbour| (last_octet(n.address), n.port.0, n.mac.0[5], n.gone);
    topology.neighbours.iter().map(short).collect()
}

#[test]
fn a_whole_reading() {
    let oif = RouteAttribute::Oif;
    let mut view = KernelView::default();
    view.take(Reading {
        links: vec![link(1, "lo", true), link(7, "eth1", false), link(8, "br0", true)],
        addresses: vec![address(8, [10, 0, 0, 1]), address(1, [127, 0, 0, 1])],
        routes: vec![
            route::message("10.0.0.0/24", &[oif(8)]),
            route::message("0.0.0.0/0", &[oif(7), route::gateway("10.0.0.9")]),
            route::message("127.0.0.0/8", &[oif(1)]),
        ],
        neighbours: Some(vec![
            station(8, 2, NeighbourState::Reachable, 2),
            station(1, 3, NeighbourState::Reachable, 3),
        ]),
    });
    view.set_local_port_range(Some((32768, 60999)));
    let topology = view.topology(&[spec("eth1", None), spec("gw0", Some("br0"))]);
    let own = |address: [u8; 4], ifindex| OwnAddress { address: address.into(), ifindex };
    let eth1 = LinkState {
        name: "eth1".into(),
        ifindex: 7,
        bridge_ifindex: None,
        mac: MacAddress([2, 0, 0, 0, 0, 7]),
        mtu_bytes: 1500,
        up: false,
    };
    let absent = LinkState {
        name: "gw0".into(),
        ifindex: 0,
        bridge_ifindex: Some(8),
        mac: MacAddress::ZERO,
        mtu_bytes: 0,
        up: false,
    };
    assert_eq!(topology.links, [eth1, absent]);
    assert_eq!(topology.own_addresses, [own([10, 0, 0, 1], 8), own([127, 0, 0, 1], 1)]);
    let routes: Vec<_> =
        topology.routes.iter().map(|r| (r.prefix_len, r.port.0, r.gateway.is_some())).collect();
    assert_eq!(routes, [(0, 0, true), (24, 1, false)], "not those by lo");
    assert_eq!(listed(&topology), [(2, 1, 2, false)], "not those on lo");
    assert_eq!(topology.local_port_range, Some((32768, 60999)));
}

#[test]
fn a_neighbours_life_by_row() {
    use NeighbourState::{Failed, Incomplete, Noarp, Permanent, Probe, Reachable, Stale};
    // Description, (state or deletion, MAC) in order, then listed as gone or not.
    type Row = (&'static str, Vec<(Option<NeighbourState>, u8)>, Option<bool>);
    let rows: Vec<Row> = vec![
        ("first asked for", vec![(Some(Incomplete), 0)], None),
        ("answered", vec![(Some(Incomplete), 0), (Some(Reachable), 5)], Some(false)),
        ("aging", vec![(Some(Reachable), 5), (Some(Stale), 5), (Some(Probe), 5)], Some(false)),
        ("failed", vec![(Some(Probe), 5), (Some(Failed), 0)], Some(true)),
        (
            "asked again after it failed",
            vec![(Some(Reachable), 5), (Some(Failed), 0), (Some(Incomplete), 0)],
            Some(true),
        ),
        ("never answered", vec![(Some(Incomplete), 0), (Some(Failed), 0)], None),
        ("deleted while well", vec![(Some(Stale), 5), (None, 0)], None),
        (
            "deleted after it failed",
            vec![(Some(Stale), 5), (Some(Failed), 0), (None, 0)],
            Some(true),
        ),
        (
            "back",
            vec![(Some(Stale), 5), (Some(Failed), 0), (None, 0), (Some(Reachable), 5)],
            Some(false),
        ),
        ("by hand", vec![(Some(Permanent), 5)], Some(false)),
        ("no MAC by hand", vec![(Some(Noarp), 0)], None),
    ];
    for (description, states, wanted) in rows {
        let mut view = view(vec![link(7, "eth1", true)], vec![]);
        for (state, mac) in states {
            let change = match state {
                Some(state) => {
                    view.apply(&RouteNetlinkMessage::NewNeighbour(station(7, 2, state, mac)))
                }
                None => view.apply(&RouteNetlinkMessage::DelNeighbour(station(
                    7,
                    2,
                    NeighbourState::None,
                    0,
                ))),
            };
            assert_eq!(change, Change::Done);
        }
        let topology = view.topology(&[spec("eth1", None)]);
        let wanted: Vec<_> = wanted.map(|gone| (2, 0, 5, gone)).into_iter().collect();
        assert_eq!(listed(&topology), wanted, "{description}");
    }
}

#[test]
fn a_failed_one_is_remembered_through_a_reading_while_wanted() {
    let mut view = view(
        vec![link(7, "eth1", true)],
        vec![
            station(7, 2, NeighbourState::Reachable, 2),
            station(7, 3, NeighbourState::Reachable, 3),
            station(7, 4, NeighbourState::Reachable, 4),
        ],
    );
    view.apply(&RouteNetlinkMessage::NewNeighbour(station(7, 2, NeighbourState::Failed, 0)));
    view.apply(&RouteNetlinkMessage::NewNeighbour(station(7, 3, NeighbourState::Failed, 0)));
    let links = vec![link(7, "eth1", true)];
    let neighbours = Some(vec![station(7, 3, NeighbourState::Incomplete, 0)]);
    view.take(Reading { links, neighbours, ..Reading::default() });
    let seen = |view: &KernelView| listed(&view.topology(&[spec("eth1", None)]));
    assert_eq!(seen(&view), [(2, 0, 2, true), (3, 0, 3, true)]);
    assert!(view.station((7, [10, 0, 0, 2].into())).is_none(), "the kernel does not have it");
    view.forget_absent(&BTreeSet::from([(7, [10, 0, 0, 2].into())]));
    assert_eq!(seen(&view), [(2, 0, 2, true), (3, 0, 3, true)]);
    view.forget_absent(&BTreeSet::new());
    assert_eq!(seen(&view), [(3, 0, 3, true)]);
}

#[test]
fn what_is_not_a_neighbour_of_ours() {
    let mut view = view(vec![link(7, "eth1", true)], vec![]);
    let mut proxy = station(7, 2, NeighbourState::Permanent, 2);
    proxy.header.flags = NeighbourFlags::Proxy;
    let mut bridge_entry = station(7, 3, NeighbourState::Reachable, 3);
    bridge_entry.header.family = AddressFamily::Bridge;
    let mut multicast = station(7, 4, NeighbourState::Noarp, 0);
    let group = vec![1, 0, 0x5e, 0, 0, 1];
    multicast.attributes.push(NeighbourAttribute::LinkLayerAddress(group));
    for message in [proxy, bridge_entry, multicast] {
        view.apply(&RouteNetlinkMessage::NewNeighbour(message));
    }
    assert_eq!(listed(&view.topology(&[spec("eth1", None)])), []);
    let event = RouteNetlinkMessage::NewLink(link(7, "eth1", false));
    assert_eq!(view.apply(&event), Change::Reread);
}

#[test]
fn own_ipv6_addresses_by_row() {
    use AddressHeaderFlags as Flags;
    let rows = [
        ("permanent", Flags::Permanent, true, false),
        ("being tried", Flags::Tentative, false, true),
        ("used while it is tried", Flags::Tentative | Flags::Optimistic, true, false),
        ("somebody else has it", Flags::Permanent | Flags::Dadfailed, false, false),
        ("was tried and failed", Flags::Tentative | Flags::Dadfailed, false, false),
        ("old", Flags::Deprecated, true, false),
    ];
    for (description, flags, is_own, is_tentative) in rows {
        let mut view = KernelView::default();
        let addresses = vec![address_6(7, "2001:db8::1", flags)];
        view.take(Reading { addresses, ..Reading::default() });
        let topology = view.topology(&[spec("eth1", None)]);
        assert_eq!(topology.is_own("2001:db8::1".parse().unwrap()), is_own, "{description}");
        assert_eq!(view.has_tentative(), is_tentative, "{description}");
    }
}

#[test]
fn vlans_and_both_families_in_one_world() {
    let oif = RouteAttribute::Oif;
    let mut view = KernelView::default();
    view.take(Reading {
        links: vec![
            link(7, "eth1", true),
            vlan(9, "eth1.100", 7, 100, true),
            vlan(8, "eth1.100.10", 9, 10, false),
            vlan(20, "other.5", 19, 5, false),
        ],
        addresses: vec![
            address(9, [10, 0, 0, 1]),
            address_6(8, "fe80::2", AddressHeaderFlags::Permanent),
        ],
        routes: vec![
            route::message("10.0.0.0/24", &[oif(9)]),
            route::message("10.5.0.0/24", &[oif(20)]),
            route::message("fe80::/64", &[oif(7)]),
            route::message("fe80::/64", &[oif(8)]),
            route::message("::/0", &[oif(8), route::gateway("fe80::1")]),
        ],
        neighbours: Some(vec![
            station(9, 2, NeighbourState::Reachable, 2),
            station_6(7, "fe80::1", NeighbourState::Reachable, 3),
            station_6(8, "fe80::1", NeighbourState::Stale, 4),
            station_6(8, "ff02::1", NeighbourState::Noarp, 0),
        ]),
    });
    let topology = view.topology(&[spec("eth1", None)]);
    let routes: Vec<_> = topology
        .routes
        .iter()
        .map(|r| format!("{}/{} {} {}", r.network, r.prefix_len, r.port.0, r.tags))
        .collect();
    let wanted = [
        "10.0.0.0/24 0 vlan 100",
        "::/0 0 vlan 100.10",
        "fe80::/64 0 untagged",
        "fe80::/64 0 vlan 100.10",
    ];
    assert_eq!(routes, wanted);
    let neighbours: Vec<_> = topology
        .neighbours
        .iter()
        .map(|n| format!("{} {} {}", n.address, n.tags, n.mac.0[5]))
        .collect();
    let wanted = ["10.0.0.2 vlan 100 2", "fe80::1 untagged 3", "fe80::1 vlan 100.10 4"];
    assert_eq!(neighbours, wanted);
    let upper = topology.upper_links.iter();
    let upper: Vec<_> = upper.map(|l| format!("{} {} {}", l.name, l.ifindex, l.tags)).collect();
    assert_eq!(upper, ["eth1.100.10 8 vlan 100.10", "eth1.100 9 vlan 100"]);
    assert_eq!(topology.own_addresses.len(), 2);
    let places = view.places(&[spec("eth1", None)]);
    assert_eq!(places.home(PortId(0), Tags::NONE), Some(7));
}
