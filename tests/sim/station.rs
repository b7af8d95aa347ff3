//! The hosts of a run and what runs on them.

use std::net::SocketAddr;

use guideway::forwarding::Mode;
use guideway::wire::{Family, FlowKey, MacAddress, PortId, Protocol};
use smoltcp::wire::IpEndpoint;

use super::chance::Chance;
use super::client::{Datagrams, End, Stream};
use super::host::{Host, HostPlan};
use super::marked::Mark;
use super::network::Network;
use super::parts::Parts;
use super::plan::{FlowKind, FlowPlan, Plan};
use super::server::Server;
use super::site::{Machine, SERVICE_PORT, client_address, prefix_len, vip};

/// What a flow of a client is on its machine.
enum Kind {
    Stream(Stream),
    Datagrams(Datagrams),
}

/// A flow that runs on a client.
pub struct Flow {
    pub plan: FlowPlan,
    /// As the balancer knows it.
    pub key: FlowKey,
    kind: Kind,
    pub begun_ms: u64,
    pub ended_ms: Option<u64>,
    /// How far it had come, and when it had last come further.
    progress: (u64, u64),
}

/// A host and what runs on it.
pub struct Station {
    pub host: Host,
    /// Where what it sends goes.
    pub segment: PortId,
    pub server: Option<Server>,
    pub flows: Vec<Flow>,
    /// It hears and says nothing any more.
    pub is_dead: bool,
    next_port: u16,
}

impl Flow {
    pub fn end(&self) -> Option<&End> {
        match &self.kind {
            Kind::Stream(stream) => stream.end.as_ref(),
            Kind::Datagrams(datagrams) => datagrams.end.as_ref(),
        }
    }

    pub fn protocol(&self) -> Protocol {
        match self.kind {
            Kind::Stream(_) => Protocol::Tcp,
            Kind::Datagrams(_) => Protocol::Udp,
        }
    }
}

impl Station {
    /// A flow of this client's begins; as the balancer will know it.
    pub fn begin(&mut self, (family, now_ms): (Family, u64), plan: FlowPlan) -> FlowKey {
        let vip = vip(family, plan.pool);
        let port = self.next_port;
        self.next_port += 1;
        let ends = (IpEndpoint::new(vip.into(), SERVICE_PORT), port);
        let (protocol, kind) = match plan.kind {
            FlowKind::Stream(request) => {
                let stream = Stream::connect(request, ends, self.host.split());
                (Protocol::Tcp, Kind::Stream(stream))
            }
            FlowKind::Datagrams { id, count, longest } => {
                let wanted = (id, count, longest);
                let datagrams = Datagrams::open(wanted, ends, &mut self.host.datagrams);
                (Protocol::Udp, Kind::Datagrams(datagrams))
            }
        };
        let client = SocketAddr::new(self.host.address(), port);
        let key = FlowKey::new(protocol, client, SocketAddr::new(vip, SERVICE_PORT));
        let (begun_ms, ended_ms, progress) = (now_ms, None, (0, now_ms));
        self.flows.push(Flow { plan, key, kind, begun_ms, ended_ms, progress });
        key
    }

    pub fn work(&mut self, now_ms: u64) {
        let Host { sockets, datagrams, .. } = &mut self.host;
        if let Some(server) = &mut self.server {
            server.work(sockets, datagrams);
        }
        for flow in &mut self.flows {
            match &mut flow.kind {
                Kind::Stream(stream) => stream.work(sockets),
                Kind::Datagrams(flow) => flow.work(now_ms, datagrams),
            }
            if flow.end().is_some() {
                flow.ended_ms.get_or_insert(now_ms);
            }
        }
    }

    /// Clients of flows that stand still for so long give up, if they may.
    pub fn give_up(&mut self, now_ms: u64, after_ms: u64, may: impl Fn(&Flow) -> bool) {
        let sockets = &mut self.host.sockets;
        for flow in self.flows.iter_mut().filter(|flow| flow.end().is_none()) {
            let progress = match &flow.kind {
                Kind::Stream(stream) => stream.progress(sockets),
                Kind::Datagrams(datagrams) => datagrams.progress(),
            };
            if progress != flow.progress.0 {
                flow.progress = (progress, now_ms);
            }
            if now_ms - flow.progress.1 < after_ms || !may(flow) {
                continue;
            }
            match &mut flow.kind {
                Kind::Stream(stream) => stream.give_up(sockets),
                Kind::Datagrams(datagrams) => datagrams.give_up(),
            }
            flow.ended_ms = Some(now_ms);
        }
    }

    pub fn next_ms(&mut self, now_ms: u64) -> u64 {
        let stack = self.host.next_poll_ms(now_ms).unwrap_or(u64::MAX);
        let resend = self.flows.iter().filter_map(|flow| match &flow.kind {
            Kind::Datagrams(datagrams) => datagrams.next_work_ms(),
            Kind::Stream(_) => None,
        });
        resend.min().unwrap_or(u64::MAX).min(stack)
    }
}

/// All hosts, connected: clients, then machines.
pub fn stations(
    plan: &Plan,
    machines: &[Machine],
    chance: &mut Chance,
    network: &mut Network,
) -> Vec<Station> {
    let clients = (0..plan.clients).map(|number| (client(plan.family, number), None));
    let backends = machines.iter().map(|machine| (backend(plan.family, machine), Some(*machine)));
    let all = clients.chain(backends).enumerate();
    let station = |(place, (mut host, machine)): (usize, (HostPlan, Option<Machine>))| {
        let has_parts = plan.fragments || plan.long_datagrams;
        let parts = has_parts.then(|| Parts::new(plan.fragments, chance.fork()));
        host.seed = chance.bits();
        let segment = machine.map_or(PortId(0), |machine| machine.segment());
        network.attach(segment, host.mac, place);
        if let Some(machine) = machine {
            network.attach(machine.port, host.mac, place);
        }
        let mut host = Host::new(host, parts);
        let server = machine.map(|machine| Server::new(&machine, &mut host.datagrams));
        // Ports of their own for every client and run.
        let next_port = 30_000 + chance.between(0, 20_000) as u16;
        Station { host, segment, server, flows: vec![], is_dead: false, next_port }
    };
    all.map(station).collect()
}

fn client(family: Family, number: usize) -> HostPlan {
    HostPlan {
        mac: MacAddress([2, 0, 0, 0, 0, 200 + number as u8]),
        address: client_address(family, number),
        prefix_len: prefix_len(family),
        gateway: None,
        hidden: None,
        tunnel: None,
        mark: None,
        seed: 0,
    }
}

fn mark(family: Family, machine: &Machine) -> Option<Mark> {
    match machine.mode {
        Mode::Dscp(dscp) => {
            Some(Mark { address: machine.address, dscp, vip: vip(family, machine.pool) })
        }
        _ => None,
    }
}

fn backend(family: Family, machine: &Machine) -> HostPlan {
    let (prefix_len, gateway) = machine.network();
    HostPlan {
        mac: machine.mac,
        address: machine.own_address,
        prefix_len,
        gateway,
        hidden: machine.mode.is_direct_return().then(|| vip(family, machine.pool)),
        tunnel: machine.mode.tunnel().map(|tunnel| (machine.address, tunnel)),
        mark: mark(family, machine),
        seed: 0,
    }
}
