//! The small slow model beside the engines: which flow has which backend, and why.
//!
//! It knows no packets. It sees the workers' flow events and entries from outside, and holds them to
//! this: a flow begins with the backend that Maglev names for it, or that its client had last, keeps
//! it while that is there, goes on no longer once it is gone, and ends in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guideway::dataplane::entry_flags::BACKEND_GONE;
use guideway::dataplane::{Engine, FlowEntry, FlowState, SHARDS, Shard};
use guideway::forwarding::{BackendGonePolicy, BackendId, BackendState, Service, Snapshot};
use guideway::wire::{Address, FlowKey};

use super::history::{Sortable, sortable};
use super::site::number_of;

/// An entry ends at most so long after its time: the sweep over the table takes a second, and another
/// one where the table has grown meanwhile.
const LATE_MS: u32 = 2_200;

/// A client's flows to a service, in one worker.
type Client = (usize, String, Address);

/// Flows as they were when looked at last.
#[derive(Default)]
pub struct Model {
    /// With their backends.
    flows: BTreeMap<Sortable, u32>,
    /// Snapshots that workers may have used since then, the newest last.
    snapshots: Vec<Arc<Snapshot>>,
    looked_ms: u32,
    /// Where a client's last new flow went, and when.
    clients: BTreeMap<Client, (u32, u32)>,
    /// What chooses -> the backend that was chosen, as long as there is one snapshot.
    chosen: BTreeMap<(String, Chooses), u32>,
    /// The table may have no room for what is known of clients.
    is_tight: bool,
}

/// Of a packet, by what its service chooses: client, client's port, destination port.
type Chooses = (Option<Address>, Option<u16>, Option<u16>);

impl Model {
    pub fn new(is_tight: bool) -> Model {
        Model { is_tight, ..Model::default() }
    }

    /// A snapshot was published.
    pub fn published(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshots.push(snapshot);
        self.chosen.clear();
    }

    /// A worker has begun a flow; gives the machine's number.
    pub fn created(&mut self, worker: usize, entry: &FlowEntry) -> u16 {
        let before = self.flows.insert(sortable(entry.key), entry.backend);
        assert_eq!(before, None, "{:?} begins twice", entry.key);
        self.check_choice(worker, entry);
        let backend = |snapshot: &Arc<Snapshot>| {
            Some(number_of(&snapshot.backend(BackendId(entry.backend))?.name))
        };
        self.snapshots.iter().rev().find_map(backend).expect("a backend that was published")
    }

    /// An entry with this key ended.
    pub fn ended(&mut self, key: FlowKey) {
        self.flows.remove(&sortable(key));
    }

