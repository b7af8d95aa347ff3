//! One route message -> the next hops it has, as the kernel would use them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};

/// A route by its interface, before it is known whether that is ours.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelRoute {
    pub network: IpAddr,
    pub prefix_len: u8,
    pub metric: u32,
    pub ifindex: u32,
    pub gateway: Option<IpAddr>,
}

/// The main table's unicast routes in this message: one for each next hop that is alive.
///
/// The local table is what the machine itself has, and other tables need rules that a packet of
/// ours does not match. Routes for one type of service, or for some sources, are left out.
pub fn routes_of(message: &RouteMessage) -> Vec<KernelRoute> {
    let header = &message.header;
    let table = find(&message.attributes, |a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let is_main = table.unwrap_or(header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN);
    let is_dead =
        header.flags.intersects(RouteFlags::Dead | RouteFlags::Linkdown | RouteFlags::Cloned);
    if header.kind != RouteType::Unicast
        || header.tos != 0
        || header.source_prefix_length != 0
        || !is_main
        || is_dead
    {
        return vec![];
    }
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return vec![],
    };
    let network = find(&message.attributes, |a| match a {
        RouteAttribute::Destination(network) => ip_of(network),
        _ => None,
    });
    let metric = find(&message.attributes, |a| match a {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let route = |(ifindex, gateway)| KernelRoute {
        network: network.unwrap_or(unspecified),
        prefix_len: header.destination_prefix_length,
        metric: metric.unwrap_or(0),
        ifindex,
        gateway,
    };
    let many = find(&message.attributes, |a| match a {
        RouteAttribute::MultiPath(hops) => Some(hops.as_slice()),
        _ => None,
    });
    match many {
        Some(hops) => hops.iter().filter_map(hop_of).map(route).collect(),
        None => {
            let ifindex = find(&message.attributes, |a| match a {
                RouteAttribute::Oif(ifindex) => Some(*ifindex),
                _ => None,
            });
            let gateway = gateway_of(&message.attributes);
            ifindex.zip(gateway).map(route).into_iter().collect()
        }
    }
}

fn hop_of(hop: &RouteNextHop) -> Option<(u32, Option<IpAddr>)> {
    let is_dead = hop.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown);
    let gateway = gateway_of(&hop.attributes)?;
    (!is_dead).then_some((hop.interface_index, gateway))
}

/// The gateway, if there is one; none at all for one that is no IP address. An IPv4 route may have
/// an IPv6 gateway (RFC 8950).
fn gateway_of(attributes: &[RouteAttribute]) -> Option<Option<IpAddr>> {
    let found = find(attributes, |a| match a {
        RouteAttribute::Gateway(gateway) => Some(ip_of(gateway)),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => Some(Some((*gateway).into())),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some(Some((*gateway).into())),
        RouteAttribute::Via(_) => Some(None),
        _ => None,
    });
    match found {
        None => Some(None),
        Some(gateway) => gateway.map(Some),
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn find<'a, T>(
    attributes: &'a [RouteAttribute],
    pick: impl Fn(&'a RouteAttribute) -> Option<T>,
) -> Option<T> {
    attributes.iter().find_map(pick)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// To a network such as `10.0.0.0/8` or `::/0`.
    pub fn message(network: &str, rest: &[RouteAttribute]) -> RouteMessage {
        let (network, prefix_len) = network.split_once('/').unwrap();
        let network: IpAddr = network.parse().unwrap();
        let mut message = RouteMessage::default();
        message.header.address_family =
            if network.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.destination_prefix_length = prefix_len.parse().unwrap();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        if !network.is_unspecified() {
            // The kernel leaves it away in default routes.
            message.attributes.push(RouteAttribute::Destination(network.into()));
        }
        message.attributes.extend_from_slice(rest);
        message
    }

    pub fn gateway(address: &str) -> RouteAttribute {
        RouteAttribute::Gateway(address.parse::<IpAddr>().unwrap().into())
    }

    fn hop(
        ifindex: u32,
        flags: RouteNextHopFlags,
        attributes: Vec<RouteAttribute>,
    ) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.flags, hop.attributes) = (ifindex, flags, attributes);
        hop
    }

    #[test]
    fn messages_by_row() {
        let oif = RouteAttribute::Oif;
        let changed = |change: fn(&mut RouteMessage)| {
            let mut message = message("10.3.0.0/16", &[oif(2)]);
            change(&mut message);
            message
        };
        let changed_6 = |change: fn(&mut RouteMessage)| {
            let mut message = message("2001:db8::/32", &[oif(2)]);
            change(&mut message);
            message
        };
        let via_ipv6 = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
        let many = RouteAttribute::MultiPath(vec![
            hop(2, RouteNextHopFlags::empty(), vec![gateway("10.0.0.1")]),
            hop(3, RouteNextHopFlags::Dead, vec![gateway("10.0.0.2")]),
            hop(3, RouteNextHopFlags::empty(), vec![gateway("10.0.0.3")]),
        ]);
        let many_6 = RouteAttribute::MultiPath(vec![
            hop(2, RouteNextHopFlags::empty(), vec![gateway("fe80::1")]),
            hop(3, RouteNextHopFlags::empty(), vec![gateway("fe80::1")]),
        ]);
        let metric = RouteAttribute::Priority;
        let (by_9, by_router) = (gateway("10.0.0.9"), gateway("fe80::1"));
        // Description, message, then network, interface, metric and gateway.
        type Row = (&'static str, RouteMessage, &'static [&'static str]);
        let rows: Vec<Row> = vec![
            ("on the link", message("10.3.0.0/16", &[oif(2)]), &["10.3.0.0/16 2 0 -"]),
            (
                "by a gateway",
                message("0.0.0.0/0", &[oif(2), by_9, metric(100)]),
                &["0.0.0.0/0 2 100 10.0.0.9"],
            ),
            (
                "live hops",
                message("0.0.0.0/0", &[many]),
                &["0.0.0.0/0 2 0 10.0.0.1", "0.0.0.0/0 3 0 10.0.0.3"],
            ),
            (
                "IPv4 by an IPv6 gateway",
                message("0.0.0.0/0", &[oif(2), via_ipv6]),
                &["0.0.0.0/0 2 0 fe80::1"],
            ),
            (
                "IPv6 on the link",
                message("2001:db8::/64", &[oif(2), metric(256)]),
                &["2001:db8::/64 2 256 -"],
            ),
            (
                "a router's advertisement",
                message("::/0", &[oif(2), by_router, metric(1024)]),
                &["::/0 2 1024 fe80::1"],
            ),
            (
                "two routers",
                message("::/0", &[many_6, metric(1024)]),
                &["::/0 2 1024 fe80::1", "::/0 3 1024 fe80::1"],
            ),
            ("of some sources", changed_6(|m| m.header.source_prefix_length = 64), &[]),
            ("a clone", changed_6(|m| m.header.flags = RouteFlags::Cloned), &[]),
            ("multicast", changed_6(|m| m.header.kind = RouteType::Multicast), &[]),
            ("local table", changed(|m| m.header.table = 255), &[]),
            ("a big table", changed(|m| m.attributes.push(RouteAttribute::Table(1000))), &[]),
            ("black hole", changed(|m| m.header.kind = RouteType::BlackHole), &[]),
            ("link down", changed(|m| m.header.flags = RouteFlags::Linkdown), &[]),
            ("one type of service", changed(|m| m.header.tos = 8), &[]),
            ("neither family", changed(|m| m.header.address_family = AddressFamily::Mpls), &[]),
            ("no interface", message("10.3.0.0/16", &[]), &[]),
        ];
        for (description, message, wanted) in rows {
            let got = routes_of(&message);
            let line = |r: &KernelRoute| {
                let gateway = r.gateway.map_or_else(|| "-".into(), |gateway| gateway.to_string());
                format!("{}/{} {} {} {gateway}", r.network, r.prefix_len, r.ifindex, r.metric)
            };
            assert_eq!(got.iter().map(line).collect::<Vec<_>>(), wanted, "{description}");
        }
    }
}
