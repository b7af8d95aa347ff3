//! What the XDP programs of all interfaces take off them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::error::SteerError;
use super::layout::{self, STEER_COUNTERS};
use super::program::InterfaceProgram;
use crate::wire::MacAddress;

/// One thing that is taken off the interfaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SteerRule {
    /// Everything to an address that is ours alone: every protocol, fragments, ARP and neighbour
    /// solicitations for it.
    Whole(IpAddr),
    /// One protocol (IANA number) and destination port of an address the machine has too.
    Port(IpAddr, u8, u16),
    /// TCP and UDP to these ports, both ends included, of an address the machine has too.
    PortRange(IpAddr, u16, u16),
    /// Frames to this address get so many bytes of room in front.
    Room(IpAddr, u16),
    /// ICMP errors to addresses of this network (address, prefix length) about tunnels' packets.
    TunnelSource(IpAddr, u8),
    /// The machine's own address: what [`SteerRule::Backend`] takes is not taken to it.
    Own(IpAddr),
    /// Everything from this socket (address, IANA number of the protocol, port), and ICMP errors
    /// about packets to it.
    Backend(IpAddr, u8, u16),
    /// The same of a range of ports, both ends included. Of several ranges of one address and
    /// protocol all is taken from the least port to the largest.
    BackendPorts(IpAddr, u8, u16, u16),
}

impl SteerRule {
    fn address(&self) -> IpAddr {
        let (SteerRule::Whole(address)
        | SteerRule::Port(address, ..)
        | SteerRule::PortRange(address, ..)
        | SteerRule::Room(address, _)
        | SteerRule::TunnelSource(address, _)
        | SteerRule::Own(address)
        | SteerRule::Backend(address, ..)
        | SteerRule::BackendPorts(address, ..)) = self;
        *address
    }
}

/// What one interface's XDP program counted. Every frame is in exactly one counter.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct InterfaceSteerCounters {
    /// Interface name.
    pub interface: String,
    /// Name and count, in a fixed order.
    pub counters: Vec<(String, u64)>,
}

impl InterfaceSteerCounters {
    /// A counter by name; 0 when there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
    }
}

/// The XDP programs. Dropped without [`detach`](Steer::detach), as in a crash, they stay on their
/// interfaces, drop what is ours, and a new start takes them over.
pub struct Steer {
    programs: Vec<InterfaceProgram>,
    rules: Rules,
    /// Some rule is of a backend.
    is_dnat: bool,
}

/// Rules by address: ten thousand VIPs are not looked through for each other.
#[derive(Default)]
struct Rules(BTreeMap<IpAddr, BTreeSet<SteerRule>>);

impl Rules {
    fn insert(&mut self, rule: SteerRule) -> bool {
        self.0.entry(rule.address()).or_default().insert(rule)
    }

    fn remove(&mut self, rule: &SteerRule) -> bool {
        let Some(rules) = self.0.get_mut(&rule.address()) else { return false };
        let was_there = rules.remove(rule);
        if rules.is_empty() {
            self.0.remove(&rule.address());
        }
        was_there
    }

    fn contains(&self, rule: &SteerRule) -> bool {
        self.0.get(&rule.address()).is_some_and(|rules| rules.contains(rule))
    }

    fn is_dnat(&self) -> bool {
        self.all().any(|rule| matches!(rule, SteerRule::Backend(..) | SteerRule::BackendPorts(..)))
    }

    /// Of all ranges of this backend, the least and the largest port.
    fn ports_of(&self, address: IpAddr, protocol: u8) -> Option<(u16, u16)> {
        let range = |rule: &SteerRule| match *rule {
            SteerRule::BackendPorts(_, its, low, high) if its == protocol => Some((low, high)),
            _ => None,
        };
        let ranges = self.of(address).filter_map(range);
        ranges.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    fn sources(&self) -> Vec<(IpAddr, u8)> {
        let source = |rule: &SteerRule| match *rule {
            SteerRule::TunnelSource(network, prefix_len) => Some((network, prefix_len)),
            _ => None,
        };
        self.all().filter_map(source).collect()
    }

    fn all(&self) -> impl Iterator<Item = &SteerRule> {
        self.0.values().flatten()
    }

    fn of(&self, address: IpAddr) -> impl Iterator<Item = &SteerRule> {
        self.0.get(&address).into_iter().flatten()
    }
}

const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Steer>();
};

impl Steer {
    pub(super) fn new(programs: Vec<InterfaceProgram>) -> Steer {
        Steer { programs, rules: Rules::default(), is_dnat: false }
    }

    /// Takes something more. What was added before is fine.
    ///
    /// # Errors
    /// The kernel's; the rule is then taken on no interface.
    pub fn add(&mut self, rule: &SteerRule) -> Result<(), SteerError> {
        if !self.rules.insert(*rule) {
            return Ok(());
        }
        self.apply(rule).inspect_err(|_| {
            self.rules.remove(rule);
            // The maps go back to what they were as far as they can; the first error is the one
            // that tells why.
            let _ = self.apply(rule);
        })
    }

