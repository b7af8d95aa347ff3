//! What belongs to one alone, and who has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::order::{Item, Order, What};
use super::source::Form;
use crate::control::validate::{needs_snat, needs_tunnel_source};
use crate::control::{Refusal, ServiceSpec, SnatSpec, TunnelSourceSpec};
use crate::forwarding::{MOST_SHARED_RANGES, Mode, TunnelSource};
use crate::wire::{Address, Family, Protocol};

type Socket = (IpAddr, u16, Protocol);

/// The claims of one pass. Numbers are places in the order.
#[derive(Default)]
pub(super) struct Claims<'a> {
    names: HashMap<&'a str, usize>,
    sockets: HashMap<Socket, usize>,
    /// Services of several ports: address, protocol and first port; the last port.
    ranges: BTreeMap<(IpAddr, Protocol, u16), (u16, usize)>,
    /// Sockets of DNAT backends.
    dnat: HashMap<Socket, usize>,
    /// Every address of ours, whether it is shared with the machine, and who has it first.
    addresses: HashMap<IpAddr, (bool, usize)>,
    snat: HashMap<IpAddr, Vec<(RangeInclusive<u16>, usize)>>,
    tunnel_sources: Vec<(TunnelSource, usize)>,
    /// Addresses that somebody wants to be ours, and those of them that backends have.
    wanted: HashSet<IpAddr>,
    at_backends: HashMap<IpAddr, usize>,
}

