//! Where everything is: the networks, the addresses in them, and the machines that can be backends.

use std::net::{IpAddr, Ipv6Addr};

use guideway::forwarding::Mode;
use guideway::wire::{Family, MacAddress, PortId};

use super::plan::Plan;
use super::pool::{POOLS, Pool};

/// Where the hosts of a port are: 10.1.0.0/24, fd00:1::/64, and so on.
pub fn address(family: Family, port: PortId, last: u8) -> IpAddr {
    match family {
        Family::Ipv4 => [10, 1 + port.0, 0, last].into(),
        Family::Ipv6 => {
            let (port, last) = (1 + u16::from(port.0), last.into());
            Ipv6Addr::new(0xfd00, port, 0, 0, 0, 0, 0, last).into()
        }
    }
}

pub fn prefix_len(family: Family) -> u8 {
    if family == Family::Ipv4 { 24 } else { 64 }
}

/// Of the part of a port's network in which backends and the balancer are, and clients are not.
fn near_prefix_len(family: Family) -> u8 {
    if family == Family::Ipv4 { 26 } else { 122 }
}

/// Whose addresses are outer sources of tunnels.
pub fn tunnel_network(family: Family) -> (IpAddr, u8) {
    match family {
        Family::Ipv4 => ([10, 9, 0, 0].into(), 24),
        Family::Ipv6 => (Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0).into(), 64),
    }
}

/// The VIP of a pool's services.
pub fn vip(family: Family, pool: Pool) -> IpAddr {
    address(family, PortId(0), 100 + pool as u8)
}

/// The SNAT address of a port, for which the balancer answers.
pub fn snat_address(family: Family, port: PortId) -> IpAddr {
    address(family, port, 10)
}

pub fn client_address(family: Family, number: usize) -> IpAddr {
    address(family, PortId(0), 200 + number as u8)
}

/// MTUs of narrow ways: as wide as an IPv6 packet of 1,280 bytes in the longest envelope, and with it
/// the longest datagram where none is long.
pub const NARROW_BYTES: std::ops::RangeInclusive<u64> = 1_340..=1_480;

pub const SERVICE_PORT: u16 = 80;
/// Where backends listen to which the balancer translates; the others listen on the service's port.
const BACKEND_PORT: u16 = 8080;

/// A machine that is a backend when the configuration says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    pub pool: Pool,
    pub mode: Mode,
    pub number: u16,
    /// Where the balancer sends to.
    pub address: IpAddr,
    /// What its stack has: another one when envelopes are of the other family, or come in by
    /// another port than its answers leave by.
    pub own_address: IpAddr,
    pub mac: MacAddress,
    /// Of the balancer, where its frames come in.
    pub port: PortId,
}

impl Machine {
    pub fn listens_on(&self) -> u16 {
        if self.mode.keeps_port() { SERVICE_PORT } else { BACKEND_PORT }
    }

    /// Where its answers go.
    pub fn segment(&self) -> PortId {
        if self.mode.is_direct_return() { PortId(0) } else { self.port }
    }

    pub fn name(&self) -> String {
        format!("machine{}", self.number)
    }

    /// Its network as its stack knows it, and its gateway: under DNAT all that it sends to clients
    /// goes by the balancer.
    pub fn network(&self) -> (u8, Option<IpAddr>) {
        let family = family_of(self.own_address);
        match self.mode {
            Mode::Dnat => (near_prefix_len(family), Some(snat_address(family, self.port))),
            _ => (prefix_len(family), None),
        }
    }
}

/// The number of the machine with this name.
pub fn number_of(name: &str) -> u16 {
    name.strip_prefix("machine").and_then(|number| number.parse().ok()).expect("a machine's name")
}

pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

/// The machines that can be backends. Their numbers are their places among the stations.
pub fn machines(plan: &Plan) -> Vec<Machine> {
    let all = POOLS.iter().flat_map(|&pool| std::iter::repeat_n(pool, plan.pool(pool).machines));
    let machine = |(place, pool): (usize, Pool)| {
        let (number, last) = ((plan.clients + place) as u16, 20 + (plan.clients + place) as u8);
        let pool_plan = plan.pool(pool);
        let is_behind = plan.two_arms && pool_plan.mode != Mode::L2dsr;
        let port = PortId(u8::from(is_behind));
        let own_port = if pool_plan.mode.is_direct_return() { PortId(0) } else { port };
        Machine {
            pool,
            mode: pool_plan.mode,
            number,
            address: address(pool_plan.backend_family, port, last),
            own_address: address(plan.family, own_port, last),
            mac: MacAddress([2, 0, 0, 0, port.0, last]),
            port,
        }
    };
    all.enumerate().map(machine).collect()
}
