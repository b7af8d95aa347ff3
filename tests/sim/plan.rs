//! What happens in a run: all of it drawn from the seed before the run begins.

use guideway::io::fault::FaultRates;
use guideway::wire::Family;

use super::chance::Chance;
use super::pool::{POOLS, Pool, PoolPlan};
use super::server::Request;
use super::vlan::Vlan;

/// One flow of a client.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    pub at_ms: u64,
    pub client: usize,
    pub pool: Pool,
    pub kind: FlowKind,
    pub fate: Fate,
}

/// How a flow has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Every byte arrives, both ways, but for what the model allows.
    Whole,
    /// The client is reset.
    Reset,
}

#[derive(Clone, Debug)]
pub enum FlowKind {
    Stream(Request),
    /// So many, none longer than so many bytes.
    Datagrams {
        id: u64,
        count: u32,
        longest: u64,
    },
}

/// Something that happens to the balancer. Which backend it happens to is drawn when it does, so
/// that each service keeps one that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A backend that is not configured comes in.
    Add(Pool),
    /// One leaves the configuration.
    Remove(Pool),
    /// One begins to drain, or ends it.
    Drain(Pool),
    /// One gets another weight.
    Weigh(Pool),
    /// A health check fails, or is well again.
    Health(Pool),
    /// A machine falls silent; some time later its health check finds it dead. It stays dead.
    Die(Pool),
    /// The way to a machine becomes narrow, behind a router that answers what is too long.
    Narrow(Pool),
    /// A worker panics in its next batch and is made whole again.
    Restart,
    /// The file is read again and says the same.
    Reload,
    /// All backends fail. In no drawn plan: flows would not end whole.
    FailAll(Pool),
    /// The pool's services leave the configuration. In no drawn plan.
    RemoveServices(Pool),
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of clients' and VIPs' addresses.
    pub family: Family,
    /// Of each of the balancer's ports.
    pub vlans: Vec<Vlan>,
    pub workers: usize,
    /// Backends behind a port of their own, but for those of L2 DSR.
    pub two_arms: bool,
    pub clients: usize,
    pub pools: [PoolPlan; 2],
    pub receive_faults: FaultRates,
    pub transmit_faults: FaultRates,
    pub reorder_span: u32,
    pub wander: u64,
    /// A flow's owner is found as a NIC does, not by the flow table's hash.
    pub nic_hash: bool,
    pub hand_over_ring: usize,
    /// Room for flows in each worker.
    pub max_flows: usize,
    /// New flows a second that get entries where they need none.
    pub new_flows_per_second: u32,
    /// Idle time of UDP flows.
    pub udp_ms: u32,
    /// Half of all datagrams are sent in fragments.
    pub fragments: bool,
    /// Some flows have datagrams that are too long for narrow ways.
    pub long_datagrams: bool,
    pub flows: Vec<FlowPlan>,
    pub changes: Vec<(u64, Change)>,
}

/// Flows begin and changes happen within this time.
const BUSY_MS: u64 = 8_000;

impl Plan {
    pub fn pool(&self, pool: Pool) -> &PoolPlan {
        &self.pools[pool as usize]
    }

    /// May packets of this pool's flows go where Maglev says, each for itself, since they have no
    /// entry?
    pub fn is_stateless(&self, pool: Pool) -> bool {
        let is_short = self.max_flows < 100 || self.new_flows_per_second < 100;
        let pool = self.pool(pool);
        pool.mode.is_direct_return() && (!pool.rules.entries || is_short)
    }

    /// Is the flow's client one that its service does not allow?
    pub fn is_refused(&self, flow: &FlowPlan) -> bool {
        self.pool(flow.pool).allowed.is_some_and(|clients| !clients.has(flow.client))
    }

