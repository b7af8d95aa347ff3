//! The two groups of backends of a run: how packets get to each, and what its services are told.

use std::sync::Arc;

use guideway::forwarding::{BackendGonePolicy, FlowRules, HashBy, Mode, PrefixSet};
use guideway::wire::Family;
use guideway::wire::encap::{Dscp, GueVersion, Tunnel};

use super::chance::Chance;
use super::site::client_address;

/// A group of backends behind a VIP of its own, with a TCP and a UDP service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pool {
    First,
    Second,
}

pub const POOLS: [Pool; 2] = [Pool::First, Pool::Second];

/// What is said of a pool for a whole run.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    pub mode: Mode,
    /// Of the backends' addresses; another one than the VIP's in tunnels only.
    pub backend_family: Family,
    /// Machines there are, configured as backends or not.
    pub machines: usize,
    /// What flows of a backend that is gone get.
    pub on_gone: BackendGonePolicy,
    pub drain_time_ms: Option<u32>,
    pub rules: FlowRules,
    /// The only clients that may use its services: those whose number begins like this one's.
    pub allowed: Option<Clients>,
}

/// Clients whose addresses are the same but for so many of the last bits.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub one: usize,
    pub bits: u8,
}

impl Clients {
    fn prefix_set(self, family: Family) -> Arc<PrefixSet> {
        let address = client_address(family, self.one);
        let len = if address.is_ipv4() { 32 } else { 128 };
        Arc::new(PrefixSet::new([(address, len - self.bits)]))
    }

    /// Client number 0 has an even address, and so on.
    pub fn has(self, number: usize) -> bool {
        number >> self.bits == self.one >> self.bits
    }
}

impl PoolPlan {
    /// A pool of which nothing special is said.
    pub fn plain(mode: Mode, family: Family, machines: usize) -> PoolPlan {
        PoolPlan {
            mode,
            backend_family: family,
            machines,
            on_gone: BackendGonePolicy::Keep,
            drain_time_ms: None,
            rules: FlowRules::default(),
            allowed: None,
        }
    }

    /// Where there is little room (`is_tight`), nothing is remembered of clients.
    pub fn draw(
        chance: &mut Chance,
        (family, clients): (Family, usize),
        is_tight: bool,
    ) -> PoolPlan {
        let mode = mode(chance);
        let is_mixed = mode.tunnel().is_some() && chance.one_in(3);
        let backend_family = if is_mixed { other(family) } else { family };
        let one = chance.place(clients);
        let allowed = chance.one_in(8).then(|| Clients { one, bits: chance.between(0, 2) as u8 });
        let mut rules = rules(chance, mode, is_tight);
        rules.allow = allowed.map(|clients| clients.prefix_set(family));
        PoolPlan {
            on_gone: on_gone(chance),
            drain_time_ms: chance.one_in(2).then(|| chance.between(500, 8_000) as u32),
            rules,
            allowed,
            ..PoolPlan::plain(mode, backend_family, chance.between(2, 5) as usize)
        }
    }
}

fn other(family: Family) -> Family {
    if family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 }
}

fn mode(chance: &mut Chance) -> Mode {
    match chance.between(0, 10) {
        0..=3 => Mode::Nat,
        4..=5 => Mode::Dnat,
        6 => Mode::L2dsr,
        10 => Mode::Dscp(chance.between(1, 63) as u8),
        7 => Mode::Tunnel(Tunnel::Ipip, dscp(chance)),
        8 => {
            let key = chance.one_in(2).then(|| chance.bits() as u32);
            Mode::Tunnel(Tunnel::Gre { key }, dscp(chance))
        }
        _ => {
            let version = if chance.one_in(2) { GueVersion::V0 } else { GueVersion::V1 };
            let checksum = chance.one_in(2);
            Mode::Tunnel(Tunnel::Gue { port: GUE_PORT, version, checksum }, dscp(chance))
        }
    }
}

/// IANA's.
pub const GUE_PORT: u16 = 6080;

fn dscp(chance: &mut Chance) -> Dscp {
    if chance.one_in(2) { Dscp::Copied } else { Dscp::Fixed(chance.between(0, 63) as u8) }
}

fn on_gone(chance: &mut Chance) -> BackendGonePolicy {
    let all = [BackendGonePolicy::Reset, BackendGonePolicy::Drop, BackendGonePolicy::Keep];
    all[chance.place(all.len())]
}

/// Half of all pools go by the usual ones.
fn rules(chance: &mut Chance, mode: Mode, is_tight: bool) -> FlowRules {
    let mut rules = FlowRules::default();
    if chance.one_in(2) {
        return rules;
    }
    let hashes =
        [HashBy::FiveTuple, HashBy::Client, HashBy::ClientAndPort, HashBy::DestinationPort];
    rules.hash = hashes[chance.place(hashes.len())];
    rules.entries = mode.is_translated() || !chance.one_in(3);
    if rules.entries && !is_tight && chance.one_in(2) {
        rules.hash = HashBy::Client;
        rules.affinity_ms = chance.between(1_000, 20_000) as u32;
    }
    rules
}