    /// Takes something no longer: it passes to the kernel from now on.
    ///
    /// # Errors
    /// The kernel's; the rule then counts as taken, so that removing it can be tried again.
    pub fn remove(&mut self, rule: &SteerRule) -> Result<(), SteerError> {
        if !self.rules.remove(rule) {
            return Ok(());
        }
        self.apply(rule).inspect_err(|_| {
            self.rules.insert(*rule);
        })
    }

    /// Makes the maps say of a rule and its address what `rules` says.
    fn apply(&mut self, rule: &SteerRule) -> Result<(), SteerError> {
        let taken = self.rules.contains(rule);
        match *rule {
            SteerRule::Own(address) => self.each(|program| program.set_own(address, taken)),
            SteerRule::TunnelSource(..) => {
                let sources = self.rules.sources();
                self.each(|program| program.set_sources(&sources))
            }
            SteerRule::Backend(address, protocol, port) => {
                let ports = taken.then_some((port, port));
                self.apply_backend(layout::port(address, protocol, port), ports, taken)
            }
            SteerRule::BackendPorts(address, protocol, ..) => {
                let ports = self.rules.ports_of(address, protocol);
                self.apply_backend(layout::port(address, protocol, 0), ports, taken)
            }
            SteerRule::Whole(_)
            | SteerRule::Port(..)
            | SteerRule::PortRange(..)
            | SteerRule::Room(..) => self.apply_address(rule, taken),
        }
    }

    fn apply_backend(
        &mut self,
        key: layout::PortBytes,
        ports: Option<(u16, u16)>,
        taken: bool,
    ) -> Result<(), SteerError> {
        // Asked of all rules only where the answer may have changed.
        let is_first_or_last = self.is_dnat != taken;
        self.is_dnat = if is_first_or_last { self.rules.is_dnat() } else { taken };
        let is_dnat = self.is_dnat;
        self.each(|program| {
            program.set_backend(key, ports)?;
            program.set_dnat(is_dnat)
        })
    }

    fn apply_address(&mut self, rule: &SteerRule, taken: bool) -> Result<(), SteerError> {
        let address = rule.address();
        let value = layout::address(self.rules.of(address))
            .map_err(|ranges| SteerError::TooManyRanges { address, ranges })?;
        self.each(|program| {
            if let SteerRule::Port(address, protocol, port) = *rule {
                program.set_port(layout::port(address, protocol, port), taken)?;
            }
            program.set_address(address, value)
        })
    }

    fn each(
        &mut self,
        change: impl FnMut(&mut InterfaceProgram) -> Result<(), SteerError>,
    ) -> Result<(), SteerError> {
        self.programs.iter_mut().try_for_each(change)
    }

    /// Lets the programs replace those of an earlier run that still hold the interfaces. To be
    /// called when the first rules have been added; until then VIP traffic is dropped by the old
    /// ones, never passed to the kernel. Does nothing on interfaces that had none.
    ///
    /// # Errors
    /// The kernel's, for example when the interface was removed meanwhile.
    pub fn activate(&mut self) -> Result<(), SteerError> {
        self.programs.iter_mut().try_for_each(InterfaceProgram::activate)
    }

    /// An interface has a new MAC address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mac(&mut self, interface: &str, mac: MacAddress) -> Result<(), SteerError> {
        let mut named = self.programs.iter_mut().filter(|program| program.name == interface);
        named.try_for_each(|program| program.set_mac(mac))
    }

    /// What the programs counted; goes on over a crash and a new start.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<InterfaceSteerCounters>, SteerError> {
        let of = |program: &InterfaceProgram| {
            let names = STEER_COUNTERS.iter().map(|name| name.to_string());
            Ok(InterfaceSteerCounters {
                interface: program.name.clone(),
                counters: names.zip(program.counters()?).collect(),
            })
        };
        self.programs.iter().map(of).collect()
    }

    /// Interface and XDP mode (`native`, `generic`), in the order of the options.
    pub fn modes(&self) -> Vec<(String, &'static str)> {
        let mode = |program: &InterfaceProgram| if program.generic { "generic" } else { "native" };
        self.programs.iter().map(|program| (program.name.clone(), mode(program))).collect()
    }

    /// A clean stop: the programs leave the interfaces, and everything goes to the kernel.
    pub fn detach(self) {
        for program in self.programs {
            program.detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_address_are_together_and_leave_nothing_behind() {
        let (ours, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let all = [
            SteerRule::Port(ours, 6, 80),
            SteerRule::PortRange(ours, 1024, 2047),
            SteerRule::Whole(other),
        ];
        let mut rules = Rules::default();
        assert!(all.iter().all(|rule| rules.insert(*rule)));
        assert!(!rules.insert(all[0]), "once is enough");
        assert_eq!(rules.of(ours).collect::<Vec<_>>(), [&all[0], &all[1]]);
        assert!(all.iter().all(|rule| rules.contains(rule) && rules.remove(rule)));
        assert!(!rules.remove(&all[0]) && !rules.contains(&all[0]));
        assert!(rules.0.is_empty());
    }
}
