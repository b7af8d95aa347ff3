//! What users, and the cluster's own controllers, do at any time.

use std::net::IpAddr;
use std::sync::Arc;

use guideway::source::kubernetes::objects::{
    Endpoint, IpFamily, Key, Node, Range, Service, ServicePort, Slice, SlicePort, Transport, Wishes,
};
use guideway::source::kubernetes::way::{IpMode, Target};

use super::api::{Api, CLASS};
use super::chance::Chance;
use super::pools::PlainPool;

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const PORT_NAMES: [&str; 2] = ["http", "dns"];
/// Any of these may be asked for; some are in no pool.
const WISHED: [&str; 8] = [
    "203.0.113.0",
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.3",
    "192.0.2.4",
    "192.0.2.9",
    "2001:db8::1",
    "2001:db8::2",
];

fn key(chance: &mut Chance) -> Key {
    let namespace = if chance.one_in(3) { "bank" } else { "shop" };
    Key::new(namespace, NAMES[chance.place(NAMES.len())])
}

/// Somebody does something. Gives what.
pub fn act(api: &mut Api, chance: &mut Chance) -> String {
    match chance.between(1, 20) {
        1..=5 => make(api, chance),
        6..=7 => delete(api, chance),
        8..=11 => edit(api, chance),
        12..=16 => slices(api, chance),
        17 => node(api, chance),
        18 => pool(api, chance),
        _ => meddle(api, chance),
    }
}

fn make(api: &mut Api, chance: &mut Chance) -> String {
    let key = key(chance);
    if api.services.contains_key(&key) {
        return format!("{key} is there already");
    }
    if let Some(saved) = api.saved.get(&key).cloned().filter(|_| chance.one_in(3)) {
        api.make(&key, saved);
        return format!("{key} restored");
    }
    let service = service(chance);
    let text =
        format!("{key} made: {:?} {:?} {:?}", service.class, service.families, service.wishes);
    api.make(&key, service);
    text
}

fn service(chance: &mut Chance) -> Service {
    let (four, six) = (IpFamily::V4, IpFamily::V6);
    let families = [vec![four], vec![four], vec![six], vec![four, six], vec![six, four]];
    let mut service = Service {
        is_balanced: !chance.one_in(8),
        families: families[chance.place(families.len())].clone(),
        needs_both_families: chance.one_in(3),
        labels: if chance.one_in(3) { vec![("tier".into(), "gold".into())] } else { vec![] },
        ports: ports(chance),
        ..Service::default()
    };
    service.needs_both_families &= service.families.len() == 2;
    if service.is_balanced {
        service.class = class(chance);
    }
    // Who shares keeps key and ports: which of two should leave otherwise, nobody can say.
    service.wishes = wishes(chance);
    service.wishes.share = chance.one_in(2).then(|| "key".into());
    if chance.one_in(8) && service.is_balanced {
        // From a balancer before us.
        service.status = vec![WISHED[chance.place(WISHED.len())].parse().unwrap()];
        service.status_mode = Some(IpMode::Vip);
    }
    service
}

fn class(chance: &mut Chance) -> Option<Arc<str>> {
    match chance.between(1, 4) {
        1 => Some("metallb".into()),
        2 => Some(CLASS.into()),
        _ => None,
    }
}

fn ports(chance: &mut Chance) -> Vec<ServicePort> {
    let node_port = chance.one_in(2).then_some(30_080);
    let one =
        |name: &str, transport, port| ServicePort { name: name.into(), transport, port, node_port };
    match chance.between(1, 5) {
        1 => vec![one("dns", Transport::Udp, 53), one("http", Transport::Tcp, 53)],
        2 => vec![one("http", Transport::Sctp, 80)],
        3 => vec![one("http", Transport::Tcp, 443)],
        _ => vec![one("http", Transport::Tcp, 80)],
    }
}

fn wishes(chance: &mut Chance) -> Wishes {
    let mut wishes = Wishes { keep_source: chance.one_in(4).then_some(true), ..Wishes::default() };
    if chance.one_in(2) {
        let all = Target::WORDS;
        wishes.target = Some(all[chance.place(all.len())].1);
    }
    if chance.one_in(4) {
        wishes.addresses = vec![WISHED[chance.place(WISHED.len())].parse().unwrap()];
    }
    if chance.one_in(4) {
        wishes.pool = Some(["wide", "named", "near", "none"][chance.place(4)].into());
    }
    if chance.one_in(10) {
        wishes.wrong = vec!["guideway.dev/source: `x` is not `snat` or `keep`".to_string()];
    }
    wishes
}

fn some_service(api: &Api, chance: &mut Chance) -> Option<Key> {
    let count = api.services.len();
    (count > 0).then(|| api.services.keys().nth(chance.place(count)).unwrap().clone())
}

fn delete(api: &mut Api, chance: &mut Chance) -> String {
    let Some(key) = some_service(api, chance) else { return "nothing to delete".to_string() };
    api.delete(&key);
    format!("{key} deleted")
}

