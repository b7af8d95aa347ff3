//! The hosts of a run and what runs on them.

use guideway::wire::{Family, MacAddress, PortId};
use smoltcp::wire::IpEndpoint;

use super::chance::Chance;
use super::client::{Datagrams, End, Stream};
use super::host::{Host, HostPlan};
use super::network::Network;
use super::parts::Parts;
use super::plan::{FlowKind, FlowPlan, Plan};
use super::server::Server;
use super::site::{Machine, SERVICE_PORT, client_address, prefix_len, vip};

/// A flow that runs on a client.
pub enum Flow {
    Stream(Stream),
    Datagrams(Datagrams),
}

/// A host and what runs on it.
pub struct Station {
    pub host: Host,
    pub segment: PortId,
    pub server: Option<Server>,
    pub flows: Vec<(FlowPlan, Flow)>,
    next_port: u16,
}

impl Flow {
    pub fn end(&self) -> Option<&End> {
        match self {
            Flow::Stream(stream) => stream.end.as_ref(),
            Flow::Datagrams(datagrams) => datagrams.end.as_ref(),
        }
    }
}

impl Station {
    pub fn begin(&mut self, family: Family, plan: FlowPlan) {
        let vip = IpEndpoint::new(vip(family, plan.pool).into(), SERVICE_PORT);
        let port = self.next_port;
        self.next_port += 1;
        let flow = match plan.kind {
            FlowKind::Stream(request) => {
                Flow::Stream(Stream::connect(request, (vip, port), self.host.split()))
            }
            FlowKind::Datagrams { id, count } => {
                Flow::Datagrams(Datagrams::open((id, count), (vip, port), &mut self.host.sockets))
            }
        };
        self.flows.push((plan, flow));
    }

    pub fn work(&mut self, now_ms: u64) {
        let sockets = &mut self.host.sockets;
        if let Some(server) = &mut self.server {
            server.work(sockets);
        }
        for (_, flow) in &mut self.flows {
            match flow {
                Flow::Stream(stream) => stream.work(sockets),
                Flow::Datagrams(datagrams) => datagrams.work(now_ms, sockets),
            }
        }
    }

    pub fn next_ms(&mut self, now_ms: u64) -> u64 {
        let stack = self.host.next_poll_ms(now_ms).unwrap_or(u64::MAX);
        let resend = self.flows.iter().filter_map(|(_, flow)| match flow {
            Flow::Datagrams(datagrams) => datagrams.next_work_ms(),
            Flow::Stream(_) => None,
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
        let parts = plan.fragments.then(|| Parts::new(chance.fork()));
        host.seed = chance.bits();
        let segment = machine.map_or(PortId(0), |machine| machine.segment());
        network.attach(segment, host.mac, place);
        if let Some(machine) = machine {
            network.attach(machine.port, host.mac, place);
        }
        let mut host = Host::new(host, parts);
        let server = machine.map(|machine| Server::new(&machine, &mut host.sockets));
        // Ports of their own for every client and run.
        let next_port = 30_000 + chance.between(0, 20_000) as u16;
        Station { host, segment, server, flows: vec![], next_port }
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
        seed: 0,
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
        seed: 0,
    }
}