    pub fn draw(chance: &mut Chance) -> Plan {
        let clients = chance.between(1, 4) as usize;
        // A third of all links is good, a third is bad, a third damages bits too.
        let badness = chance.between(0, 2);
        let (mut receive_faults, mut transmit_faults) =
            (faults(chance, badness), faults(chance, badness));
        // Two flips in one packet can leave its checksum right: no stack sees that.
        let unflipped = if chance.one_in(2) { &mut receive_faults } else { &mut transmit_faults };
        unflipped.bit_flips = 0.0;
        // Nor two flips in two fragments of one.
        let has_flips = receive_faults.bit_flips + transmit_faults.bit_flips > 0.0;
        // Room for few flows, or time for few.
        let (is_tight, is_slow) = (chance.one_in(4), chance.one_in(4));
        let family = if chance.one_in(2) { Family::Ipv6 } else { Family::Ipv4 };
        let long_datagrams = chance.one_in(2) && !has_flips;
        Plan {
            family,
            vlans: (0..2).map(|_| Vlan::draw(chance)).collect(),
            workers: chance.between(1, 3) as usize,
            two_arms: chance.one_in(2),
            clients,
            pools: POOLS.map(|_| PoolPlan::draw(chance, (family, clients), is_tight || is_slow)),
            receive_faults,
            transmit_faults,
            reorder_span: chance.between(1, 6) as u32,
            wander: chance.between(2, 60),
            nic_hash: chance.one_in(3),
            max_flows: if is_tight { chance.between(2, 10) as usize } else { 4096 },
            new_flows_per_second: if is_slow { 1 } else { 100_000_000 },
            udp_ms: if is_tight { 3_000 } else { chance.between(3_000, 120_000) as u32 },
            hand_over_ring: if chance.one_in(4) { 2 } else { 64 },
            fragments: chance.one_in(2) && !has_flips,
            long_datagrams,
            flows: flows(chance, clients, long_datagrams),
            changes: changes(chance),
        }
    }
}

fn faults(chance: &mut Chance, badness: u64) -> FaultRates {
    let mut upto = |percent: u64| chance.between(0, percent * 10) as f64 / 1000.0;
    let mut rates = FaultRates::default();
    if badness >= 1 {
        rates.loss = upto(4);
        rates.duplication = upto(4);
        rates.reordering = upto(10);
    }
    if badness >= 2 {
        rates.truncation = upto(1);
        rates.bit_flips = upto(2);
    }
    rates
}

fn flows(chance: &mut Chance, clients: usize, are_long: bool) -> Vec<FlowPlan> {
    let count = chance.between(5, 30);
    let mut flows: Vec<FlowPlan> = (0..count).map(|_| flow(chance, clients, are_long)).collect();
    flows.sort_by_key(|flow| flow.at_ms);
    flows
}

/// With the longest datagrams the answers still fit into a link's packets, and what fits into all narrow
/// ways is the shorter ones.
const LONG_DATAGRAM: u64 = 1_440;
const SHORT_DATAGRAM: u64 = 1_200;

fn flow(chance: &mut Chance, clients: usize, are_long: bool) -> FlowPlan {
    let id = chance.bits();
    let kind = if chance.one_in(3) {
        let longest = if are_long && chance.one_in(2) { LONG_DATAGRAM } else { SHORT_DATAGRAM };
        FlowKind::Datagrams { id, count: chance.between(1, 40) as u32, longest }
    } else {
        // Mostly short, some of many windows, some of nothing but their end.
        let largest = [0, 300, 5_000, 60_000][chance.place(4)];
        FlowKind::Stream(Request {
            id,
            up_len: chance.between(0, largest) as u32,
            down_len: chance.between(0, largest * 2) as u32,
            server_closes: chance.one_in(2),
        })
    };
    FlowPlan {
        at_ms: chance.between(0, BUSY_MS),
        client: chance.place(clients),
        pool: pool(chance),
        kind,
        fate: Fate::Whole,
    }
}

fn changes(chance: &mut Chance) -> Vec<(u64, Change)> {
    let count = chance.between(0, 12);
    let mut changes: Vec<(u64, Change)> = (0..count)
        .map(|_| {
            let pool = pool(chance);
            let change = match chance.between(0, 15) {
                0..=1 => Change::Add(pool),
                2..=3 => Change::Remove(pool),
                4..=5 => Change::Drain(pool),
                6 => Change::Weigh(pool),
                7..=8 => Change::Health(pool),
                9..=10 => Change::Die(pool),
                11..=13 => Change::Narrow(pool),
                14 => Change::Restart,
                _ => Change::Reload,
            };
            (chance.between(1, BUSY_MS + 2_000), change)
        })
        .collect();
    changes.sort_by_key(|&(at, _)| at);
    changes
}

fn pool(chance: &mut Chance) -> Pool {
    if chance.one_in(3) { Pool::Second } else { Pool::First }
}