fn edit(api: &mut Api, chance: &mut Chance) -> String {
    let Some(key) = some_service(api, chance) else { return "nothing to change".to_string() };
    match chance.between(1, 6) {
        1..=2 => {
            let wishes = wishes(chance);
            let text = format!("{key} asks for {:?} {:?}", wishes.addresses, wishes.pool);
            api.edit(&key, true, |service| {
                service.wishes = Wishes { share: service.wishes.share.clone(), ..wishes };
            });
            text
        }
        3 => {
            let ports = ports(chance);
            api.edit(&key, false, |service| {
                if service.wishes.share.is_none() {
                    service.ports = ports;
                }
            });
            format!("{key} has other ports")
        }
        4 => {
            let class = class(chance);
            api.edit(&key, true, |service| {
                service.is_balanced = !service.is_balanced;
                (service.class, service.status, service.status_mode) = (None, vec![], None);
                if service.is_balanced {
                    service.class = class;
                }
            });
            format!("{key} is of another type")
        }
        5 => {
            let both = chance.one_in(2);
            api.edit(&key, true, |service| {
                let first = service.families[0];
                let other = if first == IpFamily::V4 { IpFamily::V6 } else { IpFamily::V4 };
                service.families = if both { vec![first, other] } else { vec![first] };
                service.needs_both_families &= both;
            });
            format!("{key} has {} families", if both { 2 } else { 1 })
        }
        _ => {
            let (local, ranges) = (chance.one_in(2), chance.one_in(2));
            api.edit(&key, false, |service| {
                service.is_local = local;
                service.health_port = local.then_some(31_000);
                service.affinity_s = ranges.then_some(10_800);
                let network = [198, 51, 100, 0].into();
                service.source_ranges =
                    ranges.then_some(Range { network, prefix_len: 24 }).into_iter().collect();
            });
            format!("{key} has other rules")
        }
    }
}

/// What other writers do to a service, and to its status.
fn meddle(api: &mut Api, chance: &mut Chance) -> String {
    let Some(key) = some_service(api, chance) else { return "nothing to meddle with".to_string() };
    if chance.one_in(3) {
        api.edit(&key, false, |service| {
            (service.has_our_finalizer, service.has_standard_finalizer) = (false, false);
        });
        return format!("{key} has lost its finalizers");
    }
    let address: IpAddr = WISHED[chance.place(WISHED.len())].parse().unwrap();
    api.edit(&key, false, |service| {
        if service.is_balanced {
            (service.status, service.status_mode) = (vec![address], Some(IpMode::Vip));
        }
    });
    api.contested.insert(api.services[&key].uid.clone());
    format!("somebody writes {address} into the status of {key}")
}

fn slices(api: &mut Api, chance: &mut Chance) -> String {
    let owner = key(chance);
    let number = chance.between(1, 3);
    let name = Key::new(&owner.namespace, &format!("s{}", chance.between(1, 8)));
    if chance.one_in(5) {
        api.set_slice(&name, None);
        return format!("slice {name} deleted");
    }
    let family = if chance.one_in(3) { IpFamily::V6 } else { IpFamily::V4 };
    let endpoint = |chance: &mut Chance| {
        let last = chance.between(1, 6);
        let address = match family {
            IpFamily::V4 => format!("10.244.0.{last}"),
            IpFamily::V6 => format!("fd00:244::{last}"),
        };
        // A pod, its node and its address belong together; the last one is a node itself.
        let address =
            if last == 6 && family == IpFamily::V4 { "10.210.0.10".into() } else { address };
        Endpoint {
            address: address.parse().unwrap(),
            pod: (last != 5).then(|| format!("p{}", last.min(4)).into()),
            node: (last != 4).then(|| format!("n{}", last % 3).into()),
            ready: chance.one_in(2),
            serving: !chance.one_in(3),
            terminating: chance.one_in(3),
        }
    };
    let port = |chance: &mut Chance| SlicePort {
        name: PORT_NAMES[chance.place(2)].into(),
        transport: [Transport::Tcp, Transport::Tcp, Transport::Udp, Transport::Sctp]
            [chance.place(4)],
        port: 8080 + chance.between(0, 1) as u16,
    };
    let slice = Slice {
        family,
        ports: (0..chance.between(1, 2)).map(|_| port(chance)).collect(),
        endpoints: (0..number).map(|_| endpoint(chance)).collect(),
    };
    api.set_slice(&name, Some((owner.name.clone(), slice)));
    format!("slice {name} of {owner}")
}

fn node(api: &mut Api, chance: &mut Chance) -> String {
    let number = chance.between(0, 3);
    let name: Arc<str> = format!("n{number}").into();
    if chance.one_in(4) {
        api.set_node(&name, None);
        return format!("node {name} is gone");
    }
    let mut addresses: Vec<IpAddr> = vec![[10, 210, 0, 10 + number as u8].into()];
    if chance.one_in(2) {
        addresses.push(format!("fd00:210::{number}").parse().unwrap());
    }
    api.set_node(&name, Some(Node { addresses, is_leaving: chance.one_in(4) }));
    format!("node {name} is another one")
}

fn pool(api: &mut Api, chance: &mut Chance) -> String {
    let name = ["wide", "named", "near", "gold"][chance.place(4)];
    let (width, fate) = (chance.between(0, 5), chance.between(1, 5));
    let pool = match fate {
        1 => None,
        2 => Some(None),
        _ => Some(Some(PlainPool::new(name, width))),
    };
    api.set_pool(&name.into(), pool);
    format!("pool {name}: fate {fate}, width {width}")
}
