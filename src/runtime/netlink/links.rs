//! The kernel's links, and which port and VLANs of ours each stands for. Pure.

use std::collections::BTreeMap;

use netlink_packet_route::link::{
    InfoBond, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    VlanProtocol,
};

use super::view::mac_of;
use crate::control::InterfaceSpec;
use crate::wire::{MOST_TAGS, MacAddress, PortId, Tags};

/// One of the kernel's links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub name: String,
    pub mac: MacAddress,
    pub mtu_bytes: u16,
    pub up: bool,
    /// The bridge or bond it is part of.
    pub master: Option<u32>,
    pub kind: Kind,
}

/// What a link is, as far as it matters where frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A VLAN over another link of this namespace.
    Vlan { over: u32, number: u16, is_service: bool },
    /// Several links as one; the one that sends, if the bond's mode has such.
    Bond { active: Option<u32> },
    /// Anything else.
    Other,
}

/// Links by the kernel's numbers.
pub type Links = BTreeMap<u32, Link>;

/// A link and its number; none for one without a name.
pub fn link_of(message: &LinkMessage) -> Option<(u32, Link)> {
    let (mut name, mut mac, mut mtu) = (None, MacAddress::ZERO, 0);
    let (mut master, mut over, mut info) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = mac_of(bytes).unwrap_or(MacAddress::ZERO),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Controller(ifindex) => master = Some(*ifindex),
            LinkAttribute::Link(ifindex) => over = Some(*ifindex),
            LinkAttribute::LinkInfo(parts) => info = Some(parts.as_slice()),
            _ => {}
        }
    }
    // The number of a link in another namespace says nothing here.
    let is_elsewhere =
        message.attributes.iter().any(|a| matches!(a, LinkAttribute::LinkNetNsId(_)));
    let over = over.filter(|_| !is_elsewhere);
    let mtu_bytes = u16::try_from(mtu).unwrap_or(u16::MAX);
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let kind = kind_of(info.unwrap_or_default(), over);
    Some((message.header.index, Link { name: name?, mac, mtu_bytes, up, master, kind }))
}

fn kind_of(info: &[LinkInfo], over: Option<u32>) -> Kind {
    let is = |wanted: InfoKind| info.contains(&LinkInfo::Kind(wanted));
    let data = info.iter().find_map(|part| match part {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    match (data, over) {
        (Some(InfoData::Vlan(parts)), Some(over)) if is(InfoKind::Vlan) => {
            let number = parts.iter().find_map(|part| match part {
                InfoVlan::Id(number) => Some(*number),
                _ => None,
            });
            let is_service = parts.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Ad));
            // A tag with number 0 says a priority and no VLAN.
            let number = number.filter(|&number| number > 0);
            number.map_or(Kind::Other, |number| Kind::Vlan { over, number, is_service })
        }
        (Some(InfoData::Bond(parts)), _) if is(InfoKind::Bond) => {
            let active = parts.iter().find_map(|part| match part {
                InfoBond::ActivePort(ifindex) => Some(*ifindex),
                _ => None,
            });
            Kind::Bond { active }
        }
        _ if is(InfoKind::Bond) => Kind::Bond { active: None },
        _ => Kind::Other,
    }
}

/// Which port, and which VLANs behind it, each of the kernel's links stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    by_ifindex: BTreeMap<u32, (PortId, Tags)>,
    /// Where the kernel knows the neighbours of each place.
    homes: BTreeMap<(PortId, Tags), u32>,
}

impl Places {
    /// The configured interfaces, the bridges they lead into, the bonds they are part of, and the
    /// VLANs over all of them.
    pub fn new(links: &Links, interfaces: &[InterfaceSpec]) -> Places {
        let mut places = Places::default();
        let by_name =
            |name: &str| links.iter().find(|(_, link)| link.name == name).map(|(&at, _)| at);
        let ports: Vec<(PortId, &InterfaceSpec)> =
            (0..=u8::MAX).map(PortId).zip(interfaces).collect();
        for &(port, spec) in &ports {
            let bridge = spec.bridge.as_deref().and_then(by_name);
            let own = by_name(&spec.name);
            bridge.into_iter().chain(own).for_each(|at| places.add(at, (port, Tags::NONE)));
        }
        let own: Vec<(PortId, u32)> =
            ports.iter().filter_map(|&(port, spec)| Some((port, by_name(&spec.name)?))).collect();
        for (&ifindex, link) in links {
            let Kind::Bond { active } = link.kind else { continue };
            if let Some(port) = sender_of(ifindex, active, &own, links) {
                places.add(ifindex, (port, Tags::NONE));
                places.homes.insert((port, Tags::NONE), ifindex);
            }
        }
        // A VLAN may be over another one whose number is larger.
        for _ in 0..MOST_TAGS {
            for (&ifindex, link) in links {
                places.add_vlan(ifindex, link.kind);
            }
        }
        places
    }

