//! The hosts of a run and what runs on them.

use guideway::wire::{Family, MacAddress, PortId};
use smoltcp::wire::IpEndpoint;

use super::chance::Chance;
use super::client::{Datagrams, End, Stream};
use super::control::{Machine, SERVICE_PORT, address, prefix_len, vip};
use super::host::Host;
use super::network::Network;
use super::parts::Parts;
use super::plan::{FlowKind, FlowPlan, Plan, Pool};
use super::server::Server;

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

/// The machines that can be backends. Their numbers are their places among the stations.
pub fn machines(plan: &Plan) -> Vec<Machine> {
    let pools = [(Pool::Nat, plan.nat_backends), (Pool::L2dsr, plan.dsr_backends)];
    let all = pools.into_iter().flat_map(|(pool, count)| std::iter::repeat_n(pool, count));
    let machine = |(place, pool): (usize, Pool)| {
        let number = (plan.clients + place) as u16;
        let port = PortId(u8::from(plan.two_arms && pool == Pool::Nat));
        Machine {
            pool,
            number,
            address: address(plan.family, port, 50 + number as u8),
            mac: MacAddress([2, 0, 0, 0, port.0, 50 + number as u8]),
            port,
        }
    };
    all.enumerate().map(machine).collect()
}

/// All hosts, connected: clients, then machines.
pub fn stations(
    plan: &Plan,
    machines: &[Machine],
    chance: &mut Chance,
    network: &mut Network,
) -> Vec<Station> {
    let client = |number: usize| {
        let last = 20 + number as u8;
        let (mac, port) = (MacAddress([2, 0, 0, 0, 0, last]), PortId(0));
        (mac, address(plan.family, port, last), port, None)
    };
    let backend = |machine: &Machine| (machine.mac, machine.address, machine.port, Some(*machine));
    let all = (0..plan.clients).map(client).chain(machines.iter().map(backend));
    let station =
        |(place, (mac, address, segment, machine)): (usize, (_, _, _, Option<Machine>))| {
            let hidden = machine.filter(|machine| machine.pool == Pool::L2dsr);
            let hidden = hidden.map(|machine| vip(plan.family, machine.pool));
            let own = (address, prefix_len(plan.family));
            let parts = plan.fragments.then(|| Parts::new(chance.fork()));
            let mut host = Host::new(mac, own, hidden, chance.bits(), parts);
            network.attach(segment, mac, place);
            let server = machine.map(|m| Server::new(&m, &mut host.sockets));
            // Ports of their own for every client and run.
            let next_port = 30_000 + chance.between(0, 20_000) as u16;
            Station { host, segment, server, flows: vec![], next_port }
        };
    all.enumerate().map(station).collect()
}