impl<'a> Claims<'a> {
    /// Nothing is claimed yet of what is in order.
    pub fn of(order: &Order<'_>) -> Claims<'a> {
        let wanted = order.items.iter().filter_map(Item::address).collect();
        Claims { wanted, ..Claims::default() }
    }

    /// Claims all that the item needs for itself alone, or says what it cannot have; then it has
    /// claimed nothing.
    pub fn claim(
        &mut self,
        place: usize,
        item: &Item<'a>,
        order: &Order<'_>,
    ) -> Result<(), Refusal> {
        if let What::Service(form) = item.what {
            self.check_needs(&Order::path(item), &form.spec)?;
        }
        let refused = match item.what {
            What::TunnelSource(spec) => self.refuse_tunnel_source(spec),
            What::Snat(spec) => self.refuse_snat(spec),
            What::Service(form) => self.refuse_service(place, &form.spec),
        };
        if let Some(Loss { field, problem, owner, wanted }) = refused {
            let problem = format!("{problem} {}", order.told(owner));
            return Err(Refusal::new(format!("{}{field}", Order::path(item)), problem, wanted));
        }
        match item.what {
            What::TunnelSource(spec) => {
                let network = TunnelSource::new(spec.network.into(), spec.prefix_len);
                self.tunnel_sources.push((network, place));
            }
            What::Snat(spec) => {
                let ranges = self.snat.entry(spec.address).or_default();
                ranges.push((spec.ports.clone(), place));
                self.addresses.entry(spec.address).or_insert((spec.shared_address, place));
            }
            What::Service(form) => self.take_service(place, form),
        }
        Ok(())
    }

    fn take_service(&mut self, place: usize, form: &'a Form) {
        let spec: &'a ServiceSpec = &form.spec;
        let (address, port, protocol) = (spec.address, spec.port, spec.protocol);
        self.names.insert(&spec.name, place);
        self.sockets.insert((address, port, protocol), place);
        if let Some(last) = spec.last_port {
            self.ranges.insert((address, protocol, port), (last, place));
        }
        if spec.mode == Mode::Dnat {
            let sockets = spec.backends.iter().map(|b| (b.address, b.port, protocol));
            self.dnat.extend(sockets.map(|socket| (socket, place)));
        }
        self.addresses.entry(address).or_insert((spec.shared_address, place));
        let backends = spec.backends.iter().map(|backend| backend.address);
        for at in backends.filter(|address| self.wanted.contains(address)) {
            self.at_backends.entry(at).or_insert(place);
        }
    }

    /// What it could translate to, and what its envelopes could come from. All of that was claimed
    /// before.
    fn check_needs(&self, path: &str, spec: &ServiceSpec) -> Result<(), Refusal> {
        let has_snat = |wanted| self.snat.keys().any(|at| family(*at) == wanted);
        let has_source =
            |wanted| self.tunnel_sources.iter().any(|(t, _)| t.network().family() == wanted);
        let needs = needs_snat(path, spec, has_snat).into_iter();
        let mut needs = needs.chain(needs_tunnel_source(path, spec, has_source));
        needs.next().map_or(Ok(()), Err)
    }

    fn refuse_service(&self, place: usize, spec: &ServiceSpec) -> Option<Loss> {
        let (address, port, protocol) = (spec.address, spec.port, spec.protocol);
        let socket = SocketAddr::new(address, port);
        if let Some(&owner) = self.names.get(spec.name.as_str()) {
            let problem = format!("{} is the name of", spec.name);
            return Loss::of(
                ".name",
                problem,
                owner,
                "a name of its own: shares and health go by it",
            );
        }
        if let Some(&owner) = self.sockets.get(&(address, port, protocol)) {
            let wanted = "another port, protocol or address: each belongs to one service";
            return Loss::of(".port", format!("{protocol} {socket} is taken by"), owner, wanted);
        }
        if let Some(owner) = spec.last_port.and_then(|last| self.overlapping(spec, last)) {
            let problem = format!("some of these ports of {address} are taken by");
            return Loss::of(".port", problem, owner, "ports that do not overlap");
        }
        let pools = self.snat.get(&address).into_iter().flatten();
        if let Some((_, owner)) = pools.into_iter().find(|(ports, _)| ports.contains(&port)) {
            let wanted =
                "SNAT ports without the service's port, or another address for one of them";
            return Loss::of(".port", format!("{socket} lies in the ports of"), *owner, wanted);
        }
        if spec.mode == Mode::Dnat {
            for backend in &spec.backends {
                let socket = (backend.address, backend.port, protocol);
                if let Some(&owner) = self.dnat.get(&socket) {
                    let socket = SocketAddr::new(backend.address, backend.port);
                    let problem = format!("{protocol} {socket} is a DNAT backend already, of");
                    let wanted = "another port or address for one of them, or `mode: nat`";
                    return Loss::of(".backends", problem, owner, wanted);
                }
            }
        }
        self.refuse_at_backends(place, spec)
            .or_else(|| self.refuse_address(address, spec.shared_address))
    }

    /// A backend at an address of ours: its packets would come straight back.
    fn refuse_at_backends(&self, place: usize, spec: &ServiceSpec) -> Option<Loss> {
        for at in spec.backends.iter().map(|backend| backend.address) {
            let own = (at == spec.address).then_some(place);
            if let Some(owner) = own.or(self.addresses.get(&at).map(|&(_, owner)| owner)) {
                let problem = format!("a backend's address {at} is that of");
                return Loss::of(".backends", problem, owner, "the backend's own address");
            }
        }
        let owner = *self.at_backends.get(&spec.address)?;
        let problem = format!("{} is the address of a backend,", spec.address);
        Loss::of(".address", problem, owner, "an address that no backend has")
    }

    fn overlapping(&self, spec: &ServiceSpec, last: u16) -> Option<usize> {
        let key = |port| (spec.address, spec.protocol, port);
        let mut before = self.ranges.range(key(0)..=key(last));
        let (_, &(its_last, owner)) = before.next_back()?;
        (its_last >= spec.port).then_some(owner)
    }

    fn refuse_snat(&self, spec: &SnatSpec) -> Option<Loss> {
        let (start, end) = (*spec.ports.start(), *spec.ports.end());
        let others = self.snat.get(&spec.address).map_or(&[][..], |others| others);
        let overlaps = |(ports, _): &&(RangeInclusive<u16>, usize)| {
            start <= *ports.end() && *ports.start() <= end
        };
        if let Some((_, owner)) = others.iter().find(overlaps) {
            let wanted = "ranges without a common port";
            return Loss::of(".ports", format!("{start}-{end} overlaps"), *owner, wanted);
        }
        if let Some((_, owner)) =
            others.last().filter(|_| spec.shared_address && others.len() >= MOST_SHARED_RANGES)
        {
            let problem = format!("{MOST_SHARED_RANGES} ranges are taken already, the last by");
            return Loss::of(".ports", problem, *owner, "fewer ranges of a shared address");
        }
        self.refuse_address(spec.address, spec.shared_address)
    }

    fn refuse_address(&self, address: IpAddr, shared: bool) -> Option<Loss> {
        let network = self.tunnel_sources.iter().find(|(range, _)| range.covers(address.into()));
        if let Some(&(_, owner)) = network {
            let problem = format!("{address} is in the network of");
            return Loss::of(".address", problem, owner, "an address outside of it");
        }
        let &(its_shared, owner) = self.addresses.get(&address)?;
        if its_shared == shared {
            return None;
        }
        let problem = format!("{address} is shared with the machine or not otherwise than by");
        Loss::of(".shared_address", problem, owner, "the same wherever the address is used")
    }

    fn refuse_tunnel_source(&self, spec: &TunnelSourceSpec) -> Option<Loss> {
        let range = TunnelSource::new(spec.network.into(), spec.prefix_len);
        let is_v4 = |network: &TunnelSource| network.network().ip().is_ipv4();
        let other = self.tunnel_sources.iter().find(|(other, _)| is_v4(other) == is_v4(&range));
        if let Some(&(_, owner)) = other {
            let problem = "there is a network of this family already,".to_string();
            return Loss::of("", problem, owner, "one network of each family");
        }
        None
    }
}

fn family(address: IpAddr) -> Family {
    Address::from(address).family()
}

/// Why a claim is lost, and to whom.
struct Loss {
    field: &'static str,
    problem: String,
    owner: usize,
    wanted: &'static str,
}

impl Loss {
    fn of(
        field: &'static str,
        problem: String,
        owner: usize,
        wanted: &'static str,
    ) -> Option<Loss> {
        Some(Loss { field, problem, owner, wanted })
    }
}
