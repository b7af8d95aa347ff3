//! The way to each backend and the SNAT addresses that may be used on it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Refusal;
use crate::control::{SnatSpec, Topology};
use crate::forwarding::{Mode, NextHop, RouteTable, SnatAddress};
use crate::wire::{Address, Family, PortId};

/// Routes, and SNAT addresses in an order of their own.
pub(super) struct Paths {
    pub routes: RouteTable,
    pub snat: Vec<SnatAddress>,
    /// Services share backends' addresses: each is looked up once.
    known: HashMap<IpAddr, Way>,
    choices: HashMap<(Option<PortId>, Family), Arc<[u16]>>,
}

/// What one backend needs.
pub(super) struct Path {
    pub next_hop: Option<NextHop>,
    pub snat: Arc<[u16]>,
}

#[derive(Clone, Copy)]
struct Way {
    port: Option<PortId>,
    next_hop: Option<NextHop>,
    on_link: bool,
}

impl Paths {
    pub fn new(topology: &Topology, snat: &[SnatSpec]) -> Result<Paths, Vec<Refusal>> {
        Ok(Paths {
            routes: route_table(topology),
            snat: snat_addresses(topology, snat)?,
            known: HashMap::new(),
            choices: HashMap::new(),
        })
    }

    pub fn to(&mut self, address: IpAddr, mode: Mode) -> Path {
        let routes = &self.routes;
        let way = *self.known.entry(address).or_insert_with(|| {
            let route = routes.route(address);
            Way {
                port: route.map(|route| route.port),
                next_hop: routes.next_hop(address),
                on_link: route.is_some_and(|route| route.gateway.is_none()),
            }
        });
        match mode {
            Mode::Nat => {
                let family = Address::from(address).family();
                Path { next_hop: way.next_hop, snat: self.choice(way.port, family) }
            }
            Mode::Dnat | Mode::Dscp(_) | Mode::Tunnel(..) => {
                Path { next_hop: way.next_hop, snat: [].into() }
            }
            // The packet still says the VIP: a router would send it back to us.
            Mode::L2dsr => Path { next_hop: way.next_hop.filter(|_| way.on_link), snat: [].into() },
        }
    }

    /// The family's addresses for this port, else those for any.
    fn choice(&mut self, port: Option<PortId>, family: Family) -> Arc<[u16]> {
        let snat = &self.snat;
        let places = |wanted: Option<PortId>| -> Vec<u16> {
            let fits = |(_, snat): &(usize, &SnatAddress)| {
                snat.port == wanted && Address::from(snat.address).family() == family
            };
            snat.iter().enumerate().filter(fits).map(|(place, _)| place as u16).collect()
        };
        let choose = || {
            let own = if port.is_some() { places(port) } else { vec![] };
            if own.is_empty() { places(None).into() } else { own.into() }
        };
        self.choices.entry((port, family)).or_insert_with(choose).clone()
    }
}

/// The kernel's routes as they are: while a link is down nothing is sent by another one, unless the
/// kernel itself takes the route away. Nobody is there behind such a link.
fn route_table(topology: &Topology) -> RouteTable {
    let mut neighbours = topology.neighbours.clone();
    for neighbour in &mut neighbours {
        let link = topology.links.get(neighbour.port.index());
        neighbour.gone |= !link.is_some_and(|link| link.up);
    }
    RouteTable::new(topology.routes.clone(), neighbours)
}

fn snat_addresses(
    topology: &Topology,
    specs: &[SnatSpec],
) -> Result<Vec<SnatAddress>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut snat = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let port = match &spec.interface {
            None => None,
            Some(name) => match topology.port_by_name(name) {
                Some(port) => Some(port),
                None => {
                    refusals.push(unknown_interface(place, name, topology));
                    continue;
                }
            },
        };
        snat.push(SnatAddress {
            address: spec.address,
            ports: spec.ports.clone(),
            port,
            shared_address: spec.shared_address,
        });
    }
    snat.sort_by_key(|snat| (snat.address, *snat.ports.start()));
    if refusals.is_empty() { Ok(snat) } else { Err(refusals) }
}

fn unknown_interface(place: usize, name: &str, topology: &Topology) -> Refusal {
    let names: Vec<&str> = topology.links.iter().map(|link| link.name.as_str()).collect();
    Refusal::new(
        format!("snat[{place}].interface"),
        format!("there is no interface `{name}` in `interfaces`"),
        format!("one of {}", names.join(", ")),
    )
}
