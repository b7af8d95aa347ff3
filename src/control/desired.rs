//! What the operator wants, whatever source it came from.
//!
//! Plain typed data. [`super::validate`] is the one place that judges it.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::{HealthCheckSpec, Shared};
use crate::forwarding::{
    BackendGonePolicy, FlowRules, FlowTimeouts, Mode, MssClamp, NoBackendPolicy, ServiceGonePolicy,
};
use crate::wire::Protocol;

/// Everything that may change while running.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DesiredState {
    /// Services; the order has no meaning.
    pub services: Vec<Shared<ServiceSpec>>,
    /// Source addresses for NAT.
    pub snat: Vec<SnatSpec>,
    /// Outer source addresses of tunnels.
    pub tunnel_sources: Vec<TunnelSourceSpec>,
}

type Services<'a> = Vec<&'a Shared<ServiceSpec>>;

impl DesiredState {
    /// Services of `before` that are not the very same ones here, and those here that were not there.
    /// What only moved in the list may be in both.
    pub fn changes_since<'a>(&'a self, before: &'a DesiredState) -> (Services<'a>, Services<'a>) {
        let (old, new) = (&before.services, &self.services);
        if old.len() == new.len() {
            let others = old.iter().zip(new).filter(|(old, new)| !old.is_same(new));
            return others.unzip();
        }
        let not_in = |others: &[Shared<ServiceSpec>]| {
            let others: HashSet<_> = others.iter().map(Shared::place).collect();
            move |service: &&Shared<ServiceSpec>| !others.contains(&service.place())
        };
        (old.iter().filter(not_in(new)).collect(), new.iter().filter(not_in(old)).collect())
    }
}

/// Who decides which backends of a service are healthy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HealthFrom {
    /// This balancer's own checks.
    #[default]
    Local,
    /// Where the service comes from: all balancers that share a feed agree. Own checks still run, and
    /// what they find is shown and told to the feed, but moves nothing here.
    Feed,
}

/// One VIP, protocol and port, and who serves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    /// Unique name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// The address is the machine's own too; only this protocol and port are taken.
    pub shared_address: bool,
    /// How packets get to backends.
    pub mode: Mode,
    /// Maglev table size (a prime); none: chosen from the number of backends.
    pub table_size: Option<u32>,
    /// Who serves.
    pub backends: Vec<BackendSpec>,
    /// How backends are probed; none: they are always healthy.
    pub health_check: Option<HealthCheckSpec>,
    /// Whose word on a backend's health counts.
    pub health: HealthFrom,
    /// Idle times of its flows.
    pub timeouts: FlowTimeouts,
    /// The last of several ports; `port` is the first.
    pub last_port: Option<u16>,
    /// Who may use it, and what chooses backends.
    pub rules: FlowRules,
    /// What the maximum segment size of its SYNs is lowered to.
    pub mss: MssClamp,
    /// With no usable backend.
    pub no_backend: NoBackendPolicy,
    /// With a smaller share of healthy backends than this, in percent, health is not believed.
    pub min_healthy_percent: u8,
    /// How long a backend that comes to the others takes to its full share, in milliseconds.
    pub slow_start_ms: u32,
    /// When the service is removed.
    pub on_service_gone: ServiceGonePolicy,
    /// When a backend is dead, or drained for `drain_time_ms`.
    pub on_backend_gone: BackendGonePolicy,
    /// How long flows of a draining or removed backend go on, in milliseconds; none: as long as they
    /// live.
    pub drain_time_ms: Option<u32>,
    /// How long flows of a removed backend go on, where that is another time: a source that says when a
    /// backend is about to end says by the removal that it has. Files have no key for it.
    pub removed_time_ms: Option<u32>,
}

impl ServiceSpec {
    /// TCP by NAT, with all else as a file that says nothing of it.
    pub fn new(
        name: impl Into<String>,
        vip: SocketAddr,
        backends: Vec<BackendSpec>,
    ) -> ServiceSpec {
        ServiceSpec {
            name: name.into(),
            address: vip.ip(),
            port: vip.port(),
            protocol: Protocol::Tcp,
            shared_address: false,
            mode: Mode::Nat,
            table_size: None,
            backends,
            health_check: None,
            health: HealthFrom::Local,
            timeouts: FlowTimeouts::default(),
            last_port: None,
            rules: FlowRules::default(),
            mss: MssClamp::default(),
            no_backend: NoBackendPolicy::default(),
            min_healthy_percent: 0,
            slow_start_ms: 0,
            on_service_gone: ServiceGonePolicy::default(),
            on_backend_gone: BackendGonePolicy::default(),
            drain_time_ms: None,
            removed_time_ms: None,
        }
    }
}

/// One server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendSpec {
    /// Unique in its service, and stable: Maglev is keyed by it.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// The station that its packets are sent to instead of the one that the routes name: the node of a
    /// pod. How that one is reached, routes say.
    pub via: Option<IpAddr>,
    /// Where it listens. With direct return the service's port; 0, of a service of several ports that
    /// translates: on the one that a packet was sent to.
    pub port: u16,
    /// Share of new flows beside the other backends' weights; 0 drains.
    pub weight: u16,
    /// Used only while none of those is usable that are no backup.
    pub backup: bool,
    /// No new flow, old ones stay.
    pub drain: bool,
    /// What whoever made the service knows of its health; none: nothing.
    pub healthy: Option<bool>,
}

impl BackendSpec {
    /// Of weight 1, with all else as a file that says nothing of it.
    pub fn new(name: impl Into<String>, socket: SocketAddr) -> BackendSpec {
        let (address, port) = (socket.ip(), socket.port());
        let (name, via, healthy) = (name.into(), None, None);
        let (weight, backup, drain) = (1, false, false);
        BackendSpec { name, address, via, port, weight, backup, drain, healthy }
    }

    /// The address whose route is that of its packets.
    pub fn routed_by(&self) -> IpAddr {
        self.via.unwrap_or(self.address)
    }

    /// Where it listens, as a person reads it.
    pub(super) fn place(&self) -> String {
        match self.port {
            0 => self.address.to_string(),
            port => SocketAddr::new(self.address, port).to_string(),
        }
    }

    pub(super) fn port_told(&self) -> String {
        if self.port == 0 { "as asked".to_string() } else { self.port.to_string() }
    }
}

/// A network that is routed to this machine, and whose addresses are free for use as outer sources.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TunnelSourceSpec {
    /// Network address.
    pub network: IpAddr,
    /// Prefix length in bits.
    pub prefix_len: u8,
}

/// Source addresses for NAT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnatSpec {
    /// One address.
    pub address: IpAddr,
    /// Ports that may be used.
    pub ports: RangeInclusive<u16>,
    /// Only towards backends behind this interface.
    pub interface: Option<String>,
    /// The address is the machine's own too; only these ports are taken.
    pub shared_address: bool,
}