    /// Looks at all flows of all workers. Call when every worker runs the newest snapshot, and all
    /// events were told.
    pub fn check<'a>(&mut self, engines: impl Iterator<Item = &'a Engine>, now_ms: u64) {
        let newest = self.snapshots.last().expect("something was published").clone();
        let mut seen = BTreeSet::new();
        for entry in engines.flat_map(entries) {
            let state = FlowState::of(&entry).expect("an entry of a known state");
            self.check_age(&entry, state, &newest, now_ms as u32);
            if state == FlowState::Affinity {
                continue;
            }
            let key = sortable(entry.key);
            assert_eq!(self.flows.get(&key), Some(&entry.backend), "{:?} has it", entry.key);
            assert!(newest.backend(BackendId(entry.backend)).is_some(), "{entry:?}: no backend");
            assert!(seen.insert(key), "two workers have {:?}", entry.key);
            self.check_gone(&entry, state);
        }
        assert_eq!(seen.len(), self.flows.len(), "a flow has ended, and nobody was told");
        self.snapshots = vec![newest];
        self.looked_ms = now_ms as u32;
    }

    fn check_age(&self, entry: &FlowEntry, state: FlowState, newest: &Snapshot, now_ms: u32) {
        let backend = newest.backend(BackendId(entry.backend));
        let service = backend.and_then(|backend| newest.service_of(backend));
        let Some(service) = service else { return };
        let (age, most) = (entry.age_ms(now_ms), state.timeout_ms(&service.timeouts));
        assert!(age <= most + LATE_MS, "{age} ms after {most} ms still there: {entry:?}");
    }

    /// A connection whose backend was gone all the time since the last look goes on no longer.
    fn check_gone(&self, entry: &FlowEntry, state: FlowState) {
        let is_gone = |snapshot: &Arc<Snapshot>| {
            snapshot.backend(BackendId(entry.backend)).is_some_and(|backend| backend.gone)
        };
        let has_sent = (entry.last_seen_ms.wrapping_sub(self.looked_ms) as i32) > 0;
        if state == FlowState::Udp || !has_sent || !self.snapshots.iter().all(is_gone) {
            return;
        }
        let backend = self.snapshots[0].backend(BackendId(entry.backend));
        let service = backend.and_then(|backend| self.snapshots[0].service_of(backend));
        let policy = service.map(|service| service.on_backend_gone);
        let is_told = matches!(state, FlowState::Reset | FlowState::Closed);
        let is_dropped = policy == Some(BackendGonePolicy::Drop) && entry.has(BACKEND_GONE);
        assert!(is_told || is_dropped, "it goes on to a backend that is gone: {entry:?}");
    }

    fn check_choice(&mut self, worker: usize, entry: &FlowEntry) {
        let newest = self.snapshots.last().expect("something was published").clone();
        let service = self.snapshots.iter().rev().find_map(|snapshot| {
            let (_, service) = snapshot.find_service(&entry.key)?;
            Some((*service).clone())
        });
        let service = service.expect("a flow of a service");
        let promised = self.snapshots.iter().filter_map(|snapshot| {
            let (_, service) = snapshot.find_service(&entry.key)?;
            Some(snapshot.select(service, &entry.key)?.id.0)
        });
        let promised: Vec<u32> = promised.collect();
        let is_promised = promised.contains(&entry.backend);
        if service.rules.affinity_ms > 0 {
            self.check_affinity(worker, entry, &service, is_promised);
        } else {
            assert!(is_promised, "{entry:?}: Maglev promised {promised:?}");
            if self.snapshots.len() == 1 && newest.generation > 0 {
                let chooses = (service.name.to_string(), chooses(&service, &entry.key));
                let same = *self.chosen.entry(chooses).or_insert(entry.backend);
                assert_eq!(same, entry.backend, "{entry:?}: what chooses is the same");
            }
        }
    }

    /// A client's new flow goes where its last one went, for the time of the service's affinity.
    fn check_affinity(
        &mut self,
        worker: usize,
        entry: &FlowEntry,
        service: &Service,
        is_promised: bool,
    ) {
        let client = (worker, service.name.to_string(), entry.key.source);
        let now_ms = entry.last_seen_ms;
        let is_usable = |backend: u32, snapshot: &Arc<Snapshot>| {
            let backend = snapshot.backend(BackendId(backend));
            backend.is_some_and(|backend| backend.state == BackendState::Active)
        };
        let known = self
            .clients
            .get(&client)
            .filter(|&&(_, at_ms)| now_ms.wrapping_sub(at_ms) <= service.rules.affinity_ms);
        match known {
            Some(&(before, _)) => {
                let mut usable = self.snapshots.iter().map(|snapshot| is_usable(before, snapshot));
                let must = !self.is_tight && usable.all(|usable| usable);
                let is_kept = before == entry.backend;
                assert!(is_kept || (is_promised && !must), "{entry:?}: {before} was the client's");
            }
            None => assert!(is_promised, "{entry:?}: the client had none"),
        }
        self.clients.insert(client, (entry.backend, now_ms));
    }
}

/// Once more by hand what `hash` says.
fn chooses(service: &Service, key: &FlowKey) -> Chooses {
    use guideway::forwarding::HashBy;
    let (client, port) = (Some(key.source), Some(key.destination_port));
    match service.rules.hash {
        HashBy::FiveTuple => (client, Some(key.source_port), port),
        HashBy::Client => (client, None, None),
        HashBy::ClientAndPort => (client, None, port),
        HashBy::DestinationPort => (None, None, port),
    }
}

/// All entries of a worker.
fn entries(engine: &Engine) -> Vec<FlowEntry> {
    let (mut all, mut slice) = (vec![], [FlowEntry::FREE; 16]);
    for shard in (0..SHARDS).map(|shard| Shard(shard as u8)).filter(|_| engine.has_flows()) {
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (count, next) = engine.export(shard, at, &mut slice);
            all.extend_from_slice(&slice[..count]);
            cursor = next;
        }
    }
    all
}