    fn add(&mut self, ifindex: u32, place: (PortId, Tags)) {
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.by_ifindex.entry(ifindex) {
            vacant.insert(place);
            self.homes.entry(place).or_insert(ifindex);
        }
    }

    fn add_vlan(&mut self, ifindex: u32, kind: Kind) {
        let Kind::Vlan { over, number, is_service } = kind else { return };
        let Some((port, outer)) = self.of(over) else { return };
        // A third tag is more than a frame of ours may have.
        if let Some(tags) = outer.with_inner(number, is_service) {
            self.add(ifindex, (port, tags));
        }
    }

    /// What this link stands for; none when it has nothing to do with our ports.
    pub fn of(&self, ifindex: u32) -> Option<(PortId, Tags)> {
        self.by_ifindex.get(&ifindex).copied()
    }

    /// The link on which the kernel knows the neighbours of a place.
    pub fn home(&self, port: PortId, tags: Tags) -> Option<u32> {
        self.homes.get(&(port, tags)).copied()
    }

    /// All links that stand for something, by the kernel's numbers.
    pub fn all(&self) -> impl Iterator<Item = (u32, PortId, Tags)> {
        self.by_ifindex.iter().map(|(&ifindex, &(port, tags))| (ifindex, port, tags))
    }
}

/// The port by which a bond sends: the active one where the bond has such, else the first that is
/// up, else the first.
fn sender_of(
    bond: u32,
    active: Option<u32>,
    own: &[(PortId, u32)],
    links: &Links,
) -> Option<PortId> {
    let link = |ifindex: u32| links.get(&ifindex);
    let parts = || {
        let is_part = |&&(_, at): &&(PortId, u32)| link(at).is_some_and(|l| l.master == Some(bond));
        own.iter().filter(is_part)
    };
    let is_up = |&&(_, at): &&(PortId, u32)| link(at).is_some_and(|link| link.up);
    let chosen = parts()
        .find(|&&(_, at)| Some(at) == active)
        .or_else(|| parts().find(is_up))
        .or_else(|| parts().next());
    chosen.map(|&(port, _)| port)
}

#[cfg(test)]
pub mod tests {
    use super::super::view::tests::{link, spec};
    use super::*;

    /// `link` is this kind of thing.
    fn of_kind(mut link: LinkMessage, kind: InfoKind, data: InfoData) -> LinkMessage {
        let info = vec![LinkInfo::Kind(kind), LinkInfo::Data(data)];
        link.attributes.push(LinkAttribute::LinkInfo(info));
        link
    }

    pub fn vlan(index: u32, name: &str, over: u32, number: u16, is_service: bool) -> LinkMessage {
        let protocol = if is_service { VlanProtocol::Ieee8021Ad } else { VlanProtocol::Ieee8021Q };
        let data = InfoData::Vlan(vec![InfoVlan::Protocol(protocol), InfoVlan::Id(number)]);
        let mut message = of_kind(link(index, name, true), InfoKind::Vlan, data);
        message.attributes.push(LinkAttribute::Link(over));
        message
    }

    fn bond(index: u32, name: &str, active: Option<u32>) -> LinkMessage {
        let parts = active.map(InfoBond::ActivePort).into_iter().collect();
        of_kind(link(index, name, true), InfoKind::Bond, InfoData::Bond(parts))
    }

    fn part_of(mut link: LinkMessage, master: u32) -> LinkMessage {
        link.attributes.push(LinkAttribute::Controller(master));
        link
    }

    /// `ifindex: port tags`, and `*` where neighbours of that place are.
    fn listed(messages: &[LinkMessage], interfaces: &[InterfaceSpec]) -> Vec<String> {
        let links: Links = messages.iter().filter_map(link_of).collect();
        let places = Places::new(&links, interfaces);
        let line = |(ifindex, port, tags): (u32, PortId, Tags)| {
            let home = if places.home(port, tags) == Some(ifindex) { " *" } else { "" };
            format!("{ifindex}: {} {tags}{home}", port.0)
        };
        places.all().map(line).collect()
    }

