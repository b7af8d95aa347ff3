//! The small slow model beside the engines: which flow has which backend, and why.
//!
//! It knows no packets. It sees the workers' flow entries from outside, and holds them to this: a
//! flow begins with the backend that Maglev names for it, and keeps it while that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guideway::dataplane::{Engine, FlowEntry, SHARDS, Shard};
use guideway::forwarding::{BackendId, Snapshot};
use guideway::wire::{Address, FlowKey};

/// A flow's key in an order.
type Key = (Address, Address, u16, u16, u32);

/// Flows as they were when looked at last.
#[derive(Default)]
pub struct Model {
    /// With their backends.
    flows: BTreeMap<Key, u32>,
    /// Flows of which an entry has ended since then: one with the same key is another flow.
    ended: BTreeSet<Key>,
    /// Snapshots that workers may have used since then, the newest last.
    snapshots: Vec<Arc<Snapshot>>,
    /// Flows that were seen to begin.
    pub begun: u64,
}

impl Model {
    /// A snapshot was published.
    pub fn published(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshots.push(snapshot);
    }

    /// An entry with this key ended.
    pub fn ended(&mut self, key: FlowKey) {
        self.ended.insert(sortable(key));
    }

    /// Looks at all flows of all workers; gives how many there are. Call when every worker runs the
    /// newest snapshot.
    pub fn check<'a>(&mut self, engines: impl Iterator<Item = &'a Engine>) -> usize {
        let newest = self.snapshots.last().expect("something was published").clone();
        let mut now = BTreeMap::new();
        for entry in engines.flat_map(entries) {
            let key = sortable(entry.key);
            match self.flows.get(&key).filter(|_| !self.ended.contains(&key)) {
                Some(&before) => {
                    assert_eq!(before, entry.backend, "{:?} changed backend", entry.key);
                }
                None => self.check_new(&entry),
            }
            assert!(newest.backend(BackendId(entry.backend)).is_some(), "{entry:?}: no backend");
            let double = now.insert(key, entry.backend);
            assert_eq!(double, None, "two workers have {:?}", entry.key);
        }
        self.flows = now;
        self.ended.clear();
        self.snapshots = vec![newest];
        self.flows.len()
    }

    fn check_new(&mut self, entry: &FlowEntry) {
        self.begun += 1;
        let promised = self.snapshots.iter().filter_map(|snapshot| {
            let (_, service) = snapshot.find_service(&entry.key)?;
            Some(snapshot.select(service, &entry.key)?.id.0)
        });
        let promised: Vec<u32> = promised.collect();
        assert!(promised.contains(&entry.backend), "{entry:?}: Maglev promised {promised:?}");
    }
}

fn sortable(key: FlowKey) -> Key {
    (key.source, key.destination, key.source_port, key.destination_port, key.protocol)
}

/// All entries of a worker.
fn entries(engine: &Engine) -> Vec<FlowEntry> {
    let mut all = Vec::new();
    for shard in (0..SHARDS).map(|shard| Shard(shard as u8)) {
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let mut slice = [FlowEntry::FREE; 16];
            let (count, next) = engine.export(shard, at, &mut slice);
            all.extend_from_slice(&slice[..count]);
            cursor = next;
        }
    }
    all
}
