//! What is done beside packets: expiry, export and import, making whole after a panic.

use super::classify::is_snat;
use super::entry_flags::PORT_RELEASED;
use super::flow_table::FlowPlace;
use super::flows::{End, has_its_backend, is_idle, timeouts_of};
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
    /// Bounded house-keeping, once a batch: ends flows that are idle, or were cut from the snapshot.
    pub fn tick(&mut self, snapshot: &Snapshot, now: Ticks) {
        let places = self.flows.table.used_up_to();
        for _ in 0..self.sweep.quota(places, now) {
            let place = self.sweep.next(places);
            let Some(entry) = self.flows.table.get(place) else { continue };
            let now_ms = now.0 as u32;
            if is_idle(entry, now_ms, &timeouts_of(snapshot, entry)) {
                self.flows.end(place, End::Idle, now_ms);
            } else if is_cut(snapshot, entry) {
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
            let Some(entry) = self.flows.table.get(FlowPlace(at)) else { continue };
            if self.shards.shard_of(&entry.key, self.flows.hash.of(&entry.key)) != shard {
                continue;
            }
            let Some(place) = out.get_mut(copied) else { return (copied, Some(at)) };
            *place = *entry;
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

    fn import_one(&mut self, now_ms: u32, mut entry: FlowEntry) -> bool {
        let flows = &mut self.flows;
        if !entry.is_in_use() || flows.table.is_full() || !flows.table.is_new_and_sound(&entry) {
            return false;
        }
        let shard = self.shards.shard_of(&entry.key, flows.hash.of(&entry.key));
        let meets = !entry.is_nat() || Shard::of_snat_port(entry.snat_port) == shard;
        if !meets || self.shards.owner(shard) != self.worker {
            return false;
        }
        if entry.is_nat() {
            let key = entry.return_key();
            if !flows.pool.take(&key, now_ms) {
                return false;
            }
            if entry.has(PORT_RELEASED) {
                flows.pool.release(&key, now_ms);
            }
        }
        // Another machine's clock, or one read a moment later: not from the future.
        if (entry.age_ms(now_ms) as i32) < 0 {
            entry.last_seen_ms = now_ms;
        }
        flows.count_live(&entry, |live| live.saturating_add(1));
        flows.table.insert(entry).is_some()
    }

    /// The engine made whole after a panic: indexes, SNAT ports and counts anew from the entries.
    /// Those that make no sense are given up and counted as cut.
    #[must_use]
    pub fn recover(mut self) -> Engine {
        let flows = &mut self.flows;
        let given_up = flows.table.rebuild();
        flows.counters.events.flows_cut += given_up as u64;
        flows.pool.rebuild();
        flows.live.fill(0);
        for at in 0..flows.table.used_up_to() {
            let Some(entry) = flows.table.get(FlowPlace(at)).copied() else { continue };
            flows.count_live(&entry, |live| live.saturating_add(1));
            if entry.is_nat() && !entry.has(PORT_RELEASED) {
                flows.pool.take(&entry.return_key(), entry.last_seen_ms);
            }
        }
        self
    }
}

/// Has the snapshot lost what the flow needs: its backend, or the address its backend answers to?
fn is_cut(snapshot: &Snapshot, entry: &FlowEntry) -> bool {
    let has_way_back = || !entry.is_nat() || is_snat(snapshot, &entry.return_key());
    !has_its_backend(snapshot, entry) || !has_way_back()
}
