//! What is done beside packets: expiry, export and import, making whole after a panic.

use super::classify::is_snat;
use super::entry::Flow;
use super::entry_flags::{BOTH_WAYS, PORT_RELEASED};
use super::flow_table::FlowPlace;
use super::flows::{End, Flows, give_port_back, is_idle, timeouts_of};
use super::{Engine, FlowEntry, Shard, Ticks};
use crate::forwarding::Snapshot;

/// The whole table is swept in about this time.
const SWEEP_MS: u64 = 1000;
/// Most entries looked at in one tick: some 100 microseconds.
const MOST_A_TICK: u64 = 32_768;
/// Most places looked at in one export.
const EXPORT_SCAN: u32 = 4096;

/// Where the sweep over the table stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    at: u32,
    last: Option<Ticks>,
    /// Entries times milliseconds: what is less than one entry is kept for the next tick.
    due: u64,
}

impl Sweep {
    /// How many places are to be looked at now, of `places` in all.
    fn quota(&mut self, places: u32, now: Ticks) -> u32 {
        let elapsed_ms = now.0.saturating_sub(self.last.unwrap_or(now).0).min(SWEEP_MS);
        self.last = Some(now);
        self.due += elapsed_ms * u64::from(places);
        let quota = self.due / SWEEP_MS;
        self.due %= SWEEP_MS;
        quota.min(MOST_A_TICK) as u32
    }

    fn next(&mut self, places: u32) -> FlowPlace {
        let at = if self.at < places { self.at } else { 0 };
        self.at = at + 1;
        FlowPlace(at)
    }
}

impl Engine {
    /// Bounded house-keeping, once a batch: ends flows that are idle, or were cut from the snapshot,
    /// and gives up fragments whose time is over.
    pub fn tick(&mut self, snapshot: &Snapshot, now: Ticks) {
        self.fragments.tick(now, &mut self.flows.counters);
        let places = self.flows.table.used_up_to();
        for _ in 0..self.sweep.quota(places, now) {
            let place = self.sweep.next(places);
            let Some(flow) = self.flows.table.get(place) else { continue };
            let now_ms = now.0 as u32;
            if is_idle(flow, now_ms, &timeouts_of(snapshot, flow)) {
                self.flows.end(place, End::Idle, now_ms);
            } else if is_cut(snapshot, &self.flows, flow) {
                self.flows.end(place, End::Cut, now_ms);
            }
        }
    }

    /// Copies up to `out.len()` entries of `shard` beginning at `cursor` (0 at first); gives the
    /// number copied and the next cursor, none at the end. For hand-over and sync.
    ///
    /// A call looks at a bounded part of the table, so it may copy nothing and still have a next
    /// cursor. What changes between calls may be missed or seen twice; flow events tell of it.
    pub fn export(&self, shard: Shard, cursor: u32, out: &mut [FlowEntry]) -> (usize, Option<u32>) {
        let end = self.flows.table.used_up_to();
        let until = end.min(cursor.saturating_add(EXPORT_SCAN));
        let mut copied = 0;
        for at in cursor..until {
            let Some(flow) = self.flows.table.get(FlowPlace(at)) else { continue };
            let key = flow.key();
            if self.shards.shard_of(&key, self.flows.hash.of(&key)) != shard {
                continue;
            }
            let Some(place) = out.get_mut(copied) else { return (copied, Some(at)) };
            *place = self.flows.entry_of(flow);
            copied += 1;
        }
        (copied, (until < end).then_some(until))
    }

    /// Takes entries that were exported, and gives how many it refused: those of another layout
    /// version, of flows or SNAT ports it has already, those that do not fit, and those that this
    /// worker's packets would never find: of another worker's shard, or made with another secret.
    pub fn import(&mut self, now: Ticks, entries: &[FlowEntry]) -> usize {
        entries.iter().filter(|entry| !self.import_one(now.0 as u32, **entry)).count()
    }

    fn import_one(&mut self, now_ms: u32, entry: FlowEntry) -> bool {
        let flows = &mut self.flows;
        if !entry.is_in_use() || flows.table.is_full() || !flows.is_new_and_sound(&entry) {
            return false;
        }
        let shard = self.shards.shard_of(&entry.key, flows.hash.of(&entry.key));
        let meets = !entry.is_nat() || Shard::of_snat_port(entry.snat_port) == shard;
        if !meets || self.shards.owner(shard) != self.worker {
            return false;
        }
        let mut flow = Flow::new(&entry.key, entry.client());
        (flow.state, flow.flags, flow.backend) = (entry.state, entry.flags, entry.backend);
        // Another machine's clock, or one read a moment later: not from the future.
        let is_later = (entry.age_ms(now_ms) as i32) < 0;
        flow.last_seen_ms = if is_later { now_ms } else { entry.last_seen_ms };
        if entry.is_nat() {
            let Some(block) = flows.pool.take(&entry.bound_towards(), now_ms) else { return false };
            let [high, _] = entry.snat_port.to_be_bytes();
            flow.bind(block, high);
            flow.flags |= BOTH_WAYS;
            if entry.has(PORT_RELEASED) {
                // It has just been taken.
                flow.flags &= !PORT_RELEASED;
                let hash = |flow: &Flow| flows.hash.of(&flow.key());
                give_port_back(&mut flows.pool, &mut flow, hash, now_ms);
            }
        } else {
            flow.set_fingerprint(entry.backend_fingerprint);
        }
        flows.restore(flow)
    }

    /// The engine made whole after a panic: indexes, SNAT ports and counts anew from the entries.
    /// Those that make no sense are given up and counted as cut. Held fragments are dropped.
    #[must_use]
    pub fn recover(mut self) -> Engine {
        let given_up = self.flows.rebuild();
        self.flows.counters.events.flows_cut += given_up as u64;
        self.fragments.recover(&mut self.flows.counters);
        self
    }
}

/// Has the snapshot lost what the flow needs: its backend, or the address its backend answers to?
fn is_cut(snapshot: &Snapshot, flows: &Flows, flow: &Flow) -> bool {
    let has_way_back = || flows.return_key(flow).is_none_or(|key| is_snat(snapshot, &key));
    flows.target_of(snapshot, flow).is_none() || !has_way_back()
}
