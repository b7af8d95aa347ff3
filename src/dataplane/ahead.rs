//! What the frames of a batch will need is fetched for all of them before the first is finished: so
//! they wait for memory together, and not one after the other.
//!
//! In stages, since where a line is stands in the one before. Of a known flow: its index line (begun
//! by [`Engine::prepare`]), its place in the slab, and where there are too many of them for the cache,
//! its backend and SNAT addresses. Of a new one: its Maglev slot, and under NAT the chain and the block
//! its port will be from, and the index line of its return key, as far as all that can be foretold.

use super::engine::{Engine, Prepared};
use super::flow_table::FlowPlace;
use super::forward::is_opening;
use super::plain::PlainWay;
use super::snat_pairs::PairKey;
use crate::arch;
use crate::forwarding::{Backend, BackendId, Mode, Snapshot, SnatAddress};
use crate::wire::IpPacket;

/// With no more backends, and pairs of backend and SNAT address, than this, what packets need of them
/// is in the cache (64 bytes each) and is not fetched ahead.
const FEW: usize = 2048;
/// Frames whose stages are gone through together: one bit each.
const MOST: usize = 64;

/// What is known so far of a frame that begins a flow.
#[derive(Clone, Copy)]
struct New {
    /// Which frame.
    at: u8,
    /// Its Maglev slot; then, under NAT, the block its port will be from.
    next: u32,
}

/// No slot or block.
const NONE: u32 = u32::MAX;

impl Engine {
    /// Fetches what the frames of a batch will need. Optional; changes nothing but the time
    /// [`Engine::finish`] takes.
    #[inline]
    pub fn look_ahead(&self, snapshot: &Snapshot, batch: &mut [Prepared]) {
        for batch in batch.chunks_mut(MOST) {
            let mut are_new = 0u64;
            for (at, prepared) in batch.iter_mut().enumerate() {
                if prepared.way == PlainWay::None {
                    continue;
                }
                prepared.guess = self.flows.table.prefetch_flow(prepared.hash);
                are_new |= u64::from(prepared.guess == FlowPlace::NONE) << at;
            }
            if are_new != 0 {
                self.look_ahead_of_new(snapshot, batch, are_new);
            }
            let are_few = snapshot.target_count() <= FEW && self.flows.pool.pair_count() <= FEW;
            if !are_few {
                self.look_further_ahead(snapshot, batch);
            }
        }
    }

    /// Where there are too many backends for the cache to hold.
    #[inline(never)]
    fn look_further_ahead(&self, snapshot: &Snapshot, batch: &[Prepared]) {
        for prepared in batch.iter() {
            let flow = self.flows.table.get(prepared.guess);
            let backend = flow.map_or(prepared.choice, |flow| BackendId(flow.backend));
            if let Some(target) = snapshot.target_line(backend) {
                arch::prefetch(target);
            }
            if let Some(traffic) = self.flows.traffic.get(backend.index()) {
                arch::prefetch(traffic);
            }
            if let Some((block, _)) = flow.and_then(|flow| flow.binding()) {
                self.flows.pool.prefetch(block);
            }
        }
    }

    /// For packets whose flow is not there, most of which will begin one.
    #[inline(never)]
    fn look_ahead_of_new(&self, snapshot: &Snapshot, batch: &mut [Prepared], mut are_new: u64) {
        let pool = &self.flows.pool;
        let mut news = [New { at: 0, next: NONE }; MOST];
        let news = &mut news[..are_new.count_ones() as usize];
        for new in news.iter_mut() {
            new.at = are_new.trailing_zeros() as u8;
            are_new &= are_new - 1;
        }
        for new in news.iter_mut() {
            let Some(prepared) = batch.get(usize::from(new.at)) else { continue };
            new.next = begins_in_slot(snapshot, prepared).unwrap_or(NONE);
        }
        for new in news.iter_mut() {
            let Some(prepared) = batch.get_mut(usize::from(new.at)) else { continue };
            let service = snapshot.services.get(prepared.service.index());
            let choice = service.and_then(|service| service.slots.get(new.next as usize));
            prepared.choice = choice.copied().unwrap_or(BackendId::NONE);
            new.next = self.block_for(snapshot, prepared).unwrap_or(NONE);
            pool.prefetch_chain(new.next);
        }
        for new in news.iter() {
            pool.prefetch_block(new.next);
        }
        for new in news.iter() {
            let Some(prepared) = batch.get(usize::from(new.at)) else { continue };
            if new.next != NONE
                && let Some((_, snat)) = snat_of(snapshot, prepared)
                && let Some(key) = pool.peek(new.next, &snat.ports)
            {
                self.flows.table.prefetch_index(self.flows.hash.of(&key));
            }
        }
    }

    /// Under NAT, the block that the port of a new flow will be from, if there is one already.
    fn block_for(&self, snapshot: &Snapshot, prepared: &Prepared) -> Option<u32> {
        let (backend, snat) = snat_of(snapshot, prepared)?;
        let key = PairKey {
            backend: backend.socket.ip().into(),
            snat: snat.address.into(),
            backend_port: backend.socket.port(),
            protocol: prepared.headers.ip.key.protocol_number(),
        };
        let shard = self.shards.shard_of(&prepared.headers.ip.key, prepared.hash);
        self.flows.pool.place_of(&key, shard)
    }
}

/// The Maglev slot of a packet that may begin a flow of its service; its line is fetched.
fn begins_in_slot(snapshot: &Snapshot, prepared: &Prepared) -> Option<u32> {
    let service = snapshot.services.get(prepared.service.index())?;
    let ip: &IpPacket = &prepared.headers.ip;
    let begins = service.mode != Mode::Nat || ip.tcp().is_none_or(is_opening);
    if prepared.way != PlainWay::Forward || service.gone || !begins {
        return None;
    }
    let slot = snapshot.slot(service, &ip.key)?;
    arch::prefetch(service.slots.get(slot)?);
    Some(slot as u32)
}

/// The backend that was chosen for a new flow, and the SNAT address that is asked first for a port.
fn snat_of<'a>(
    snapshot: &'a Snapshot,
    prepared: &Prepared,
) -> Option<(&'a Backend, &'a SnatAddress)> {
    let backend = snapshot.backend(prepared.choice)?;
    let is_nat = snapshot.services.get(prepared.service.index())?.mode == Mode::Nat;
    let first = first_snat(prepared.hash, backend).filter(|_| is_nat)?;
    let place = backend.snat.get(first)?;
    Some((backend, snapshot.snat.get(usize::from(*place))?))
}

/// With which of its backend's SNAT addresses a new flow begins to ask for a port.
#[inline]
pub(super) fn first_snat(hash: u64, backend: &Backend) -> Option<usize> {
    ((hash >> 40) as usize).checked_rem(backend.snat.len())
}
