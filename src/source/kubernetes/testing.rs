//! Small objects for this module's tests.

use std::net::IpAddr;

use super::objects::{
    Claim, Endpoint, Holder, IpFamily, Key, Node, Service, ServicePort, Slice, SlicePort, Transport,
};
use super::pool::{Block, Pool};
use super::world::{Change, KINDS, Options, World};

/// A cluster with nodes `n1` to `n3`, which is known; we are its default, with a pool of
/// 203.0.113.1-3 and 2001:db8::1-3.
pub fn world() -> World {
    let blocks = ["203.0.113.1-203.0.113.3", "2001:db8::1-2001:db8::3"];
    let blocks = blocks.iter().map(|text| Block::parse(text).unwrap()).collect();
    let mut world = World::new(Options {
        classes: vec!["guideway.dev/external".into()],
        default: true,
        manager: "guideway".into(),
        pools: vec![Pool::new("web", blocks)],
        prefix: String::new(),
    });
    for number in 1..=3u8 {
        let six: IpAddr = format!("fd00:210::1{number}").parse().unwrap();
        let node =
            Node { addresses: vec![[10, 210, 0, 10 + number].into(), six], is_leaving: false };
        world.apply(Change::Node(format!("n{number}").into(), Some(node)));
    }
    for kind in KINDS {
        let names = (1..=3).map(|number| format!("n{number}")).collect();
        world.apply(Change::Listed(kind, names));
    }
    let _ = world.take_dirty();
    world
}

/// `type: LoadBalancer` without a class, of IPv4, with port 80.
pub fn service() -> Service {
    Service {
        uid: "u-web".into(),
        created_ms: 1000,
        is_balanced: true,
        families: vec![IpFamily::V4],
        ports: vec![ServicePort {
            name: "".into(),
            transport: Transport::Tcp,
            port: 80,
            node_port: None,
        }],
        ..Service::default()
    }
}

/// Of `shop/NAME`, whose uid is `u-NAME`.
pub fn claim(name: &str) -> Claim {
    let service = Key::new("shop", name);
    Claim {
        version: "7".into(),
        manager: "guideway".into(),
        pool: "web".into(),
        share: None,
        holders: vec![Holder { service, uid: format!("u-{name}").into() }],
        released_ms: None,
        last: None,
    }
}

/// One that is ready.
pub fn endpoint(pod: &str, address: &str, node: &str) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        pod: Some(pod.into()),
        node: Some(node.into()),
        ready: true,
        serving: true,
        terminating: false,
    }
}

/// Of `shop/SERVICE`, at port 8080.
pub fn slice(name: &str, service: &str, endpoints: impl Into<Vec<Endpoint>>) -> Change {
    let ports = vec![SlicePort { name: "".into(), transport: Transport::Tcp, port: 8080 }];
    let slice = Slice { family: IpFamily::V4, ports, endpoints: endpoints.into() };
    Change::Slice(Key::new("shop", name), Some((service.into(), slice)))
}
