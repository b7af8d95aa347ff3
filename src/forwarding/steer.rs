//! What the XDP program takes off the NIC: a pure function of the snapshot.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{AddressRole, Snapshot};
use crate::wire::{Address, Protocol};

/// One thing the XDP program takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SteerEntry {
    /// Everything to an address that is ours alone: every protocol, ARP and NDP questions for it, fragments.
    Whole(IpAddr),
    /// One protocol and port of an address the machine has too.
    Port(IpAddr, Protocol, u16),
    /// NAT return traffic to an address the machine has too: TCP and UDP to these ports.
    PortRange(IpAddr, u16, u16),
}

/// Port ranges of one shared address that can be taken.
pub const MOST_SHARED_RANGES: usize = 8;

/// All that is taken, without duplicates and in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SteerTable {
    /// The entries.
    pub entries: BTreeSet<SteerEntry>,
}

impl SteerTable {
    /// The table for a snapshot.
    pub fn of(snapshot: &Snapshot) -> SteerTable {
        let whole = |address: IpAddr| {
            !matches!(snapshot.address_role(Address::from(address)), Some(AddressRole::Shared))
        };
        let mut entries = BTreeSet::new();
        for service in &snapshot.services {
            let address = service.vip.ip();
            entries.insert(if whole(address) {
                SteerEntry::Whole(address)
            } else {
                SteerEntry::Port(address, service.protocol, service.vip.port())
            });
        }
        for snat in &snapshot.snat {
            entries.insert(if whole(snat.address) {
                SteerEntry::Whole(snat.address)
            } else {
                SteerEntry::PortRange(snat.address, *snat.ports.start(), *snat.ports.end())
            });
        }
        SteerTable { entries }
    }

    /// What has to be added to `running`, to be done once every worker runs the new snapshot.
    pub fn added_to<'a>(
        &'a self,
        running: &'a SteerTable,
    ) -> impl Iterator<Item = SteerEntry> + 'a {
        self.entries.difference(&running.entries).copied()
    }

    /// What has to be removed from `running`, to be done before the new snapshot is published.
    pub fn removed_from<'a>(
        &'a self,
        running: &'a SteerTable,
    ) -> impl Iterator<Item = SteerEntry> + 'a {
        running.entries.difference(&self.entries).copied()
    }
}
