//! Keeping the XDP programs' tables equal to the published snapshot, in the right order.

use crate::forwarding::{SteerEntry, SteerTable};
use crate::wire::MacAddress;

/// Where steer entries are put: the XDP programs, or a recorder in tests.
pub trait SteerTarget: Send {
    /// Begins to take this traffic from the kernel, on all interfaces.
    ///
    /// # Errors
    /// What the kernel refused, in words.
    fn add(&mut self, entry: SteerEntry) -> Result<(), String>;

    /// Gives this traffic back to the kernel.
    ///
    /// # Errors
    /// What the kernel refused, in words.
    fn remove(&mut self, entry: SteerEntry) -> Result<(), String>;

    /// The first table is complete: programs may replace those of an earlier run.
    ///
    /// # Errors
    /// What the kernel refused, in words.
    fn activate(&mut self) -> Result<(), String>;

    /// An interface has a new MAC address: frames to it are looked at from now on.
    ///
    /// # Errors
    /// What the kernel refused, in words.
    fn set_mac(&mut self, interface: &str, mac: MacAddress) -> Result<(), String>;
}

/// A target with the table it runs.
#[derive(Debug)]
pub struct Steering<T> {
    target: T,
    running: SteerTable,
    is_active: bool,
}

impl<T: SteerTarget> Steering<T> {
    /// Begins with nothing taken.
    pub fn new(target: T) -> Steering<T> {
        Steering { target, running: SteerTable::default(), is_active: false }
    }

    /// Before a snapshot is published: stops taking what it no longer knows.
    pub fn shrink_to(&mut self, wanted: &SteerTable) -> Vec<String> {
        let gone: Vec<_> = wanted.removed_from(&self.running).collect();
        let remove = |entry| (entry, self.target.remove(entry));
        let results: Vec<_> = gone.into_iter().map(remove).collect();
        self.take_over(results, |running, entry| {
            running.entries.remove(&entry);
        })
    }

    /// After every worker runs the snapshot: takes what is new in it.
    pub fn grow_to(&mut self, wanted: &SteerTable) -> Vec<String> {
        let new: Vec<_> = wanted.added_to(&self.running).collect();
        let add = |entry| (entry, self.target.add(entry));
        let results: Vec<_> = new.into_iter().map(add).collect();
        let mut refused = self.take_over(results, |running, entry| {
            running.entries.insert(entry);
        });
        if refused.is_empty() && !self.is_active {
            match self.target.activate() {
                Ok(()) => self.is_active = true,
                Err(why) => refused.push(why),
            }
        }
        refused
    }

    /// Notes what was done; gives the words of what was refused, which is tried again next time.
    fn take_over(
        &mut self,
        results: Vec<(SteerEntry, Result<(), String>)>,
        mut done: impl FnMut(&mut SteerTable, SteerEntry),
    ) -> Vec<String> {
        let mut refused = vec![];
        for (entry, result) in results {
            match result {
                Ok(()) => done(&mut self.running, entry),
                Err(why) => refused.push(format!("{entry:?}: {why}")),
            }
        }
        refused
    }

    /// What is taken now.
    pub fn running(&self) -> &SteerTable {
        &self.running
    }

    /// The target, for its counters.
    pub fn target(&mut self) -> &mut T {
        &mut self.target
    }

    /// Gives the target back, to be detached.
    pub fn into_target(self) -> T {
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[derive(Default)]
    struct Recorder {
        log: Vec<String>,
        full: bool,
    }

    impl SteerTarget for Recorder {
        fn add(&mut self, entry: SteerEntry) -> Result<(), String> {
            if self.full {
                return Err("the map is full".into());
            }
            self.log.push(format!("+{entry:?}"));
            Ok(())
        }

        fn remove(&mut self, entry: SteerEntry) -> Result<(), String> {
            self.log.push(format!("-{entry:?}"));
            Ok(())
        }

        fn activate(&mut self) -> Result<(), String> {
            self.log.push("active".into());
            Ok(())
        }

        fn set_mac(&mut self, _: &str, _: MacAddress) -> Result<(), String> {
            Ok(())
        }
    }

    fn table(last_octets: &[u8]) -> SteerTable {
        let entry = |&last: &u8| SteerEntry::Whole(Ipv4Addr::new(10, 0, 0, last).into());
        SteerTable { entries: last_octets.iter().map(entry).collect() }
    }

    #[test]
    fn only_differences_are_done_and_refusals_are_tried_again() {
        let mut steering = Steering::new(Recorder::default());
        assert!(steering.grow_to(&table(&[1, 2])).is_empty());
        assert!(steering.shrink_to(&table(&[2, 3])).is_empty());
        assert_eq!(steering.running(), &table(&[2]));
        steering.target().full = true;
        assert_eq!(steering.grow_to(&table(&[2, 3])), ["Whole(10.0.0.3): the map is full"]);
        steering.target().full = false;
        assert!(steering.grow_to(&table(&[2, 3])).is_empty());
        let log = &steering.target().log;
        let (add_1, add_2, add_3) = ("+Whole(10.0.0.1)", "+Whole(10.0.0.2)", "+Whole(10.0.0.3)");
        assert_eq!(log, &[add_1, add_2, "active", "-Whole(10.0.0.1)", add_3]);
    }
}