    #[test]
    fn vlans_by_row() {
        let eth1 = || link(7, "eth1", true);
        let elsewhere = || {
            let mut message = vlan(9, "eth1.10", 7, 10, false);
            message.attributes.push(LinkAttribute::LinkNetNsId(3));
            message
        };
        type Row = (&'static str, Vec<LinkMessage>, &'static [&'static str]);
        let rows: Vec<Row> = vec![
            ("none", vec![eth1()], &["7: 0 untagged *"]),
            (
                "802.1Q",
                vec![eth1(), vlan(9, "eth1.10", 7, 10, false)],
                &["7: 0 untagged *", "9: 0 vlan 10 *"],
            ),
            (
                "QinQ, the inner one first",
                vec![
                    eth1(),
                    vlan(8, "eth1.100.10", 9, 10, false),
                    vlan(9, "eth1.100", 7, 100, true),
                ],
                &["7: 0 untagged *", "8: 0 vlan 100.10 *", "9: 0 vlan 100 *"],
            ),
            (
                "three deep: more than is balanced",
                vec![
                    eth1(),
                    vlan(8, "a", 7, 1, true),
                    vlan(9, "b", 8, 2, false),
                    vlan(10, "c", 9, 3, false),
                ],
                &["7: 0 untagged *", "8: 0 vlan 1 *", "9: 0 vlan 1.2 *"],
            ),
            (
                "over no port of ours",
                vec![eth1(), vlan(9, "lan.10", 3, 10, false)],
                &["7: 0 untagged *"],
            ),
            ("over a link elsewhere", vec![eth1(), elsewhere()], &["7: 0 untagged *"]),
            (
                "number 0 is none",
                vec![eth1(), vlan(9, "eth1.0", 7, 0, false)],
                &["7: 0 untagged *"],
            ),
        ];
        for (description, messages, wanted) in rows {
            assert_eq!(listed(&messages, &[spec("eth1", None)]), wanted, "{description}");
        }
        let both = [eth1(), vlan(9, "eth1.10", 7, 10, false)];
        let ports = [spec("eth1", None), spec("eth1.10", None)];
        assert_eq!(listed(&both, &ports), ["7: 0 untagged *", "9: 1 untagged *"], "its own port");
    }

    #[test]
    fn bridges_and_bonds_by_row() {
        let down = |index, name| part_of(link(index, name, false), 9);
        let part = |index, name| part_of(link(index, name, true), 9);
        let two = || vec![spec("eth1", None), spec("eth2", None)];
        type Row = (&'static str, Vec<LinkMessage>, Vec<InterfaceSpec>, &'static [&'static str]);
        let rows: Vec<Row> = vec![
            (
                "a port into a bridge",
                vec![link(7, "gw0", true), link(8, "br0", true)],
                vec![spec("gw0", Some("br0"))],
                &["7: 0 untagged", "8: 0 untagged *"],
            ),
            (
                "a bond as a port",
                vec![part(7, "eth1"), part(8, "eth2"), bond(9, "bond0", Some(8))],
                vec![spec("bond0", None)],
                &["9: 0 untagged *"],
            ),
            (
                "its parts as ports: the active one",
                vec![part(7, "eth1"), part(8, "eth2"), bond(9, "bond0", Some(8))],
                two(),
                &["7: 0 untagged *", "8: 1 untagged", "9: 1 untagged *"],
            ),
            (
                "its parts as ports, none is active: the first that is up",
                vec![down(7, "eth1"), part(8, "eth2"), bond(9, "bond0", None)],
                two(),
                &["7: 0 untagged *", "8: 1 untagged", "9: 1 untagged *"],
            ),
            (
                "all down",
                vec![down(7, "eth1"), down(8, "eth2"), bond(9, "bond0", None)],
                two(),
                &["7: 0 untagged", "8: 1 untagged *", "9: 0 untagged *"],
            ),
            (
                "a VLAN over a bond",
                vec![part(7, "eth1"), bond(9, "bond0", None), vlan(10, "bond0.5", 9, 5, false)],
                vec![spec("eth1", None)],
                &["7: 0 untagged", "9: 0 untagged *", "10: 0 vlan 5 *"],
            ),
            (
                "somebody else's bond",
                vec![link(7, "eth1", true), part(8, "eth2"), bond(9, "bond0", None)],
                vec![spec("eth1", None)],
                &["7: 0 untagged *"],
            ),
        ];
        for (description, messages, interfaces, wanted) in rows {
            assert_eq!(listed(&messages, &interfaces), wanted, "{description}");
        }
    }
}
